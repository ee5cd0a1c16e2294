//! A limit to how long a device is waited for.
//!
//! A call into a PKCS#11 module cannot be cancelled. So it is made by a thread of its own; if it takes too long, the caller
//! goes on without it. The thread ends when the device answers after all, and what it then has is erased.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The most calls that nobody waits for any more. With as many, no new one is made: each costs a thread.
const MAX_GIVEN_UP: usize = 8;

/// How long a device is waited for, and for how many of its answers nobody waits any more.
pub(super) struct Patience {
    limit: Duration,
    given_up: Arc<AtomicUsize>,
}

/// There is no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) waited: Duration,
}

impl Patience {
    pub(super) fn of(limit: Duration) -> Self {
        Self { limit, given_up: Arc::default() }
    }

    /// Does `work` in another thread, and returns without its result if that takes too long.
    pub(super) fn wait_for<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let begun = Instant::now();
        let none = |_| NoAnswer { waited: begun.elapsed() };
        if self.given_up.load(Ordering::Relaxed) >= MAX_GIVEN_UP {
            return Err(none(RecvTimeoutError::Timeout));
        }
        // Without room in it: either the caller takes the answer, or the thread sees that nobody does.
        let (to, from) = sync_channel(0);
        let given_up = Arc::clone(&self.given_up);
        // What is logged there belongs to what the caller is doing.
        let (log, span) = (tracing::dispatcher::get_default(Clone::clone), tracing::Span::current());
        let asking = thread::Builder::new().name("aegis-hsm".to_owned()).spawn(move || {
            let answer = tracing::dispatcher::with_default(&log, || span.in_scope(work));
            if to.send(answer).is_err() {
                given_up.fetch_sub(1, Ordering::Relaxed);
            }
        });
        if asking.is_err() {
            return Err(none(RecvTimeoutError::Disconnected));
        }
        from.recv_timeout(self.limit).map_err(|error| {
            if error == RecvTimeoutError::Timeout {
                self.given_up.fetch_add(1, Ordering::Relaxed);
            }
            none(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn gives_up_on_work_that_does_not_end_and_then_makes_no_more_of_it() {
        let patience = Patience::of(Duration::from_millis(1));
        let (hold, held) = channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..MAX_GIVEN_UP {
            let held = Arc::clone(&held);
            assert!(patience.wait_for(move || held.lock().unwrap().recv()).is_err());
        }
        assert!(patience.wait_for(|| panic!("it is not done")).is_err());
        // When the device answers after all, it may be asked again.
        drop(hold);
        while patience.given_up.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        let patience = Patience { limit: Duration::from_secs(60), ..patience };
        assert_eq!(patience.wait_for(|| 7).unwrap(), 7);
    }
}
