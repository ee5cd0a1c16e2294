//! Events that are sealed, and batches of them.

use std::fmt;

use bytes::Bytes;

/// Which run of a pipeline, and the how manieth event of it: unique, and the same in every retry, also after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    run: RunId,
    number: u64,
}

/// One run of a pipeline: 12 random bytes. Prints as 24 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(crate) [u8; 12]);

/// The system's random generator failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random generator gave no name for this run")]
pub struct NoRandomness;

impl RunId {
    pub(crate) fn new() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 12];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }
}

impl EventId {
    pub(crate) const fn new(run: RunId, number: u64) -> Self {
        Self { run, number }
    }

    /// Which run of a pipeline.
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// The how manieth event of the run, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.number)
    }
}

/// An event whose personal fields are sealed: one JSON text in one line.
///
/// Only a pipeline makes one, out of what an enricher that seals returned, or out of a spool that such events were put
/// into. So a sink cannot be handed anything else by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedEvent {
    id: EventId,
    text: Bytes,
}

impl SealedEvent {
    pub(crate) const fn new(id: EventId, text: Bytes) -> Self {
        Self { id, text }
    }

    /// Its name, the same in every retry.
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// The JSON text. There is no line feed in it.
    pub const fn text(&self) -> &Bytes {
        &self.text
    }
}

impl fmt::Debug for SealedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedEvent")
            .field("id", &self.id.to_string())
            .field("len", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// What a sink is given at once. It is never empty, and never made up anew: a retry gives the same events in the same
/// order under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    events: Vec<SealedEvent>,
}

impl Batch {
    /// `None` if there are no events.
    pub(crate) fn new(events: Vec<SealedEvent>) -> Option<Self> {
        (!events.is_empty()).then_some(Self { events })
    }

    /// The events, in order.
    pub fn events(&self) -> &[SealedEvent] {
        &self.events
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.text.len()).sum()
    }

    /// Names the batch, for a receiver that notices when one comes twice: the first event's id and how many follow.
    pub fn key(&self) -> String {
        self.events.first().map(|first| format!("{}+{}", first.id, self.events.len())).unwrap_or_default()
    }

    /// Two halves; `None` for a single event. The same batch always falls into the same halves.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        let (first, second) = self.events.split_at(self.events.len() / 2);
        Some((Self::new(first.to_vec())?, Self::new(second.to_vec())?))
    }

    /// Each text and a line feed.
    pub(crate) fn to_lines(&self) -> Vec<u8> {
        let mut lines = Vec::with_capacity(self.bytes() + self.events.len());
        for event in &self.events {
            lines.extend_from_slice(&event.text);
            lines.push(b'\n');
        }
        lines
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn batch(numbers: std::ops::Range<u64>) -> Batch {
        let event = |number| {
            SealedEvent::new(
                EventId::new(RunId([7; 12]), number),
                Bytes::from(format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(50))),
            )
        };
        Batch::new(numbers.map(event).collect()).unwrap()
    }

    #[test]
    fn halves_have_keys_of_their_own_and_every_event_once() {
        let whole = batch(5..12);
        let (first, second) = whole.halves().unwrap();
        assert_eq!([first.events(), second.events()].concat(), whole.events());
        let keys = [whole.key(), first.key(), second.key()];
        assert_eq!(
            keys,
            ["070707070707070707070707-5+7", "070707070707070707070707-5+3", "070707070707070707070707-8+4"]
        );
        assert_eq!(batch(1..2).halves(), None);
    }
}
