//! The log of one host, as everything outside this crate sees it.

use std::path::{Path, PathBuf};

use aegis_crypto::{KeyId, PublicKey, SigningKey};

use crate::append::{AppendError, Appended, CHECKPOINT, LOG, Writer};
use crate::checkpoint::Checkpoint;
use crate::damage::Damage;
use crate::event::{Entry, Event};
use crate::hand_over::Reigns;
use crate::host_key::HostKeyError;
use crate::proof::{self, ConsistencyProof, InclusionProof};
use crate::query::Query;
use crate::read::{Entries, ReadError, Snapshot};
use crate::verify::{self, QuickCheck, VerifyError, VerifyReport};

/// An append-only log in a folder, such as `/var/lib/aegisbpf/audit`.
///
/// | file | mode | what |
/// |---|---|---|
/// | `log.jsonl` | 0600 | the entries, one a line |
/// | `checkpoint` | 0600 | size and Merkle root, signed by the host key (C2SP `tlog-checkpoint`) |
/// | `frontier` | 0600 | a cache of the tree, so that an append costs O(log n) |
/// | `host.key` | 0600 | the host key, PKCS#8 PEM |
/// | `host.pub`, `host.pub.<key id>` | 0644 | its public half, and those of earlier host keys, SPKI PEM |
/// | `lock` | 0600 | what a writer holds, and a reader for a moment |
///
/// Several threads and processes may use one log; each call opens it anew, and nothing is kept in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLog {
    dir: PathBuf,
}

impl AuditLog {
    /// The log in `dir`. Touches nothing.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is a log, be it whole or damaged.
    pub fn exists(&self) -> bool {
        [LOG, CHECKPOINT]
            .iter()
            .map(|name| self.dir.join(name).symlink_metadata())
            // What cannot be looked at is not absent.
            .any(|found| !matches!(found, Err(error) if error.kind() == std::io::ErrorKind::NotFound))
    }

    /// Logs an event. When this returns, its entry survives power loss; if it fails, there is no entry.
    ///
    /// The first use makes the folder (mode 0700) and the host key. An entry that an interrupted command left is taken
    /// in, half an entry is cut off, and either is itself logged as [`Action::Recovery`](crate::Action::Recovery).
    ///
    /// # Errors
    ///
    /// [`AppendError::Damaged`] if the log is not what its checkpoint says; it is then left as it is.
    pub fn append(&self, event: &Event) -> Result<Appended, AppendError> {
        Writer::open(&self.dir)?.append(event)
    }

    /// Whether one of the last `within` entries belongs to this transaction.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if one of them cannot be read: then nobody knows.
    pub fn has_transaction(&self, id: &str, within: usize) -> Result<bool, ReadError> {
        for entry in Entries::last(&self.dir, within)? {
            if entry?.transaction.as_deref() == Some(id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks at the checkpoint's signature and at the last entry. Reads a few kilobytes, whatever the log's length,
    /// unless an interrupted command left no usable `frontier`.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] says what is wrong. Finding nothing here does not mean that [`AuditLog::verify`] will not.
    pub fn quick_check(&self) -> Result<QuickCheck, VerifyError> {
        verify::quick_check(&self.dir)
    }

    /// Reads and hashes every entry, follows the host key's hand-overs, and holds the log against its checkpoint and
    /// against those `kept` elsewhere (the bytes of signed notes). Memory is bounded; others may write meanwhile.
    /// `progress` hears of bytes done and bytes in all.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] says what is wrong.
    pub fn verify(
        &self,
        kept: &[Vec<u8>],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<VerifyReport, VerifyError> {
        verify::verify(&self.dir, kept, progress)
    }

    /// All entries, in order; none if there is no log.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the log cannot be opened; each entry may fail on its own.
    pub fn entries(&self) -> Result<Entries, ReadError> {
        Entries::all(&self.dir)
    }

    /// The last `count` entries, in order.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the log cannot be opened; each entry may fail on its own.
    pub fn last_entries(&self, count: usize) -> Result<Entries, ReadError> {
        Entries::last(&self.dir, count)
    }

    /// The entries that `query` asks for, and every line that cannot be read.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the log cannot be opened; each entry may fail on its own.
    pub fn query(
        &self,
        query: &Query,
    ) -> Result<impl Iterator<Item = Result<Entry, ReadError>> + use<>, ReadError> {
        let query = query.clone();
        let limit = query.limit.unwrap_or(usize::MAX);
        let entries = self.entries()?;
        Ok(entries.filter(move |entry| entry.as_ref().map_or(true, |entry| query.matches(entry))).take(limit))
    }

    /// The signed head, to be kept elsewhere and given to [`AuditLog::verify`] later; `None` if there is no log.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if it cannot be read, or there is a log without one.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, ReadError> {
        match Snapshot::take(&self.dir)? {
            None => Ok(None),
            Some(Snapshot { checkpoint: Some(bytes), .. }) => Ok(Some(bytes)),
            Some(_) => Err(ReadError::Damaged { dir: self.dir.clone(), source: Damage::CheckpointMissing }),
        }
    }

    /// Proves that entry `seq` is in the log. Hashes the whole log.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchEntry`], or [`ReadError::Damaged`] if the log is not what its checkpoint says.
    pub fn prove_inclusion(&self, seq: u64) -> Result<InclusionProof, ReadError> {
        proof::inclusion(&self.dir, seq)
    }

    /// Proves that the log still begins with its first `old_size` entries. Hashes the whole log.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoSuchSize`], or [`ReadError::Damaged`] if the log is not what its checkpoint says.
    pub fn prove_consistency(&self, old_size: u64) -> Result<ConsistencyProof, ReadError> {
        proof::consistency(&self.dir, old_size)
    }

    /// The host key, made on first use. Whoever signs with it begins what is signed with a line of their own, so that
    /// no signature serves two purposes.
    ///
    /// # Errors
    ///
    /// [`HostKeyError`] if it cannot be read or made, or if the log it belongs to is damaged.
    pub fn host_key(&self) -> Result<SigningKey, HostKeyError> {
        Ok(Writer::open(&self.dir)?.into_key())
    }

    /// The public host keys: the current one, then earlier ones, the latest first, each proven by a hand-over in the
    /// log. Empty if there is no log.
    ///
    /// # Errors
    ///
    /// [`HostKeyError::HandOver`] if one of the hand-overs is not valid.
    pub fn host_public_keys(&self) -> Result<Vec<PublicKey>, HostKeyError> {
        let Some(snapshot) = Snapshot::take(&self.dir).map_err(ReadError::from)? else {
            return Ok(Vec::new());
        };
        let damaged = |source| ReadError::Damaged { dir: self.dir.clone(), source };
        let bytes = snapshot.checkpoint.as_deref().ok_or_else(|| damaged(Damage::CheckpointMissing))?;
        let checkpoint = Checkpoint::parse(bytes).map_err(|source| damaged(source.into()))?;
        let mut reigns = Reigns::new(checkpoint.origin());
        let mut last = None;
        for entry in self.entries()? {
            let entry = entry?;
            reigns.push(&entry).map_err(|source| HostKeyError::HandOver { seq: entry.seq, source })?;
            last = Some(entry);
        }
        let installed = snapshot.public_key()?;
        let current = verify::successor(last.as_ref(), &checkpoint, &installed).unwrap_or(installed);
        let seq = last.map_or(0, |entry| entry.seq);
        reigns.check_last(&current).map_err(|source| HostKeyError::HandOver { seq, source })?;
        let mut keys = vec![current];
        keys.extend(reigns.earlier());
        Ok(keys)
    }

    /// Makes a new host key and logs a hand-over to it, signed by the old one. The old private key is gone then; its
    /// public half stays as `host.pub.<key id>`. The event's action is always
    /// [`Action::AuditHandOver`](crate::Action::AuditHandOver).
    ///
    /// # Errors
    ///
    /// [`HostKeyError`] if it cannot be made or logged. If only the last step failed, the next command finishes it.
    pub fn rotate_host_key(&self, event: &Event) -> Result<KeyId, HostKeyError> {
        Ok(Writer::open(&self.dir)?.hand_over(event)?.key_id())
    }
}
