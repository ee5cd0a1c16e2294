//! Where in an event a value stands: its JSON Pointer (RFC 6901) and its name.

use std::ops::Range;

use crate::binding::FieldBinding;
use crate::json::{Frame, Shape, unescape};
use crate::limits::shrink;

/// Places of one event, in one buffer that the next event uses again.
#[derive(Debug, Default)]
pub(crate) struct Places {
    bytes: Vec<u8>,
    unescaped: Vec<u8>,
    /// Texts of places that are kept beyond their event.
    kept: Vec<u8>,
    has_too_long: bool,
}

/// One place. It means something to the [`Places`] that noted it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pointer: Range<usize>,
    name: Range<usize>,
    /// Whether the outermost value is an object.
    pub(crate) is_in_object: bool,
    /// Whether it is kept beyond its event.
    is_kept: bool,
}

impl Places {
    /// The longest pointer, in bytes. Many fields inside a member with a name of a megabyte would need gigabytes.
    pub(crate) const MAX_POINTER_LEN: usize = 2048;

    /// Most bytes of places that are kept.
    const MAX_KEPT_LEN: usize = 16 << 10;

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.has_too_long = false;
    }

    /// Gives the memory of unusually long places back.
    pub(crate) fn release_memory(&mut self) {
        self.clear();
        shrink(&mut self.bytes);
        self.unescaped.clear();
        shrink(&mut self.unescaped);
    }

    /// Whether a place was too long to be noted, in which case the event has to be refused.
    pub(crate) const fn has_too_long(&self) -> bool {
        self.has_too_long
    }

    /// The JSON Pointer of a place: the names and numbers from the outermost value to it, `~` and `/` escaped.
    pub(crate) fn pointer(&self, place: &Place) -> &[u8] {
        self.text(place, &place.pointer)
    }

    /// The name of the member, or of the nearest one around an element; empty if there is none.
    pub(crate) fn name(&self, place: &Place) -> &[u8] {
        self.text(place, &place.name)
    }

    /// What a field at this place is bound by.
    pub(crate) fn bound(&self, place: &Place, by: FieldBinding) -> &[u8] {
        match by {
            FieldBinding::Pointer => self.pointer(place),
            FieldBinding::Name => self.name(place),
        }
    }

    /// Notes the place of the last frame's current member or element.
    pub(crate) fn note(&mut self, event: &[u8], frames: &[Frame]) -> Place {
        let is_in_object = frames.first().is_some_and(|frame| frame.shape == Shape::Object);
        let start = self.bytes.len();
        let mut name = start..start;
        let mut name_is_plain = true;
        for frame in frames {
            if self.is_too_long(start, frame) {
                self.has_too_long = true;
                self.bytes.truncate(start);
                return Place { pointer: start..start, name: start..start, is_in_object, is_kept: false };
            }
            self.bytes.push(b'/');
            let token = self.bytes.len();
            match frame.shape {
                Shape::Array => push_number(&mut self.bytes, frame.index),
                Shape::Object => {
                    name_is_plain = self.push_token(event, frame);
                    name = token..self.bytes.len();
                }
            }
        }
        let pointer = start..self.bytes.len();
        if !name_is_plain {
            name = self.push_name(event, frames);
        }
        Place { pointer, name, is_in_object, is_kept: false }
    }

    /// Keeps a place of this event for others. `None` if there are too many.
    pub(crate) fn keep(&mut self, place: &Place) -> Option<Place> {
        let Self { bytes, kept, .. } = self;
        let Place { pointer, name, is_in_object, is_kept: false } = place else { return Some(place.clone()) };
        let start = pointer.start;
        // The name is the end of the pointer, or after it.
        let text = bytes.get(start..pointer.end.max(name.end))?;
        if kept.len() + text.len() > Self::MAX_KEPT_LEN {
            return None;
        }
        let at = kept.len();
        kept.extend_from_slice(text);
        let moved = |range: &Range<usize>| at + range.start - start..at + range.end - start;
        Some(Place { pointer: moved(pointer), name: moved(name), is_in_object: *is_in_object, is_kept: true })
    }

    /// Forgets the places that are kept.
    pub(crate) fn forget_kept(&mut self) {
        self.kept.clear();
    }

    fn text(&self, place: &Place, range: &Range<usize>) -> &[u8] {
        let text = if place.is_kept { &self.kept } else { &self.bytes };
        text.get(range.clone()).unwrap_or_default()
    }

    /// Whether the next token may be more than a pointer that begins at `start` can take. Of an escaped name, only a
    /// sixth is sure to remain.
    fn is_too_long(&self, start: usize, frame: &Frame) -> bool {
        let raw_len = frame.key_end - frame.key_start;
        let least = if frame.key_is_escaped { raw_len / 6 } else { raw_len };
        self.bytes.len() - start + 1 + least > Self::MAX_POINTER_LEN
    }

    /// Appends a name as a token of a pointer. Whether they are the same text.
    fn push_token(&mut self, event: &[u8], frame: &Frame) -> bool {
        let raw = event.get(frame.key_start..frame.key_end).unwrap_or_default();
        if frame.key_is_escaped {
            self.unescaped.clear();
            unescape(raw, &mut self.unescaped);
            push_escaped(&mut self.bytes, &self.unescaped);
            return false;
        }
        push_escaped(&mut self.bytes, raw)
    }

    /// Appends the last name, not as a token.
    fn push_name(&mut self, event: &[u8], frames: &[Frame]) -> Range<usize> {
        let start = self.bytes.len();
        if let Some(frame) = frames.iter().rfind(|frame| frame.shape == Shape::Object) {
            unescape(event.get(frame.key_start..frame.key_end).unwrap_or_default(), &mut self.bytes);
        }
        start..self.bytes.len()
    }
}

/// Appends a token of a pointer (RFC 6901 §3). Whether nothing had to be escaped.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) -> bool {
    // Hardly any name has one, and most are too short for a search to be worth its beginning.
    if !has_special(text) {
        out.extend_from_slice(text);
        return true;
    }
    let mut rest = text;
    while let Some(place) = memchr::memchr2(b'~', b'/', rest) {
        let (plain, special) = rest.split_at(place);
        out.extend_from_slice(plain);
        out.extend_from_slice(if special.first() == Some(&b'~') { b"~0" } else { b"~1" });
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    false
}

/// Whether a text has a `~` or a `/`.
fn has_special(text: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte that becomes zero borrows into its high bit; so may one above it, but then there is one.
    let has_zero = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let look_at = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        has_zero(word ^ (LOW * u64::from(b'~'))) | has_zero(word ^ (LOW * u64::from(b'/')))
    };
    let Some(last) = text.last_chunk() else { return text.iter().any(|byte| matches!(byte, b'~' | b'/')) };
    // The last word may begin within the one before it.
    text.as_chunks().0.iter().fold(look_at(last), |found, word| found | look_at(word)) != 0
}

fn push_number(out: &mut Vec<u8>, mut number: usize) {
    let start = out.len();
    loop {
        // A remainder of ten is one digit.
        out.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}
