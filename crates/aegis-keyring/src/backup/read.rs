//! A backup is read: verified, or restored into an empty store.

use std::io::{self, Read};

use aegis_crypto::KeyId;
use aegis_kek::Kek;
use jiff::Timestamp;

use super::hashing::Hashing;
use super::kek_box::{self, HEADER_LEN};
use super::records::{Entry, Pieces, RecordFault, Records};
use super::{BackupKey, BackupSummary, Counts, age_box};
use crate::keyring::Keyring;
use crate::observer::Change;
use crate::record::StoredWrapping;
use crate::store_error::StoreError;
use crate::version::DekVersion;
use crate::wrapping::{self, UnwrapError, Unwrapper};

/// Decrypts all of a backup, checks every record, and opens each wrapping that the KEK at hand should open: the one that
/// the backup is for, or `kek`. Writes nothing.
///
/// # Errors
///
/// A [`ReadBackupError`].
pub fn verify_backup(
    input: &mut dyn Read,
    key: BackupKey<'_>,
    kek: Option<&Kek>,
) -> Result<BackupSummary, ReadBackupError> {
    let mut input = Hashing::new(input);
    let mut reading = Reading::start(&mut input, key, kek)?;
    while reading.next()?.is_some() {}
    let (made_at, counts) = reading.finish();
    Ok(counts.summary(made_at, input.finish()))
}

impl Keyring {
    /// Fills this keyring, which has to be empty, from a backup, in one transaction. Each wrapping that the KEK at hand
    /// should open is opened first.
    ///
    /// # Errors
    ///
    /// A [`ReadBackupError`]; the keyring is as it was.
    pub fn restore(
        &self,
        input: &mut dyn Read,
        key: BackupKey<'_>,
        kek: Option<&Kek>,
    ) -> Result<BackupSummary, ReadBackupError> {
        let restored = self.restore_all(input, key, kek);
        self.note_backup(Change::BackupRestored, &restored);
        restored
    }

    fn restore_all(
        &self,
        input: &mut dyn Read,
        key: BackupKey<'_>,
        kek: Option<&Kek>,
    ) -> Result<BackupSummary, ReadBackupError> {
        let mut input = Hashing::new(input);
        let mut reading = Reading::start(&mut input, key, kek)?;
        let keks = reading.records.keks().to_vec();
        let mut failed = None;
        let restored = {
            let mut ended = false;
            let mut entries = std::iter::from_fn(|| {
                if ended {
                    return None;
                }
                let entry = reading.next().transpose()?;
                Some(entry.map_err(|error| {
                    ended = true;
                    failed = Some(error);
                    StoreError::SourceFailed
                }))
            });
            self.store().restore(&keks, &mut entries)
        };
        match (failed, restored) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(ReadBackupError::Store(error)),
            (None, Ok(())) => {
                let (made_at, counts) = reading.finish();
                Ok(counts.summary(made_at, input.finish()))
            }
        }
    }
}

/// A backup that is being read, and what was found in it so far.
struct Reading<'a> {
    records: Records<Source<'a>>,
    unwrapper: Option<(KeyId, Unwrapper)>,
    counts: Counts,
}

/// Decrypted pieces, of either kind of file.
enum Source<'a> {
    Age(age_box::Reader<&'a mut dyn Read>),
    Kek(kek_box::Reader<&'a mut dyn Read>),
}

impl Pieces for Source<'_> {
    fn next(&mut self, to: &mut Vec<u8>) -> Result<bool, ReadBackupError> {
        match self {
            Self::Age(reader) => reader.next(to),
            Self::Kek(reader) => reader.next(to),
        }
    }
}

impl<'a> Reading<'a> {
    fn start(
        input: &'a mut dyn Read,
        key: BackupKey<'_>,
        kek: Option<&Kek>,
    ) -> Result<Self, ReadBackupError> {
        let first = read_up_to(input, HEADER_LEN)?;
        let header = first.first_chunk().and_then(kek_box::Header::parse);
        let is_age = first.starts_with(age_box::MAGIC);
        let source = match (header, is_age, key) {
            (Some(header), _, BackupKey::Kek(kek)) => {
                Source::Kek(kek_box::Reader::start(header, kek, input)?)
            }
            (Some(header), _, BackupKey::Age(_)) => {
                return Err(ReadBackupError::NeedsKek { needed: header.kek });
            }
            (None, true, BackupKey::Age(identities)) => {
                Source::Age(age_box::Reader::start(first, identities, input)?)
            }
            (None, true, BackupKey::Kek(_)) => return Err(ReadBackupError::NeedsAge),
            (None, false, _) => return Err(ReadBackupError::NotABackup),
        };
        let records = Records::start(source)?;
        let at_hand = match (kek, key) {
            (Some(kek), _) | (None, BackupKey::Kek(kek)) => Some(kek),
            (None, BackupKey::Age(_)) => None,
        };
        let unwrapper = at_hand.map(|kek| (kek.key_id(), Unwrapper::new(kek)));
        let counts = Counts::new(records.keks().len() as u64, records.active_kek());
        Ok(Self { records, unwrapper, counts })
    }

    fn next(&mut self) -> Result<Option<Entry>, ReadBackupError> {
        let Some((dek, wrappings)) = self.records.next()? else { return Ok(None) };
        self.counts.add(&dek, &wrappings);
        if let Some((kek, unwrapper)) = &mut self.unwrapper {
            for wrapping in wrappings.iter().filter(|wrapping| wrapping.kek == *kek) {
                let (version, public_key) = (dek.version, dek.public_key.clone());
                let stored = StoredWrapping { version, public_key, sealed: wrapping.sealed.clone() };
                unwrapper
                    .unwrap(&stored)
                    .and_then(|private| wrapping::import(&private, &stored.public_key))
                    .map_err(|source| ReadBackupError::Unwrap { version, kek: *kek, source })?;
                self.counts.opened = self.counts.opened.saturating_add(1);
            }
        }
        Ok(Some((dek, wrappings)))
    }

    /// When it was made, and what is in it. To be asked after the last record, which is the last byte of the file.
    fn finish(self) -> (Timestamp, Counts) {
        (self.records.made_at(), self.counts)
    }
}

/// Reads as many bytes as there are, `len` at most.
pub(super) fn read_up_to(input: &mut dyn Read, len: usize) -> Result<Vec<u8>, ReadBackupError> {
    let mut bytes = Vec::with_capacity(len);
    input.take(len as u64).read_to_end(&mut bytes).map_err(ReadBackupError::Input)?;
    Ok(bytes)
}

/// Why a backup was not read. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackupError {
    /// It begins as no backup does.
    #[error("the file is no keyring backup, nor an age file")]
    NotABackup,
    /// Another KEK is needed.
    #[error("the backup is for KEK {}, not for {}", needed.fingerprint(), given.fingerprint())]
    OtherKek {
        /// The KEK that it is for.
        needed: KeyId,
        /// The KEK that was given.
        given: KeyId,
    },
    /// An age identity was given for a backup under a KEK.
    #[error("the backup is for KEK {}, not for an age identity", needed.fingerprint())]
    NeedsKek {
        /// The KEK that it is for.
        needed: KeyId,
    },
    /// A KEK was given for a backup to an age recipient.
    #[error("the backup is for an age identity, not for a KEK")]
    NeedsAge,
    /// No identity fits.
    #[error("the backup is for none of the age identities")]
    OtherIdentity,
    /// The age header is malformed, or was changed.
    #[error("the header of the age file is damaged")]
    Header,
    /// A piece does not open. Which of these is the reason, nobody is told.
    #[error("piece {piece} of the backup does not open: it, or the file around it, was changed or cut off")]
    NotAuthentic {
        /// Which piece, from 0.
        piece: u64,
    },
    /// What was encrypted is no keyring.
    #[error("line {line} of the decrypted backup is wrong")]
    Record {
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        #[source]
        fault: RecordFault,
    },
    /// A wrapping does not open with the KEK that it is under.
    #[error("cannot unwrap {version} with KEK {}", kek.fingerprint())]
    Unwrap {
        /// The DEK.
        version: DekVersion,
        /// The KEK.
        kek: KeyId,
        /// Why.
        source: UnwrapError,
    },
    /// The provider of cryptography failed, for want of memory for instance.
    #[error("the cryptographic provider could not decrypt")]
    Provider,
    /// It could not be read.
    #[error("cannot read the backup")]
    Input(#[source] io::Error),
    /// The store did not take it.
    #[error("cannot restore the keyring")]
    Store(#[source] StoreError),
}

impl ReadBackupError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotABackup => "check that it is the right file".to_owned(),
            Self::OtherKek { .. } | Self::NeedsKek { .. } => "configure that KEK".to_owned(),
            Self::NeedsAge | Self::OtherIdentity => {
                "give the identity file that belongs to the recipient it was made for".to_owned()
            }
            Self::Header | Self::NotAuthentic { .. } => {
                "compare its SHA-256 with the audit log's; use another copy, or an older backup".to_owned()
            }
            Self::Record { .. } => {
                "it was made by another program, or a later release: use that one to restore it".to_owned()
            }
            Self::Unwrap { source, .. } => return source.help(),
            Self::Provider => "check that memory is available and try again".to_owned(),
            Self::Input(_) => return None,
            Self::Store(error) => return error.help(),
        })
    }
}
