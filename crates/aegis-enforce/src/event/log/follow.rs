//! Following a log while it is written.
//!
//! The file is looked at again and again: what was added is read. When another file has its name, the rest of the old
//! one is read first, then what was rotated away since, then the new one from its beginning.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::{LINE_LEN, Line, LineError};
use super::reading::{Filter, Identity, open_to_read};
use super::{CURRENT, LogError, failed, numbered};

/// So many bytes are read at once: more than the longest line.
const BLOCK: u64 = 2 * 64 * 1024;
/// More files than any log has.
const MAX_FILES: u32 = 100;

/// Somebody who waits for new events.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    filter: Filter,
    /// The file that is read, and which one it is.
    open: Option<(File, Identity)>,
    /// Where the next line begins. What is there of a line whose end is not there yet is read again each time: a restart
    /// of the agent may cut it off, and put another in its place.
    offset: u64,
    /// Where a line began that was too long, and whose rest is passed over.
    passing: Option<u64>,
    number: u64,
    ready: VecDeque<Result<Line, LineError>>,
}

impl Follower {
    /// Waits for what is written from now on.
    ///
    /// # Errors
    ///
    /// [`LogError`] if the log is there and cannot be read.
    pub fn new(dir: &Path, filter: &Filter) -> Result<Self, LogError> {
        let mut follower = Self::at_nothing(dir, filter);
        let path = dir.join(CURRENT);
        follower.open = open_to_read(&path)?;
        if let Some((file, _)) = &mut follower.open {
            let len = file.metadata().map_err(failed("examine", &path))?.len();
            // A line that is being written is one that will come.
            follower.offset = super::whole_lines(file, len).map_err(failed("read", &path))?;
        }
        Ok(follower)
    }

    /// Begins with the earliest line that is kept: nothing falls between what was there and what comes.
    ///
    /// # Errors
    ///
    /// [`LogError`] if the log is there and cannot be read.
    pub fn from_earliest(dir: &Path, filter: &Filter) -> Result<Self, LogError> {
        let mut follower = Self::at_nothing(dir, filter);
        // A rotation while this looks gives files higher numbers: what was seen is opened, or an older one.
        for number in (1..MAX_FILES).rev() {
            if let Some(oldest) = open_to_read(&numbered(dir, number))? {
                follower.open = Some(oldest);
                return Ok(follower);
            }
        }
        follower.open = open_to_read(&dir.join(CURRENT))?;
        Ok(follower)
    }

    fn at_nothing(dir: &Path, filter: &Filter) -> Self {
        Self {
            dir: dir.to_owned(),
            filter: filter.clone(),
            open: None,
            offset: 0,
            passing: None,
            number: 0,
            ready: VecDeque::new(),
        }
    }

    /// What came since the last call, at most some hundred lines; an empty answer says that there is nothing now.
    ///
    /// # Errors
    ///
    /// [`LogError`] if the log cannot be read on.
    pub fn poll(&mut self) -> Result<Vec<Result<Line, LineError>>, LogError> {
        while self.ready.is_empty() {
            if self.read_block()? {
                continue;
            }
            if !self.next_file()? {
                break;
            }
        }
        Ok(self.ready.drain(..).collect())
    }

    /// Reads whole lines that were added to the file; `false` if there are none.
    fn read_block(&mut self) -> Result<bool, LogError> {
        let path = self.dir.join(CURRENT);
        let Some((file, _)) = &self.open else { return Ok(false) };
        let len = file.metadata().map_err(failed("examine", &path))?.len();
        let begun = self.passing.unwrap_or(self.offset);
        if len < begun {
            // Emptied in place by somebody else: the agent cuts off no whole line. What is there now is new.
            self.begin_anew();
        } else if len < self.offset {
            self.offset = begun;
            self.passing = None;
        }
        let Some((file, _)) = &mut self.open else { return Ok(false) };
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(failed("read", &path))?;
        file.take(BLOCK).read_to_end(&mut block).map_err(failed("read", &path))?;
        let before = self.offset;
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            self.take(line);
        }
        Ok(self.offset > before)
    }

    /// A line with its newline, or the beginning of one.
    fn take(&mut self, bytes: &[u8]) {
        let ends = bytes.ends_with(b"\n");
        if self.passing.is_some() {
            self.passing = self.passing.filter(|_| !ends);
        } else if bytes.len() > LINE_LEN.saturating_add(1) {
            self.number += 1;
            self.ready.push_back(Err(LineError::TooLong { number: self.number }));
            self.passing = (!ends).then_some(self.offset);
        } else if let Some(line) = bytes.strip_suffix(b"\n") {
            self.number += 1;
            match Line::parse(line) {
                // Nothing at all, as between what two tools wrote.
                Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(line) if self.filter.matches(&line) => self.ready.push_back(Ok(line)),
                Ok(_) => {}
                Err(source) => {
                    self.ready.push_back(Err(LineError::Malformed { number: self.number, source }));
                }
            }
        } else {
            return;
        }
        self.offset = self.offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
    }

    /// Goes on with the file that was begun after this one; `false` if there is none yet.
    fn next_file(&mut self) -> Result<bool, LogError> {
        let Some((current, identity)) = open_to_read(&self.dir.join(CURRENT))? else { return Ok(false) };
        let Some(mine) = self.open.as_ref().map(|(_, identity)| *identity) else {
            self.begin(current, identity);
            return Ok(true);
        };
        if identity == mine {
            return Ok(false);
        }
        // What was written between the last look and the rename is still to be read.
        if self.read_block()? {
            return Ok(true);
        }
        // The younger files, from the current one down to the one that was read.
        let mut younger = (current, identity);
        for number in 1..MAX_FILES {
            match open_to_read(&numbered(&self.dir, number))? {
                Some((_, identity)) if identity == mine => break,
                // Opened as the current one, and rotated since.
                Some((_, identity)) if identity == younger.1 => {}
                Some(older) => younger = older,
                None if number > 1 => break,
                None => {}
            }
        }
        self.begin(younger.0, younger.1);
        Ok(true)
    }

    fn begin(&mut self, file: File, identity: Identity) {
        self.open = Some((file, identity));
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.offset = 0;
        self.passing = None;
    }
}
