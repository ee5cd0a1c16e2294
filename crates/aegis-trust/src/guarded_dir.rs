//! A directory that a host decides by, read through one handle of it: one that is swapped while it is read gives the old
//! files or the new ones, never a mix.

use std::{
    fs::{File, Metadata},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use crate::durable::{self, ReadError};

/// Whose directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The host's own: no link, and nobody else could have changed it.
    Own,
    /// One that somebody named; what is in it is believed for other reasons.
    Offered,
}

/// A directory that was opened.
pub(crate) struct GuardedDir {
    handle: File,
    path: PathBuf,
    guard: Guard,
}

/// A file of it.
pub(crate) struct GuardedFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) metadata: Metadata,
}

/// Why a directory, or a file in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GuardedDirError {
    /// The directory cannot be opened or listed.
    #[error("cannot read the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory is a link: whoever owns the link chooses what is in it.
    #[error("the directory {} is a symbolic link or not a directory", path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else could have changed it.
    #[error("{} {problem}", path.display())]
    Permissions {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// More files than are ever needed.
    #[error("{} holds more than {most} such files", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The most.
        most: usize,
    },
    /// A file cannot be read, or is a link, FIFO, directory or too large.
    #[error("a file in it cannot be read")]
    File {
        /// Why, with the path.
        source: ReadError,
    },
}

impl GuardedDirError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Directory { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or as the owner of the directory".to_owned()
            }
            Self::Directory { .. } => return None,
            Self::NotADirectory { path } => format!("make {} a directory of its own", path.display()),
            Self::Permissions { path, .. } => format!(
                "find out who could have changed it, check what is in it, then `chown root {0}` and `chmod go-w {0}`",
                path.display()
            ),
            Self::TooMany { path, .. } => {
                format!("find out who put them there, and move those not in use out of {}", path.display())
            }
            Self::File { source } => return source.help(),
        })
    }
}

impl GuardedDir {
    /// Opens a directory; `None` if there is none.
    pub(crate) fn open(path: &Path, guard: Guard) -> Result<Option<Self>, GuardedDirError> {
        let broken = |source| GuardedDirError::Directory { path: path.to_owned(), source };
        let mut flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        if guard == Guard::Own {
            flags |= OFlags::NOFOLLOW;
        }
        let handle = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                return Err(GuardedDirError::NotADirectory { path: path.to_owned() });
            }
            Err(errno) => return Err(broken(errno.into())),
        };
        if guard == Guard::Own
            && let Some(problem) = durable::insecure(&handle.metadata().map_err(broken)?)
        {
            return Err(GuardedDirError::Permissions { path: path.to_owned(), problem });
        }
        Ok(Some(Self { handle, path: path.to_owned(), guard }))
    }

    /// The names that end in `ending` and do not begin with a dot, sorted; at most `most`.
    pub(crate) fn names(&self, ending: &str, most: usize) -> Result<Vec<String>, GuardedDirError> {
        let broken = |source: io::Error| GuardedDirError::Directory { path: self.path.clone(), source };
        let listing = rustix::fs::Dir::read_from(&self.handle).map_err(|errno| broken(errno.into()))?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|errno| broken(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if name.starts_with(b".") || !name.ends_with(ending.as_bytes()) {
                continue;
            }
            let name = std::str::from_utf8(name).map_err(|_| GuardedDirError::Permissions {
                path: self.path.join(name.escape_ascii().to_string()),
                problem: "has a name that is not UTF-8".to_owned(),
            })?;
            names.push(name.to_owned());
            if names.len() > most {
                return Err(GuardedDirError::TooMany { path: self.path.clone(), most });
            }
        }
        names.sort();
        Ok(names)
    }

    /// Reads a file of at most `limit` bytes; `None` if there is none.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Option<GuardedFile>, GuardedDirError> {
        let path = self.path.join(name);
        let failed = |source| GuardedDirError::File { source };
        // NONBLOCK: opening a FIFO must not wait for a writer.
        let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        if self.guard == Guard::Own {
            flags |= OFlags::NOFOLLOW;
        }
        let file: OwnedFd = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(failed(ReadError::Link { path })),
            // A socket answers so.
            Err(rustix::io::Errno::NXIO) => {
                return Err(failed(ReadError::NotAFile { path, kind: "a socket" }));
            }
            Err(errno) => return Err(failed(ReadError::Open { path, source: errno.into() })),
        };
        let file = File::from(file);
        let metadata =
            file.metadata().map_err(|source| failed(ReadError::Read { path: path.clone(), source }))?;
        durable::check_regular(&metadata, &path).map_err(failed)?;
        if self.guard == Guard::Own
            && let Some(problem) = durable::insecure(&metadata)
        {
            return Err(GuardedDirError::Permissions { path, problem });
        }
        let bytes = durable::read_open(file, &path, metadata.len(), limit).map_err(failed)?;
        Ok(Some(GuardedFile { path, bytes, metadata }))
    }
}
