//! The elements of one array (RFC 8259 §5). An element ends at the comma or bracket outside of every string and of every
//! other bracket.

use std::ops::Range;

use super::{BYTE_ORDER_MARK, is_blank, is_white};

/// What was cut out of an array.
#[derive(Debug, Default)]
pub(in super::super) struct Elements {
    /// Bytes to be copied: those before the first element, with the bracket.
    pub(in super::super) lead: usize,
    /// Between two is a comma.
    pub(in super::super) elements: Vec<Range<usize>>,
}

/// Why a stream is not one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArrayFault {
    /// Something else stands in its place.
    #[error("an array of events begins with [")]
    NoArray,
    /// It ends in the middle.
    #[error("the stream ends before its array does")]
    UnexpectedEnd,
    /// More after the array.
    #[error("something follows the array")]
    TrailingBytes,
}

/// How far into the array it has come. Between two calls, what is left begins with an element that has not ended.
#[derive(Debug, Default)]
pub(super) struct ArrayCutter {
    stage: Stage,
    /// Brackets that are open within the element.
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    /// Bytes of the element that were looked at.
    seen: usize,
    has_element: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// The opening bracket is to come.
    #[default]
    Before,
    Within,
    /// The closing bracket is the next byte.
    Closing,
    After,
}

impl ArrayCutter {
    /// Cuts whole elements, and what stands before and after the array, off the beginning of `bytes`: how many bytes, and
    /// where what is in them. Of a fault, the offset.
    pub(super) fn cut(
        &mut self,
        bytes: &[u8],
        is_at_start: bool,
    ) -> Result<Option<(usize, Elements)>, (usize, ArrayFault)> {
        match self.stage {
            Stage::Before => self.cut_before(bytes, is_at_start),
            Stage::Within => Ok(self.cut_within(bytes, 0)),
            Stage::Closing if bytes.is_empty() => Ok(None),
            Stage::Closing => {
                self.stage = Stage::After;
                cut_after(bytes, 1)
            }
            Stage::After => cut_after(bytes, 0),
        }
    }

    /// Whether the array may end here.
    pub(super) fn check_end(&self) -> Result<(), ArrayFault> {
        match self.stage {
            Stage::Before => Err(ArrayFault::NoArray),
            Stage::Within | Stage::Closing => Err(ArrayFault::UnexpectedEnd),
            Stage::After => Ok(()),
        }
    }

    /// Where the element that `bytes` goes on with ends, and how far to go on from there.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        let end = self.next_end(bytes);
        self.seen = 0;
        let end = end?;
        self.has_element = true;
        if bytes.get(end) == Some(&b']') {
            self.stage = Stage::Closing;
            return Some(end..end);
        }
        Some(end..end + 1)
    }

    fn cut_before(
        &mut self,
        bytes: &[u8],
        is_at_start: bool,
    ) -> Result<Option<(usize, Elements)>, (usize, ArrayFault)> {
        if bytes.is_empty() || (is_at_start && bytes.len() < 3 && BYTE_ORDER_MARK.starts_with(bytes)) {
            return Ok(None);
        }
        let mark = if is_at_start && bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let rest = bytes.get(mark..).unwrap_or_default();
        match rest.iter().position(|byte| !is_white(*byte)) {
            None => Ok(Some((bytes.len(), verbatim(bytes.len())))),
            Some(at) if rest.get(at) == Some(&b'[') => {
                self.stage = Stage::Within;
                Ok(self.cut_within(bytes, mark + at + 1))
            }
            Some(at) => Err((mark + at, ArrayFault::NoArray)),
        }
    }

    /// The elements after the first `lead` bytes.
    fn cut_within(&mut self, bytes: &[u8], lead: usize) -> Option<(usize, Elements)> {
        let mut cut = Elements { lead, ..Elements::default() };
        let mut start = lead;
        while let Some(len) = self.next_end(bytes.get(start..).unwrap_or_default()) {
            let element = start..start + len;
            let is_last = bytes.get(element.end) == Some(&b']');
            self.seen = 0;
            if is_last {
                self.stage = Stage::Closing;
                start = element.end;
                if !self.has_element && is_blank(bytes.get(element.clone()).unwrap_or_default()) {
                    // The array is empty.
                    cut.lead = element.end;
                } else {
                    cut.elements.push(element);
                }
                break;
            }
            self.has_element = true;
            start = element.end + 1;
            cut.elements.push(element);
        }
        (start > 0 || self.stage == Stage::Closing).then_some((start, cut))
    }

    /// Where the element ends that `bytes` begins with.
    fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = self.seen;
        while let Some(byte) = bytes.get(at) {
            if self.in_string {
                if std::mem::take(&mut self.is_escaped) {
                    at += 1;
                    continue;
                }
                match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                    None => at = bytes.len(),
                    Some(found) => {
                        at += found;
                        match bytes.get(at) {
                            Some(b'\\') => self.is_escaped = true,
                            _ => self.in_string = false,
                        }
                        at += 1;
                    }
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b',' if self.depth == 0 => return Some(at),
                // One that was not opened is a fault of the element.
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        self.seen = at;
        None
    }
}

/// After the array, white space may follow, however much.
fn cut_after(bytes: &[u8], from: usize) -> Result<Option<(usize, Elements)>, (usize, ArrayFault)> {
    let rest = bytes.get(from..).unwrap_or_default();
    match rest.iter().position(|byte| !is_white(*byte)) {
        Some(at) => Err((from + at, ArrayFault::TrailingBytes)),
        None if bytes.is_empty() => Ok(None),
        None => Ok(Some((bytes.len(), verbatim(bytes.len())))),
    }
}

fn verbatim(lead: usize) -> Elements {
    Elements { lead, elements: Vec::new() }
}
