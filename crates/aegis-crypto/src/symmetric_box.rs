//! A box under a symmetric key: for a private key under a data key that a device or a service has wrapped.
//!
//! | bytes of a box | what |
//! |---|---|
//! | 12 | nonce, random |
//! | as many as the plaintext | AES-256-GCM ciphertext |
//! | 16 | AES-256-GCM tag |
//!
//! The key is used as it is, so it must be random and for one use. Nonces are random (NIST SP 800-38D §8.2.2): no
//! more than 2³² boxes may be made under one key, and the callers here make one. AES-GCM does not commit to its key; who
//! could make a box that opens under two keys must be kept from choosing keys.

use zeroize::Zeroizing;

use crate::sealed_box::keys::{AeadKey, Body};
use crate::sealed_box::nonces::{self, NONCE_LEN};
use crate::sealed_box::{AssociatedData, BODY_OVERHEAD, MAX_PLAINTEXT_LEN};
use crate::secret::{RandomError, Secret};

/// Bytes by which a box is longer than what is in it: nonce (12) and tag (16).
pub const SYMMETRIC_BOX_OVERHEAD: usize = BODY_OVERHEAD;

/// Seals `plaintext` under `key`, bound to `associated_data`.
///
/// # Errors
///
/// A [`SealUnderError`]; no box was made.
///
/// Source: NIST SP 800-38D §7.1.
pub fn seal_under(
    key: &Secret<32>,
    associated_data: &AssociatedData,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealUnderError> {
    let found = plaintext.len();
    if found as u64 > MAX_PLAINTEXT_LEN {
        return Err(SealUnderError::TooLong { found });
    }
    let mut nonce = [0; NONCE_LEN];
    nonces::fill(&mut nonce).map_err(SealUnderError::Random)?;
    let mut boxed = Vec::with_capacity(SYMMETRIC_BOX_OVERHEAD + found);
    AeadKey::new(key)
        .and_then(|mut key| key.seal_body(&nonce, associated_data, plaintext, &mut boxed))
        .map_err(|_| SealUnderError::Provider)?;
    Ok(boxed)
}

/// Opens what [`seal_under`] has sealed. The plaintext is erased on drop.
///
/// # Errors
///
/// [`OpenUnderError::TooShort`]; [`OpenUnderError::NotAuthentic`], whatever the reason.
///
/// Source: NIST SP 800-38D §7.2.
pub fn open_under(
    key: &Secret<32>,
    associated_data: &AssociatedData,
    boxed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenUnderError> {
    let body = Body::of(boxed).ok_or(OpenUnderError::TooShort { found: boxed.len() })?;
    let mut key = AeadKey::new(key).map_err(|_| OpenUnderError::Provider)?;
    let mut plaintext = Zeroizing::new(vec![0; body.ciphertext.len()]);
    key.open_body(0, &body, associated_data, &mut plaintext).map_err(|_| OpenUnderError::NotAuthentic)?;
    Ok(plaintext)
}

/// Why no box was made under a symmetric key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealUnderError {
    /// More bytes than one box may have.
    #[error("{found} bytes are too many for one box, the limit is {MAX_PLAINTEXT_LEN}")]
    TooLong {
        /// Bytes in the plaintext.
        found: usize,
    },
    /// No nonce.
    #[error("cannot draw a nonce")]
    Random(#[source] RandomError),
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not encrypt")]
    Provider,
}

impl SealUnderError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::TooLong { .. } => {
                Some("split it, and number the parts in their associated data".to_owned())
            }
            Self::Random(error) => error.help(),
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}

/// Why a box does not open under a symmetric key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenUnderError {
    /// Fewer bytes than an empty box has.
    #[error("a box under a symmetric key has at least {SYMMETRIC_BOX_OVERHEAD} bytes, this one has {found}")]
    TooShort {
        /// Bytes that were given.
        found: usize,
    },
    /// Key, associated data or a bit of the box is not what it was sealed with. Which, nobody is told.
    #[error("the box does not open: it was changed, or it was not sealed under this key for this place")]
    NotAuthentic,
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not take the key")]
    Provider,
}

impl OpenUnderError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::TooShort { .. } => {
                Some("it was cut short; fetch it again from where it is stored".to_owned())
            }
            Self::NotAuthentic => None,
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}
