//! A file that has its name only when all of it is written.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags};

/// A file on its way to its name. Where the file system allows it, it has no name at all until then, so that a killed
/// program leaves nothing behind; elsewhere it has a hidden one beside it.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    target: PathBuf,
    temp: PathBuf,
    /// Whether `temp` is there, and to be removed if this is given up.
    has_temp: bool,
}

impl NewFile {
    pub(super) fn begin(target: &Path, mode: u32) -> io::Result<Self> {
        let dir = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        let temp = target.with_file_name(name);
        let flags = (OFlags::TMPFILE | OFlags::CLOEXEC).bits().cast_signed();
        let unnamed = OpenOptions::new().write(true).mode(mode).custom_flags(flags).open(dir);
        let (file, has_temp) = match unnamed {
            Ok(file) => (file, false),
            // Not every file system has it; what else is wrong, this says too.
            Err(_) => (OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp)?, true),
        };
        Ok(Self { file, target: target.to_owned(), temp, has_temp })
    }

    /// The file, to write to.
    ///
    /// # Errors
    ///
    /// There are no more file descriptors.
    pub fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the file its name, when it is on the disk. What had the name before is gone then.
    ///
    /// # Errors
    ///
    /// What had the name before still has it.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if !self.has_temp {
            let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, open.as_str(), CWD, &self.temp, AtFlags::SYMLINK_FOLLOW)?;
            self.has_temp = true;
        }
        fs::rename(&self.temp, &self.target)?;
        self.has_temp = false;
        aegis_durable::sync_parent(&self.target).map_err(|error| error.source)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.has_temp {
            // It is of no use; what went wrong is reported already.
            let _ = fs::remove_file(&self.temp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn names(dir: &Path) -> Vec<OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn has_its_name_when_it_is_finished_and_leaves_nothing_when_it_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::write(&target, "old").unwrap();
        let given_up = NewFile::begin(&target, 0o600).unwrap();
        given_up.writer().unwrap().write_all(b"half").unwrap();
        drop(given_up);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let finished = NewFile::begin(&target, 0o600).unwrap();
        finished.writer().unwrap().write_all(b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        finished.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["out"]);
    }
}
