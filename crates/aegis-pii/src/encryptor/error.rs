//! Why an event was not sealed.

use aegis_crypto::SealError;

use crate::ScanError;
use crate::dek::DekUnavailable;
use crate::moment::ClockError;
use crate::outermost::EventIdError;

/// Why an event was not sealed. It must not be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// It is no JSON, or larger than the limits.
    #[error(transparent)]
    Event(#[from] ScanError),
    /// It has no id to be bound to.
    #[error(transparent)]
    EventId(#[from] EventIdError),
    /// There is no active DEK.
    #[error("there is no DEK to seal with")]
    Dek(#[source] DekUnavailable),
    /// The cryptography failed.
    #[error("the event's fields were not sealed")]
    Seal(#[from] SealError),
    /// The clock is out of range.
    #[error(transparent)]
    Clock(#[from] ClockError),
}

impl EncryptError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Event(error) => error.help(),
            Self::EventId(_) => Some("have the producer give each event one id".to_owned()),
            Self::Dek(error) => error.help(),
            Self::Seal(error) => error.help(),
            Self::Clock(_) => Some("set the system's clock".to_owned()),
        }
    }
}
