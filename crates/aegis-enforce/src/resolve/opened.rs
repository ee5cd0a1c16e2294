//! Which file a path is to the kernel, asked of the kernel: the path is opened without any right to its content, and a
//! program looks at what this process has open.

use std::fmt;
use std::io::{Read, Take};
use std::os::fd::{AsRawFd as _, OwnedFd};

use libbpf_rs::{Iter, Link, ObjectBuilder};
use rustix::fs::{Mode, OFlags, open, statfs};

use crate::layout::{FileId, u32_at, u64_at};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/resolve.bpf.o"));
/// Bytes of an answer: inode, device, descriptor.
const ANSWER: usize = 16;
/// At most so many answers are read: a process has as many descriptors, and this one has few.
const MAX_ANSWERS: u64 = 1 << 20;

/// `f_type` of file systems that tell `stat` other numbers than their inodes have (linux/magic.h).
const DIFFERENT: [i64; 4] = [
    0x794c_7630, // overlay
    0x9123_683e, // btrfs: a device for each subvolume
    0xca45_1a4e, // bcachefs: the same
    0xf15f,      // ecryptfs
];

/// Whether `stat` of a file there may tell other numbers than a hook sees.
pub(super) fn differs_from_stat(path: &str) -> bool {
    statfs(path).is_ok_and(|stat| DIFFERENT.contains(&stat.f_type))
}

/// A program that says what this process has open.
pub(super) struct Opened(Link);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl Opened {
    pub(super) fn new() -> Result<Self, libbpf_rs::Error> {
        let object = ObjectBuilder::default().name("aegis_resolve")?.open_memory(OBJECT)?.load()?;
        let program = object.progs_mut().find(|program| program.name() == "aegis_opened");
        let absent = || libbpf_rs::Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        program.ok_or_else(absent)?.attach_trace().map(Self)
    }

    /// The file that `path` names, links followed.
    pub(super) fn file(&self, path: &str) -> Option<FileId> {
        let descriptor: OwnedFd = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let wanted = u32::try_from(descriptor.as_raw_fd()).ok()?;
        let mut answers: Take<Iter> = Iter::new(&self.0).ok()?.take(MAX_ANSWERS * ANSWER as u64);
        let mut all = Vec::new();
        answers.read_to_end(&mut all).ok()?;
        let found = all.chunks_exact(ANSWER).find(|answer| u32_at(answer, 12) == wanted)?;
        Some(FileId { inode: u64_at(found, 0), device: u32_at(found, 8) })
    }
}
