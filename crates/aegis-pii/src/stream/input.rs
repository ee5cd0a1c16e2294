//! Where a stream comes from, and what is read of it before it is its turn.
//!
//! Half of the time that it takes to open sealed events is that of the kernel, which copies fifteen times as many bytes as
//! come out. Threads that waited for one another with that would hardly be faster than one. So each says which piece of a
//! file will be its own, reads it while others read theirs, and waits for its turn only to find where the lines end.
//!
//! A piece is a guess: that those before it become what they are expected to be. It is not used if an event was longer,
//! the file ended, or another one was opened. Then it is read again, at its turn.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use super::memory::Memory;

/// One reader after the other, each opened when it is its turn.
pub type Inputs = Box<dyn Iterator<Item = io::Result<Input>> + Send>;

/// One of the readers that a stream comes from.
pub enum Input {
    /// What arrives in order, and may be waited for: a pipe, or anything that is decompressed.
    InOrder(Box<dyn Read + Send>),
    /// A file, which several threads may read at once.
    Anywhere(Arc<dyn ReadAt>),
}

/// Reads at a place.
pub trait ReadAt: Send + Sync {
    /// Reads what stands `offset` bytes after the beginning. Nothing is read only at the end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl<R: Read + Send + 'static> From<Box<R>> for Input {
    fn from(reader: Box<R>) -> Self {
        Self::InOrder(reader)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InOrder(_) => "Input::InOrder",
            Self::Anywhere(_) => "Input::Anywhere",
        })
    }
}

/// The input that is being read.
pub(super) enum Current {
    InOrder(Box<dyn Read + Send>),
    Anywhere {
        file: Arc<dyn ReadAt>,
        /// So far it was read in order.
        read_to: u64,
        /// So far it will be when all have had their turn that wait for it.
        claimed_to: u64,
    },
}

impl From<Input> for Current {
    fn from(input: Input) -> Self {
        match input {
            Input::InOrder(reader) => Self::InOrder(reader),
            Input::Anywhere(file) => Self::Anywhere { file, read_to: 0, claimed_to: 0 },
        }
    }
}

impl Current {
    /// Reads what is next in order.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::InOrder(reader) => without_interrupts(|| reader.read(into)),
            Self::Anywhere { file, read_to, .. } => {
                let read = without_interrupts(|| file.read_at(into, *read_to))?;
                *read_to = read_to.saturating_add(read as u64);
                Ok(read)
            }
        }
    }

    /// Whether what is read next does not depend on how much was read before.
    pub(super) const fn is_anywhere(&self) -> bool {
        matches!(self, Self::Anywhere { .. })
    }
}

/// A piece of an input that a thread reads before its turn.
pub(super) struct Claim {
    file: Arc<dyn ReadAt>,
    input: usize,
    offset: u64,
    len: usize,
    /// Room for what is left of the piece before it.
    head: usize,
}

/// What was read of it.
pub(super) struct Piece {
    input: usize,
    offset: u64,
    read: io::Result<usize>,
}

impl Claim {
    pub(super) fn of(current: &mut Current, input: usize, len: usize) -> Option<Self> {
        let Current::Anywhere { file, claimed_to, .. } = current else { return None };
        let offset = *claimed_to;
        *claimed_to = offset.saturating_add(len as u64);
        Some(Self { file: Arc::clone(file), input, offset, len, head: len / 4 })
    }

    pub(super) fn read(self, bytes: &mut Memory) -> Piece {
        let Self { file, input, offset, len, head } = self;
        bytes.clear_behind(head, len, offset);
        let read = without_interrupts(|| file.read_at(bytes.room(len), offset));
        bytes.grow(read.as_ref().map_or(0, |read| *read));
        Piece { input, offset, read }
    }
}

impl Piece {
    /// How many bytes it has, if it is what comes next. Then it counts as read.
    pub(super) fn take(self, current: &mut Option<Current>, at_input: usize) -> Option<io::Result<usize>> {
        let Self { input, offset, read } = self;
        let Some(Current::Anywhere { read_to, .. }) = current else { return None };
        if input != at_input || offset != *read_to {
            return None;
        }
        if let Ok(read) = &read {
            *read_to = read_to.saturating_add(*read as u64);
        }
        Some(read)
    }
}

fn without_interrupts(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
