//! Where paths lead. Those of one directory, which follow each other in a policy, share the way to it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, lstat, open, stat, statx};
use rustix::io::Errno;

use super::opened::differs_from_stat;
use crate::layout::FileId;

/// The way to the last directory, and what kinds of file systems were seen.
#[derive(Debug, Default)]
pub(super) struct Walk {
    directory: String,
    way: Way,
    /// Whether `stat` on a mount may tell other numbers than a hook sees, by the kernel's number for the mount.
    mounts: HashMap<u64, bool>,
    /// The one that was seen last.
    last_mount: Option<(u64, bool)>,
}

/// How far a directory is known.
#[derive(Debug, Default)]
enum Way {
    /// It was asked about once.
    #[default]
    Once,
    /// It was asked about twice, and is open.
    Open(OwnedFd),
    /// It could not be opened.
    None,
}

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) file: FileId,
    /// A hook may see other numbers.
    pub(super) differs: bool,
    /// It is a symbolic link, which was not followed.
    pub(super) is_link: bool,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Followed,
    Itself,
}

impl Walk {
    /// The file that `path` names, links on the way followed.
    pub(super) fn file(&mut self, path: &str, last: Last) -> Option<Seen> {
        match self.look(path, last) {
            Ok(seen) => {
                let file = FileId::of_numbers(seen.stx_dev_major, seen.stx_dev_minor, seen.stx_ino);
                let differs = match seen.stx_mask & StatxFlags::MNT_ID.bits() {
                    0 => differs_from_stat(path),
                    _ => self.differs(seen.stx_mnt_id, path),
                };
                Some(Seen { file, differs, is_link: is_link(seen.stx_mode.into()) })
            }
            // Some sandboxes know no statx(2).
            Err(Errno::NOSYS | Errno::PERM) => {
                let seen = if last == Last::Itself { lstat(path) } else { stat(path) }.ok()?;
                let file = FileId::of_stat(seen.st_dev, seen.st_ino);
                Some(Seen { file, differs: differs_from_stat(path), is_link: is_link(seen.st_mode) })
            }
            Err(_) => None,
        }
    }

    /// What is mounted there has one file system.
    fn differs(&mut self, mount: u64, path: &str) -> bool {
        match self.last_mount {
            Some((last, differs)) if last == mount => differs,
            _ => {
                let differs = *self.mounts.entry(mount).or_insert_with(|| differs_from_stat(path));
                self.last_mount = Some((mount, differs));
                differs
            }
        }
    }

    fn look(&mut self, path: &str, last: Last) -> Result<Statx, Errno> {
        if let Way::Open(directory) = &self.way
            && let Some(name) = path.strip_prefix(&self.directory).and_then(|rest| rest.strip_prefix('/'))
            && !name.is_empty()
            && !name.as_bytes().contains(&b'/')
        {
            return ask(directory, name, last);
        }
        let (directory, name) = path.rsplit_once('/').unwrap_or_default();
        if directory.is_empty() || name.is_empty() {
            return ask(CWD, path, last);
        }
        if self.directory != directory {
            self.directory.clear();
            self.directory.push_str(directory);
            self.way = Way::Once;
            return ask(CWD, path, last);
        }
        if matches!(self.way, Way::Once) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.way = open(directory, flags, Mode::empty()).map_or(Way::None, Way::Open);
        }
        match &self.way {
            Way::Open(directory) => ask(directory, name, last),
            Way::Once | Way::None => ask(CWD, path, last),
        }
    }
}

fn ask(directory: impl std::os::fd::AsFd, path: &str, last: Last) -> Result<Statx, Errno> {
    let follow = if last == Last::Itself { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
    statx(directory, path, AtFlags::NO_AUTOMOUNT | follow, wanted)
}

fn is_link(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Symlink
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use test_services::scratch;

    use super::*;

    /// One after the other, so that each is asked about on its own, and beside others of its directory.
    #[test]
    fn what_a_path_names_is_what_stat_says() {
        let scratch = scratch::dir();
        let root = scratch.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for file in ["a/1", "a/2", "a/3", "a/b/1", "a/b/2", "top"] {
            fs::write(root.join(file), "x").unwrap();
        }
        symlink("../top", root.join("a/link")).unwrap();
        symlink("a", root.join("to-a")).unwrap();
        let mut walk = Walk::default();
        for name in [
            "a/1",
            "a/2",
            "a/link",
            "a/none",
            "a/3",
            "a/b/1",
            "a/b/..",
            "a/b/.",
            "a/b/2",
            "a/b",
            "a",
            "top",
            "to-a/1",
            "to-a/2",
            "to-a/link",
            "gone/1",
            "gone/2",
            "gone/3",
            "top/1",
            "top/2",
            "a/b/",
            "a/1",
        ] {
            let path = root.join(name).to_str().unwrap().to_owned();
            let expected = fs::metadata(&path).ok().map(|meta| FileId::of_stat(meta.dev(), meta.ino()));
            assert_eq!(walk.file(&path, Last::Followed).map(|seen| seen.file), expected, "{name}");
            let itself = fs::symlink_metadata(&path).ok();
            let itself = itself.map(|meta| (FileId::of_stat(meta.dev(), meta.ino()), meta.is_symlink()));
            let seen = walk.file(&path, Last::Itself);
            assert_eq!(seen.map(|seen| (seen.file, seen.is_link)), itself, "{name} itself");
        }
        for path in ["/", "/proc", "/proc/self/exe", "/proc/self", "/etc/passwd", "/etc/none"] {
            let expected = fs::metadata(path).ok().map(|meta| FileId::of_stat(meta.dev(), meta.ino()));
            assert_eq!(walk.file(path, Last::Followed).map(|seen| seen.file), expected, "{path}");
        }
    }

    #[test]
    fn a_directory_that_was_replaced_is_found_when_it_is_asked_for_again() {
        let scratch = scratch::dir();
        let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
        let make = || {
            fs::create_dir(path("a")).unwrap();
            ["a/1", "a/2"].iter().for_each(|file| fs::write(path(file), "x").unwrap());
        };
        make();
        let mut walk = Walk::default();
        let file = |walk: &mut Walk, name| walk.file(&path(name), Last::Followed);
        let first = [file(&mut walk, "a/1"), file(&mut walk, "a/2")];
        fs::rename(path("a"), path("b")).unwrap();
        make();
        assert_ne!(file(&mut walk, "b"), None);
        assert!(file(&mut walk, "a/2").is_some_and(|seen| Some(seen) != first[1]));
    }
}
