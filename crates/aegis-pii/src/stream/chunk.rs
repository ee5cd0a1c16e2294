//! A chunk transformed, and what was refused in it.

use std::error::Error;
use std::io;
use std::ops::Range;

use aegis_crypto::{Digest, sha256};

use super::memory::{Buffers, Memory};
use super::split::{Chunk, Content, is_blank};
use super::transform::{Counts, Transform};

/// Why an event is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError<E: Error + 'static> {
    /// It has more bytes than [`StreamOptions::max_event_len`](super::StreamOptions::max_event_len), and was not held.
    #[error("it has more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// The transform refused it.
    #[error(transparent)]
    Refused(E),
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventPlace {
    /// The number of the input, from 0.
    pub input: usize,
    /// The number of the line in it, or of the element, from 1.
    pub number: u64,
    /// Bytes before it in that input, after decompression.
    pub offset: u64,
}

/// An event that was refused.
#[derive(Debug)]
pub struct RefusedEvent<'a, E: Error + 'static> {
    /// Where it stands.
    pub place: EventPlace,
    /// Bytes of it, with the end of its line.
    pub len: u64,
    /// The digest of those.
    pub sha256: Digest,
    /// The bytes themselves: plaintext, as a rule. `None` if they were over the limit.
    pub bytes: Option<&'a [u8]>,
    /// Why.
    pub error: &'a EventError<E>,
}

/// Takes what was refused, in the order of the stream.
pub trait RefusedEvents<E: Error + 'static>: Send {
    /// Takes one event.
    ///
    /// # Errors
    ///
    /// It could not be taken; the stream ends there.
    fn take(&mut self, event: &RefusedEvent<'_, E>) -> io::Result<()>;
}

/// What becomes of the stream when an event is refused. The event itself is not written, nor any part of it.
pub enum OnRefusal<E: Error + 'static> {
    /// It ends there. What stands before is written.
    Stop,
    /// It goes on, and counts.
    Skip,
    /// It goes on, and what is refused is handed over.
    HandOver(Box<dyn RefusedEvents<E>>),
}

/// Whether the first refusal is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusals {
    /// What comes after it is not transformed.
    One,
    /// Each counts, and its bytes may be asked for.
    All,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) struct Done<E: Error + 'static> {
    pub(super) input: usize,
    pub(super) consumed: u64,
    /// Lines or elements, refused ones too.
    pub(super) events: u64,
    pub(super) out: Vec<u8>,
    /// Where in `out` a comma stands that is one too many if no element was written before.
    pub(super) first_comma: Option<usize>,
    pub(super) counts: Counts,
    pub(super) refused: Vec<Refused<E>>,
    /// What was transformed.
    pub(super) bytes: Memory,
}

/// A refused event of a chunk.
#[derive(Debug)]
pub(super) struct Refused<E: Error + 'static> {
    /// Events before it in the chunk.
    pub(super) number: u64,
    /// Where it was; `None` if it is over the limit.
    pub(super) range: Option<Range<usize>>,
    /// Bytes before it in the chunk.
    pub(super) start: usize,
    pub(super) len: u64,
    pub(super) sha256: Option<Digest>,
    pub(super) error: EventError<E>,
}

impl<E: Error + 'static> Done<E> {
    /// Its memory, to be used again.
    pub(super) fn into_buffers(self) -> Buffers {
        Buffers { bytes: self.bytes, out: self.out }
    }

    /// Bytes of its memory that were written to.
    pub(super) fn written(&self) -> usize {
        self.bytes.used().saturating_add(self.out.len())
    }

    /// The event as those see it who take it.
    pub(super) fn event<'a>(&'a self, refused: &'a Refused<E>, place: EventPlace) -> RefusedEvent<'a, E> {
        let bytes = refused.range.clone().and_then(|range| self.bytes.as_slice().get(range));
        let digest = refused.sha256.unwrap_or_else(|| sha256(bytes.unwrap_or_default()));
        RefusedEvent { place, len: refused.len, sha256: digest, bytes, error: &refused.error }
    }
}

/// How a chunk is transformed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) refusals: Refusals,
    pub(super) max_event_len: usize,
}

/// Transforms the events of a chunk into the memory of `out`. `room` hears how long that will be, before it is.
pub(super) fn transform<T: Transform>(
    transform: &mut T,
    chunk: Chunk,
    rules: Rules,
    mut out: Vec<u8>,
    room: &mut dyn FnMut(usize),
) -> Done<T::Error> {
    let Rules { refusals, max_event_len: limit } = rules;
    out.clear();
    transform.begin_chunk();
    let mut events = Events { transform, limit, room };
    let Chunk { input, consumed, bytes, content } = chunk;
    let mut done = Done {
        input,
        consumed,
        events: 0,
        out,
        first_comma: None,
        counts: Counts::default(),
        refused: Vec::new(),
        bytes,
    };
    match content {
        Content::TooLong { len, sha256 } => {
            done.events = 1;
            let error = EventError::TooLong { limit };
            done.refused.push(Refused { number: 0, range: None, start: 0, len, sha256: Some(sha256), error });
        }
        Content::Lines { copied_from, start } => {
            done.out.extend_from_slice(done.bytes.as_slice().get(copied_from..start).unwrap_or_default());
            let mut at = start;
            while let Some(rest) = done.bytes.as_slice().get(at..).filter(|rest| !rest.is_empty()) {
                let end = at + memchr::memchr(b'\n', rest).map_or(rest.len(), |found| found + 1);
                let go_on = if is_blank(done.bytes.as_slice().get(at..end).unwrap_or_default()) {
                    done.out.extend_from_slice(done.bytes.as_slice().get(at..end).unwrap_or_default());
                    true
                } else {
                    events.line(&mut done, at..end)
                };
                done.events += 1;
                if !go_on && refusals == Refusals::One {
                    break;
                }
                at = end;
            }
        }
        Content::Elements(cut) => {
            done.out.extend_from_slice(done.bytes.as_slice().get(..cut.lead).unwrap_or_default());
            for element in cut.elements {
                let comma = done.out.len();
                done.out.push(b',');
                let go_on = events.one(&mut done, element.clone(), element);
                done.events += 1;
                if go_on {
                    done.first_comma.get_or_insert(comma);
                } else {
                    done.out.truncate(comma);
                    if refusals == Refusals::One {
                        break;
                    }
                }
            }
        }
    }
    events.transform.end_chunk();
    done
}

/// What the events of a chunk are transformed with.
struct Events<'a, T> {
    transform: &'a mut T,
    limit: usize,
    room: &'a mut dyn FnMut(usize),
}

impl<T: Transform> Events<'_, T> {
    /// Transforms the event of a line, and copies the end of the line. In a string that has no end it would be a character.
    fn line(&mut self, done: &mut Done<T::Error>, line: Range<usize>) -> bool {
        let bytes = done.bytes.as_slice().get(line.clone()).unwrap_or_default();
        let event = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let event = event.strip_suffix(b"\r").unwrap_or(event);
        let end = line.start + event.len();
        let is_done = self.one(done, line.start..end, line.clone());
        if is_done {
            done.out.extend_from_slice(done.bytes.as_slice().get(end..line.end).unwrap_or_default());
        }
        is_done
    }

    /// Transforms one event, or notes why not: `whole` is what is left out then.
    fn one(&mut self, done: &mut Done<T::Error>, event: Range<usize>, whole: Range<usize>) -> bool {
        let Self { transform, limit, room } = self;
        let bytes = done.bytes.as_slice();
        let (number, start, len) = (done.events, whole.start, whole.len() as u64);
        if event.len() > *limit {
            let sha256 = Some(sha256(bytes.get(whole).unwrap_or_default()));
            let error = EventError::TooLong { limit: *limit };
            done.refused.push(Refused { number, range: None, start, len, sha256, error });
            return false;
        }
        let before = done.out.len();
        let event = bytes.get(event).unwrap_or_default();
        match transform.transform_in(event, &mut done.out, &mut |more| room(before.saturating_add(more))) {
            Ok(counts) => {
                done.counts.add(&counts);
                done.counts.events += 1;
                true
            }
            Err(error) => {
                let error = EventError::Refused(error);
                done.refused.push(Refused { number, range: Some(whole), start, len, sha256: None, error });
                false
            }
        }
    }
}
