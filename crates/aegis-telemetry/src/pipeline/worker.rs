//! A thread that enriches and seals.

use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use super::order::Chunk;
use super::shared::{Shared, Stopped, Waiting};
use crate::backoff::Backoff;
use crate::dead_letter::{Content, DeadLetter, LetterSealer};
use crate::enricher::{Enriched, Enricher, Reason, Refusal};
use crate::event::{EventId, SealedEvent};

/// Most bytes that are set aside for a chunk before it is sealed.
const MOST_RESERVED: usize = 4 << 20;

pub(super) fn run(shared: &Shared, enrichers: Vec<Box<dyn Enricher>>) {
    let letters = shared.letters.as_ref().map(super::letters::Letters::sealer);
    let mut worker = Worker {
        shared,
        enrichers,
        letters,
        between: [Vec::new(), Vec::new()],
        event_len: 0,
        done: Enriched::default(),
    };
    while let Some((number, taken)) = shared.take() {
        // A chunk that is given up in the middle is not settled; the pipeline is stopped then.
        let Some(chunk) = worker.work(taken) else { return };
        shared.finish(number, chunk);
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    enrichers: Vec<Box<dyn Enricher>>,
    letters: Option<LetterSealer>,
    /// What one enricher has written and the next one reads.
    between: [Vec<u8>; 2],
    /// Bytes of a sealed event in the last chunk, so that the next one's memory need not be moved while it grows.
    event_len: usize,
    /// What was done to the present chunk.
    done: Enriched,
}

impl Worker<'_> {
    /// `None` if the pipeline was stopped.
    fn work(&mut self, taken: Vec<Waiting>) -> Option<Chunk> {
        let (first, last) = (taken.first()?, taken.last()?);
        let (first, last, emitted_at) = (first.number, last.number, first.emitted_at);
        let span = tracing::debug_span!(
            "seal",
            first,
            events = taken.len(),
            sealed = tracing::field::Empty,
            refused = tracing::field::Empty,
            fields = tracing::field::Empty,
            contexts = tracing::field::Empty,
            bytes = tracing::field::Empty,
        );
        let _entered = span.enter();
        self.done = Enriched::default();
        let mut refused = 0_u64;
        let mut out = Vec::with_capacity(taken.len().saturating_mul(self.event_len).min(MOST_RESERVED));
        let (mut ends, mut bytes_in) = (Vec::with_capacity(taken.len()), 0);
        for Waiting { number, event, .. } in taken {
            let Some(event) = event else { continue };
            bytes_in += event.len();
            let id = EventId::new(self.shared.run, number);
            match self.seal(id, event.trim_ascii(), &mut out)? {
                true => ends.push((id, out.len())),
                false => refused += 1,
            }
        }
        self.event_len = out.len().checked_div(ends.len()).unwrap_or(self.event_len);
        span.record("sealed", ends.len()).record("refused", refused).record("bytes", out.len());
        span.record("fields", self.done.fields).record("contexts", self.done.contexts);
        let metrics = &self.shared.metrics;
        metrics.events_sealed.add(ends.len() as u64);
        metrics.bytes_sealed.add(out.len() as u64);
        let (out, mut start) = (Bytes::from(out), 0);
        let events = ends.into_iter().map(|(id, end)| {
            let text = out.slice(start..end);
            start = end;
            SealedEvent::new(id, text)
        });
        Some(Chunk { first, last, events: events.collect(), bytes_in, emitted_at })
    }

    /// Appends an event, sealed. Whether it did; `None` if the pipeline was stopped.
    fn seal(&mut self, id: EventId, event: &[u8], out: &mut Vec<u8>) -> Option<bool> {
        let mut stalls = 0;
        loop {
            let before = out.len();
            let began = Instant::now();
            match self.enrich(event, out) {
                Ok(()) => {
                    // An event is one line. Between the tokens of JSON, and nowhere else in it, line feeds mean nothing.
                    let text = out.get_mut(before..).unwrap_or_default();
                    blank_line_ends(text);
                    self.shared.metrics.seal_seconds.observe(began.elapsed());
                    return Some(true);
                }
                Err(refusal) => {
                    // Whatever an enricher wrote before it failed.
                    out.truncate(before);
                    match refusal {
                        Refusal::Event { reason, offset } => {
                            self.refuse(id, reason, offset, event)?;
                            return Some(false);
                        }
                        Refusal::Unavailable { reason } => {
                            stalls += 1;
                            self.stall(reason, stalls)?;
                        }
                    }
                }
            }
        }
    }

    fn enrich(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let [from, to] = &mut self.between;
        let Some((sealing, others)) = self.enrichers.split_last_mut() else {
            return Err(Refusal::Event { reason: Reason::Enricher, offset: None });
        };
        let mut is_first = true;
        for enricher in others {
            to.clear();
            enricher.enrich(if is_first { event } else { from }, to)?;
            std::mem::swap(from, to);
            is_first = false;
        }
        let mut text = if is_first { event } else { from };
        if memchr::memchr2(b'\n', b'\r', text).is_some() {
            // Also within what is sealed: once it is opened, the event is to be one line again.
            to.clear();
            to.extend_from_slice(text);
            blank_line_ends_between_tokens(to);
            text = to;
        }
        let done = sealing.enrich(text, out)?;
        self.done.fields += done.fields;
        self.done.contexts += done.contexts;
        let metrics = &self.shared.metrics;
        metrics.fields.add(done.fields);
        metrics.field_bytes.add(done.field_bytes);
        metrics.contexts.add(done.contexts);
        Ok(())
    }

    /// Waits until something can be sealed again. `None` if the pipeline was stopped.
    fn stall(&self, reason: Reason, stalls: u32) -> Option<()> {
        self.shared.metrics.stalls.add(1);
        if stalls == 1 {
            tracing::error!(reason = reason.name(), "nothing can be sealed now: events wait");
        }
        let backoff = Backoff { most: std::time::Duration::from_secs(5), ..Backoff::default() };
        match self.shared.sleep(backoff.wait(stalls, None)) {
            Stopped::Yes => None,
            Stopped::No => Some(()),
        }
    }

    /// Gives an event up. `None` if the pipeline was stopped.
    fn refuse(&mut self, id: EventId, reason: Reason, offset: Option<usize>, event: &[u8]) -> Option<()> {
        let at = Timestamp::now();
        let mut stalls = 0;
        let content = loop {
            let Some(letters) = &mut self.letters else { break Content::Withheld };
            if let Some(content) = letters.seal(id, at, reason, event) {
                break content;
            }
            stalls += 1;
            self.stall(Reason::NoDek, stalls)?;
        };
        self.shared.refuse(&DeadLetter { id, at, reason, sink: None, offset, len: event.len(), content });
        Some(())
    }
}

/// Puts spaces in the places of line ends, except in strings, where they make the event no JSON.
fn blank_line_ends_between_tokens(text: &mut [u8]) {
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in text {
        match *byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'\n' | b'\r' if !in_string => *byte = b' ',
            _ => {}
        }
    }
}

fn blank_line_ends(text: &mut [u8]) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        let (done, more) = rest.split_at_mut(at + 1);
        if let Some(byte) = done.last_mut() {
            *byte = b' ';
        }
        rest = more;
    }
}
