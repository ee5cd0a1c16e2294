//! A control group: its path, or `cgid:` and its number.

use std::borrow::Cow;
use std::fmt;

use super::number::{Field, decimal};
use super::{EntryError, Refusal, path};

/// A control group as a policy names it. Paths come before ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cgroup<'a> {
    /// An absolute path, below `/sys/fs/cgroup` or relative to that mount.
    Path(Cow<'a, str>),
    /// The kernel's number for it.
    Id(u64),
}

impl Cgroup<'_> {
    pub(super) fn into_canonical(self) -> Self {
        match self {
            Self::Path(path) => Self::Path(path::canonical_cow(path)),
            Self::Id(id) => Self::Id(id),
        }
    }

    /// True for the group that every process is in.
    pub(crate) fn is_root(&self) -> bool {
        match self {
            Self::Path(path) => matches!(path::canonical(path).as_ref(), "/" | "/sys/fs/cgroup"),
            Self::Id(id) => *id <= 1,
        }
    }
}

impl fmt::Display for Cgroup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Id(id) => write!(f, "cgid:{id}"),
        }
    }
}

pub(super) fn cgroup(text: &str) -> Result<Cgroup<'_>, Refusal> {
    if let Some(id) = text.strip_prefix("cgid:") {
        return decimal(id, Field::CgroupId, u64::MAX).map(Cgroup::Id).map_err(|refusal| refusal.shifted(5));
    }
    match path::path(text) {
        Ok(path) => Ok(Cgroup::Path(Cow::Borrowed(path))),
        Err(Refusal { error: EntryError::RelativePath, at, len }) => {
            Err(Refusal::new(at, len, EntryError::NotACgroup))
        }
        Err(refusal) => Err(refusal),
    }
}
