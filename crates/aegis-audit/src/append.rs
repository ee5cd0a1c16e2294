//! Writing to the log.
//!
//! | step | why here |
//! |---|---|
//! | 1. the line is written and fsynced | the checkpoint must never cover an entry that is not on the disk |
//! | 2. the checkpoint is written beside, fsynced, renamed | a reader and a crash see the old one or the new one, whole |
//! | 3. the frontier is replaced | a cache: lost or old, it is made again from the log and must agree with the checkpoint |
//!
//! That is two fsyncs. The rename needs none: if power loss undoes it, the old checkpoint stands before a line that
//! is on the disk, which is what a crash between steps 1 and 2 leaves, and the next append takes the line in. If a
//! step fails, the line is taken back, so an error means that nothing was logged.
//!
//! The rest of an append is O(log n): it reads the last line only, and checks that it and the frontier give the root
//! hash that the checkpoint signs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use aegis_crypto::{PublicKey, SigningKey};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::checkpoint::Checkpoint;
use crate::damage::{self, Damage};
use crate::event::{Action, Entry, Event};
use crate::folder::{Durable, Folder, LOCK_WAIT, Lock, StorageError, temporary_name};
use crate::hand_over::{HandOver, origin_of};
use crate::host_key::{self, KEY, KeyFileError, NEXT_KEY, PUBLIC_KEY};
use crate::line::{json, print_entry};
use crate::merkle::{Frontier, leaf_hash};
use crate::note::NOTE_LEN;
use crate::walk::{Fault, Mark, Standing, stand};

/// The entries.
pub(crate) const LOG: &str = "log.jsonl";
/// The signed head.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The cached tree, and where the last line begins.
pub(crate) const FRONTIER: &str = "frontier";
/// What every writer holds.
pub(crate) const LOCK: &str = "lock";
/// The longest frontier: 64 hashes and two numbers.
const FRONTIER_LEN: u64 = 8 * 1024;

/// Where an event was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The number of its entry.
    pub seq: u64,
}

/// Why an event was not logged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A file could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The host key, without which nothing can be signed.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The log is not what its checkpoint says. Nothing was written, so that what is there stays as it is.
    #[error("the audit log {} is damaged", dir.display())]
    Damaged {
        /// The folder of the log.
        dir: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
}

impl AppendError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Storage(error) => error.help(),
            Self::Key(error) => error.help(),
            Self::Damaged { dir, .. } => Some(damage::help(dir)),
        }
    }
}

/// A log that is locked, checked against its checkpoint, and ready to be written to.
pub(crate) struct Writer {
    folder: Folder,
    _lock: File,
    key: SigningKey,
    origin: String,
    log: File,
    standing: Standing,
}

impl Writer {
    /// Opens the log, making it on first use, and finishes a hand-over that was interrupted.
    pub(crate) fn open(dir: &Path) -> Result<Self, AppendError> {
        let damaged = |source| AppendError::Damaged { dir: dir.to_owned(), source };
        let folder = Folder::open_or_create(dir)?;
        let lock = folder.lock(LOCK, Lock::Exclusive, LOCK_WAIT)?;
        let lock = lock.ok_or_else(|| missing(&folder, LOCK))?;
        for name in [CHECKPOINT, FRONTIER, KEY, NEXT_KEY, PUBLIC_KEY] {
            folder.remove(&temporary_name(name))?;
        }

        let public = host_key::read_public(&folder)?;
        let mut head = folder.read(CHECKPOINT, NOTE_LEN as u64)?.map(|(bytes, _)| bytes);
        let mut log = open_log(&folder, OFlags::RDWR)?;
        let begun = public.is_some() || head.is_some() || log_len(&folder, log.as_ref())? > 0;
        let key = match host_key::load(&folder, KEY)? {
            Some(key) => key,
            None if begun => return Err(KeyFileError::Missing { path: folder.path_of(KEY) }.into()),
            None => host_key::create(&folder, KEY)?,
        };
        if !begun {
            let (first, file) = begin(&folder, &key)?;
            head = Some(first.into_bytes());
            log = Some(file);
        }

        let head = head.ok_or_else(|| damaged(Damage::CheckpointMissing))?;
        let checkpoint = Checkpoint::parse(&head).map_err(|source| damaged(source.into()))?;
        let next = host_key::load(&folder, NEXT_KEY)?;
        let signers = [Some(key.public_key()), next.as_ref().map(SigningKey::public_key)];
        if !signers.into_iter().flatten().any(|signer| checkpoint.is_signed_by(signer)) {
            return Err(damaged(Damage::CheckpointNotSigned { key: key.public_key().key_id() }));
        }
        let log = log.ok_or_else(|| damaged(Damage::LogMissing))?;
        let len = log_len(&folder, Some(&log))?;
        let standing = stand(&log, len, read_frontier(&folder)?, &checkpoint, &folder.path_of(LOG)).map_err(
            |fault| match fault {
                Fault::Storage(error) => error.into(),
                Fault::Damage(damage) => damaged(damage),
            },
        )?;

        let origin = checkpoint.origin().to_owned();
        let mut writer = Self { folder, _lock: lock, key, origin, log, standing };
        if let Some(next) = next {
            writer.settle_hand_over(next)?;
        }
        // Whoever changed it, the key that the checkpoint is signed with says what it must be.
        if public.as_deref() != Some(writer.key.public_key().to_spki_pem().as_bytes()) {
            host_key::write_public(&writer.folder, writer.key.public_key())?;
        }
        Ok(writer)
    }

    /// Logs one event, and before it what was recovered.
    pub(crate) fn append(&mut self, event: &Event) -> Result<Appended, AppendError> {
        let (mut entries, seq) = self.recovery(event);
        entries.push(Entry::of(seq, event));
        self.commit(&entries, None)?;
        Ok(Appended { seq })
    }

    /// Hands over to a new key.
    ///
    /// The new private key is on the disk before anything names it. Then the entry, a checkpoint that the new key
    /// signs, and last the new key takes the place of the old. Stopped in between, the next command finds
    /// `host.key.next` and either finishes, if the entry is there, or removes it.
    pub(crate) fn hand_over(mut self, event: &Event) -> Result<PublicKey, AppendError> {
        let next = host_key::create(&self.folder, NEXT_KEY)?;
        let (mut entries, seq) = self.recovery(event);
        let signed = HandOver::write(event.clone(), &self.origin, seq, &self.key, next.public_key());
        entries.push(Entry::of(seq, &signed));
        if let Err(error) = self.commit(&entries, Some(&next)) {
            // The entry was taken back, so nothing names this key. If it could not be, the next command settles it.
            return Err(error.into());
        }
        let public = *next.public_key();
        self.install(next)?;
        Ok(public)
    }

    pub(crate) fn into_key(self) -> SigningKey {
        self.key
    }

    /// Finishes a hand-over whose entry was written, or forgets one whose entry was not.
    fn settle_hand_over(&mut self, next: SigningKey) -> Result<(), AppendError> {
        let written = self.standing.last.as_ref().is_some_and(|last| {
            matches!(HandOver::read(last, &self.origin), Some(Ok(hand_over))
                if hand_over.old == *self.key.public_key() && hand_over.new == *next.public_key())
        });
        if !written {
            return Ok(self.folder.remove(NEXT_KEY)?);
        }
        if self.standing.unsealed > 0 {
            self.seal(&self.standing, &next)?;
        }
        Ok(self.install(next)?)
    }

    /// Puts the next key in the place of the current one. Its checkpoint is in place already.
    fn install(&mut self, next: SigningKey) -> Result<(), StorageError> {
        // The new checkpoint must be durable before the new key is: no other key verifies it, and none but the old
        // key verifies the old one.
        self.folder.sync()?;
        host_key::keep_public(&self.folder, self.key.public_key())?;
        self.folder.rename(NEXT_KEY, KEY)?;
        host_key::write_public(&self.folder, next.public_key())?;
        self.folder.sync()?;
        self.key = next;
        Ok(())
    }

    /// What an interrupted command left, as an entry if there is anything, and the number of the entry after it.
    fn recovery(&self, event: &Event) -> (Vec<Entry>, u64) {
        let Standing { unsealed, torn, after_last, .. } = &self.standing;
        let seq = after_last.frontier.size();
        if *unsealed == 0 && torn.is_none() {
            return (Vec::new(), seq);
        }
        let mut recovery = Event::new(event.time, event.actor.clone(), Action::Recovery, "audit log")
            .reason("an earlier command was stopped while it wrote to the log")
            .detail("entries_taken_in", *unsealed);
        if let Some(torn) = torn {
            recovery = recovery
                .detail("bytes_cut_off", torn.len)
                .detail("bytes_cut_off_sha256", torn.sha256.to_string());
        }
        (vec![Entry::of(seq, &recovery)], seq.saturating_add(1))
    }

    /// Writes entries and seals them, or takes them back.
    fn commit(&mut self, entries: &[Entry], next: Option<&SigningKey>) -> Result<(), StorageError> {
        let end = self.standing.after_last.offset;
        let mut bytes = Vec::with_capacity(1024);
        let mut after_last = self.standing.after_last.clone();
        let mut before_last = after_last.clone();
        for entry in entries {
            let line = print_entry(entry);
            before_last.clone_from(&after_last);
            after_last.frontier.push(leaf_hash(&line));
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
            after_last.offset = end.saturating_add(bytes.len() as u64);
        }
        let last = entries.last().cloned();
        let standing = Standing { before_last, after_last, last, unsealed: 0, torn: None };
        let done = self.write(&bytes, end).and_then(|()| self.seal(&standing, next.unwrap_or(&self.key)));
        match done {
            Ok(()) => self.standing = standing,
            // If this fails too, the next command takes the lines in, or cuts off what is left of them.
            Err(_) => drop(self.log.set_len(end)),
        }
        done
    }

    /// Step 1. The new lines take the place of a torn one.
    fn write(&self, bytes: &[u8], end: u64) -> Result<(), StorageError> {
        let failed = |action, source| StorageError::Io { action, path: self.folder.path_of(LOG), source };
        if self.standing.torn.is_some() {
            self.log.set_len(end).map_err(|source| failed("cut", source))?;
        }
        self.log.write_all_at(bytes, end).map_err(|source| failed("write", source))?;
        self.log.sync_data().map_err(|source| failed("sync", source))
    }

    /// Steps 2 and 3.
    fn seal(&self, standing: &Standing, key: &SigningKey) -> Result<(), StorageError> {
        let frontier = &standing.after_last.frontier;
        let head = Checkpoint::sign(&self.origin, frontier.size(), &frontier.root(), key);
        self.folder.replace(CHECKPOINT, 0o600, head.as_bytes(), Durable::Yes)?;
        let cache = json(&standing.before_last);
        // A cache that could not be written is made again by the next command.
        let _ = self.folder.replace(FRONTIER, 0o600, &cache, Durable::No);
        Ok(())
    }
}

/// The first use: an empty log and the checkpoint of an empty log, so that a log without a checkpoint is never
/// mistaken for a new one. `host.pub` comes last and says that this was done.
fn begin(folder: &Folder, key: &SigningKey) -> Result<(String, File), AppendError> {
    let flags = OFlags::RDWR | OFlags::CREATE;
    let log = folder.open_file(LOG, flags, Mode::RUSR | Mode::WUSR)?;
    let log = log.ok_or_else(|| missing(folder, LOG))?;
    log.sync_all().map_err(|source| StorageError::Io {
        action: "sync",
        path: folder.path_of(LOG),
        source,
    })?;
    folder.sync()?;
    let head = Checkpoint::sign(&origin_of(key.public_key()), 0, &Frontier::default().root(), key);
    folder.replace(CHECKPOINT, 0o600, head.as_bytes(), Durable::Yes)?;
    folder.sync()?;
    host_key::write_public(folder, key.public_key())?;
    folder.sync()?;
    Ok((head, log))
}

pub(crate) fn open_log(folder: &Folder, flags: OFlags) -> Result<Option<File>, StorageError> {
    folder.open_file(LOG, flags, Mode::empty())
}

pub(crate) fn log_len(folder: &Folder, log: Option<&File>) -> Result<u64, StorageError> {
    match log.map(File::metadata).transpose() {
        Ok(metadata) => Ok(metadata.map_or(0, |metadata| metadata.len())),
        Err(source) => Err(StorageError::Io { action: "examine", path: folder.path_of(LOG), source }),
    }
}

/// Reads the cached tree; `None` if there is none that could be one.
pub(crate) fn read_frontier(folder: &Folder) -> Result<Option<Mark>, StorageError> {
    match folder.read(FRONTIER, FRONTIER_LEN) {
        Ok(bytes) => Ok(bytes.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok())),
        Err(StorageError::TooLong { .. } | StorageError::NotAFile { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn missing(folder: &Folder, name: &str) -> StorageError {
    StorageError::Io { action: "open", path: folder.path_of(name), source: Errno::NOENT.into() }
}
