//! Lines of the standard input, or of another stream.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use super::lines::{Line, Lines};
use super::stop::Woken;
use super::{Ended, Intake, Offered, ROOM_WAIT, Source, SourceError};
use crate::pipeline::TelemetryPipeline;

/// Bytes that are read at once.
const BLOCK: usize = 64 * 1024;

/// An event a line, until the stream ends. A stream cannot be read again, so what was read is handed over also when it is
/// told to stop, as far as there is room within the time that the caller gives.
#[derive(Debug)]
pub struct ReaderSource {
    input: File,
    name: &'static str,
}

/// A stream that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {name}")]
pub struct StdinError {
    name: &'static str,
    #[source]
    source: io::Error,
}

impl StdinError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some("check what it is connected to".to_owned())
    }
}

impl ReaderSource {
    /// The standard input, without a buffer in between.
    ///
    /// # Errors
    ///
    /// A [`StdinError`] if it is closed.
    pub fn stdin() -> Result<Self, StdinError> {
        let name = "the standard input";
        let stdin = rustix::io::dup(rustix::stdio::stdin())
            .map_err(|error| StdinError { name, source: error.into() })?;
        Ok(Self::new(File::from(stdin), name))
    }

    /// A stream, and its name in messages.
    pub const fn new(input: File, name: &'static str) -> Self {
        Self { input, name }
    }

    fn hand_over(intake: &mut Intake<'_>, line: Line) -> Result<(), SourceError> {
        let mut event = match line {
            Line::Blank => return Ok(()),
            Line::TooLong(len) => {
                intake.refuse_unread(len);
                return Ok(());
            }
            Line::Whole(event) => event,
        };
        loop {
            match intake.offer(event)? {
                Offered::At(_) | Offered::Shed => return Ok(()),
                Offered::Full(back) => {
                    event = back;
                    // Also after it was told to stop: this line is nowhere else.
                    std::thread::sleep(ROOM_WAIT);
                }
            }
        }
    }
}

impl Source for ReaderSource {
    fn run(&mut self, intake: &mut Intake<'_>) -> Result<Ended, SourceError> {
        let fault = |name, source| StdinError { name, source };
        let mut lines = Lines::new(intake.max_event_len());
        let mut buffer = vec![0; BLOCK];
        loop {
            let woken = intake.stop().wait_readable(self.input.as_fd(), None);
            if woken.map_err(|source| fault(self.name, source))? == Woken::Stopped {
                if lines.begun_len() > 0 {
                    tracing::warn!(bytes = lines.begun_len(), "stopped within a line, which is lost");
                }
                return Ok(Ended::Stopped);
            }
            let len = match self.input.read(&mut buffer) {
                Ok(len) => len,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) =>
                {
                    continue;
                }
                Err(source) => return Err(fault(self.name, source).into()),
            };
            if len == 0 {
                if lines.begun_len() > 0 {
                    Self::hand_over(intake, lines.end())?;
                }
                return Ok(Ended::Input);
            }
            let mut block = buffer.get(..len).unwrap_or_default();
            while let Some((line, rest)) = lines.next(block) {
                Self::hand_over(intake, line)?;
                block = rest;
            }
        }
    }

    fn remember(&mut self, _: &TelemetryPipeline) -> Result<(), SourceError> {
        Ok(())
    }
}
