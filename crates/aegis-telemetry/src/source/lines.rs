//! A line an event from a stream, such as standard input.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::splitter::{Line, Splitter};
use super::{Source, SourceError, Stop, emit};
use crate::pipeline::TelemetryPipeline;

/// How often a source that waits for bytes looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const BLOCK: usize = 64 * 1024;

/// Reads a stream to its end. Lines of nothing but white space mean nothing.
#[derive(Debug)]
pub struct LineSource<R> {
    reader: R,
    name: &'static str,
    max_event_len: usize,
}

impl LineSource<File> {
    /// The standard input.
    ///
    /// # Errors
    ///
    /// A [`SourceError`] if it is closed.
    pub fn stdin(max_event_len: usize) -> Result<Self, SourceError> {
        let name = "the standard input";
        let stdin = rustix::io::dup(rustix::stdio::stdin())
            .map_err(|error| SourceError::Stream { name, source: error.into() })?;
        Ok(Self::new(File::from(stdin), name, max_event_len))
    }
}

impl<R: Read + AsFd + Send> LineSource<R> {
    /// A stream, its name in messages, and the longest line that is taken.
    pub const fn new(reader: R, name: &'static str, max_event_len: usize) -> Self {
        Self { reader, name, max_event_len }
    }

    /// Waits for bytes; whether there are any, or the stream has ended, before `stop` is asked for.
    fn is_ready(&self, stop: &Stop) -> io::Result<bool> {
        loop {
            if stop.is_asked() {
                return Ok(false);
            }
            let mut ready = [PollFd::new(&self.reader, PollFlags::IN)];
            match poll(&mut ready, Some(&LOOK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<R: Read + AsFd + Send> Source for LineSource<R> {
    fn run(&mut self, pipeline: &TelemetryPipeline, stop: &Stop, drain: Duration) -> Result<(), SourceError> {
        let mut splitter = Splitter::new(self.max_event_len);
        let mut block = vec![0; BLOCK];
        let failed = |name, source| SourceError::Stream { name, source };
        while self.is_ready(stop).map_err(|error| failed(self.name, error))? {
            let read = match self.reader.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) =>
                {
                    continue;
                }
                Err(error) => return Err(failed(self.name, error)),
            };
            let mut rest = block.get(..read).unwrap_or_default();
            while let Some(line) = splitter.next(&mut rest) {
                take(pipeline, line)?;
            }
        }
        // After a stop too: half an event is refused, and a whole one without its line feed is not lost.
        if let Some(line) = splitter.end() {
            take(pipeline, line)?;
        }
        pipeline.flush(drain).map(drop).map_err(SourceError::Unacknowledged)
    }
}

fn take(pipeline: &TelemetryPipeline, line: Line) -> Result<(), SourceError> {
    match line {
        Line::Whole(line) if line.trim_ascii().is_empty() => {}
        Line::Whole(line) => drop(emit(pipeline, line)?),
        Line::TooLong(len) => drop(pipeline.refuse_unread(len)),
    }
    Ok(())
}
