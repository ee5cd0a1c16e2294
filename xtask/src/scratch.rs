//! A private directory that is removed again.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::{Failure, Outcome};

/// Whether a directory outlives the command that made it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

/// A new directory that only its owner can enter.
pub(crate) struct Scratch {
    path: PathBuf,
    keep: Keep,
}

impl Scratch {
    /// Makes the directory, 0700, below the directory for temporary files.
    pub(crate) fn new(name: &str, keep: Keep) -> Outcome<Self> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = std::env::temp_dir().join(format!("{name}-{}-{nanos}", std::process::id()));
        // `create` fails if something is there already, a link included.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(Failure::of(format_args!("make {}", path.display())))?;
        Ok(Self { path, keep })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into the directory.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.path.join(name);
        std::fs::write(&path, bytes).map_err(Failure::of(format_args!("write {}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match self.keep {
            Keep::Yes => eprintln!("kept: {}", self.path.display()),
            Keep::No => {
                if let Err(error) = std::fs::remove_dir_all(&self.path) {
                    eprintln!("warning: cannot remove {}: {error}", self.path.display());
                }
            }
        }
    }
}
