//! Proofs that one entry is in the log, or that the log only grew: checked without the log, by anyone who has the
//! host's public key.

use std::path::Path;

use aegis_crypto::{Digest, PublicKey};
use serde::{Deserialize, Serialize};

use crate::append::LOG;
use crate::checkpoint::Checkpoint;
use crate::damage::Damage;
use crate::folder::StorageError;
use crate::merkle::{
    Frontier, consistency_ranges, inclusion_ranges, leaf_hash, verify_consistency, verify_inclusion,
};
use crate::read::{ReadError, Snapshot};
use crate::walk::{Fault, Line, Lines};

/// That `line` is entry `seq` of the log that `checkpoint` covers (RFC 9162, 2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// The entry's number.
    pub seq: u64,
    /// The entry, without its newline.
    pub line: String,
    /// The audit path, from the leaf to the root.
    pub hashes: Vec<Digest>,
    /// The signed note that names size and root.
    pub checkpoint: String,
}

impl InclusionProof {
    /// Whether it proves that, for a checkpoint that `key` signed.
    pub fn holds(&self, key: &PublicKey) -> bool {
        let Self { seq, line, hashes, checkpoint } = self;
        Checkpoint::parse(checkpoint.as_bytes()).is_ok_and(|head| {
            let leaf = leaf_hash(line.as_bytes());
            head.is_signed_by(key) && verify_inclusion(&leaf, *seq, head.size(), hashes, &head.root())
        })
    }
}

/// That the log which `checkpoint` covers begins with the `old_size` entries whose root is `old_root` (RFC 9162,
/// 2.1.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProof {
    /// How many entries the log had.
    pub old_size: u64,
    /// Their root.
    pub old_root: Digest,
    /// The proof's nodes.
    pub hashes: Vec<Digest>,
    /// The signed note that names the present size and root.
    pub checkpoint: String,
}

impl ConsistencyProof {
    /// Whether it proves that, for a checkpoint that `key` signed, and an older one whose root is `old_root`.
    pub fn holds(&self, key: &PublicKey, old_root: &Digest) -> bool {
        let Self { old_size, old_root: claimed, hashes, checkpoint } = self;
        claimed == old_root
            && Checkpoint::parse(checkpoint.as_bytes()).is_ok_and(|head| {
                head.is_signed_by(key)
                    && verify_consistency(*old_size, old_root, head.size(), &head.root(), hashes)
            })
    }
}

/// See [`AuditLog::prove_inclusion`](crate::AuditLog::prove_inclusion).
pub(crate) fn inclusion(dir: &Path, seq: u64) -> Result<InclusionProof, ReadError> {
    let (snapshot, note, head) = open(dir)?;
    if seq >= head.size() {
        return Err(ReadError::NoSuchEntry { seq, size: head.size() });
    }
    let mut trees: Vec<Tree> = inclusion_ranges(seq, head.size()).into_iter().map(Tree::new).collect();
    let mut line = Vec::new();
    each_line(dir, &snapshot, &head, |at, bytes, hash| {
        trees.iter_mut().for_each(|tree| tree.push(at, hash));
        if at == seq {
            line = bytes.to_vec();
        }
    })?;
    let line = String::from_utf8_lossy(&line).into_owned();
    Ok(InclusionProof { seq, line, hashes: trees.iter().map(Tree::root).collect(), checkpoint: note })
}

/// See [`AuditLog::prove_consistency`](crate::AuditLog::prove_consistency).
pub(crate) fn consistency(dir: &Path, old_size: u64) -> Result<ConsistencyProof, ReadError> {
    let (snapshot, note, head) = open(dir)?;
    if old_size > head.size() {
        return Err(ReadError::NoSuchSize { old_size, size: head.size() });
    }
    let ranges = consistency_ranges(old_size, head.size());
    let mut trees: Vec<Tree> = ranges.into_iter().map(Tree::new).collect();
    let mut old = Tree::new(0..old_size);
    each_line(dir, &snapshot, &head, |at, _, hash| {
        old.push(at, hash);
        trees.iter_mut().for_each(|tree| tree.push(at, hash));
    })?;
    let hashes = trees.iter().map(Tree::root).collect();
    Ok(ConsistencyProof { old_size, old_root: old.root(), hashes, checkpoint: note })
}

/// The tree over some of the leaves.
struct Tree {
    leaves: std::ops::Range<u64>,
    frontier: Frontier,
}

impl Tree {
    fn new(leaves: std::ops::Range<u64>) -> Self {
        Self { leaves, frontier: Frontier::default() }
    }

    fn push(&mut self, at: u64, leaf: Digest) {
        if self.leaves.contains(&at) {
            self.frontier.push(leaf);
        }
    }

    fn root(&self) -> Digest {
        self.frontier.root()
    }
}

fn open(dir: &Path) -> Result<(Snapshot, String, Checkpoint), ReadError> {
    let snapshot = Snapshot::take(dir)?.ok_or_else(|| ReadError::Missing { dir: dir.to_owned() })?;
    let damaged = |source| ReadError::Damaged { dir: dir.to_owned(), source };
    let bytes = snapshot.checkpoint.as_ref().ok_or_else(|| damaged(Damage::CheckpointMissing))?;
    let head = Checkpoint::parse(bytes).map_err(|source| damaged(source.into()))?;
    let note = String::from_utf8_lossy(bytes).into_owned();
    Ok((snapshot, note, head))
}

/// Hashes every line that the checkpoint covers, and checks that they are what it covers: a proof from a damaged log
/// would prove nothing.
fn each_line(
    dir: &Path,
    snapshot: &Snapshot,
    head: &Checkpoint,
    mut see: impl FnMut(u64, &[u8], Digest),
) -> Result<(), ReadError> {
    let path = snapshot.folder.path_of(LOG);
    let failed = |source| StorageError::Io { action: "read", path: path.clone(), source };
    let damaged = |damage: Damage| ReadError::of(Fault::Damage(damage), dir);
    let log = snapshot.log.as_ref().ok_or_else(|| damaged(Damage::LogMissing))?;
    let mut lines = Lines::new(log, 0, snapshot.len).map_err(failed)?;
    let mut all = Frontier::default();
    while all.size() < head.size() {
        let Some(Line::Whole { bytes, .. }) = lines.next().map_err(failed)? else { break };
        let hash = leaf_hash(bytes);
        see(all.size(), bytes, hash);
        all.push(hash);
    }
    if all.size() < head.size() {
        return Err(damaged(Damage::Shorter { entries: all.size(), covered: head.size() }));
    }
    if all.root() != head.root() {
        return Err(damaged(Damage::Changed { from: 0, to: head.size().saturating_sub(1) }));
    }
    Ok(())
}
