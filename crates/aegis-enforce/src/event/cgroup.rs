//! The path of a control group, by its number.
//!
//! The number is that of the inode of its directory. The process whose event it is most likely still there, and its
//! `/proc/PID/cgroup` names the path, which is believed if the directory has that number. If not, the whole tree is
//! looked through, but not again and again: events come by the thousand.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// At most so many numbers are remembered; then all are forgotten.
const MAX_REMEMBERED: usize = 4096;
/// At most so many directories are looked at in one walk.
const MAX_WALKED: usize = 20_000;
/// At least so long between two walks.
const BETWEEN_WALKS: Duration = Duration::from_secs(5);
/// More than a line of `/proc/PID/cgroup` has.
const MAX_LISTING: u64 = 16 * 1024;
/// The longest path that is shown.
const MAX_PATH: usize = 4096;

/// Deeper than this, the kernel's programs tell no groups apart.
pub(super) const LEVELS: usize = 16;

/// What is known of a control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path below the mount, beginning with a slash.
    pub(super) path: PathBuf,
    /// The numbers of the groups above it, that of the root first.
    pub(super) above: Vec<u64>,
}

/// The numbers of the groups above `path`, which is one below `mount` with or without a slash before it. None if one of
/// them is gone.
pub(crate) fn numbers_above(mount: &Path, path: &Path) -> Option<Vec<u64>> {
    let path = path.strip_prefix("/").unwrap_or(path);
    // A group outside of this namespace is written with `..`.
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above.truncate(LEVELS);
    above
        .into_iter()
        .map(|path| fs::symlink_metadata(mount.join(path)).ok().map(|found| found.ino()))
        .collect()
}

/// The control groups of a host, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Cgroups {
    mount: PathBuf,
    known: HashMap<u64, PathBuf>,
    above: HashMap<u64, Vec<u64>>,
    walked: Option<Instant>,
}

impl Cgroups {
    pub(super) fn new(mount: &Path) -> Self {
        Self { mount: mount.to_owned(), known: HashMap::new(), above: HashMap::new(), walked: None }
    }

    /// A control group. `listing` is `/proc/PID/cgroup` of a process
    /// that is most likely in it.
    pub(super) fn find(&mut self, id: u64, listing: &Path) -> Option<Found> {
        if !self.known.contains_key(&id) {
            if self.known.len() >= MAX_REMEMBERED {
                self.known.clear();
                self.above.clear();
            }
            if let Some(path) = self.listed(id, listing) {
                self.known.insert(id, path);
            } else {
                self.walk(id);
            }
        }
        let path = self.known.get(&id)?.clone();
        let above = match self.above.get(&id) {
            Some(above) => above.clone(),
            None => {
                let above = numbers_above(&self.mount, &path).unwrap_or_default();
                self.above.insert(id, above.clone());
                above
            }
        };
        Some(Found { path, above })
    }

    /// The path that the process is listed under, if it is the one that is asked for.
    fn listed(&self, id: u64, listing: &Path) -> Option<PathBuf> {
        let mut text = Vec::new();
        fs::File::open(listing).ok()?.take(MAX_LISTING).read_to_end(&mut text).ok()?;
        let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
        let path = Path::new(OsStr::from_bytes(line));
        // For a group outside of this namespace the kernel writes `..`, which here would lead to something else.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let found = fs::symlink_metadata(self.mount.join(path)).ok()?;
        let path = Path::new("/").join(path);
        (found.ino() == id && found.is_dir() && path.as_os_str().len() <= MAX_PATH).then_some(path)
    }

    /// Looks through the tree, and remembers what it finds on the way.
    fn walk(&mut self, id: u64) {
        if fs::symlink_metadata(&self.mount).is_ok_and(|root| root.ino() == id) {
            self.known.insert(id, PathBuf::from("/"));
            return;
        }
        if self.walked.is_some_and(|last| last.elapsed() < BETWEEN_WALKS) {
            return;
        }
        let mut waiting = vec![PathBuf::new()];
        let mut left = MAX_WALKED;
        while let Some(directory) = waiting.pop() {
            let Ok(entries) = fs::read_dir(self.mount.join(&directory)) else { continue };
            // A group that goes away while it is read is no longer one.
            for entry in entries.map_while(Result::ok) {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let Some(rest) = left.checked_sub(1) else { break };
                left = rest;
                let path = directory.join(entry.file_name());
                if path.as_os_str().len() >= MAX_PATH {
                    continue;
                }
                if entry.ino() == id || self.known.len() < MAX_REMEMBERED / 2 {
                    self.known.insert(entry.ino(), Path::new("/").join(&path));
                }
                waiting.push(path);
            }
        }
        self.walked = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(path: &Path) -> u64 {
        fs::symlink_metadata(path).unwrap().ino()
    }

    fn path_of(groups: &mut Cgroups, id: u64, listing: &Path) -> Option<PathBuf> {
        groups.find(id, listing).map(|found| found.path)
    }

    #[test]
    fn the_numbers_above_a_group_are_those_of_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("cgroup");
        let deep = format!("a/b{}", "/x".repeat(20));
        fs::create_dir_all(mount.join(&deep)).unwrap();
        let nowhere = dir.path().join("none");
        let mut groups = Cgroups::new(&mount);
        let (root, a, b) = (inode(&mount), inode(&mount.join("a")), inode(&mount.join("a/b")));
        let mut above = |id| groups.find(id, &nowhere).unwrap().above;
        assert_eq!((above(b), above(a), above(root)), (vec![root, a], vec![root], vec![]));
        assert_eq!(above(b), [root, a], "and once more");
        let deepest = above(inode(&mount.join(&deep)));
        assert_eq!((deepest.len(), &deepest[..3]), (LEVELS, &[root, a, b][..]));
        assert_eq!(numbers_above(&mount, Path::new("/a/none/c")), None, "it is gone");
        assert_eq!(numbers_above(&mount, Path::new("/../a/b")), None, "it is not below the mount");
    }

    #[test]
    fn finds_a_group_by_the_listing_of_its_process_or_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("cgroup");
        fs::create_dir_all(mount.join("a/b")).unwrap();
        fs::create_dir_all(mount.join("c")).unwrap();
        let listing = dir.path().join("listing");
        fs::write(&listing, "1:name=systemd:/x\n0::/a/b\n").unwrap();
        let nowhere = dir.path().join("none");

        let mut groups = Cgroups::new(&mount);
        assert_eq!(path_of(&mut groups, inode(&mount.join("a/b")), &listing), Some(PathBuf::from("/a/b")));
        assert_eq!(groups.known.len(), 1, "nothing had to be looked for");
        // The listing is of a process that has moved, or of another one.
        assert_eq!(path_of(&mut groups, inode(&mount.join("c")), &listing), Some(PathBuf::from("/c")));
        assert_eq!(path_of(&mut groups, inode(&mount.join("a")), &nowhere), Some(PathBuf::from("/a")));

        let mut groups = Cgroups::new(&mount);
        assert_eq!(path_of(&mut groups, inode(&mount), &nowhere), Some(PathBuf::from("/")));
        assert_eq!(path_of(&mut groups, 1, &nowhere), None);
        assert!(groups.walked.is_some());
        fs::create_dir(mount.join("late")).unwrap();
        assert_eq!(path_of(&mut groups, inode(&mount.join("late")), &nowhere), None, "one walk in a while");
    }

    #[test]
    fn a_listing_leads_to_no_other_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("cgroup");
        fs::create_dir_all(&mount).unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let listing = dir.path().join("listing");
        for hostile in ["0::/../outside\n", "0::/\0\n", "0::", "", "0::/no/such\n"] {
            fs::write(&listing, hostile).unwrap();
            let mut groups = Cgroups::new(&mount);
            assert_eq!(path_of(&mut groups, u64::MAX, &listing), None, "{hostile:?}");
        }
        fs::write(&listing, "0::/../outside\n").unwrap();
        assert_eq!(path_of(&mut Cgroups::new(&mount), inode(&outside), &listing), None);
    }
}
