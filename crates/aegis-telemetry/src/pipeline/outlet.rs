//! A sink's side of a pipeline: what waits for it, in which batches it goes there, and what a failure leads to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::order::Chunk;
use super::shared::{Failure, Phase, Shared, Stopped};
use super::spooling::Spooling;
use super::{SinkSettings, chain};
use crate::backoff::Backoff;
use crate::dead_letter::{Content, DeadLetter};
use crate::enricher::Reason;
use crate::event::{Batch, SealedEvent};
use crate::metrics::SinkMetrics;
use crate::sink::{Delivered, Sink, SinkError};

/// A sink's side of a pipeline.
pub(super) struct Outlet {
    pub(super) number: usize,
    pub(super) metrics: Arc<SinkMetrics>,
    pub(super) backoff: Backoff,
    pub(super) spooling: Option<Spooling>,
    sink: Mutex<Box<dyn Sink>>,
    outage: Mutex<Option<Outage>>,
    batch_events: usize,
    batch_bytes: usize,
    linger: Duration,
    inbox: Mutex<Inbox>,
    is_done: AtomicBool,
    arrival: Condvar,
}

#[derive(Default)]
struct Inbox {
    chunks: VecDeque<Arc<Chunk>>,
    /// Events of the first chunk that were taken.
    taken: usize,
    events: usize,
    bytes: usize,
    /// Nothing more will come.
    is_over: bool,
}

/// What goes out at once, and up to which event all is settled when it is out.
struct Work {
    batch: Option<Batch>,
    through: u64,
}

/// Since when a sink fails.
struct Outage {
    since: Instant,
    failures: u32,
}

impl Outlet {
    pub(super) fn new(
        number: usize,
        sink: Box<dyn Sink>,
        settings: SinkSettings,
        metrics: Arc<SinkMetrics>,
    ) -> Self {
        let SinkSettings { batch_events, batch_bytes, linger, backoff, spool } = settings;
        let outlet = Self {
            number,
            metrics,
            backoff,
            spooling: spool.map(Spooling::new),
            sink: Mutex::new(sink),
            outage: Mutex::default(),
            batch_events,
            batch_bytes,
            linger,
            inbox: Mutex::default(),
            is_done: AtomicBool::new(false),
            arrival: Condvar::new(),
        };
        if let Some(spooling) = &outlet.spooling {
            spooling.show(&outlet.metrics);
        }
        outlet
    }

    pub(super) fn name(&self) -> &str {
        &self.metrics.name
    }

    pub(super) const fn has_spool(&self) -> bool {
        self.spooling.is_some()
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a chunk, in order.
    pub(super) fn put(&self, chunk: Arc<Chunk>) {
        let mut inbox = self.inbox();
        inbox.events += chunk.events.len();
        inbox.bytes += chunk.bytes_sealed();
        inbox.chunks.push_back(chunk);
        drop(inbox);
        self.arrival.notify_all();
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.inbox().is_over = true;
        self.wake();
    }

    pub(super) fn wake(&self) {
        // Under the lock, so that nobody has looked already and does not yet wait.
        drop(self.inbox());
        self.arrival.notify_all();
        if let Some(spooling) = &self.spooling {
            spooling.wake();
        }
    }

    /// The outlet's thread.
    pub(super) fn run(&self, shared: &Shared) {
        self.bring_all(shared);
        self.is_done.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether nothing more will be put into the spool.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::SeqCst)
    }

    fn bring_all(&self, shared: &Shared) {
        while let Some(Work { batch, through }) = self.next(shared) {
            let mut parts: VecDeque<Batch> = batch.into_iter().collect();
            let settled = match &self.spooling {
                None => self.deliver_until_settled(shared, &mut parts),
                Some(spooling) => spooling.deliver_or_spool(self, shared, &mut parts),
            };
            match settled {
                Stopped::Yes => return,
                Stopped::No => shared.settle(self.number, through),
            }
        }
    }

    /// The thread that drains the spool.
    pub(super) fn drain(&self, shared: &Shared) {
        if let Some(spooling) = &self.spooling {
            spooling.drain(self, shared);
        }
    }

    /// The next events; `None` if there will be none any more.
    fn next(&self, shared: &Shared) -> Option<Work> {
        let mut inbox = self.inbox();
        loop {
            if shared.phase() == Phase::Aborted {
                return None;
            }
            let Some(first) = inbox.chunks.front() else {
                if inbox.is_over {
                    return None;
                }
                inbox = self.arrival.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let is_full = inbox.events >= self.batch_events || inbox.bytes >= self.batch_bytes;
            let is_wanted = inbox.events == 0 || inbox.is_over || shared.flush_through() >= first.first;
            let age = first.emitted_at.elapsed();
            if is_full || is_wanted || age >= self.linger {
                return Some(self.take(&mut inbox));
            }
            let waited = self.arrival.wait_timeout(inbox, self.linger.saturating_sub(age));
            (inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn take(&self, inbox: &mut Inbox) -> Work {
        let (mut events, mut bytes, mut through) = (Vec::<SealedEvent>::new(), 0, 0);
        while let Some(chunk) = inbox.chunks.front() {
            let mut is_full = false;
            for event in chunk.events.iter().skip(inbox.taken) {
                let len = event.text().len();
                is_full = events.len() >= self.batch_events
                    || (!events.is_empty() && bytes + len > self.batch_bytes);
                if is_full {
                    break;
                }
                bytes += len;
                through = event.id().number();
                events.push(event.clone());
                inbox.taken += 1;
            }
            if is_full {
                break;
            }
            through = chunk.last;
            inbox.taken = 0;
            inbox.chunks.pop_front();
        }
        inbox.events = inbox.events.saturating_sub(events.len());
        inbox.bytes = inbox.bytes.saturating_sub(bytes);
        Work { batch: Batch::new(events), through }
    }

    /// Tries until all is settled, or the pipeline is stopped.
    fn deliver_until_settled(&self, shared: &Shared, parts: &mut VecDeque<Batch>) -> Stopped {
        loop {
            match self.deliver(shared, parts) {
                Ok(()) => return Stopped::No,
                Err(SinkError::Gone { fault }) => {
                    shared.fail(Failure::SinkGone { sink: self.name().to_owned(), why: chain(&fault) });
                    return Stopped::Yes;
                }
                Err(error) => {
                    if shared.sleep(self.note_failure(&error)) == Stopped::Yes {
                        return Stopped::Yes;
                    }
                }
            }
        }
    }

    /// Tries each part once, in order. What is settled is no longer in `parts`. A part that is refused is halved, until
    /// what is at fault stands alone and is given up.
    pub(super) fn deliver(&self, shared: &Shared, parts: &mut VecDeque<Batch>) -> Result<(), SinkError> {
        while let Some(batch) = parts.front() {
            let error = match self.attempt(batch) {
                Ok(Delivered::All) => {
                    self.note_success(batch, batch.events().len() as u64);
                    parts.pop_front();
                    continue;
                }
                Ok(Delivered::AllBut(rejected)) => {
                    let taken = (batch.events().len() as u64).saturating_sub(rejected);
                    self.note_success(batch, taken);
                    self.metrics.refused.add(rejected);
                    for event in batch.events() {
                        self.give_up(shared, event, Reason::SinkTookSome);
                    }
                    parts.pop_front();
                    continue;
                }
                Err(error) => error,
            };
            let SinkError::Refused { fault } = error else { return Err(error) };
            match batch.halves() {
                Some((first, second)) => {
                    parts.pop_front();
                    parts.push_front(second);
                    parts.push_front(first);
                }
                None => {
                    tracing::warn!(sink = self.name(), fault = chain(&fault), "the sink refused an event");
                    self.metrics.refused.add(1);
                    for event in batch.events() {
                        self.give_up(shared, event, Reason::SinkRefused);
                    }
                    parts.pop_front();
                }
            }
        }
        Ok(())
    }

    fn attempt(&self, batch: &Batch) -> Result<Delivered, SinkError> {
        let (events, bytes) = (batch.events().len(), batch.bytes());
        let span = tracing::debug_span!(
            "deliver",
            sink = self.name(),
            key = batch.key(),
            events,
            bytes,
            outcome = tracing::field::Empty,
        );
        let _entered = span.enter();
        let began = Instant::now();
        // A sink that panicked ended its thread, and the pipeline with it.
        let delivered = self.sink.lock().unwrap_or_else(PoisonError::into_inner).deliver(batch);
        self.metrics.deliver_seconds.observe(began.elapsed());
        span.record(
            "outcome",
            match &delivered {
                Ok(Delivered::All) => "taken",
                Ok(Delivered::AllBut(_)) => "taken in part",
                Err(SinkError::Retry { .. }) => "not now",
                Err(SinkError::Refused { .. }) => "refused",
                Err(SinkError::Gone { .. }) => "gone",
            },
        );
        delivered
    }

    /// Gives up an event that is sealed.
    pub(super) fn give_up(&self, shared: &Shared, event: &SealedEvent, reason: Reason) {
        shared.refuse(&DeadLetter {
            id: event.id(),
            at: Timestamp::now(),
            reason,
            sink: Some(self.name().to_owned()),
            offset: None,
            len: event.text().len(),
            content: Content::SealedEvent(event.text().clone()),
        });
    }

    fn note_success(&self, batch: &Batch, taken: u64) {
        self.metrics.events.add(taken);
        self.metrics.bytes.add(batch.bytes() as u64);
        self.metrics.batches.add(1);
        let over = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Outage { since, failures }) = over {
            tracing::info!(
                sink = self.name(),
                failures,
                seconds = since.elapsed().as_secs(),
                "the sink is back"
            );
        }
    }

    /// How long to wait after a failure. The log has the first of an outage, and when it is over.
    pub(super) fn note_failure(&self, error: &SinkError) -> Duration {
        self.metrics.retries.add(1);
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let outage = outage.get_or_insert_with(|| Outage { since: Instant::now(), failures: 0 });
        outage.failures = outage.failures.saturating_add(1);
        let fault = chain(error.fault());
        if outage.failures == 1 {
            tracing::warn!(sink = self.name(), fault, help = error.fault().help(), "the sink is down");
        } else {
            tracing::debug!(sink = self.name(), fault, failures = outage.failures, "the sink is still down");
        }
        let asked = match error {
            SinkError::Retry { after, .. } => *after,
            SinkError::Refused { .. } | SinkError::Gone { .. } => None,
        };
        self.backoff.wait(outage.failures, asked)
    }
}
