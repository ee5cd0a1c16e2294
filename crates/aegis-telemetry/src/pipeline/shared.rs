//! What the threads of a pipeline share: the queue, how much is in memory, and how far events are settled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::letters::Letters;
use super::order::{Chunk, Order};
use super::outlet::Outlet;
use super::{EmitError, Emitted, FlushError, PipelineSettings, Position, Settled, WhenQueueFull};
use crate::dead_letter::{Content, DeadLetter};
use crate::enricher::Reason;
use crate::event::{EventId, RunId};
use crate::metrics::Metrics;

/// Most events that a worker takes at once.
const CHUNK_EVENTS: usize = 64;
/// A worker takes no further event if those it took have this many bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where a pipeline stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It takes events.
    Running = 0,
    /// It takes no more, and brings those it has to their sinks.
    Draining = 1,
    /// It stops wherever it is.
    Aborted = 2,
}

/// Why a pipeline cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A sink without a spool takes nothing any more.
    #[error("the sink {sink:?} is gone: {why}")]
    SinkGone {
        /// Its name.
        sink: String,
        /// What it said.
        why: String,
    },
    /// A thread ended that should not have: a sink, an enricher or a handler panicked.
    #[error("the thread {thread:?} panicked")]
    Panicked {
        /// Its name.
        thread: String,
    },
}

/// What the threads of a pipeline share.
pub(super) struct Shared {
    pub(super) settings: PipelineSettings,
    pub(super) run: RunId,
    pub(super) metrics: Arc<Metrics>,
    pub(super) outlets: Vec<Arc<Outlet>>,
    pub(super) letters: Option<Letters>,
    state: Mutex<State>,
    /// There is room again, for those that emit.
    room: Condvar,
    /// There is work, or room to do it, for workers.
    work: Condvar,
    /// More is settled, a thread ended, or the phase changed.
    progress: Condvar,
    order: Mutex<Order>,
    flush_through: AtomicU64,
    /// A [`Phase`]. Changed under the lock of `state`, so that nobody who waits there misses it; read by whoever likes, so
    /// that an outlet that holds its own lock need not take that one.
    phase: AtomicU8,
}

struct State {
    waiting: VecDeque<Waiting>,
    emitted: u64,
    next_chunk: u64,
    /// Events from `emit` until settled, and what they weigh.
    events: usize,
    bytes: usize,
    /// The part of `bytes` that is sealed.
    sealed_bytes: usize,
    /// Sealed chunks in order, until all sinks have settled them.
    charges: VecDeque<Charge>,
    settled_by: Vec<u64>,
    settled: u64,
    failure: Option<Failure>,
    threads: usize,
    workers: usize,
    shed_unlogged: u64,
    shed_logged_at: Option<Instant>,
}

/// An event that nobody has taken up.
pub(super) struct Waiting {
    pub(super) number: u64,
    /// `None` if it was too long to be read: it has its place, and was given up already.
    pub(super) event: Option<Vec<u8>>,
    pub(super) emitted_at: Instant,
}

/// What a chunk weighs.
struct Charge {
    last: u64,
    events: usize,
    bytes: usize,
    emitted_at: Instant,
}

/// A thread that is alive. If it is dropped without [`end`](Self::end), the thread panicked.
pub(super) struct Alive {
    shared: Arc<Shared>,
    name: String,
    is_worker: bool,
    has_ended: bool,
}

impl Shared {
    pub(super) fn new(
        settings: PipelineSettings,
        run: RunId,
        metrics: Arc<Metrics>,
        outlets: Vec<Arc<Outlet>>,
        letters: Option<Letters>,
    ) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            emitted: 0,
            next_chunk: 0,
            events: 0,
            bytes: 0,
            sealed_bytes: 0,
            charges: VecDeque::new(),
            settled_by: vec![0; outlets.len()],
            settled: 0,
            failure: None,
            threads: 0,
            workers: 0,
            shed_unlogged: 0,
            shed_logged_at: None,
        };
        Self {
            settings,
            run,
            metrics,
            outlets,
            letters,
            state: Mutex::new(state),
            room: Condvar::new(),
            work: Condvar::new(),
            progress: Condvar::new(),
            order: Mutex::default(),
            flush_through: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
        }
    }

    /// No change of the state spans two statements between which something could panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room until `deadline`, or as long as it takes if there is none.
    pub(super) fn emit(&self, event: Vec<u8>, deadline: Option<Instant>) -> Result<Emitted, EmitError> {
        let PipelineSettings { queue_events, queue_bytes, when_full, max_event_len, .. } = self.settings;
        let len = event.len();
        if len > max_event_len {
            self.count_refusal(Reason::OverLimit);
            return Err(EmitError::TooLong { found: len, limit: max_event_len });
        }
        let mut state = self.state();
        loop {
            if let Some(failure) = &state.failure {
                return Err(EmitError::Failed(failure.clone()));
            }
            if self.phase() != Phase::Running {
                return Err(EmitError::Closed);
            }
            // A single event always has room, however long.
            if state.events == 0 || (state.events < queue_events && state.bytes + len <= queue_bytes) {
                break;
            }
            match when_full {
                WhenQueueFull::Block => {
                    state = match deadline.map(time_until) {
                        None => self.room.wait(state).unwrap_or_else(PoisonError::into_inner),
                        Some(None) => return Ok(Emitted::NoRoom(event)),
                        Some(Some(left)) => {
                            let waited = self.room.wait_timeout(state, left);
                            waited.unwrap_or_else(PoisonError::into_inner).0
                        }
                    };
                }
                WhenQueueFull::Shed => {
                    self.shed(&mut state);
                    return Err(EmitError::Shed);
                }
            }
        }
        state.emitted += 1;
        state.events += 1;
        state.bytes += len;
        let number = state.emitted;
        state.waiting.push_back(Waiting { number, event: Some(event), emitted_at: Instant::now() });
        self.show(&state);
        drop(state);
        self.metrics.events_in.add(1);
        self.metrics.bytes_in.add(len as u64);
        self.work.notify_one();
        Ok(Emitted::At(Position(number)))
    }

    pub(super) fn emitted(&self) -> Position {
        Position(self.state().emitted)
    }

    /// Counts a loss. The log has one line a second of them, and one at the end.
    fn shed(&self, state: &mut State) {
        self.metrics.shed.add(1);
        state.shed_unlogged += 1;
        if state.shed_logged_at.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            tracing::warn!(events = state.shed_unlogged, "the queue is full: events are lost");
            state.shed_unlogged = 0;
            state.shed_logged_at = Some(Instant::now());
        }
    }

    pub(super) fn log_losses(&self) {
        let mut state = self.state();
        if state.shed_unlogged > 0 {
            tracing::warn!(events = state.shed_unlogged, "the queue was full: events are lost");
            state.shed_unlogged = 0;
        }
    }

    pub(super) fn refuse_unread(&self, len: u64) -> Position {
        let number = {
            let mut state = self.state();
            state.emitted += 1;
            let number = state.emitted;
            // It takes its place in the order, weighs nothing, and is passed over.
            state.events += 1;
            state.waiting.push_back(Waiting { number, event: None, emitted_at: Instant::now() });
            number
        };
        self.refuse(&DeadLetter {
            id: EventId::new(self.run, number),
            at: Timestamp::now(),
            reason: Reason::OverLimit,
            sink: None,
            offset: None,
            len: usize::try_from(len).unwrap_or(usize::MAX),
            content: Content::Withheld,
        });
        self.work.notify_one();
        Position(number)
    }

    /// Counts, logs and keeps an event that was given up.
    pub(super) fn refuse(&self, letter: &DeadLetter) {
        let DeadLetter { id, reason, sink, offset, len, at: _, content: _ } = letter;
        self.count_refusal(*reason);
        tracing::warn!(%id, reason = reason.name(), ?sink, ?offset, len, "an event is refused");
        if let Some(letters) = &self.letters {
            letters.keep(letter, &self.metrics);
        }
    }

    fn count_refusal(&self, reason: Reason) {
        if let Some(counter) = self.metrics.refusals(reason) {
            counter.add(1);
        }
    }

    /// Events for a worker, and the number of their chunk; `None` if there will be none any more.
    pub(super) fn take(&self) -> Option<(u64, Vec<Waiting>)> {
        let mut state = self.state();
        loop {
            if self.phase() == Phase::Aborted {
                return None;
            }
            // What is sealed is longer: it is bounded by itself. Before a chunk is taken, so that every one that was taken
            // is finished, and none waits for another.
            let has_room = state.sealed_bytes == 0 || state.sealed_bytes < self.settings.queue_bytes;
            if !state.waiting.is_empty() && has_room {
                break;
            }
            if state.waiting.is_empty() && self.phase() != Phase::Running {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // A fair part, so that a few events keep all workers busy.
        let most = state.waiting.len().div_ceil(self.settings.workers).clamp(1, CHUNK_EVENTS);
        let (mut taken, mut bytes) = (Vec::with_capacity(most), 0);
        while taken.len() < most && bytes < CHUNK_BYTES {
            let Some(waiting) = state.waiting.pop_front() else { break };
            bytes += waiting.event.as_ref().map_or(0, Vec::len);
            taken.push(waiting);
        }
        let number = state.next_chunk;
        state.next_chunk += 1;
        if !state.waiting.is_empty() {
            self.work.notify_one();
        }
        Some((number, taken))
    }

    /// A worker is done with a chunk. It goes to the sinks when its turn has come.
    pub(super) fn finish(&self, number: u64, chunk: Chunk) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.put(number, chunk);
        while let Some(chunk) = order.take() {
            let sealed = chunk.bytes_sealed();
            {
                let mut state = self.state();
                state.bytes = state.bytes.saturating_sub(chunk.bytes_in) + sealed;
                state.sealed_bytes += sealed;
                let events = usize::try_from(chunk.last - chunk.first + 1).unwrap_or_default();
                state.charges.push_back(Charge {
                    last: chunk.last,
                    events,
                    bytes: sealed,
                    emitted_at: chunk.emitted_at,
                });
                self.show(&state);
            }
            for outlet in &self.outlets {
                outlet.put(Arc::clone(&chunk));
            }
        }
    }

    /// A sink, or its spool, has all events up to a number.
    pub(super) fn settle(&self, outlet: usize, through: u64) {
        let mut state = self.state();
        if let Some(settled) = state.settled_by.get_mut(outlet) {
            *settled = through.max(*settled);
        }
        let by_all = state.settled_by.iter().copied().min().unwrap_or_default();
        if by_all <= state.settled {
            return;
        }
        state.settled = by_all;
        while let Some(charge) = state.charges.pop_front_if(|charge| charge.last <= by_all) {
            state.events = state.events.saturating_sub(charge.events);
            state.bytes = state.bytes.saturating_sub(charge.bytes);
            state.sealed_bytes = state.sealed_bytes.saturating_sub(charge.bytes);
            self.metrics.settle_seconds.observe(charge.emitted_at.elapsed());
        }
        self.show(&state);
        drop(state);
        self.room.notify_all();
        self.work.notify_all();
        self.progress.notify_all();
    }

    fn show(&self, state: &State) {
        self.metrics.queue_events.set(state.events as u64);
        self.metrics.queue_bytes.set(state.bytes as u64);
    }

    pub(super) fn acknowledged(&self) -> Position {
        Position(self.state().settled)
    }

    pub(super) fn unsettled(&self) -> u64 {
        let state = self.state();
        state.emitted - state.settled
    }

    /// Up to which event nobody is to wait for a batch to become full.
    pub(super) fn flush_through(&self) -> u64 {
        self.flush_through.load(Ordering::SeqCst)
    }

    pub(super) fn flush(&self, deadline: Instant) -> Result<Settled, FlushError> {
        let emitted = self.state().emitted;
        self.hurry(emitted);
        self.log_losses();
        self.wait_for(Position(emitted), deadline)
    }

    fn hurry(&self, through: u64) {
        self.flush_through.fetch_max(through, Ordering::SeqCst);
        for outlet in &self.outlets {
            outlet.wake();
        }
    }

    pub(super) fn wait_for(&self, position: Position, deadline: Instant) -> Result<Settled, FlushError> {
        let mut state = self.state();
        loop {
            if state.settled >= position.0 {
                return Ok(self.settled(&state));
            }
            if let Some(failure) = &state.failure {
                let unsettled = position.0 - state.settled;
                return Err(FlushError::Failed { unsettled, failure: failure.clone() });
            }
            let Some(left) = time_until(deadline) else {
                return Err(self.timed_out(&state, position.0));
            };
            let waited = self.progress.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn timed_out(&self, state: &State, wanted: u64) -> FlushError {
        let behind = state.settled_by.iter().zip(&self.outlets).filter(|(settled, _)| **settled < wanted);
        FlushError::TimedOut {
            unsettled: wanted - state.settled,
            waiting: behind.map(|(_, outlet)| outlet.name().to_owned()).collect(),
        }
    }

    fn settled(&self, state: &State) -> Settled {
        Settled {
            through: Position(state.settled),
            refused: self.metrics.all_refused(),
            letters_lost: self.metrics.dead_letters_lost.value(),
            shed: self.metrics.shed.value(),
            shed_by_spools: self.metrics.sinks().iter().map(|sink| sink.shed.value()).sum(),
        }
    }

    /// Waits until all threads have ended, and says whether everything is settled.
    pub(super) fn wait_for_threads(&self, deadline: Instant) -> Result<Settled, FlushError> {
        let mut state = self.state();
        while state.threads > 0 && state.failure.is_none() {
            let Some(left) = time_until(deadline) else { break };
            let waited = self.progress.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let unsettled = state.emitted - state.settled;
        match &state.failure {
            _ if unsettled == 0 => Ok(self.settled(&state)),
            Some(failure) => Err(FlushError::Failed { unsettled, failure: failure.clone() }),
            None => Err(self.timed_out(&state, state.emitted)),
        }
    }

    /// Waits until all threads have ended; whether they have.
    pub(super) fn all_ended(&self, deadline: Instant) -> bool {
        let mut state = self.state();
        while state.threads > 0 {
            let Some(left) = time_until(deadline) else { return false };
            let waited = self.progress.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Aborted,
        }
    }

    /// Phases only go on, never back.
    pub(super) fn set_phase(&self, phase: Phase) {
        {
            let state = self.state();
            self.phase.fetch_max(phase as u8, Ordering::SeqCst);
            if state.workers == 0 {
                self.end_outlets();
            }
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        self.room.notify_all();
        self.work.notify_all();
        self.progress.notify_all();
        for outlet in &self.outlets {
            outlet.wake();
        }
    }

    fn end_outlets(&self) {
        for outlet in &self.outlets {
            outlet.end();
        }
    }

    /// It cannot go on. What is not settled is not acknowledged, and nobody waits for it any longer.
    pub(super) fn fail(&self, failure: Failure) {
        tracing::error!(%failure, "the pipeline cannot go on");
        {
            let mut state = self.state();
            state.failure.get_or_insert(failure);
            self.phase.store(Phase::Aborted as u8, Ordering::SeqCst);
        }
        self.wake_all();
    }

    /// Sleeps, unless the pipeline is stopped; whether it was.
    pub(super) fn sleep(&self, how_long: Duration) -> Stopped {
        let deadline = Instant::now() + how_long;
        let mut state = self.state();
        loop {
            if self.phase() == Phase::Aborted {
                return Stopped::Yes;
            }
            let Some(left) = time_until(deadline) else { return Stopped::No };
            let waited = self.progress.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn begin_thread(self: &Arc<Self>, name: &str, is_worker: bool) -> Alive {
        let mut state = self.state();
        state.threads += 1;
        state.workers += usize::from(is_worker);
        Alive { shared: Arc::clone(self), name: name.to_owned(), is_worker, has_ended: false }
    }
}

/// Whether the pipeline is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    Yes,
    No,
}

impl Alive {
    pub(super) fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Also if the thread was never started.
        let has_panicked = !self.has_ended && std::thread::panicking();
        if has_panicked {
            self.shared.fail(Failure::Panicked { thread: std::mem::take(&mut self.name) });
        }
        {
            let mut state = self.shared.state();
            state.threads -= 1;
            state.workers -= usize::from(self.is_worker);
            if state.workers == 0 {
                // What they have finished is in the inboxes, and nothing more will come.
                self.shared.end_outlets();
            }
        }
        self.shared.progress.notify_all();
    }
}

fn time_until(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}
