//! A key under another key, as hardware modules do it: AES key wrap with padding, for 256-bit KEKs.
//!
//! | step | where | source |
//! |---|---|---|
//! | wrapping | [`wrap_padded`] | RFC 5649 §4.1, NIST SP 800-38F §6.3 (KWP-AE) |
//! | unwrapping, with the checks of integrity, length and padding | [`unwrap_padded`] | RFC 5649 §4.2, KWP-AD |
//!
//! The wrapping of a key is deterministic and carries no associated data: whoever stores it says elsewhere what it is.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use zeroize::Zeroizing;

use crate::secret::{Secret, bleach_stack};

/// Most bytes in a key that is wrapped; a hybrid private key has 2,432.
///
/// RFC 5649 allows 2³² − 1. A bound this low keeps a hostile length from costing memory.
pub const MAX_WRAPPABLE_LEN: usize = 8192;

/// Bytes by which a wrapping is longer than its key padded to a multiple of 8.
pub const KEY_WRAP_OVERHEAD: usize = 8;

/// The unit of lengths, a semiblock.
const SEMIBLOCK: usize = 8;

/// Least bytes of a wrapping: that of a key of 1 to 8 bytes.
const MIN_WRAPPED_LEN: usize = KEY_WRAP_OVERHEAD + SEMIBLOCK;

const MAX_WRAPPED_LEN: usize = KEY_WRAP_OVERHEAD + MAX_WRAPPABLE_LEN;

/// Wraps a key of 1 to [`MAX_WRAPPABLE_LEN`] bytes. The result has its length, rounded up to a multiple of 8, and 8 more.
///
/// # Errors
///
/// [`KeyWrapError::KeyLength`]; [`KeyWrapError::Provider`].
///
/// Source: RFC 5649 §4.1.
pub fn wrap_padded(kek: &Secret<32>, key: &[u8]) -> Result<Vec<u8>, KeyWrapError> {
    if key.is_empty() || key.len() > MAX_WRAPPABLE_LEN {
        return Err(KeyWrapError::KeyLength { found: key.len() });
    }
    let wrapped = wrap_leaving_copies(kek, key);
    // The provider keeps the expanded KEK in its own frame.
    bleach_stack::<8>();
    wrapped
}

/// Unwraps what [`wrap_padded`], or any module with `CKM_AES_KEY_WRAP_KWP`, has wrapped. The key is erased on drop.
///
/// # Errors
///
/// [`KeyWrapError::WrappedLength`] if it cannot be a wrapping; [`KeyWrapError::NotAuthentic`] if it was changed, or
/// wrapped under another KEK.
///
/// Source: RFC 5649 §4.2.
pub fn unwrap_padded(kek: &Secret<32>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyWrapError> {
    let len = wrapped.len();
    if !(MIN_WRAPPED_LEN..=MAX_WRAPPED_LEN).contains(&len) || !len.is_multiple_of(SEMIBLOCK) {
        return Err(KeyWrapError::WrappedLength { found: len });
    }
    let key = unwrap_leaving_copies(kek, wrapped);
    bleach_stack::<8>();
    key
}

#[inline(never)]
fn wrap_leaving_copies(kek: &Secret<32>, key: &[u8]) -> Result<Vec<u8>, KeyWrapError> {
    let kek = AesKek::new(&AES_256, kek.expose()).map_err(|_| KeyWrapError::Provider)?;
    let mut wrapped = Zeroizing::new(vec![0; key.len().next_multiple_of(SEMIBLOCK) + KEY_WRAP_OVERHEAD]);
    let len = kek.wrap_with_padding(key, &mut wrapped).map_err(|_| KeyWrapError::Provider)?.len();
    wrapped.truncate(len);
    // Taken out of its eraser only now: on failure the buffer might have held the key.
    Ok(std::mem::take(&mut *wrapped))
}

#[inline(never)]
fn unwrap_leaving_copies(kek: &Secret<32>, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyWrapError> {
    let kek = AesKek::new(&AES_256, kek.expose()).map_err(|_| KeyWrapError::Provider)?;
    let mut key = Zeroizing::new(vec![0; wrapped.len()]);
    // Every length was checked, so what is left to refuse is the content.
    let len = kek.unwrap_with_padding(wrapped, &mut key).map_err(|_| KeyWrapError::NotAuthentic)?.len();
    key.truncate(len);
    Ok(key)
}

/// Why a key was not wrapped or not unwrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyWrapError {
    /// No byte to wrap, or too many.
    #[error("a key to be wrapped has 1 to {MAX_WRAPPABLE_LEN} bytes, this one has {found}")]
    KeyLength {
        /// Bytes that were given.
        found: usize,
    },
    /// No wrapping has this length.
    #[error(
        "a wrapped key has {MIN_WRAPPED_LEN} to {MAX_WRAPPED_LEN} bytes, a multiple of {SEMIBLOCK}; this one has {found}"
    )]
    WrappedLength {
        /// Bytes that were given.
        found: usize,
    },
    /// The KEK or a bit of the wrapping is not what it was wrapped with. Which, nobody is told.
    #[error("the wrapped key does not unwrap: it was changed, or it was wrapped under another key")]
    NotAuthentic,
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not wrap the key")]
    Provider,
}

impl KeyWrapError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::KeyLength { .. } => None,
            Self::WrappedLength { .. } => Some(
                "it was cut short or is not a bare RFC 5649 wrapping; fetch it again from where it is stored"
                    .to_owned(),
            ),
            Self::NotAuthentic => Some(
                "check that the wrapping key is the one that was in use when the key was wrapped".to_owned(),
            ),
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}
