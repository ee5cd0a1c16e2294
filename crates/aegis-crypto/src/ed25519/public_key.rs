//! Public keys that were checked, and the one verify function.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64ct::{Base64, Encoding};
use curve25519_dalek::edwards::CompressedEdwardsY;

use super::signature::Signature;
use crate::key_file::{openssh_blob, printable};
use crate::key_id::KeyId;

/// An Ed25519 public key whose encoding is canonical and whose point generates the prime-order group.
///
/// The checks matter because a host compares key ids: a key with a second spelling would have a second id and
/// escape its revocation, and with a point of small order almost anything is a valid signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Checks 32 raw bytes (RFC 8032 §5.1.5) and takes them as a key.
    ///
    /// # Errors
    ///
    /// A [`PublicKeyError`] for each check, in the order in which they are listed there.
    pub fn from_bytes(raw: &[u8; 32]) -> Result<Self, PublicKeyError> {
        if !y_is_below_p(raw) {
            return Err(PublicKeyError::NonCanonical);
        }
        let point = CompressedEdwardsY(*raw).decompress().ok_or(PublicKeyError::NotOnCurve)?;
        // y = ±1 has x = 0, which has no negative: RFC 8032 §5.1.3 step 4 refuses the sign bit there.
        if point.compress().as_bytes() != raw {
            return Err(PublicKeyError::NonCanonical);
        }
        if point.is_small_order() {
            return Err(PublicKeyError::SmallOrder);
        }
        if !point.is_torsion_free() {
            return Err(PublicKeyError::MixedOrder);
        }
        Ok(Self(*raw))
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's name: SHA-256 of the raw bytes.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(&self.0)
    }

    /// The raw bytes as 64 lowercase hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The key as `-----BEGIN PUBLIC KEY-----` (RFC 8410 §4), which openssl reads. Ends with a line feed.
    pub fn to_spki_pem(&self) -> String {
        let der = [SPKI_PREFIX.as_slice(), &self.0].concat();
        pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, &der)
            .expect("44 bytes and a fixed label are within every limit of PEM")
    }

    /// The key as one line `ssh-ed25519 AAAA… comment` (RFC 8709 §4). Ends with a line feed.
    ///
    /// Characters of the comment that are not printable ASCII become `?`, so that it cannot start another line.
    pub fn to_openssh(&self, comment: &str) -> String {
        let blob = Base64::encode_string(&openssh_blob(&self.0));
        match printable(comment) {
            Some(comment) => format!("ssh-ed25519 {blob} {comment}\n"),
            None => format!("ssh-ed25519 {blob}\n"),
        }
    }

    /// Checks that the holder of this key signed `message` (RFC 8032 §5.1.7, without cofactor).
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`], whatever the reason.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), NotAuthentic> {
        // The provider refuses S ≥ L too. We check as well because a second signature for the same message
        // would pass every other test, and nobody would notice if a release of the provider stopped refusing.
        if !signature.s_is_below_l() {
            return Err(NotAuthentic);
        }
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature.as_bytes())
            .map_err(|_| NotAuthentic)
    }
}

/// Why 32 bytes are not a public key that may be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// y ≥ 2²⁵⁵ − 19, or x = 0 with a sign bit: another spelling of a point that has a shorter one.
    #[error("the public key is not in canonical form (RFC 8032, section 5.1.3)")]
    NonCanonical,
    /// No point of the curve has this y.
    #[error("the public key is not a point of the Ed25519 curve")]
    NotOnCurve,
    /// One of the eight points under which almost anything is a valid signature.
    #[error("the public key is a point of small order, for which anyone can make signatures")]
    SmallOrder,
    /// A point with a small-order part, on which verifiers disagree.
    #[error("the public key is a point of mixed order, which no honest key generator makes")]
    MixedOrder,
}

impl PublicKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NonCanonical | Self::NotOnCurve => {
                "compare it with the signer's copy: it was damaged, or it is not an Ed25519 key".to_owned()
            }
            Self::SmallOrder | Self::MixedOrder => {
                "do not use it, and find out who made it: such a key is made on purpose".to_owned()
            }
        })
    }
}

/// The signature was not made over this message by the holder of this key.
///
/// There is one answer for every cause, because a caller has nothing to decide by the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid for this key and this message")]
pub struct NotAuthentic;

impl NotAuthentic {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        None
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

/// All of a 44-byte `SubjectPublicKeyInfo` for Ed25519 but the key (RFC 8410 §4).
pub(crate) const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Whether the low 255 bits, as a little-endian number, are less than p = 2²⁵⁵ − 19.
fn y_is_below_p(raw: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = raw;
    *low < 0xed || middle.iter().any(|&byte| byte != 0xff) || high & 0x7f != 0x7f
}
