//! Ids that are refused for ever: `<key id> <time> <reason>`, a line each.

use std::{collections::BTreeMap, path::PathBuf};

use aegis_crypto::KeyId;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    HostPaths,
    durable::{self, ReadError},
    manifest::{parse_whole_seconds, truncate_to_seconds},
};

/// The most bytes that a list of revoked keys may have: about 10,000 entries.
pub const MAX_REVOKED_LEN: u64 = 4 << 20;
/// The most characters a reason may have.
pub const MAX_REASON_LEN: usize = 300;

/// One id that will never be trusted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevokedKey {
    /// The key.
    pub id: KeyId,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// Why: printable ASCII.
    pub reason: String,
}

/// All of them, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedKeys {
    entries: BTreeMap<KeyId, RevokedKey>,
}

/// Why a list of revoked keys cannot be used. Nothing is trusted until it can.
#[derive(Debug, thiserror::Error)]
pub enum RevokedError {
    /// It cannot be read.
    #[error("cannot read the list of revoked keys {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A line is not an entry.
    #[error("line {line} of the list of revoked keys {} is not `<key id> <time> <reason>`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// Somebody else could have shortened it.
    #[error("the list of revoked keys {} {problem}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl RevokedError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } => source.help(),
            Self::Line { path, .. } => Some(format!(
                "restore {} from a backup; deleting it would make revoked keys trusted again",
                path.display()
            )),
            Self::Permissions { path, .. } => Some(format!(
                "find out who changed it, then `chown root {0}` and `chmod 644 {0}`",
                path.display()
            )),
        }
    }
}

impl RevokedKeys {
    /// Reads both copies and believes either: revoking is never undone by putting an old file back.
    ///
    /// # Errors
    ///
    /// [`RevokedError`] if a copy is there and cannot be used. A missing copy is empty.
    pub fn load(paths: &HostPaths) -> Result<Self, RevokedError> {
        let mut all = Self::default();
        for path in [paths.revoked(), paths.revoked_copy()] {
            let read = durable::read_state_of(&path, MAX_REVOKED_LEN)
                .map_err(|source| RevokedError::Read { path: path.clone(), source })?;
            let Some((bytes, metadata)) = read else { continue };
            if let Some(problem) = durable::insecure(&metadata) {
                return Err(RevokedError::Permissions { path, problem });
            }
            all.merge(Self::parse(&bytes).map_err(|line| RevokedError::Line { path, line })?);
        }
        Ok(all)
    }

    /// Reads a list, or says which line, from 1, is not an entry.
    ///
    /// # Errors
    ///
    /// The number of the first bad line.
    pub fn parse(bytes: &[u8]) -> Result<Self, usize> {
        let mut all = Self::default();
        let Some(body) = bytes.strip_suffix(b"\n") else {
            return if bytes.is_empty() { Ok(all) } else { Err(bytes.split(|&byte| byte == b'\n').count()) };
        };
        for (index, line) in body.split(|&byte| byte == b'\n').enumerate() {
            let entry = std::str::from_utf8(line).ok().and_then(parse_line).ok_or(index + 1)?;
            all.insert(entry);
        }
        Ok(all)
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let line = |entry: &RevokedKey| {
            let RevokedKey { id, revoked_at, reason } = entry;
            format!("{id} {} {reason}\n", truncate_to_seconds(*revoked_at))
        };
        self.entries.values().map(line).collect::<String>().into_bytes()
    }

    /// Adds an entry; the first word on a key stands.
    pub fn insert(&mut self, entry: RevokedKey) {
        self.entries.entry(entry.id).or_insert(entry);
    }

    /// Adds all of another list.
    pub fn merge(&mut self, other: Self) {
        for entry in other.entries.into_values() {
            self.insert(entry);
        }
    }

    /// The entry of a key, if it was revoked.
    pub fn get(&self, id: &KeyId) -> Option<&RevokedKey> {
        self.entries.get(id)
    }
    /// All entries, by id.
    pub fn iter(&self) -> impl Iterator<Item = &RevokedKey> {
        self.entries.values()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    /// Whether none was ever revoked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// Ids and reasons, as verification takes them.
    pub fn reasons(&self) -> BTreeMap<KeyId, String> {
        self.entries.values().map(|entry| (entry.id, entry.reason.clone())).collect()
    }
}

/// Whether a text can be a reason: printable ASCII on one line, not empty, at most [`MAX_REASON_LEN`].
pub(crate) fn is_reason(text: &str) -> bool {
    !text.trim().is_empty()
        && text.len() <= MAX_REASON_LEN
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn parse_line(line: &str) -> Option<RevokedKey> {
    let mut parts = line.splitn(3, ' ');
    let (id, time, reason) = (parts.next()?, parts.next()?, parts.next()?);
    let revoked_at = parse_whole_seconds(time)?;
    is_reason(reason).then_some(())?;
    Some(RevokedKey { id: id.parse().ok()?, revoked_at, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_refuses_every_bad_line() {
        let id = KeyId::of(&[7; 32]);
        let good = format!("{id} 2026-01-01T00:00:00Z laptop stolen, ticket 12\n");
        let keys = RevokedKeys::parse(good.as_bytes()).unwrap();
        assert_eq!(keys.to_bytes(), good.as_bytes());
        assert_eq!(keys.get(&id).unwrap().reason, "laptop stolen, ticket 12");
        assert!(RevokedKeys::parse(b"").unwrap().is_empty());
        let bad = [
            good.trim_end().to_owned(),
            good.replace(" laptop stolen, ticket 12", ""),
            good.replace("laptop", "lap\u{1b}top"),
            good.replace("2026-01-01T00:00:00Z", "yesterday"),
            good.to_uppercase(),
            "\n".to_owned(),
            format!("{good}\n"),
        ];
        for text in bad {
            assert!(RevokedKeys::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(RevokedKeys::parse(format!("{good}junk\n").as_bytes()), Err(2));
    }

    #[test]
    fn a_missing_copy_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let paths = HostPaths::under(dir.path());
        let entry = |byte: u8| RevokedKey {
            id: KeyId::of(&[byte]),
            revoked_at: Timestamp::UNIX_EPOCH,
            reason: "lost".into(),
        };
        let list = |byte: u8| {
            let mut keys = RevokedKeys::default();
            keys.insert(entry(byte));
            keys.to_bytes()
        };
        for path in [&paths.keys_dir, &paths.state_dir] {
            durable::make_dir(path, 0o755).unwrap();
        }
        durable::write_atomic(&paths.revoked(), &list(1), 0o644).unwrap();
        durable::write_atomic(&paths.revoked_copy(), &list(2), 0o644).unwrap();
        let keys = RevokedKeys::load(&paths).unwrap();
        assert!(keys.get(&entry(1).id).is_some() && keys.get(&entry(2).id).is_some());
        std::fs::remove_file(paths.revoked()).unwrap();
        assert_eq!(RevokedKeys::load(&paths).unwrap().len(), 1);
        durable::write_atomic(&paths.revoked(), b"junk\n", 0o644).unwrap();
        assert!(matches!(RevokedKeys::load(&paths), Err(RevokedError::Line { line: 1, .. })));
    }
}
