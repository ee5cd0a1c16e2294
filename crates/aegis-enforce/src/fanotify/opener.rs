//! The process that waits for an answer.
//!
//! It waits, so what `/proc` tells is about it and about no other that was given its number since; unless it was killed,
//! and then no answer matters to it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::rules::GroupName;
use super::subject::Subject;

/// At most so much of a file in `/proc` is read.
const MAX_TEXT: u64 = 64 << 10;

/// A process, by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opener(pub(super) i32);

impl Opener {
    /// The program that it runs.
    pub(super) fn program(self) -> Option<Subject> {
        Subject::at(&self.program_link()?).ok()
    }

    /// The same, opened: an event for this process itself, which another thread has to answer.
    pub(super) fn open_program(self) -> io::Result<File> {
        File::open(self.program_link().ok_or(io::ErrorKind::NotFound)?)
    }

    /// Whether it is in the group or below it.
    pub(super) fn in_group(self, group: &GroupName, mount: Option<&Path>) -> bool {
        let Some(mine) = self.group() else { return false };
        match group {
            GroupName::Path(path) => {
                let path = Path::new(path);
                let stripped = mount.and_then(|mount| path.strip_prefix(mount).ok());
                let stripped = stripped.or_else(|| path.strip_prefix("/sys/fs/cgroup").ok());
                let below = stripped.or_else(|| path.strip_prefix("/").ok());
                below.is_some_and(|below| mine.starts_with(Path::new("/").join(below)))
            }
            GroupName::Id(id) => mount.is_some_and(|mount| {
                mine.ancestors().any(|ancestor| {
                    let below = ancestor.strip_prefix("/").unwrap_or(ancestor);
                    mount.join(below).metadata().is_ok_and(|metadata| metadata.ino() == *id)
                })
            }),
        }
    }

    /// A path as this process sees it.
    pub(super) fn below_root(self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix("/").ok()?;
        (self.0 > 0).then(|| PathBuf::from(format!("/proc/{}/root", self.0)).join(below))
    }

    /// Who started it, or took it over.
    pub(super) fn parent(self) -> Option<i32> {
        let text = self.text("stat")?;
        // The name of the program is in parentheses, and may have some of its own.
        let (_, rest) = text.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Its control group of version 2, from the root of those that can be seen here.
    pub(super) fn group(self) -> Option<PathBuf> {
        let text = self.text("cgroup")?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let path = Path::new(path);
        // One that is outside of our own root begins with `..`.
        let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        (plain && path.is_absolute()).then(|| path.to_path_buf())
    }

    fn program_link(self) -> Option<PathBuf> {
        (self.0 > 0).then(|| PathBuf::from(format!("/proc/{}/exe", self.0)))
    }

    fn text(self, file: &str) -> Option<String> {
        let file = (self.0 > 0).then(|| File::open(format!("/proc/{}/{file}", self.0)))?.ok()?;
        let mut text = Vec::new();
        file.take(MAX_TEXT).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}
