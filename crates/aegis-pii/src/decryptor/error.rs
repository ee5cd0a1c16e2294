//! Why an event was not decrypted.

use aegis_crypto::OpenError;

use crate::ScanError;
use crate::dek::{DekName, DekUnavailable};
use crate::outermost::EventIdError;

/// Why an event was not decrypted. Nothing of its fields is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// It is no JSON, or larger than the limits.
    #[error(transparent)]
    Event(#[from] ScanError),
    /// It has no id to which its fields could be bound.
    #[error(transparent)]
    EventId(#[from] EventIdError),
    /// A field does not open.
    #[error("the field at byte {offset}, sealed under {dek}, does not open")]
    Field {
        /// Where its envelope begins.
        offset: usize,
        /// Its DEK, as the envelope has it.
        dek: DekName,
        /// Why.
        #[source]
        fault: FieldFault,
    },
}

/// Why a field does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// There is no DEK for it.
    #[error("there is no DEK to open it with")]
    Dek(#[source] DekUnavailable),
    /// Key, place, version, time, tenant, event or a bit of it is not what it was sealed with. Which, nobody is told.
    #[error("it was changed, or moved from where it was sealed")]
    NotAuthentic,
    /// It opens, and is no JSON value: whoever sealed it tried to put something else into the event.
    #[error("what was sealed is no JSON value")]
    NotJson,
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not decapsulate")]
    Provider,
}

impl DecryptError {
    pub(super) fn field(offset: usize, dek: &[u8], fault: FieldFault) -> Self {
        let dek = str::from_utf8(dek).ok().and_then(|dek| dek.parse().ok());
        Self::Field { offset, dek: dek.expect("only well-formed names are read"), fault }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Event(error) => error.help(),
            Self::EventId(_) => Some("give it as it was encrypted, with its id".to_owned()),
            Self::Field { fault, .. } => match fault {
                FieldFault::Dek(error) => error.help(),
                FieldFault::NotAuthentic => Some(
                    "give the tenant and event id that it was sealed with; a field opens only where it was sealed"
                        .to_owned(),
                ),
                FieldFault::NotJson => Some("find out who sealed it: it was made on purpose".to_owned()),
                FieldFault::Provider => Some("check that memory is available and try again".to_owned()),
            },
        }
    }
}

impl FieldFault {
    /// Whether trying again may help, so that the field must not be given up.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::Provider | Self::Dek(DekUnavailable::Unreachable))
    }
}

impl From<OpenError> for FieldFault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::TooShort { .. } | OpenError::NotAuthentic => Self::NotAuthentic,
            OpenError::Provider => Self::Provider,
        }
    }
}
