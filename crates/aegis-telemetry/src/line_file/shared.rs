//! Files of lines to which several processes add at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use super::cut_half_a_line;

/// A file to which several processes add whole lines, and no pipeline does: that has its dead letters for itself, and would
/// write over the lines of others.
#[derive(Debug)]
pub struct SharedLineFile(File);

/// Why lines cannot be added to a file.
#[derive(Debug, thiserror::Error)]
pub enum SharedLineFileError {
    /// A pipeline has it open.
    #[error("a pipeline writes to it")]
    InUse,
    /// A device, a pipe.
    #[error("it is no regular file")]
    NotAFile,
    /// The system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SharedLineFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InUse | Self::NotAFile => Some("name another file".to_owned()),
            Self::Io(_) => None,
        }
    }
}

/// Whoever cuts off half a line has the file alone for less than that.
const PATIENCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

impl SharedLineFile {
    /// Opens or makes a file, of mode 0600 if it is made. What is in it stays.
    ///
    /// # Errors
    ///
    /// A [`SharedLineFileError`].
    pub fn open(path: &Path) -> Result<Self, SharedLineFileError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(SharedLineFileError::NotAFile);
        }
        let file = Self(file);
        for _ in 0..PATIENCE {
            if file.lock(FlockOperation::NonBlockingLockShared)? {
                return Ok(file);
            }
            std::thread::sleep(PAUSE);
        }
        Err(SharedLineFileError::InUse)
    }

    /// The file.
    pub const fn file(&self) -> &File {
        &self.0
    }

    /// Adds a line, which has its end, in one piece.
    ///
    /// # Errors
    ///
    /// The system's. What was written of it is cut off, or no other line is added to it.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.ends_with_a_line()? {
            // Another process was stopped within its line; this one is not to be lost with it.
            self.0.write_all(b"\n")?;
        }
        let written = self.0.write_all(line);
        if written.is_err() {
            // There is nothing more to be done if that fails, too: the next line begins with an end of this one.
            let _ = self.cut_if_alone();
            let _ = self.lock(FlockOperation::NonBlockingLockShared);
        }
        written
    }

    fn ends_with_a_line(&self) -> io::Result<bool> {
        let Some(last) = self.0.metadata()?.len().checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        Ok(self.0.read_at(&mut byte, last)? == 0 || byte == *b"\n")
    }

    /// Cuts half a line off that was begun here, if nobody can be adding to the file now.
    fn cut_if_alone(&self) -> io::Result<()> {
        if self.lock(FlockOperation::NonBlockingLockExclusive)? {
            cut_half_a_line(&self.0, self.0.metadata()?.len())?;
        }
        Ok(())
    }

    /// Whether it has the lock now.
    fn lock(&self, operation: FlockOperation) -> io::Result<bool> {
        match rustix::fs::flock(&self.0, operation) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for SharedLineFile {
    fn drop(&mut self) {
        // Not by closing alone: a child that was just forked has the file open too.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::line_file::LineFile;

    #[test]
    fn half_a_line_of_another_process_stays_by_itself() {
        let dir = test_services::scratch::dir();
        let path = dir.path().join("letters");
        fs::write(&path, "one\ntw").unwrap();
        let mut first = SharedLineFile::open(&path).unwrap();
        first.append(b"three\n").unwrap();
        let mut second = SharedLineFile::open(&path).unwrap();
        second.append(b"four\n").unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"fi").unwrap();
        first.append(b"six\n").unwrap();
        second.append(b"seven\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\nfi\nsix\nseven\n");
    }

    #[test]
    fn a_pipeline_and_others_do_not_write_to_one_file() {
        let dir = test_services::scratch::dir();
        let path = dir.path().join("letters");
        let own = LineFile::open(&path).unwrap();
        assert!(matches!(SharedLineFile::open(&path), Err(SharedLineFileError::InUse)));
        drop(own);
        let shared = SharedLineFile::open(&path).unwrap();
        LineFile::open(&path).unwrap_err();
        drop(shared);
        LineFile::open(&path).unwrap();
    }

    #[test]
    fn a_device_is_no_file_of_lines() {
        let opened = SharedLineFile::open(Path::new("/dev/null"));
        assert!(matches!(opened, Err(SharedLineFileError::NotAFile)));
    }
}
