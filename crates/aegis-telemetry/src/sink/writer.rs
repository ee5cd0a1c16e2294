//! JSON lines into a stream, such as standard output.

use std::fs::File;
use std::io::{self, Write};

use super::{Delivered, Sink, SinkError, SinkFault};
use crate::event::Batch;

/// Writes a line an event.
///
/// Nothing can be taken back from a stream: after half a batch it goes on with the other half, of the same batch.
#[derive(Debug)]
pub struct WriterSink<W> {
    writer: W,
    name: &'static str,
    half_written: Option<HalfWritten>,
}

/// A batch that is not yet written to its end.
#[derive(Debug)]
struct HalfWritten {
    key: String,
    lines: Vec<u8>,
    written: usize,
}

/// There is no standard output.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the standard output")]
pub struct StdoutError(#[source] io::Error);

impl StdoutError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some("do not close the standard output of the program".to_owned())
    }
}

impl WriterSink<File> {
    /// The standard output, without a buffer in between.
    ///
    /// # Errors
    ///
    /// A [`StdoutError`] if it is closed.
    pub fn stdout() -> Result<Self, StdoutError> {
        let stdout = rustix::io::dup(rustix::stdio::stdout()).map_err(|error| StdoutError(error.into()))?;
        Ok(Self::new(File::from(stdout), "the standard output"))
    }
}

impl<W: Write + Send> WriterSink<W> {
    /// A stream, and its name in messages.
    pub const fn new(writer: W, name: &'static str) -> Self {
        Self { writer, name, half_written: None }
    }

    fn write(&mut self, half: &mut HalfWritten) -> io::Result<()> {
        while let Some(rest) = half.lines.get(half.written..).filter(|rest| !rest.is_empty()) {
            match self.writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => half.written += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.writer.flush()
    }
}

impl<W: Write + Send> Sink for WriterSink<W> {
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        let key = batch.key();
        let mut half = match self.half_written.take().filter(|half| half.key == key) {
            Some(half) => half,
            None => HalfWritten { key, lines: batch.to_lines(), written: 0 },
        };
        let Err(source) = self.write(&mut half) else { return Ok(Delivered::All) };
        self.half_written = Some(half);
        // Whoever read has gone, or there never was a stream; all else may pass, such as a full disk.
        let is_gone = matches!(source.kind(), io::ErrorKind::BrokenPipe)
            || source.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error());
        let fault = SinkFault::Stream { name: self.name, source };
        Err(if is_gone { SinkError::Gone { fault } } else { SinkError::retry(fault) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::batch;

    /// Takes a few bytes at a time, and now and then none.
    struct Stubborn {
        taken: Vec<u8>,
        turn: usize,
    }

    impl Write for Stubborn {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turn += 1;
            if self.turn.is_multiple_of(3) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let len = bytes.len().min(17);
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_batch_that_was_half_written_is_completed_and_not_repeated() {
        let mut sink = WriterSink::new(Stubborn { taken: Vec::new(), turn: 0 }, "a pipe");
        let batches = [batch(1..4), batch(4..5)];
        let mut failures = 0;
        for batch in &batches {
            while sink.deliver(batch).is_err() {
                failures += 1;
            }
        }
        assert!(failures > 5);
        assert_eq!(sink.writer.taken, [batches[0].to_lines(), batches[1].to_lines()].concat());
    }
}
