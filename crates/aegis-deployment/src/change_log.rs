//! Changes of keys in the audit log, each one once, also if the program is killed in it.
//!
//! | step | what a kill after it leaves |
//! |---|---|
//! | 1. the change is written down in `pending/` | a note; the next command sees that nothing happened, and removes it |
//! | 2. the keyring is changed, in one transaction | a note and the change; the next command logs it |
//! | 3. the entry is appended, marked with the note's name | a note and the entry; the next command finds the entry by its mark |
//! | 4. the note is removed | nothing |
//!
//! Notes are locked by the command that wrote them, so one that can be locked belongs to nobody who lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aegis_audit::{Action, Actor, AppendError, AuditLog, Event, Outcome, ReadError};
use aegis_crypto::KeyId;
use aegis_durable::WriteError;
use aegis_keyring::{Change, DekVersion, KeyEvent, KeyObject, Observer, StoreError};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::approvals::{Check, NotApproved, NotedEntry};

/// How far back the log is searched for the entry of an interrupted change.
const LOOK_BACK: usize = 10_000;
/// The most bytes of a note.
const MAX_NOTE_LEN: u64 = 16 * 1024;

/// A change that is about to be made, with the state before it: what differs afterwards was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Intent {
    /// A scope is given a new active DEK.
    NewDek {
        /// The scope.
        scope: String,
        /// Its active one before.
        active: Option<String>,
        /// The new one's key, noted as soon as there is one: on a server, others make DEKs too.
        #[serde(default)]
        key: Option<KeyId>,
    },
    /// A DEK's state or time of destruction is changed.
    DekState {
        /// The DEK.
        version: String,
        /// What is done.
        change: DekChange,
        /// Its state and time of destruction before.
        before: (String, Option<Timestamp>),
        /// The approval by which it is destroyed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<String>,
    },
    /// A KEK is rotated to.
    KekRotation {
        /// The new one.
        incoming: KeyId,
        /// Its state before; `None` if it was not enrolled.
        before: Option<String>,
    },
    /// The KEK that is rotated to is given up.
    KekAbandoned {
        /// That one.
        incoming: KeyId,
    },
    /// A KEK is retired.
    KekRetired {
        /// That one.
        kek: KeyId,
        /// The approval by which it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<String>,
    },
    /// An empty keyring is filled from a backup.
    Restore,
    /// A deployment is set up.
    Init,
    /// Something is done with custodians or requests.
    Approval {
        /// What shows that it came true.
        check: Check,
        /// What is logged if it did.
        entries: Vec<NotedEntry>,
    },
}

impl Intent {
    /// The approval by which a key is erased.
    pub(crate) fn approval(&self) -> Option<&str> {
        match self {
            Self::DekState { approval, .. } | Self::KekRetired { approval, .. } => approval.as_deref(),
            Self::NewDek { .. }
            | Self::KekRotation { .. }
            | Self::KekAbandoned { .. }
            | Self::Restore
            | Self::Init
            | Self::Approval { .. } => None,
        }
    }

    /// What is erased.
    pub(crate) fn erased(&self) -> Option<KeyObject> {
        match self {
            Self::DekState { version, change: DekChange::Destroy, .. } => {
                noted_version(version).map(KeyObject::Dek)
            }
            Self::KekRetired { kek, .. } => Some(KeyObject::Kek(*kek)),
            _ => None,
        }
    }
}

/// What is done to a DEK that is no longer active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DekChange {
    Retire,
    Unretire,
    Mark,
    Unmark,
    Destroy,
}

impl DekChange {
    pub(crate) const fn to_change(self) -> Change {
        match self {
            Self::Retire => Change::DekRetired,
            Self::Unretire => Change::DekUnretired,
            Self::Mark => Change::DekMarked,
            Self::Unmark => Change::DekUnmarked,
            Self::Destroy => Change::DekDestroyed,
        }
    }
}

/// A note as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// Marks the entries of the change.
    pub(crate) transaction: String,
    pub(crate) started_at: Timestamp,
    pub(crate) actor: Actor,
    pub(crate) intent: Intent,
}

/// A note that this process holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) note: Note,
    path: PathBuf,
    _lock: File,
}

/// The log of a deployment, and the notes of what is on its way into it.
#[derive(Debug)]
pub struct ChangeLog {
    log: AuditLog,
    pending_dir: PathBuf,
    program: &'static str,
    state: Mutex<State>,
}

/// What one command has to remember.
#[derive(Debug, Default)]
struct State {
    transaction: Option<String>,
    /// The note of a DEK that is being made, and the lock of what was written since.
    dek_note: Option<(Note, Option<File>)>,
    unlogged: Vec<AppendError>,
}

impl ChangeLog {
    pub(crate) fn new(log: AuditLog, pending_dir: PathBuf, program: &'static str) -> Self {
        Self { log, pending_dir, program, state: Mutex::default() }
    }

    /// The log itself.
    pub const fn log(&self) -> &AuditLog {
        &self.log
    }

    /// Entries that could not be written since this was last asked.
    pub fn take_unlogged(&self) -> Vec<AppendError> {
        std::mem::take(&mut self.lock().unlogged)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event of this process, now.
    pub(crate) fn event(&self, action: Action, object: impl Into<String>) -> Event {
        Event::new(Timestamp::now(), Actor::current(self.program), action, object)
    }

    /// This process.
    pub(crate) fn actor(&self) -> Actor {
        Actor::current(self.program)
    }

    /// Appends; what cannot be appended is remembered for whoever prints warnings. Returns whether it was appended.
    pub(crate) fn append(&self, event: &Event) -> bool {
        // The log makes what is above it for anybody to read; here it is for its owner. If that fails, the log says why.
        if let Some(state_dir) = self.pending_dir.parent() {
            let _ = aegis_durable::make_dir(state_dir, 0o700);
        }
        match self.log.append(event) {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, action = %event.action, "not logged");
                self.lock().unlogged.push(error);
                false
            }
        }
    }

    /// Writes down what is about to be done. Entries from then on carry its mark.
    pub(crate) fn begin(&self, intent: Intent) -> Result<Held, NoteError> {
        let held = self.note(intent)?;
        self.resume(&held);
        Ok(held)
    }

    /// Writes down what is about to be done, and that is all.
    pub(crate) fn note(&self, intent: Intent) -> Result<Held, NoteError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let started_at = Timestamp::now();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let transaction = format!("{:x}-{:x}-{count:x}", started_at.as_nanosecond(), std::process::id());
        self.write(Note { transaction, started_at, actor: self.actor(), intent })
    }

    /// Has entries from now on carry the mark of a note.
    pub(crate) fn resume(&self, held: &Held) {
        let mut state = self.lock();
        state.transaction = Some(held.note.transaction.clone());
        state.dek_note = matches!(held.note.intent, Intent::NewDek { .. }).then(|| (held.note.clone(), None));
    }

    fn write(&self, note: Note) -> Result<Held, NoteError> {
        let (path, lock) = self.place(&note)?;
        Ok(Held { note, path, _lock: lock })
    }

    /// Puts a note under its name, in the place of an older state of it, and locks it.
    fn place(&self, note: &Note) -> Result<(PathBuf, File), NoteError> {
        aegis_durable::make_dir(&self.pending_dir, 0o700).map_err(NoteError::Directory)?;
        let path = self.pending_dir.join(format!("{}.json", note.transaction));
        let temp = self.pending_dir.join(format!(".{}.tmp", note.transaction));
        let bytes = serde_json::to_vec(note)
            .map_err(|source| NoteError::Write { path: path.clone(), source: source.into() })?;
        let write = || -> io::Result<File> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
            // Before it has its name: whoever finds it by that finds it locked.
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temp, &path)?;
            Ok(file)
        };
        match write() {
            Ok(lock) => {
                aegis_durable::sync_parent(&path).map_err(NoteError::Directory)?;
                Ok((path, lock))
            }
            Err(source) => {
                let _ = fs::remove_file(&temp);
                Err(NoteError::Write { path, source })
            }
        }
    }

    /// Ends a change: its note is removed, unless its entry could not be written; then the next command writes it.
    pub(crate) fn finish(&self, held: &Held) {
        let mut state = self.lock();
        state.transaction = None;
        state.dek_note = None;
        if state.unlogged.is_empty() {
            drop(state);
            // A note that stays is looked at by the next command, which finds the entry.
            let _ = aegis_durable::remove_synced(&held.path);
        }
    }

    /// Ends a change whose note has to stay for the next command.
    pub(crate) fn leave(&self, held: Held) {
        let mut state = self.lock();
        state.transaction = None;
        state.dek_note = None;
        drop((state, held));
    }

    /// Removes a note.
    pub(crate) fn forget(held: &Held) {
        // As in `finish`.
        let _ = aegis_durable::remove_synced(&held.path);
    }

    /// The notes of commands that are gone, and the temporary files of theirs are removed.
    pub(crate) fn orphans(&self) -> Result<Vec<Held>, NoteError> {
        let entries = match fs::read_dir(&self.pending_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(NoteError::Read { path: self.pending_dir.clone(), source }),
        };
        let mut orphans = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| NoteError::Read { path: self.pending_dir.clone(), source })?;
            let path = entry.path();
            let Some(lock) = lock_orphan(&path)? else { continue };
            if path.extension().is_some_and(|extension| extension == "json") {
                let note = read_note(&path)?;
                orphans.push(Held { note, path, _lock: lock });
            } else {
                // Never given its name: nothing was begun.
                let _ = fs::remove_file(&path);
            }
        }
        orphans.sort_by_key(|held| held.note.started_at);
        Ok(orphans)
    }

    /// Logs what an interrupted change did, unless its entry is there; then forgets it.
    pub(crate) fn recover(&self, held: &Held, made: &[Made]) -> Result<(), RecoverError> {
        for Made { change, object, instead_of } in made {
            let mark = mark(&held.note.transaction, *change);
            if self.log.has_transaction(&mark, LOOK_BACK).map_err(RecoverError::ReadLog)? {
                continue;
            }
            let Note { started_at: _, actor, .. } = &held.note;
            let event = event_of(*change, object, instead_of.as_ref(), Timestamp::now(), actor.clone())
                .detail("recovered", true)
                .transaction(mark);
            self.log.append(&event).map_err(|source| RecoverError::Log(Box::new(source)))?;
        }
        aegis_durable::remove_synced(&held.path).map_err(RecoverError::Forget)
    }

    /// Logs that an interrupted erasure, whose approval was used, is refused for good.
    pub(crate) fn log_not_erased(&self, held: &Held, why: &str) -> Result<(), RecoverError> {
        let (Some(object), Note { transaction, actor, intent, .. }) = (held.note.intent.erased(), &held.note)
        else {
            return Ok(());
        };
        let change = match intent {
            Intent::KekRetired { .. } => Change::KekRetired,
            _ => Change::DekDestroyed,
        };
        let mark = mark(transaction, change);
        if self.log.has_transaction(&mark, LOOK_BACK).map_err(RecoverError::ReadLog)? {
            return Ok(());
        }
        let event = event_of(change, &object, None, Timestamp::now(), actor.clone())
            .outcome(Outcome::Refused)
            .reason(why)
            .detail("recovered", true)
            .transaction(mark);
        self.log.append(&event).map(drop).map_err(|source| RecoverError::Log(Box::new(source)))
    }

    /// Logs those entries of an interrupted command that are missing, then forgets it.
    pub(crate) fn recover_entries(&self, held: &Held, entries: &[NotedEntry]) -> Result<(), RecoverError> {
        self.log_missing(held, entries)?;
        aegis_durable::remove_synced(&held.path).map_err(RecoverError::Forget)
    }

    /// Logs those entries of an interrupted command that are missing.
    pub(crate) fn log_missing(&self, held: &Held, entries: &[NotedEntry]) -> Result<(), RecoverError> {
        for entry in entries {
            let mark = crate::approvals::mark(&held.note.transaction, entry);
            if self.log.has_transaction(&mark, LOOK_BACK).map_err(RecoverError::ReadLog)? {
                continue;
            }
            let event = crate::approvals::event_of(entry.clone(), held.note.actor.clone());
            let event = event.detail("recovered", true).transaction(mark);
            self.log.append(&event).map_err(|source| RecoverError::Log(Box::new(source)))?;
        }
        Ok(())
    }
}

/// A change that an interrupted command made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) change: Change,
    pub(crate) object: KeyObject,
    pub(crate) instead_of: Option<KeyObject>,
}

impl Observer for ChangeLog {
    fn observe(&self, event: &KeyEvent<'_>) {
        let KeyEvent { change, object, instead_of, sha256, outcome } = event;
        let mut entry =
            event_of(*change, object, instead_of.as_ref(), Timestamp::now(), Actor::current(self.program));
        if let Some(sha256) = sha256 {
            entry = entry.detail("sha256", sha256.to_string());
        }
        if let Err(error) = outcome {
            let ended = if is_failure(*error) { Outcome::Failed } else { Outcome::Refused };
            entry = entry.outcome(ended).reason(chain(*error));
        }
        if let Some(transaction) = &self.lock().transaction {
            entry = entry.transaction(mark(transaction, *change));
        }
        self.append(&entry);
    }

    fn before_dek(&self, new: KeyId) -> io::Result<()> {
        let mut state = self.lock();
        if let Some((note, lock)) = &mut state.dek_note
            && let Intent::NewDek { key, .. } = &mut note.intent
        {
            *key = Some(new);
            *lock = Some(self.place(note).map_err(io::Error::other)?.1);
        }
        Ok(())
    }
}

fn mark(transaction: &str, change: Change) -> String {
    format!("{transaction}.{}", step(change))
}

fn event_of(
    change: Change,
    object: &KeyObject,
    instead_of: Option<&KeyObject>,
    now: Timestamp,
    actor: Actor,
) -> Event {
    let mut event = Event::new(now, actor, action(change), object.to_string()).detail("step", step(change));
    if let KeyObject::Kek(kek) = object {
        event = event.detail("key_id", kek.to_string());
    }
    if let Some(instead_of) = instead_of {
        event = event.detail("instead_of", instead_of.to_string());
    }
    event
}

const fn action(change: Change) -> Action {
    match change {
        Change::KekEnrolled => Action::KekEnrol,
        Change::DekCreated => Action::DekCreate,
        Change::DekRotated => Action::DekRotate,
        Change::DekRetired | Change::DekUnretired => Action::DekRetire,
        Change::DekMarked | Change::DekUnmarked | Change::DekDestroyed => Action::DekDestroy,
        Change::KekRotationBegun | Change::KekRotationAbandoned | Change::KekSwitched => Action::KekRotate,
        Change::KekRetired => Action::KekRetire,
        Change::BackupCreated => Action::KeyringBackup,
        Change::BackupRestored => Action::KeyringRestore,
    }
}

/// Which step of an action it is, for `detail.step`.
const fn step(change: Change) -> &'static str {
    match change {
        Change::KekEnrolled => "enrolled",
        Change::DekCreated => "created",
        Change::DekRotated => "rotated",
        Change::DekRetired => "retired",
        Change::DekUnretired => "brought_back",
        Change::DekMarked => "marked",
        Change::DekUnmarked => "unmarked",
        Change::DekDestroyed => "destroyed",
        Change::KekRotationBegun => "begun",
        Change::KekRotationAbandoned => "abandoned",
        Change::KekSwitched => "switched",
        Change::KekRetired => "retired",
        Change::BackupCreated => "created",
        Change::BackupRestored => "restored",
    }
}

/// The error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut lines = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if lines.last() != Some(&line) {
            lines.push(line);
        }
        cause = error.source();
    }
    lines.join(": ")
}

/// Whether a device, a file or a service failed; otherwise a rule said no.
pub(crate) fn is_failure(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.get_ref().is_none_or(|inner| !inner.is::<NotApproved>());
        }
        if let Some(store) = error.downcast_ref::<StoreError>() {
            return !matches!(store, StoreError::Conflict { .. } | StoreError::NotVerified { .. });
        }
        cause = error.source();
    }
    false
}

/// Opens a note and locks it; `None` if its writer lives or it is gone.
fn lock_orphan(path: &Path) -> Result<Option<File>, NoteError> {
    let failed = |source| NoteError::Read { path: path.to_owned(), source };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Its writer may have removed it just before it ended.
        Ok(()) => Ok(Some(file).filter(|file| file.metadata().is_ok_and(|found| found.nlink() > 0))),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn read_note(path: &Path) -> Result<Note, NoteError> {
    let absent = || io::Error::from(io::ErrorKind::NotFound);
    let bytes = aegis_durable::read_state(path, MAX_NOTE_LEN)
        .map_err(|source| NoteError::Malformed { path: path.to_owned(), source: io::Error::other(source) })?
        .ok_or_else(|| NoteError::Read { path: path.to_owned(), source: absent() })?;
    serde_json::from_slice(&bytes)
        .map_err(|source| NoteError::Malformed { path: path.to_owned(), source: source.into() })
}

/// Parses a version that was written down.
pub(crate) fn noted_version(text: &str) -> Option<DekVersion> {
    text.parse().ok()
}

/// Why a change was not written down, or what was written down not read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// There is no place for it.
    #[error("cannot make the directory of pending changes")]
    Directory(#[source] WriteError),
    /// It cannot be written.
    #[error("cannot write the pending change {}", path.display())]
    Write {
        /// The note.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The note, or the directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("the pending change {} cannot be read", path.display())]
    Malformed {
        /// The note.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl NoteError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Directory(source) => source.help(),
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that file system, then run it again".to_owned())
                }
                _ => Some("run it as the owner of the state directory".to_owned()),
            },
            // A link, which is not followed.
            Self::Read { path, source } if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                Some(format!(
                    "it is a link, and none of ours: find out who made it, then move {} away",
                    path.display()
                ))
            }
            Self::Read { .. } => Some("run it as the owner of the state directory".to_owned()),
            Self::Malformed { path, .. } => {
                Some(format!("find out who wrote it, then move {} away", path.display()))
            }
        }
    }
}

/// Why an interrupted change could not be put into the log.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Whether its entry is there cannot be told.
    #[error("the log cannot be read")]
    ReadLog(#[source] ReadError),
    /// Its entry cannot be written.
    #[error("an interrupted change cannot be logged")]
    Log(#[source] Box<AppendError>),
    /// Its note cannot be removed.
    #[error("the note of an interrupted change cannot be removed")]
    Forget(#[source] WriteError),
}

impl RecoverError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::ReadLog(source) => source.help(),
            Self::Log(source) => source.help(),
            Self::Forget(source) => source.help(),
        }
    }
}
