//! Private directories beside the build, never in a directory that others can write to.

use std::path::{Path, PathBuf};

/// The workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where cargo builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// A directory of mode 0700 that is removed when it is dropped.
pub fn dir() -> tempfile::TempDir {
    let parent = target_dir().join("tmp");
    std::fs::create_dir_all(&parent).unwrap();
    tempfile::TempDir::new_in(parent).unwrap()
}
