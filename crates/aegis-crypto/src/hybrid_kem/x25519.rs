//! X25519 (RFC 7748 §5, §6.1) by the provider, and the checks on a public key that it does not make.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};

use crate::secret::Secret;

/// Bytes of a scalar, of a public key and of a shared secret.
pub(crate) const LEN: usize = 32;

/// The provider failed, or the result was all zeros.
#[derive(Debug)]
pub(crate) struct X25519Failed;

/// A private key in the provider's own form, which the provider erases when it frees it.
pub(crate) struct Scalar(PrivateKey);

impl Scalar {
    /// Takes 32 bytes; every string of 32 bytes is a private key, as clamping happens at each use.
    pub(crate) fn from_bytes(bytes: &[u8; LEN]) -> Result<Self, X25519Failed> {
        PrivateKey::from_private_key(&X25519, bytes).map(Self).map_err(|_| X25519Failed)
    }

    /// The public key: the scalar times the base point.
    pub(crate) fn public(&self) -> Result<[u8; LEN], X25519Failed> {
        let public = self.0.compute_public_key().map_err(|_| X25519Failed)?;
        public.as_ref().try_into().map_err(|_| X25519Failed)
    }

    /// The shared secret with `peer`. The provider refuses a result of all zeros (RFC 7748 §6.1).
    pub(crate) fn agree(&self, peer: &[u8; LEN]) -> Result<Secret<LEN>, X25519Failed> {
        agreement::agree(&self.0, UnparsedPublicKey::new(&X25519, peer), X25519Failed, |ss| {
            let ss: &[u8; LEN] = ss.try_into().map_err(|_| X25519Failed)?;
            Ok(Secret::copy_of(ss))
        })
    }
}

/// Whether u is less than p = 2²⁵⁵ − 19 and the unused top bit is clear.
pub(crate) fn is_canonical(u: &[u8; LEN]) -> bool {
    let [low, middle @ .., high] = u;
    *high < 0x7f || (*high == 0x7f && (*low < 0xed || middle.iter().any(|&byte| byte != 0xff)))
}

/// Whether a canonical u is one of the five, on the curve or its twist, that give all zeros with every scalar.
pub(crate) fn is_low_order(u: &[u8; LEN]) -> bool {
    LOW_ORDER.contains(u)
}

/// In order: u = 0, 1, p − 1, and the two of order 8.
const LOW_ORDER: [[u8; LEN]; 5] = [
    [0; LEN],
    ends(1, 0, 0),
    ends(0xec, 0xff, 0x7f),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

const fn ends(low: u8, middle: u8, high: u8) -> [u8; LEN] {
    let mut u = [middle; LEN];
    let [first, .., last] = &mut u;
    (*first, *last) = (low, high);
    u
}
