//! Checking the log: quickly against its checkpoint, or every entry, and against checkpoints kept elsewhere.

use std::path::{Path, PathBuf};

use aegis_crypto::{Digest, KeyId, PublicKey};
use jiff::Timestamp;

use crate::append::LOG;
use crate::bounds::LINE_LEN;
use crate::checkpoint::Checkpoint;
use crate::damage::Damage;
use crate::event::Entry;
use crate::folder::StorageError;
use crate::hand_over::{HandOver, HandOverError, Reigns};
use crate::host_key::KeyFileError;
use crate::kept::{Kept, KeptError};
use crate::line::EntryError;
use crate::merkle::{Frontier, leaf_hash};
use crate::read::Snapshot;
use crate::walk::{Fault, Line, Lines, entry_at, stand};

/// How many bytes pass between two calls of the progress callback.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// What a quick look at the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuickCheck {
    /// How many entries the checkpoint covers.
    pub size: u64,
    /// Their Merkle root.
    pub root: Digest,
    /// The time of the last entry.
    pub last_time: Option<Timestamp>,
    /// The key that signs for the log.
    pub host_key: KeyId,
    /// Entries that an interrupted command left without a checkpoint. The next command takes them in.
    pub unsealed: u64,
    /// Bytes of an entry that an interrupted command left unfinished. The next command cuts them off.
    pub torn_bytes: u64,
}

/// What a whole verification says of a log in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many entries the checkpoint covers.
    pub size: u64,
    /// Their Merkle root, computed from the entries.
    pub root: Digest,
    /// How many bytes were hashed.
    pub bytes: u64,
    /// The time of the first entry.
    pub first_time: Option<Timestamp>,
    /// The time of the last entry.
    pub last_time: Option<Timestamp>,
    /// The name of the log.
    pub origin: String,
    /// The key that signs for the log.
    pub host_key: KeyId,
    /// The keys before it, the latest first, each proven by a hand-over.
    pub earlier_keys: Vec<KeyId>,
    /// How many kept checkpoints the log was held against.
    pub kept: usize,
    /// Entries that an interrupted command left without a checkpoint. The next command takes them in.
    pub unsealed: u64,
    /// Bytes of an entry that an interrupted command left unfinished. The next command cuts them off.
    pub torn_bytes: u64,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no log.
    #[error("there is no audit log in {}", dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A file could not be read; nothing is known of the log.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The public host key could not be read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The log is not what its checkpoint says.
    #[error("the audit log {} is damaged", dir.display())]
    Damaged {
        /// The folder of the log.
        dir: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
    /// A hand-over of the host key is not valid.
    #[error("the hand-over of the host key in entry {seq} is not valid")]
    HandOver {
        /// The entry.
        seq: u64,
        /// What is wrong with it.
        source: HandOverError,
    },
    /// The hand-overs do not lead to the host key that is there.
    #[error("the host key was replaced without a hand-over")]
    KeyReplaced {
        /// What does not fit.
        source: HandOverError,
    },
    /// The log does not agree with a checkpoint that was kept elsewhere.
    #[error("the log does not agree with kept checkpoint {number}")]
    Kept {
        /// Which one, from 1, in the order they were given.
        number: usize,
        /// What does not agree.
        source: KeptError,
    },
}

impl VerifyError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("the first command that changes something begins one".to_owned()),
            Self::Storage(error) => error.help(),
            Self::Key(error) => error.help(),
            Self::Damaged { dir, .. } => Some(format!(
                "treat the host as broken into until you know better; move {} away as evidence, and the next command begins a new log",
                dir.display()
            )),
            Self::HandOver { .. } | Self::KeyReplaced { .. } => {
                Some("treat the host as broken into until you know better; compare host.pub with the copy you kept".to_owned())
            }
            Self::Kept { source, .. } => source.help(),
        }
    }
}

/// See [`AuditLog::quick_check`](crate::AuditLog::quick_check).
pub(crate) fn quick_check(dir: &Path) -> Result<QuickCheck, VerifyError> {
    let snapshot = Snapshot::take(dir)?.ok_or_else(|| VerifyError::Missing { dir: dir.to_owned() })?;
    let damaged = |source| VerifyError::Damaged { dir: dir.to_owned(), source };
    let checkpoint = read_checkpoint(&snapshot).map_err(damaged)?;
    let log = snapshot.log.as_ref().ok_or(Damage::LogMissing).map_err(damaged)?;
    let path = snapshot.folder.path_of(LOG);
    let standing = stand(log, snapshot.len, snapshot.frontier.clone(), &checkpoint, &path).map_err(
        |fault| match fault {
            Fault::Storage(error) => error.into(),
            Fault::Damage(damage) => damaged(damage),
        },
    )?;
    let installed = snapshot.public_key()?;
    let next = successor(standing.last.as_ref(), &checkpoint, &installed);
    if ![Some(installed), next].iter().flatten().any(|key| checkpoint.is_signed_by(key)) {
        return Err(damaged(Damage::CheckpointNotSigned { key: installed.key_id() }));
    }
    Ok(QuickCheck {
        size: checkpoint.size(),
        root: checkpoint.root(),
        last_time: standing.last.map(|entry| entry.time),
        host_key: next.unwrap_or(installed).key_id(),
        unsealed: standing.unsealed,
        torn_bytes: standing.torn.map_or(0, |torn| torn.len),
    })
}

/// See [`AuditLog::verify`](crate::AuditLog::verify).
pub(crate) fn verify(
    dir: &Path,
    kept: &[Vec<u8>],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, VerifyError> {
    let kept = Kept::parse_all(kept).map_err(|(number, source)| VerifyError::Kept { number, source })?;
    let snapshot = Snapshot::take(dir)?.ok_or_else(|| VerifyError::Missing { dir: dir.to_owned() })?;
    let damaged = |source| VerifyError::Damaged { dir: dir.to_owned(), source };
    let checkpoint = read_checkpoint(&snapshot).map_err(damaged)?;
    let pass = Pass::over(&snapshot, &checkpoint, &kept, progress).map_err(|stop| match stop {
        Stop::Fault(Fault::Storage(error)) => error.into(),
        Stop::Fault(Fault::Damage(damage)) => damaged(damage),
        Stop::HandOver { seq, source } => VerifyError::HandOver { seq, source },
    })?;

    // The log against its own checkpoint. Kept checkpoints narrow down where it was changed.
    if pass.frontier.size() < checkpoint.size() {
        return Err(damaged(Damage::Shorter { entries: pass.frontier.size(), covered: checkpoint.size() }));
    }
    if pass.sealed_root != Some(checkpoint.root()) {
        let (mut from, mut to) = (0, checkpoint.size());
        let same = |at: &&Checkpoint| at.origin() == checkpoint.origin() && at.size() <= checkpoint.size();
        for at in kept.iter().map(|at| &at.checkpoint).filter(same) {
            if pass.root_at(at.size()) == Some(at.root()) {
                from = from.max(at.size());
            } else {
                to = to.min(at.size());
            }
        }
        let (from, to) = if from < to { (from, to) } else { (0, checkpoint.size()) };
        return Err(damaged(Damage::Changed { from, to: to.saturating_sub(1) }));
    }

    // Its keys.
    let installed = snapshot.public_key()?;
    let current = successor(pass.last.as_ref(), &checkpoint, &installed).unwrap_or(installed);
    let signer = pass.reigns.key_at(checkpoint.size(), &current);
    if !checkpoint.is_signed_by(&signer) {
        return Err(damaged(Damage::CheckpointNotSigned { key: signer.key_id() }));
    }
    // A key that was handed over and replaced signs no head any more: its old checkpoint, put back, would vouch for
    // nothing that came after it.
    if signer != installed && signer != current {
        return Err(damaged(Damage::CheckpointNotSigned { key: current.key_id() }));
    }
    pass.reigns.check_last(&current).map_err(|source| VerifyError::KeyReplaced { source })?;

    for at in &kept {
        let (size, key) = (at.checkpoint.size(), pass.reigns.key_at(at.checkpoint.size(), &current));
        at.hold_against(&checkpoint, pass.frontier.size(), pass.root_at(size), &key)
            .map_err(|source| VerifyError::Kept { number: at.number, source })?;
    }
    Ok(VerifyReport {
        size: checkpoint.size(),
        root: checkpoint.root(),
        bytes: snapshot.len,
        first_time: pass.first_time,
        last_time: pass.last.as_ref().map(|entry| entry.time),
        origin: checkpoint.origin().to_owned(),
        host_key: current.key_id(),
        earlier_keys: pass.reigns.earlier().iter().map(PublicKey::key_id).collect(),
        kept: kept.len(),
        unsealed: pass.frontier.size() - checkpoint.size(),
        torn_bytes: pass.torn_bytes,
    })
}

/// One pass over all lines.
struct Pass {
    frontier: Frontier,
    sealed_root: Option<Digest>,
    /// The roots at the sizes of the kept checkpoints.
    roots: Vec<(u64, Digest)>,
    reigns: Reigns,
    first_time: Option<Timestamp>,
    last: Option<Entry>,
    torn_bytes: u64,
}

enum Stop {
    Fault(Fault),
    HandOver { seq: u64, source: HandOverError },
}

impl<T: Into<Fault>> From<T> for Stop {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
    }
}

impl Pass {
    fn over(
        snapshot: &Snapshot,
        checkpoint: &Checkpoint,
        kept: &[Kept],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Stop> {
        let path = snapshot.folder.path_of(LOG);
        let failed = |source| StorageError::Io { action: "read", path: path.clone(), source };
        let log = snapshot.log.as_ref().ok_or(Damage::LogMissing)?;
        let mut sizes: Vec<u64> = kept.iter().map(|at| at.checkpoint.size()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let mut sizes = sizes.into_iter().peekable();

        let mut lines = Lines::new(log, 0, snapshot.len).map_err(failed)?;
        let mut pass = Self {
            frontier: Frontier::default(),
            sealed_root: None,
            roots: Vec::new(),
            reigns: Reigns::new(checkpoint.origin()),
            first_time: None,
            last: None,
            torn_bytes: 0,
        };
        let mut reported = 0;
        progress(0, snapshot.len);
        loop {
            let seq = pass.frontier.size();
            if sizes.next_if_eq(&seq).is_some() {
                pass.roots.push((seq, pass.frontier.root()));
            }
            if seq == checkpoint.size() {
                pass.sealed_root = Some(pass.frontier.root());
            }
            let (bytes, offset) = match lines.next().map_err(failed)? {
                None => break,
                Some(Line::Torn { bytes }) => {
                    pass.torn_bytes = bytes.len() as u64;
                    break;
                }
                Some(Line::TooLong { offset }) => {
                    let source = EntryError::TooLong { len: LINE_LEN + 1 };
                    return Err(Damage::Line { seq, offset, source }.into());
                }
                Some(Line::Whole { bytes, offset }) => (bytes, offset),
            };
            let end = offset + bytes.len() as u64 + 1;
            if seq >= checkpoint.size() && end == snapshot.len && bytes.contains(&0) {
                pass.torn_bytes = bytes.len() as u64 + 1;
                break;
            }
            let entry = entry_at(bytes, seq, offset)?;
            pass.frontier.push(leaf_hash(bytes));
            pass.reigns.push(&entry).map_err(|source| Stop::HandOver { seq, source })?;
            pass.first_time = pass.first_time.or(Some(entry.time));
            pass.last = Some(entry);
            if end - reported >= PROGRESS_BYTES {
                reported = end;
                progress(end, snapshot.len);
            }
        }
        progress(snapshot.len, snapshot.len);
        Ok(pass)
    }

    fn root_at(&self, size: u64) -> Option<Digest> {
        self.roots.iter().find(|(at, _)| *at == size).map(|(_, root)| *root)
    }
}

fn read_checkpoint(snapshot: &Snapshot) -> Result<Checkpoint, Damage> {
    let bytes = snapshot.checkpoint.as_ref().ok_or(Damage::CheckpointMissing)?;
    Ok(Checkpoint::parse(bytes)?)
}

/// The key that the last entry hands over to from the installed one, when the command that did so was stopped before
/// it could install it.
pub(crate) fn successor(
    last: Option<&Entry>,
    checkpoint: &Checkpoint,
    installed: &PublicKey,
) -> Option<PublicKey> {
    let hand_over = HandOver::read(last?, checkpoint.origin())?.ok()?;
    (hand_over.old == *installed).then_some(hand_over.new)
}
