//! Streams of events, from readers to a writer: cut up, transformed on one thread or several, written in order.
//!
//! | module | what it holds |
//! |---|---|
//! | `input` | readers, and what is read of a file before its turn |
//! | `split` | lines, or the elements of one array, cut out of inputs a chunk at a time |
//! | `transform` | what is done to an event, and what is counted of it |
//! | `chunk` | a chunk transformed; what was refused in it, and where |
//! | `memory` | what is read into and written from, again and again |
//! | `pool` | the memory of several threads |
//! | `commit` | chunks written in the order in which they were read |
//! | `run` | [`run`]: one thread, or several |
//!
//! Memory does not grow with the stream: a chunk is no longer than [`StreamOptions::chunk_len`] or one event of at most
//! [`StreamOptions::max_event_len`], and no thread has more than three chunks in hand. It grows little with the threads:
//! together they hold no more than a few MiB, and an event over 256 KiB is worked on while no other thread holds anything.
//! What has arrived is never held back to fill a chunk, so that `tail -f` can stand before it. Of a [file](Input::Anywhere)
//! several threads read at once.
//!
//! | in the stream | what becomes of it |
//! |---|---|
//! | a blank line (spaces, tabs, CR) | copied |
//! | the end of a line, LF or CR LF | copied |
//! | no LF at the end | none is added, unless another input follows |
//! | a byte order mark before the first event | copied; at the start of a further input left out |
//! | a NUL, bytes that are no UTF-8, anything that is no JSON | the event is refused |
//! | an event over the limit | refused, and passed over without being held |

mod chunk;
mod commit;
mod input;
mod memory;
mod pool;
mod run;
mod split;
mod transform;

#[cfg(test)]
mod tests;

pub use chunk::{EventError, EventPlace, OnRefusal, RefusedEvent, RefusedEvents};
pub use input::{Input, Inputs, ReadAt};
pub use run::{StreamEnd, StreamError, run};
pub use split::ArrayFault;
pub use transform::{Counts, Transform};

use std::num::NonZeroUsize;

/// How events stand in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// One a line. The members of an event may not be on lines of their own.
    #[default]
    Lines,
    /// As elements of one array, which is all of the stream.
    Array,
}

/// How a stream is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// How events stand in it.
    pub framing: Framing,
    /// Threads that transform. With one, it is the caller's own.
    pub threads: NonZeroUsize,
    /// Bytes that are read at once, at most, while events are shorter than that.
    pub chunk_len: usize,
    /// The most bytes of an event, with the white space around it, without the end of its line.
    pub max_event_len: usize,
}

impl StreamOptions {
    /// For events that grow, as they do when they are sealed: what a chunk becomes stays in the processor's cache.
    pub const fn for_encryption() -> Self {
        Self {
            framing: Framing::Lines,
            threads: NonZeroUsize::MIN,
            chunk_len: 16 << 10,
            max_event_len: crate::Limits::for_encryption().max_event_len,
        }
    }

    /// For events that shrink.
    pub const fn for_decryption() -> Self {
        Self {
            chunk_len: 128 << 10,
            max_event_len: crate::Limits::for_decryption().max_event_len,
            ..Self::for_encryption()
        }
    }
}
