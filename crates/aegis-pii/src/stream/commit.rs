//! What became of chunks, written in the order in which they were read.

use std::error::Error;
use std::io::{self, Write};

use super::chunk::{Done, EventPlace, OnRefusal, Refusals};
use super::run::StreamError;
use super::split::{SplitError, TooLongEvents};
use super::transform::Counts;

/// Writes, counts, and decides on what was refused.
pub(super) struct Committer<W, E: Error + 'static> {
    pub(super) output: W,
    on_refusal: OnRefusal<E>,
    /// The beginning of the next chunk.
    place: EventPlace,
    /// Whether an element of an array was written.
    has_element: bool,
    pub(super) counts: Counts,
    pub(super) refused: u64,
    pub(super) first_refused: Option<EventPlace>,
}

/// Whether the stream goes on.
#[derive(Debug)]
pub(super) enum Next<E: Error + 'static> {
    More,
    /// All of it was written.
    End,
    /// Nobody reads what is written.
    ReaderLeft,
    Failed(StreamError<E>),
}

impl<E: Error + 'static> OnRefusal<E> {
    pub(super) const fn refusals(&self) -> Refusals {
        match self {
            Self::Stop => Refusals::One,
            Self::Skip | Self::HandOver(_) => Refusals::All,
        }
    }

    pub(super) const fn too_long(&self) -> TooLongEvents {
        match self {
            Self::Stop => TooLongEvents::End,
            Self::Skip | Self::HandOver(_) => TooLongEvents::Pass,
        }
    }
}

impl<W: Write, E: Error + 'static> Committer<W, E> {
    pub(super) fn new(output: W, on_refusal: OnRefusal<E>) -> Self {
        Self {
            output,
            on_refusal,
            place: EventPlace { input: 0, number: 1, offset: 0 },
            has_element: false,
            counts: Counts::default(),
            refused: 0,
            first_refused: None,
        }
    }

    /// Writes what became of the next chunk.
    pub(super) fn commit(&mut self, done: &mut Done<E>) -> Next<E> {
        if done.input != self.place.input {
            self.place = EventPlace { input: done.input, number: 1, offset: 0 };
        }
        if let Err(error) = self.write(done) {
            return match error.kind() {
                io::ErrorKind::BrokenPipe => Next::ReaderLeft,
                _ => Next::Failed(StreamError::Write(error)),
            };
        }
        self.counts.add(&done.counts);
        let refused = std::mem::take(&mut done.refused);
        for refused in refused {
            let place = EventPlace {
                number: self.place.number + refused.number,
                offset: self.place.offset + refused.start as u64,
                ..self.place
            };
            self.refused += 1;
            self.first_refused.get_or_insert(place);
            match &mut self.on_refusal {
                OnRefusal::Stop => {
                    return Next::Failed(StreamError::Event { place, error: refused.error });
                }
                OnRefusal::Skip => {}
                OnRefusal::HandOver(taker) => {
                    if let Err(source) = taker.take(&done.event(&refused, place)) {
                        return Next::Failed(StreamError::HandOver { place, source });
                    }
                }
            }
        }
        self.place.number += done.events;
        self.place.offset += done.consumed;
        Next::More
    }

    /// What it means that there is no next chunk.
    pub(super) fn end(error: Option<SplitError>) -> Next<E> {
        match error {
            None => Next::End,
            Some(SplitError::Read { input, source }) => Next::Failed(StreamError::Read { input, source }),
            Some(SplitError::Array { input, offset, fault }) => {
                Next::Failed(StreamError::Array { input, offset, fault })
            }
        }
    }

    fn write(&mut self, done: &Done<E>) -> io::Result<()> {
        let all = done.out.as_slice();
        let (before, after) = match done.first_comma {
            Some(comma) if !self.has_element => {
                (all.get(..comma).unwrap_or_default(), all.get(comma + 1..).unwrap_or_default())
            }
            _ => (all, &[][..]),
        };
        self.has_element |= done.first_comma.is_some();
        for part in [before, after] {
            if !part.is_empty() {
                self.output.write_all(part)?;
            }
        }
        Ok(())
    }
}
