//! Directory trees as they are at one moment, to be held against each other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// One object of a directory tree: everything that a command could have changed about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) modified: (i64, i64),
    /// Of a file.
    pub(crate) bytes: Vec<u8>,
}

/// Everything below a root, by path.
pub(crate) type Snapshot = BTreeMap<PathBuf, Node>;

/// Everything below a directory.
pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut all = Snapshot::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let kind = metadata.file_type();
            let bytes = match () {
                // A sparse file that a test made to be too large says enough by its length.
                () if kind.is_file() && metadata.len() > 1 << 30 => metadata.len().to_le_bytes().to_vec(),
                () if kind.is_file() => fs::read(&path).unwrap(),
                () if kind.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                }
                () => Vec::new(),
            };
            if kind.is_dir() {
                open.push(path.clone());
            }
            // Temporary files come and go in a directory; what they leave behind shows by itself.
            let modified = if kind.is_dir() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
            let node =
                Node { mode: metadata.mode(), owner: (metadata.uid(), metadata.gid()), modified, bytes };
            assert!(!kind.is_socket());
            all.insert(path.strip_prefix(root).unwrap().to_owned(), node);
        }
    }
    all
}

/// Two snapshots are equal; names what is not.
#[track_caller]
pub(crate) fn same(before: &Snapshot, after: &Snapshot, what: &str) {
    for (path, node) in before {
        assert_eq!(after.get(path), Some(node), "{what}: {} was changed", path.display());
    }
    for path in after.keys() {
        assert!(before.contains_key(path), "{what}: {} was made", path.display());
    }
}
