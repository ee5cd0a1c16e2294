//! Why nothing was sealed.

use super::{MAX_CONTEXT_BOXES, MAX_PLAINTEXT_LEN};
use crate::hybrid_kem::EncapsulateError;
use crate::secret::RandomError;

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More boxes than one encapsulation may have.
    #[error("an event of {found} boxes is too large, the limit is {MAX_CONTEXT_BOXES}")]
    TooManyBoxes {
        /// Boxes in the event.
        found: usize,
    },
    /// More bytes than one box may have.
    #[error("{found} bytes are too many for one box, the limit is {MAX_PLAINTEXT_LEN}")]
    TooLong {
        /// Bytes in the plaintext.
        found: usize,
    },
    /// No shared secret.
    #[error("cannot start a sender context")]
    Encapsulate(#[source] EncapsulateError),
    /// No nonces.
    #[error("cannot draw nonces")]
    Random(#[source] RandomError),
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not encrypt")]
    Provider,
}

impl SealError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::TooManyBoxes { .. } => Some("seal the event in parts".to_owned()),
            Self::TooLong { .. } => {
                Some("split it, and number the parts in their associated data".to_owned())
            }
            Self::Encapsulate(error) => error.help(),
            Self::Random(error) => error.help(),
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}
