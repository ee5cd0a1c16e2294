//! A sink with a spool: events go straight to the sink while it takes them, and through the spool otherwise.
//!
//! While anything is in the spool, everything goes through it, so that order is kept. One thread adds to it and the other
//! drains it; the first one touches the sink only while the spool is empty, which the second one makes it only after the
//! sink has taken the last of it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chain;
use super::outlet::Outlet;
use super::shared::{Phase, Shared, Stopped};
use crate::enricher::Reason;
use crate::event::Batch;
use crate::metrics::SinkMetrics;
use crate::spool::{Spool, SpoolError, WhenFull};

/// A spool that two threads use.
pub(super) struct Spooling {
    spool: Mutex<Spool>,
    /// Something was added, or taken away.
    change: Condvar,
}

/// How often a thread that waits for the spool looks whether the pipeline ends.
const LOOK: Duration = Duration::from_millis(200);

impl Spooling {
    pub(super) const fn new(spool: Spool) -> Self {
        Self { spool: Mutex::new(spool), change: Condvar::new() }
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn show(&self, metrics: &SinkMetrics) {
        Self::show_of(&self.spool(), metrics);
    }

    fn show_of(spool: &Spool, metrics: &SinkMetrics) {
        metrics.spool_events.set(spool.events());
        metrics.spool_bytes.set(spool.bytes());
    }

    pub(super) fn wake(&self) {
        self.change.notify_all();
    }

    /// Brings all parts to the sink or into the spool.
    pub(super) fn deliver_or_spool(
        &self,
        outlet: &Outlet,
        shared: &Shared,
        parts: &mut VecDeque<Batch>,
    ) -> Stopped {
        let mut refusals = 0;
        loop {
            let is_empty = self.spool().is_empty();
            if is_empty {
                match outlet.deliver(shared, parts) {
                    Ok(()) => return Stopped::No,
                    Err(error) => {
                        outlet.note_failure(&error);
                    }
                }
            }
            let Err(error) = self.append(outlet, shared, parts) else { return Stopped::No };
            refusals += 1;
            if refusals == 1 {
                tracing::warn!(
                    sink = outlet.name(),
                    error = chain(&error),
                    help = error.help(),
                    "the spool takes nothing: events wait"
                );
            }
            // Until there is room, or the sink takes them.
            let guard = self.spool();
            drop(
                self.change
                    .wait_timeout(guard, outlet.backoff.wait(refusals, None).min(Duration::from_secs(1))),
            );
            if shared.phase() == Phase::Aborted {
                return Stopped::Yes;
            }
        }
    }

    /// Puts the parts into the spool, in order. Those that it has are no longer in `parts`.
    fn append(
        &self,
        outlet: &Outlet,
        shared: &Shared,
        parts: &mut VecDeque<Batch>,
    ) -> Result<(), SpoolError> {
        while let Some(batch) = parts.front() {
            let events = batch.events().len() as u64;
            let span = tracing::debug_span!(
                "spool",
                sink = outlet.name(),
                key = batch.key(),
                events,
                held = tracing::field::Empty,
            );
            let _entered = span.enter();
            let mut spool = self.spool();
            let appended = spool.append(batch);
            span.record("held", spool.events());
            Self::show_of(&spool, &outlet.metrics);
            let when_full = spool.when_full();
            drop(spool);
            match appended {
                Ok(()) => {
                    outlet.metrics.spooled.add(events);
                    self.change.notify_all();
                }
                Err(error @ SpoolError::Full { .. }) if when_full == WhenFull::Shed => {
                    outlet.metrics.shed.add(events);
                    tracing::warn!(sink = outlet.name(), events, %error, "the spool is full: events are lost");
                }
                Err(error @ SpoolError::TooLarge { .. }) => match batch.halves() {
                    Some((first, second)) => {
                        parts.pop_front();
                        parts.push_front(second);
                        parts.push_front(first);
                        continue;
                    }
                    None => {
                        tracing::error!(sink = outlet.name(), %error, "an event does not fit into the spool");
                        for event in batch.events() {
                            outlet.give_up(shared, event, Reason::SinkRefused);
                        }
                    }
                },
                Err(error) => return Err(error),
            }
            parts.pop_front();
        }
        Ok(())
    }

    /// Delivers what is in the spool until the pipeline ends.
    pub(super) fn drain(&self, outlet: &Outlet, shared: &Shared) {
        let mut faults = 0;
        while let Some(found) = self.wait_for_head(outlet, shared) {
            let wait = match found {
                Ok(batch) => match outlet.deliver(shared, &mut VecDeque::from([batch])) {
                    Ok(()) => {
                        faults = 0;
                        self.advance(outlet);
                        continue;
                    }
                    Err(error) => outlet.note_failure(&error),
                },
                Err(error) => {
                    faults += 1;
                    if faults == 1 {
                        tracing::error!(
                            sink = outlet.name(),
                            error = chain(&error),
                            help = error.help(),
                            "the spool cannot be drained"
                        );
                    }
                    outlet.backoff.wait(faults, None)
                }
            };
            // What is in the spool is acknowledged, and safe until the next start.
            if shared.phase() != Phase::Running || self.sleep_while_running(shared, wait) == Stopped::Yes {
                return;
            }
        }
    }

    /// What is to be delivered next; `None` if the pipeline ends and nothing is left, or it is stopped.
    fn wait_for_head(&self, outlet: &Outlet, shared: &Shared) -> Option<Result<Batch, SpoolError>> {
        let mut spool = self.spool();
        loop {
            if shared.phase() == Phase::Aborted || (outlet.is_done() && spool.is_empty()) {
                return None;
            }
            match spool.head() {
                Ok(Some(batch)) => return Some(Ok(batch.clone())),
                Ok(None) => {
                    let waited = self.change.wait_timeout(spool, LOOK);
                    (spool, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn advance(&self, outlet: &Outlet) {
        let mut spool = self.spool();
        if let Err(error) = spool.advance() {
            tracing::warn!(
                sink = outlet.name(),
                error = chain(&error),
                "a segment of the spool that was delivered is still there"
            );
        }
        Self::show_of(&spool, &outlet.metrics);
        drop(spool);
        self.change.notify_all();
    }

    /// Sleeps as long as the pipeline takes events; whether it no longer does.
    fn sleep_while_running(&self, shared: &Shared, mut left: Duration) -> Stopped {
        while !left.is_zero() {
            let part = left.min(LOOK);
            if shared.sleep(part) == Stopped::Yes || shared.phase() != Phase::Running {
                return Stopped::Yes;
            }
            left -= part;
        }
        Stopped::No
    }
}
