//! One line of the log.

use std::io::{self, BufRead};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Event, stamp};

/// The longest line, in bytes, its newline not counted. No event is longer: its paths are bounded.
pub const LINE_LEN: usize = 64 * 1024;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// Something was denied, or would have been.
    Event(Box<Event>),
    /// Events of which nothing more is known.
    Lost(Lost),
}

/// Events that were counted and not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When the loss was written down.
    #[serde(with = "stamp")]
    pub time: Timestamp,
    /// How many.
    pub lost: u64,
}

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The file could not be read on.
    #[error("cannot read on")]
    Io {
        /// Why.
        #[from]
        source: io::Error,
    },
    /// Longer than any event.
    #[error("line {number} has more than {LINE_LEN} bytes")]
    TooLong {
        /// The line, from 1.
        number: u64,
    },
    /// Not JSON, or not an event.
    #[error("line {number} is not an event")]
    Malformed {
        /// The line, from 1.
        number: u64,
        /// What the parser says.
        source: serde_json::Error,
    },
}

impl LineError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Io { .. } => None,
            Self::TooLong { .. } | Self::Malformed { .. } => {
                Some("name a file of events, as `aegisbpf events --json` prints them".to_owned())
            }
        }
    }
}

impl Line {
    /// Reads a line, without its newline.
    ///
    /// # Errors
    ///
    /// What the parser says about it as an event.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Event>(bytes)
            .map(|event| Self::Event(Box::new(event)))
            .or_else(|error| serde_json::from_slice(bytes).map(Self::Lost).map_err(|_| error))
    }

    /// When it happened, or was written down.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Event(event) => event.time,
            Self::Lost(lost) => lost.time,
        }
    }
}

/// Adds a value and a newline. Its texts are escaped already, so plain JSON is safe to show.
pub(super) fn print<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, value)
        .expect("a vector takes every write, and no map has a key but text");
    out.push(b'\n');
}

/// The lines of a file or a stream, with bounded memory. A line without a newline at the end is one that is being
/// written, and is left out.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    number: u64,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads from here.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), number: 0, ended: false }
    }

    /// The next line with its newline, at most one byte longer than a line may be; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let limit = u64::try_from(LINE_LEN).unwrap_or(u64::MAX).saturating_add(1);
        let len = io::Read::take(&mut self.from, limit).read_until(b'\n', &mut self.buffer)?;
        Ok(len > 0)
    }

    fn read(&mut self) -> Result<Option<Line>, LineError> {
        loop {
            if !self.fill()? {
                return Ok(None);
            }
            self.number += 1;
            let number = self.number;
            if let Some(line) = self.buffer.strip_suffix(b"\n") {
                // Between what two tools wrote there may be nothing.
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Line::parse(line).map(Some).map_err(|source| LineError::Malformed { number, source });
            }
            if self.buffer.len() <= LINE_LEN {
                return Ok(None);
            }
            while self.fill()? && !self.buffer.ends_with(b"\n") {}
            return Err(LineError::TooLong { number });
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.read().transpose();
        self.ended = matches!(line, None | Some(Err(LineError::Io { .. })));
        line
    }
}
