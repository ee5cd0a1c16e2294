//! How much is sealed under each DEK, counted in memory and handed to the store now and then.
//!
//! Counting is two additions to atomic numbers. What was counted reaches the store at each interval, on
//! [`flush`](UsageCounter::flush), on [`close`](UsageCounter::close) and on drop; a process that is killed loses what was
//! counted since. If the store fails, or does not say how it ended, the numbers are kept and tried again, so that a limit
//! is rather met too early than too late.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::record::Usage;
use crate::store::Store;
use crate::store_error::{ConflictKind, StoreError};
use crate::version::DekVersion;

/// How often counts are handed to the store unless it is set otherwise.
pub const DEFAULT_FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Counts what is sealed, for all threads of a process.
pub struct UsageCounter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Counts for one DEK. Cheap to clone and to share.
#[derive(Clone, Debug)]
pub struct UsageMeter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    bytes: AtomicU64,
}

struct Shared {
    store: Arc<dyn Store>,
    meters: Mutex<BTreeMap<DekVersion, Arc<Counts>>>,
    // One flush at a time; whether the thread is to stop.
    flushing: Mutex<()>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

impl UsageMeter {
    /// Counts one message of so many bytes before encryption. Never waits.
    pub fn count(&self, bytes: u64) {
        self.count_many(1, bytes);
    }

    /// Counts several messages that have so many bytes together: threads that count each one wait for one another.
    pub fn count_many(&self, messages: u64, bytes: u64) {
        self.0.messages.fetch_add(messages, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl UsageCounter {
    /// Counts, and flushes at each interval from a thread of its own.
    pub fn start(store: Arc<dyn Store>, interval: Duration) -> Self {
        let shared = Arc::new(Shared {
            store,
            meters: Mutex::default(),
            flushing: Mutex::default(),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
        });
        let flusher = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("aegis-usage".to_owned())
            .spawn(move || flusher.flush_until_stopped(interval));
        if let Err(error) = &thread {
            // Nothing is lost: it is flushed when the counter is closed.
            tracing::warn!(%error, "usage of DEKs is not flushed in between");
        }
        Self { shared, thread: thread.ok() }
    }

    /// The meter of a DEK; all of one DEK add to the same numbers.
    pub fn meter(&self, version: DekVersion) -> UsageMeter {
        UsageMeter(Arc::clone(lock(&self.shared.meters).entry(version).or_default()))
    }

    /// Hands what was counted to the store.
    ///
    /// # Errors
    ///
    /// Those of the store; what it did not take is still counted.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush()
    }

    /// Stops, and hands over what is left.
    ///
    /// # Errors
    ///
    /// Those of the store, if it did not take the last counts.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.stop();
        self.shared.flush()
    }

    fn stop(&mut self) {
        *lock(&self.shared.stopping) = true;
        self.shared.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for UsageCounter {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = self.shared.flush() {
            let Usage { messages, bytes } = self.shared.unflushed();
            tracing::error!(%error, messages, bytes, "the last usage of DEKs was not stored");
        }
    }
}

impl fmt::Debug for UsageCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageCounter").field("unflushed", &self.shared.unflushed()).finish_non_exhaustive()
    }
}

impl Shared {
    fn flush_until_stopped(&self, interval: Duration) {
        let mut stopping = lock(&self.stopping);
        while !*stopping {
            let waited = self.stop.wait_timeout_while(stopping, interval, |stopping| !*stopping);
            stopping = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
            if *stopping {
                return;
            }
            drop(stopping);
            if let Err(error) = self.flush() {
                tracing::warn!(%error, "usage of DEKs was not stored, and is kept");
            }
            stopping = lock(&self.stopping);
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        let _one_at_a_time = lock(&self.flushing);
        let taken = self.take();
        if taken.is_empty() {
            return Ok(());
        }
        match self.store.add_usage(&taken) {
            Ok(()) => Ok(()),
            // One version that the store does not know must not hold the others up.
            Err(StoreError::Conflict { what: ConflictKind::UnknownVersion }) if taken.len() > 1 => {
                let mut first_error = None;
                for one in taken {
                    if let Err(error) = self.store.add_usage(std::slice::from_ref(&one)) {
                        self.put_back(&[one]);
                        first_error.get_or_insert(error);
                    }
                }
                first_error.map_or(Ok(()), Err)
            }
            Err(error) => {
                self.put_back(&taken);
                Err(error)
            }
        }
    }

    fn take(&self) -> Vec<(DekVersion, Usage)> {
        let mut meters = lock(&self.meters);
        let taken = meters.iter().filter_map(|(version, counts)| {
            let messages = counts.messages.swap(0, Ordering::Relaxed);
            let bytes = counts.bytes.swap(0, Ordering::Relaxed);
            (messages != 0 || bytes != 0).then_some((*version, Usage { messages, bytes }))
        });
        let taken: Vec<_> = taken.collect();
        // Forgets the DEKs that no meter is left of, unless one counted just before it was dropped.
        meters.retain(|_, counts| {
            Arc::get_mut(counts)
                .is_none_or(|counts| *counts.messages.get_mut() != 0 || *counts.bytes.get_mut() != 0)
        });
        taken
    }

    fn put_back(&self, counts: &[(DekVersion, Usage)]) {
        let mut meters = lock(&self.meters);
        for (version, Usage { messages, bytes }) in counts {
            let meter = meters.entry(*version).or_default();
            meter.messages.fetch_add(*messages, Ordering::Relaxed);
            meter.bytes.fetch_add(*bytes, Ordering::Relaxed);
        }
    }

    fn unflushed(&self) -> Usage {
        lock(&self.meters).values().fold(Usage::default(), |sum, counts| Usage {
            messages: sum.messages.saturating_add(counts.messages.load(Ordering::Relaxed)),
            bytes: sum.bytes.saturating_add(counts.bytes.load(Ordering::Relaxed)),
        })
    }
}

/// A thread that panicked while it held the lock left the numbers as they were: each change of them is one operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
