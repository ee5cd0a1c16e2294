//! The lines of a file of dead letters, one at a time.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use aegis_telemetry::{DeadLetterRecord, RecordError};

use super::letter::Letter;
use crate::event_files::Compression;

/// Reads letters, in order. It holds one line at a time; what is longer than any letter is passed over.
pub struct LetterFile {
    path: PathBuf,
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
    has_ended: bool,
}

/// What is wrong with a file of dead letters.
#[derive(Debug, thiserror::Error)]
#[error("{}, line {number}", path.display())]
pub struct LetterFileError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub number: u64,
    /// What is wrong with it.
    #[source]
    pub fault: LetterFileFault,
}

/// What is wrong with a line of it.
#[derive(Debug, thiserror::Error)]
pub enum LetterFileFault {
    /// The system said no.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It is no letter.
    #[error(transparent)]
    Letter(RecordError),
    /// The last one has no end: whoever wrote it was killed, or is writing.
    #[error("the line is half written")]
    Cut,
}

impl LetterFileFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(_) => None,
            Self::Letter(_) => Some(
                "dead letters are those of `aegis pipeline` and of `aegis pii encrypt --on-error dead-letter`".to_owned(),
            ),
            Self::Cut => Some("the pipeline cuts it off when it starts again; its event is not in any letter".to_owned()),
        }
    }
}

impl LetterFile {
    /// Opens a file, or the standard input if it is `-`. It is decompressed if its name ends in .gz or .zst.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        match path.as_os_str() == "-" {
            true => Self::of(path, io::stdin()),
            false => Self::of(path, File::open(path)?),
        }
    }

    /// The lines that `reader` gives; `path` says what they are called and how they are compressed.
    pub(super) fn of(path: &Path, reader: impl Read + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(256 << 10, Compression::of(path).reader(reader)?),
            line: Vec::new(),
            number: 0,
            has_ended: false,
        })
    }

    /// The number of the line that was read last.
    pub const fn number(&self) -> u64 {
        self.number
    }

    fn read(&mut self) -> Option<Result<Letter, LetterFileFault>> {
        loop {
            self.number += 1;
            self.line.clear();
            let most = DeadLetterRecord::MAX_LINE as u64 + 1;
            let found = match (&mut self.reader).take(most).read_until(b'\n', &mut self.line) {
                Ok(found) => found,
                Err(error) => return self.end(LetterFileFault::Read(error)),
            };
            if found == 0 {
                self.has_ended = true;
                return None;
            }
            let has_end = self.line.pop_if(|last| *last == b'\n').is_some();
            if !has_end && found as u64 == most {
                let too_long = RecordError::TooLong { found, limit: DeadLetterRecord::MAX_LINE };
                return match self.pass_over() {
                    Ok(()) => Some(Err(LetterFileFault::Letter(too_long))),
                    Err(error) => self.end(LetterFileFault::Read(error)),
                };
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            return Some(match Letter::parse(&self.line) {
                Ok(letter) => Ok(letter),
                Err(RecordError::Malformed { .. }) if !has_end => Err(LetterFileFault::Cut),
                Err(error) => Err(LetterFileFault::Letter(error)),
            });
        }
    }

    /// After this nothing can be read.
    fn end(&mut self, fault: LetterFileFault) -> Option<Result<Letter, LetterFileFault>> {
        self.has_ended = true;
        Some(Err(fault))
    }

    /// The rest of a line.
    fn pass_over(&mut self) -> io::Result<()> {
        self.reader.skip_until(b'\n').map(drop)
    }
}

impl Iterator for LetterFile {
    type Item = Result<Letter, LetterFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let read = self.read()?;
        Some(read.map_err(|fault| LetterFileError { path: self.path.clone(), number: self.number, fault }))
    }
}

impl std::fmt::Debug for LetterFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LetterFile")
            .field("path", &self.path)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
