//! The file that a question is about.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};
use rustix::io::Errno;

use crate::layout::FileId;

/// Seconds and nanoseconds.
pub(super) type Instant = (i64, u32);

/// A file, as far as it can be told from others, and from itself before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) id: FileId,
    pub(super) size: u64,
    /// When content, owner, mode or links changed last.
    pub(super) changed: Instant,
    /// When the inode began to be this file, where the file system keeps that.
    pub(super) born: Option<Instant>,
    /// Names that it has; none, once it was removed.
    pub(super) links: u32,
    mode: u16,
    owner: u32,
}

impl Subject {
    /// What `path` names, links followed. That is no opening, so no event comes of it.
    pub(super) fn at(path: &Path) -> Result<Self, Errno> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let found = rustix::fs::statx(CWD, path, AtFlags::empty(), mask)?;
        let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        let instant = |time: rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
        let has_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        Ok(Self {
            id: FileId::of_stat(device, found.stx_ino),
            size: found.stx_size,
            changed: instant(found.stx_ctime),
            born: has_birth.then(|| instant(found.stx_btime)),
            links: found.stx_nlink,
            mode: found.stx_mode,
            owner: found.stx_uid,
        })
    }

    pub(super) fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    /// Whether only root can have changed it.
    pub(super) fn only_root_writes(&self) -> bool {
        self.owner == 0 && self.mode & 0o022 == 0
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode.into())
    }
}
