//! A backup is made.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use aegis_crypto::{RandomError, SealError};
use aegis_durable::WriteError;
use jiff::Timestamp;

use super::hashing::Hashing;
use super::records::{Line, MAX_KEKS};
use super::{BackupRecipient, BackupSummary, Counts, age_box, kek_box};
use crate::keyring::Keyring;
use crate::observer::Change;
use crate::record::{KekRecord, KekState, NewWrapping};
use crate::store::Dumped;
use crate::store_error::StoreError;

impl Keyring {
    /// Writes all of the keyring as it is at one instant, encrypted, and says what is in it.
    ///
    /// # Errors
    ///
    /// A [`BackupError`]; what was written until then is of no use.
    pub fn backup(
        &self,
        recipient: &BackupRecipient,
        out: &mut dyn Write,
    ) -> Result<BackupSummary, BackupError> {
        let made = self.write_backup(recipient, out);
        self.note_backup(Change::BackupCreated, &made);
        made
    }

    /// Makes a new file of mode 0600, whole or not at all. A file that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// A [`BackupError`]; there is no file then.
    pub fn backup_to_file(
        &self,
        recipient: &BackupRecipient,
        path: &Path,
    ) -> Result<BackupSummary, BackupError> {
        let made = aegis_durable::write_new_with(path, 0o600, |file: &mut File| {
            let mut out = BufWriter::with_capacity(256 * 1024, file);
            let made = self.write_backup(recipient, &mut out)?;
            out.flush().map_err(BackupError::Output)?;
            Ok(made)
        });
        self.note_backup(Change::BackupCreated, &made);
        made
    }

    fn write_backup(
        &self,
        recipient: &BackupRecipient,
        out: &mut dyn Write,
    ) -> Result<BackupSummary, BackupError> {
        let made_at = self.now();
        let mut writer = BackupWriter::new(recipient, made_at, Hashing::new(out));
        let mut failed = None;
        let dumped = self.store().dump(&mut |dumped| match writer.take(dumped) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        dumped.map_err(BackupError::Store)?;
        match failed {
            Some(error) => Err(error),
            None => writer.finish().map(|(out, counts)| counts.summary(made_at, out.finish())),
        }
    }
}

/// Encrypts what it is given, for either kind of recipient.
enum Sink<W: Write> {
    Age(age_box::Writer<W>),
    // Boxed, so that its keys stay where they are when this is moved.
    Kek(Box<kek_box::Writer<W>>),
}

impl<W: Write> Sink<W> {
    fn write(&mut self, line: &Line) -> Result<(), BackupError> {
        self.write_text(&line.print())
    }

    fn write_text(&mut self, text: &str) -> Result<(), BackupError> {
        match self {
            Self::Age(writer) => writer.write(text.as_bytes()),
            Self::Kek(writer) => writer.write(text.as_bytes()),
        }
    }

    fn finish(self) -> Result<W, BackupError> {
        match self {
            Self::Age(writer) => writer.finish(),
            Self::Kek(writer) => writer.finish(),
        }
    }
}

/// Prints and encrypts what the store gives.
struct BackupWriter<'a, W: Write> {
    recipient: &'a BackupRecipient,
    made_at: Timestamp,
    state: State<W>,
}

enum State<W: Write> {
    /// The KEKs are not known yet, one of which it may be for.
    Waiting(W),
    Writing(Sink<W>, Counts),
    Failed,
}

impl<'a, W: Write> BackupWriter<'a, W> {
    const fn new(recipient: &'a BackupRecipient, made_at: Timestamp, out: W) -> Self {
        Self { recipient, made_at, state: State::Waiting(out) }
    }

    fn take(&mut self, dumped: Dumped) -> Result<(), BackupError> {
        match (dumped, std::mem::replace(&mut self.state, State::Failed)) {
            (Dumped::Keks(keks), State::Waiting(out)) => {
                let (sink, counts) = self.start(keks, out)?;
                self.state = State::Writing(sink, counts);
                Ok(())
            }
            (Dumped::Dek(dek, wrappings), State::Writing(mut sink, mut counts)) => {
                counts.add(&dek, &wrappings);
                sink.write(&Line::Dek(dek))?;
                for NewWrapping { kek, sealed, .. } in wrappings {
                    sink.write(&Line::Wrapping { kek, sealed })?;
                }
                self.state = State::Writing(sink, counts);
                Ok(())
            }
            (Dumped::Keks(_) | Dumped::Dek(..), _) => Err(BackupError::NoKek),
        }
    }

    fn start(&self, keks: Vec<KekRecord>, out: W) -> Result<(Sink<W>, Counts), BackupError> {
        if keks.len() > MAX_KEKS {
            return Err(BackupError::TooManyKeks { found: keks.len() });
        }
        let active = keks.iter().find(|kek| kek.state == KekState::Active).ok_or(BackupError::NoKek)?;
        let counts = Counts::new(keks.len() as u64, active.key_id());
        let mut sink = match self.recipient {
            BackupRecipient::Age(recipient) => Sink::Age(age_box::Writer::start(recipient, out)?),
            BackupRecipient::ActiveKek => {
                Sink::Kek(Box::new(kek_box::Writer::start(&active.public_key, out)?))
            }
        };
        sink.write_text(&Line::head(self.made_at))?;
        for kek in keks {
            sink.write(&Line::Kek(Box::new(kek)))?;
        }
        Ok((sink, counts))
    }

    /// Writes the end, and gives what was written to.
    fn finish(self) -> Result<(W, Counts), BackupError> {
        let State::Writing(mut sink, counts) = self.state else { return Err(BackupError::NoKek) };
        let Counts { keks, deks, wrappings, .. } = counts;
        sink.write(&Line::End { keks, deks, wrappings })?;
        Ok((sink.finish()?, counts))
    }
}

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to be backed up.
    #[error("the keyring has no active KEK")]
    NoKek,
    /// More than a backup has room for.
    #[error("the keyring has {found} KEKs, a backup takes {MAX_KEKS} at most")]
    TooManyKeks {
        /// How many.
        found: usize,
    },
    /// The age recipient was refused.
    #[error("cannot encrypt for the age recipient")]
    Recipient,
    /// No randomness.
    #[error("cannot encrypt the backup")]
    Random(#[source] RandomError),
    /// The provider of cryptography failed.
    #[error("cannot encrypt the backup")]
    Seal(#[source] SealError),
    /// What it is written to failed.
    #[error("cannot write the backup")]
    Output(#[source] io::Error),
    /// The file was not made.
    #[error("cannot write the backup")]
    File(#[from] WriteError),
    /// The store did not answer, or not as it should.
    #[error("cannot read the keyring")]
    Store(#[source] StoreError),
}

impl BackupError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoKek => Some("`aegis init` or `aegis kek provision` makes the first KEK".to_owned()),
            Self::TooManyKeks { .. } => Some("keep a copy of the store itself".to_owned()),
            Self::Recipient => None,
            Self::Random(error) => error.help(),
            Self::Seal(error) => error.help(),
            Self::Output(_) => Some("nothing of it is of use; make room, then run it again".to_owned()),
            Self::File(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                Some("a backup never replaces a file: choose another name".to_owned())
            }
            Self::File(error) => error.help(),
            Self::Store(error) => error.help(),
        }
    }
}
