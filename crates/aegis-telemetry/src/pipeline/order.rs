//! Chunks that workers finish in any order, put back into the order in which they were taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::event::SealedEvent;

/// Events that one worker took at once.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The first event's number.
    pub(super) first: u64,
    /// The last event's number, whatever became of it.
    pub(super) last: u64,
    /// Those that were sealed.
    pub(super) events: Vec<SealedEvent>,
    /// Bytes of all, as they were emitted.
    pub(super) bytes_in: usize,
    /// When the first was emitted.
    pub(super) emitted_at: Instant,
}

impl Chunk {
    /// Bytes of those that were sealed.
    pub(super) fn bytes_sealed(&self) -> usize {
        self.events.iter().map(|event| event.text().len()).sum()
    }
}

/// What is finished, and whose turn it is not yet.
#[derive(Debug, Default)]
pub(super) struct Order {
    next: u64,
    ready: BTreeMap<u64, Chunk>,
}

impl Order {
    /// Takes a chunk that is finished.
    pub(super) fn put(&mut self, number: u64, chunk: Chunk) {
        self.ready.insert(number, chunk);
    }

    /// The chunk whose turn it is, if it is finished.
    pub(super) fn take(&mut self) -> Option<Arc<Chunk>> {
        let chunk = self.ready.remove(&self.next)?;
        self.next += 1;
        Some(Arc::new(chunk))
    }
}
