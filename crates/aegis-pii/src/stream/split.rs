//! Events cut out of inputs.
//!
//! Whether what is cut out is an event, the transform says; here it only matters where it ends.

mod array;

pub use array::ArrayFault;

use std::io;

use aegis_crypto::{Digest, Sha256};

use super::input::{Claim, Current, Inputs, Piece};
use super::memory::Memory;
use super::{Framing, StreamOptions};
use array::{ArrayCutter, Elements};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A piece of an input that holds whole events.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The number of the input, from 0.
    pub(super) input: usize,
    /// Bytes of the input that it stands for.
    pub(super) consumed: u64,
    pub(super) bytes: Memory,
    pub(super) content: Content,
}

/// What is in a chunk.
#[derive(Debug)]
pub(super) enum Content {
    /// Lines, of which the last may have no end, from here on; what stands before them is copied from there on.
    Lines { copied_from: usize, start: usize },
    /// Elements with the white space around each.
    Elements(Elements),
    /// One event that is over the limit, and was not kept.
    TooLong { len: u64, sha256: Digest },
}

/// Why there is no next chunk.
#[derive(Debug)]
pub(super) enum SplitError {
    Read { input: usize, source: io::Error },
    Array { input: usize, offset: u64, fault: ArrayFault },
}

/// Whether an event that is over the limit is passed over, or is the end of it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLongEvents {
    /// The stream ends with it: its end, which may be far, is not waited for.
    End,
    /// What follows is of interest.
    Pass,
}

/// Cuts inputs into chunks.
pub(super) struct Splitter {
    inputs: std::iter::Peekable<Inputs>,
    current: Option<Current>,
    /// The number of the current input, or of the next one if there is none.
    input: usize,
    /// Whether nothing was cut from the current input.
    is_at_start: bool,
    /// Bytes of the current input that were cut off.
    offset: u64,
    /// What follows them, as far as it was read.
    carry: Vec<u8>,
    /// Bytes of `carry` in which no line ends.
    seen: usize,
    array: Option<ArrayCutter>,
    chunk_len: usize,
    max_event_len: usize,
    too_long: TooLongEvents,
}

/// What was cut off: so many bytes, and what is in them.
struct Cut {
    len: usize,
    content: Content,
}

impl Splitter {
    pub(super) fn new(inputs: Inputs, options: &StreamOptions, too_long: TooLongEvents) -> Self {
        Self {
            inputs: inputs.peekable(),
            current: None,
            input: 0,
            is_at_start: false,
            offset: 0,
            carry: Vec::new(),
            seen: 0,
            array: (options.framing == Framing::Array).then(ArrayCutter::default),
            chunk_len: options.chunk_len.max(1),
            // One more may be the CR of its line.
            max_event_len: options.max_event_len.saturating_add(1),
            too_long,
        }
    }

    /// Whether there is something to be read before its turn.
    pub(super) fn may_claim(&self) -> bool {
        self.current.as_ref().is_some_and(Current::is_anywhere)
    }

    /// What the next call but those that wait for their turn is to bring.
    pub(super) fn claim(&mut self) -> Option<Claim> {
        self.current.as_mut().and_then(|current| Claim::of(current, self.input, self.chunk_len))
    }

    /// Hears how many wait for their turn, whatever they have read: each reads as many bytes.
    pub(super) fn expect(&mut self, waiting: u64) {
        if let Some(Current::Anywhere { read_to, claimed_to, .. }) = &mut self.current {
            *claimed_to = read_to.saturating_add(waiting.saturating_mul(self.chunk_len as u64));
        }
    }

    /// The next chunk, in the memory of `bytes`, where `piece` is if one was read. Unless an event is longer than that, it
    /// waits for one read only. `grows` hears how many bytes there will be, at most, before there are more.
    pub(super) fn next_chunk(
        &mut self,
        mut bytes: Memory,
        piece: Option<Piece>,
        grows: &mut dyn FnMut(usize),
    ) -> Result<Option<Chunk>, SplitError> {
        let read = match piece.and_then(|piece| piece.take(&mut self.current, self.input)) {
            None => {
                bytes.clear();
                None
            }
            Some(read) => Some(read.map_err(|source| SplitError::Read { input: self.input, source })?),
        };
        if read.is_some() {
            grows(bytes.len().saturating_add(self.carry.len()));
        }
        bytes.prepend(&self.carry);
        self.carry.clear();
        // At the end of a file, it is read once more.
        let mut is_first = read.unwrap_or(0) == 0;
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            if let Some(Cut { len, content }) = self.cut(bytes.as_slice())? {
                self.carry.extend_from_slice(bytes.as_slice().get(len..).unwrap_or_default());
                bytes.truncate(len);
                return Ok(Some(self.chunk(len as u64, bytes, content)));
            }
            if bytes.len() > self.max_event_len {
                return self.pass_event(bytes).map(Some);
            }
            let wanted = self.wanted(&bytes, std::mem::take(&mut is_first));
            grows(bytes.len().saturating_add(wanted));
            if self.read_more(&mut bytes, wanted)? {
                match self.end_input(bytes)? {
                    Ok(chunk) => return Ok(Some(chunk)),
                    Err(empty) => bytes = empty,
                }
                is_first = true;
            }
        }
    }

    fn open_next(&mut self) -> Result<bool, SplitError> {
        let Some(opened) = self.inputs.next() else { return Ok(false) };
        let input = self.input;
        self.current = Some(opened.map_err(|source| SplitError::Read { input, source })?.into());
        (self.is_at_start, self.offset, self.seen) = (true, 0, 0);
        if self.array.is_some() && input > 0 {
            return Err(SplitError::Array { input, offset: 0, fault: ArrayFault::TrailingBytes });
        }
        Ok(true)
    }

    /// Reads once. Whether the input has ended.
    fn read_more(&mut self, bytes: &mut Memory, wanted: usize) -> Result<bool, SplitError> {
        let Some(current) = &mut self.current else { return Ok(true) };
        let read = current.read(bytes.room(wanted));
        let read = read.map_err(|source| SplitError::Read { input: self.input, source })?;
        bytes.grow(read);
        Ok(read == 0)
    }

    /// How many bytes are read at once after those.
    fn wanted(&self, bytes: &Memory, is_first: bool) -> usize {
        // Of a file, others have counted on a whole piece.
        let is_whole = is_first && self.may_claim();
        let had = if is_whole { 0 } else { bytes.len() };
        self.chunk_len.saturating_sub(had).max(self.chunk_len.div_ceil(2))
    }

    fn cut(&mut self, bytes: &[u8]) -> Result<Option<Cut>, SplitError> {
        if let Some(array) = &mut self.array {
            let at_start = self.is_at_start;
            let (input, before) = (self.input, self.offset);
            let cut = array.cut(bytes, at_start).map_err(|(offset, fault)| SplitError::Array {
                input,
                offset: before + offset as u64,
                fault,
            })?;
            return Ok(cut.map(|(len, elements)| Cut { len, content: Content::Elements(elements) }));
        }
        let fresh = bytes.get(self.seen..).unwrap_or_default();
        let Some(end) = memchr::memrchr(b'\n', fresh) else {
            self.seen = bytes.len();
            return Ok(None);
        };
        let len = self.seen + end + 1;
        self.seen = 0;
        Ok(Some(Cut { len, content: self.lines(bytes) }))
    }

    fn lines(&self, bytes: &[u8]) -> Content {
        let start = match self.is_at_start && bytes.starts_with(BYTE_ORDER_MARK) {
            true => BYTE_ORDER_MARK.len(),
            false => 0,
        };
        // In the middle of what is written, it would be no mark but a fault.
        Content::Lines { copied_from: if self.input == 0 { 0 } else { start }, start }
    }

    /// What is left when an input has ended: a chunk, or memory without one.
    fn end_input(&mut self, mut bytes: Memory) -> Result<Result<Chunk, Memory>, SplitError> {
        self.current = None;
        let input = self.input;
        if let Some(array) = &self.array {
            let offset = self.offset + bytes.len() as u64;
            array.check_end().map_err(|fault| SplitError::Array { input, offset, fault })?;
        }
        let chunk = if bytes.len() == 0 {
            Err(bytes)
        } else {
            let (len, content) = (bytes.len() as u64, self.lines(bytes.as_slice()));
            let is_blank = matches!(content, Content::Lines { start, .. } if start == bytes.len());
            if self.inputs.peek().is_some() && !is_blank {
                // Else the first event of the next input would be on this line.
                bytes.append(b"\n");
            }
            Ok(self.chunk(len, bytes, content))
        };
        self.input += 1;
        Ok(chunk)
    }

    fn chunk(&mut self, consumed: u64, bytes: Memory, content: Content) -> Chunk {
        self.is_at_start = false;
        self.offset += consumed;
        Chunk { input: self.input, consumed, bytes, content }
    }

    /// Passes over an event that is over the limit, of which `bytes` is the beginning.
    fn pass_event(&mut self, mut bytes: Memory) -> Result<Chunk, SplitError> {
        let (mut digest, mut len) = (Sha256::new(), 0_u64);
        let mut separator = 0;
        loop {
            // Of the first bytes it is known that it does not end in them.
            let end = match &mut self.array {
                None => memchr::memchr(b'\n', bytes.as_slice().get(self.seen..).unwrap_or_default())
                    .map(|at| self.seen + at + 1..self.seen + at + 1),
                Some(array) => array.pass(bytes.as_slice()),
            };
            self.seen = 0;
            let part = end.as_ref().map_or(bytes.len(), |end| end.start);
            let passed = bytes.as_slice().get(..part).unwrap_or_default();
            digest.update(passed);
            len += passed.len() as u64;
            if let Some(end) = end {
                separator = end.len();
                self.carry.extend_from_slice(bytes.as_slice().get(end.end..).unwrap_or_default());
                break;
            }
            bytes.clear();
            if self.too_long == TooLongEvents::End || self.read_more(&mut bytes, self.chunk_len)? {
                // Whatever is missing at the end, the next call finds.
                break;
            }
        }
        bytes.clear();
        let content = Content::TooLong { len, sha256: digest.finish() };
        Ok(self.chunk(len + separator as u64, bytes, content))
    }
}

/// White space of JSON.
fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether there is nothing but white space of JSON.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_white(*byte))
}
