//! What a path or a control group of a policy is on this host.

mod opened;
mod walk;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aegis_policy::Cgroup;

use self::walk::Last;
use crate::layout::FileId;

/// At most so much of `/proc/self/mountinfo` is read.
const MAX_MOUNTINFO: u64 = 16 << 20;
/// At most so many control groups are looked through for one that a policy names by its number.
const MAX_GROUPS: usize = 100_000;

/// A control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupId {
    /// The kernel's number for it.
    pub id: u64,
    /// How far below the root it is.
    pub level: u32,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or nothing that can be reached.
    Nothing,
    /// A file or a directory.
    File(FileId),
    /// A symbolic link, with what it says; none if that is no text.
    Link(Option<String>),
}

/// Answers what names mean. The host itself, or what a test makes up.
pub trait Resolver {
    /// The file that `path` names, links followed; none if there is none.
    fn file(&self, path: &str) -> Option<FileId>;
    /// What is at `path`: links on the way are followed, one at its end is not.
    fn look(&self, path: &str) -> Found;
    /// The control group; none if there is none.
    fn group(&self, group: &Cgroup<'_>) -> Option<GroupId>;
}

/// This host. It keeps the directory open that it was asked about last, so it is to be gone when the answers are there.
#[derive(Debug)]
pub struct HostResolver {
    groups: Option<PathBuf>,
    /// Asked about files on file systems whose `stat` is not what the kernel's hooks see.
    opened: OnceCell<Option<opened::Opened>>,
    /// Groups by number, once a policy has asked for one that way.
    by_id: OnceCell<HashMap<u64, u32>>,
    walk: RefCell<walk::Walk>,
}

impl HostResolver {
    /// Looks where control groups of version 2 are mounted.
    pub fn new() -> Self {
        Self {
            groups: group_mount(),
            opened: OnceCell::new(),
            by_id: OnceCell::new(),
            walk: RefCell::default(),
        }
    }

    /// Where control groups are mounted.
    pub fn group_mount(&self) -> Option<&Path> {
        self.groups.as_deref()
    }

    /// The control group at a directory.
    pub fn group_at(&self, directory: &Path) -> Option<GroupId> {
        let root = self.groups.as_deref()?;
        let below = directory.strip_prefix(root).ok()?;
        let metadata = directory.metadata().ok().filter(std::fs::Metadata::is_dir)?;
        let level = u32::try_from(below.components().count()).ok()?;
        Some(GroupId { id: metadata.ino(), level })
    }

    fn as_hooks_see(&self, path: &str, seen: walk::Seen) -> FileId {
        if !seen.differs {
            return seen.file;
        }
        let opened = self.opened.get_or_init(|| opened::Opened::new().ok());
        // Where the kernel does not answer, it enforces nothing by this number either: there is no BPF-LSM.
        opened.as_ref().and_then(|opened| opened.file(path)).unwrap_or(seen.file)
    }

    fn levels(&self) -> &HashMap<u64, u32> {
        self.by_id.get_or_init(|| self.groups.as_deref().map(all_groups).unwrap_or_default())
    }
}

impl Default for HostResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver for HostResolver {
    fn file(&self, path: &str) -> Option<FileId> {
        let seen = self.walk.borrow_mut().file(path, Last::Followed)?;
        Some(self.as_hooks_see(path, seen))
    }

    fn look(&self, path: &str) -> Found {
        let Some(seen) = self.walk.borrow_mut().file(path, Last::Itself) else { return Found::Nothing };
        if seen.is_link {
            let target = rustix::fs::readlink(path, Vec::new()).ok();
            return Found::Link(target.and_then(|target| target.into_string().ok()));
        }
        Found::File(self.as_hooks_see(path, seen))
    }

    fn group(&self, group: &Cgroup<'_>) -> Option<GroupId> {
        match group {
            Cgroup::Id(id) => self.levels().get(id).map(|level| GroupId { id: *id, level: *level }),
            Cgroup::Path(path) => {
                let root = self.groups.as_deref()?;
                let path = Path::new(path.as_ref());
                // Below the mount, or as it is written in /proc/PID/cgroup.
                let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/sys/fs/cgroup"));
                let below = below.or_else(|_| path.strip_prefix("/")).ok()?;
                if below.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
                    return None;
                }
                self.group_at(&root.join(below))
            }
        }
    }
}

/// The first mount of control groups of version 2.
pub fn group_mount() -> Option<PathBuf> {
    let file = File::open("/proc/self/mountinfo").ok()?;
    BufReader::new(file.take(MAX_MOUNTINFO)).lines().map_while(Result::ok).find_map(|line| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw (proc_pid_mountinfo(5))
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(unescaped(at)))
    })
}

/// A file of `/proc`, whose length nobody knows before it is read; empty if it cannot be.
pub(crate) fn read_proc(path: &str, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    match File::open(path).map(|file| file.take(limit).read_to_end(&mut bytes)) {
        Ok(Ok(_)) => bytes,
        _ => Vec::new(),
    }
}

/// Spaces and such are in octal there.
pub(crate) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn all_groups(root: &Path) -> HashMap<u64, u32> {
    let mut found = HashMap::new();
    let mut waiting = vec![(root.to_path_buf(), 0)];
    while let Some((directory, level)) = waiting.pop() {
        if found.len() >= MAX_GROUPS {
            break;
        }
        let Ok(metadata) = directory.metadata() else { continue };
        found.insert(metadata.ino(), level);
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(below.map(|entry| (entry.path(), level + 1)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_as_it_is() {
        assert_eq!(unescaped(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(unescaped(r"/mnt/\xyz"), r"/mnt/\xyz");
    }

    #[test]
    fn a_file_is_the_one_that_stat_names() {
        let id = HostResolver::new().file("/etc/passwd").expect("every host has it");
        assert_eq!(id.inode, std::fs::metadata("/etc/passwd").expect("it").ino());
        assert_eq!(HostResolver::new().file("/etc/passwd/none"), None);
    }
}
