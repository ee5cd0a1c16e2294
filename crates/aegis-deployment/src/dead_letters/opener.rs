//! The events in dead letters, with the DEKs that open.

use std::sync::Arc;

use aegis_keyring::OpenDekError;
use aegis_pii::{
    DecryptError, DecryptorOptions, DekName, DekUnavailable, FieldFault, FieldRights, OpeningDekSource,
    PiiDecryptor,
};
use aegis_telemetry::OpenLetterError;
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::letter::{Body, EVENT, Letter};
use crate::opened_deks::OpenedDeks;

/// Opens letters, one after another.
pub struct LetterOpener {
    deks: Arc<OpenedDeks>,
    decryptor: PiiDecryptor,
}

/// The event of a letter.
pub enum LetterContent {
    /// As it came. It is erased on drop.
    Event(Zeroizing<Vec<u8>>),
    /// As a sink was to have it, its personal fields sealed.
    SealedEvent(Vec<u8>),
    /// It is not in the letter.
    Nothing,
}

/// Why the event of a letter is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenLetterFault {
    /// The keyring does not open its DEK.
    #[error("{dek} is not opened")]
    Dek {
        /// The DEK.
        dek: DekName,
        /// Why not.
        #[source]
        source: Arc<OpenDekError>,
    },
    /// The DEK is not to be had, and the keyring does not say why.
    #[error("{dek} is not opened")]
    Unavailable {
        /// The DEK.
        dek: DekName,
        /// Why not.
        #[source]
        source: DekUnavailable,
    },
    /// The letter was changed, or is another deployment's.
    #[error(transparent)]
    Record(OpenLetterError),
    /// The same, of a stream's letter; or it was sealed for a tenant.
    #[error(transparent)]
    Field(DecryptError),
    /// What was sealed is no event.
    #[error("what is sealed in it is no base64")]
    NotBase64,
}

impl OpenLetterFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Dek { source, .. } => match &**source {
                OpenDekError::Retired { version } => {
                    Some(format!("`--allow-retired {version}` opens it all the same"))
                }
                source => source.help(),
            },
            Self::Unavailable { source, .. } => source.help(),
            Self::Record(_) | Self::NotBase64 => Some(CHANGED.to_owned()),
            Self::Field(DecryptError::Field { fault: FieldFault::NotAuthentic, .. }) => {
                Some(format!("{CHANGED}; if `aegis pii encrypt` was given a tenant, name it with --tenant"))
            }
            Self::Field(error) => error.help(),
        }
    }
}

const CHANGED: &str =
    "the letter was changed after it was written, or the keyring is not the one it was written with";

#[derive(Deserialize)]
struct Opened<'a> {
    #[serde(borrow)]
    event_base64: &'a str,
}

impl LetterOpener {
    /// For one thread. `tenant` is that to which `aegis pii encrypt` bound its letters.
    pub fn new(deks: Arc<OpenedDeks>, tenant: Option<String>) -> Self {
        let options = DecryptorOptions {
            rights: FieldRights::Only(vec![format!("/{EVENT}")]),
            tenant,
            ..DecryptorOptions::default()
        };
        let source: Arc<dyn OpeningDekSource> = Arc::clone(&deks) as _;
        Self { deks, decryptor: PiiDecryptor::new(source, options) }
    }

    /// The event of a letter.
    ///
    /// # Errors
    ///
    /// An [`OpenLetterFault`].
    pub fn open(&mut self, letter: &Letter) -> Result<LetterContent, OpenLetterFault> {
        match &letter.body {
            Body::Record(record) => {
                if let Some(event) = record.sealed_event() {
                    return Ok(LetterContent::SealedEvent(event.to_vec()));
                }
                let Some(dek) = record.dek() else { return Ok(LetterContent::Nothing) };
                let key = self.deks.private_key(dek).map_err(|why| self.refused(dek, why))?;
                record.open(&key).map(LetterContent::Event).map_err(OpenLetterFault::Record)
            }
            Body::Line(line) if matches!(letter.holds, super::Holds::Boxed(_)) => {
                let mut opened = Zeroizing::new(Vec::with_capacity(line.len()));
                self.decryptor.decrypt_event(line, &mut opened).map_err(|error| match error {
                    DecryptError::Field { ref dek, fault: FieldFault::Dek(why), .. } => {
                        self.refused(dek, why)
                    }
                    error => OpenLetterFault::Field(error),
                })?;
                let Opened { event_base64 } =
                    serde_json::from_slice(&opened).map_err(|_| OpenLetterFault::NotBase64)?;
                let event = Base64::decode_vec(event_base64).map_err(|_| OpenLetterFault::NotBase64)?;
                Ok(LetterContent::Event(Zeroizing::new(event)))
            }
            Body::Line(_) => Ok(LetterContent::Nothing),
        }
    }

    fn refused(&self, dek: &DekName, why: DekUnavailable) -> OpenLetterFault {
        match self.deks.refusal(dek) {
            Some(source) => OpenLetterFault::Dek { dek: dek.clone(), source },
            None => OpenLetterFault::Unavailable { dek: dek.clone(), source: why },
        }
    }
}

impl std::fmt::Debug for LetterOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterOpener").field("deks", &self.deks).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LetterContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Event(_) => "Event(…)",
            Self::SealedEvent(_) => "SealedEvent(…)",
            Self::Nothing => "Nothing",
        })
    }
}
