//! Workers that threads of Python take and give back: each works for one at a time, and is worth keeping.

use std::sync::{Mutex, PoisonError};

/// Idle workers.
///
/// The lock is held for a moment, by threads that are attached to the interpreter, and so is a fork made: it cannot find
/// the lock taken. What another thread had taken at that moment is lost to the child, which makes a new one.
pub(crate) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    /// More threads than this at once make a new worker each time.
    const KEPT: usize = 32;

    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The one used last.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn give_back(&self, worker: T) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < Self::KEPT {
            idle.push(worker);
        }
    }

    /// Does something with every one that is idle.
    pub(crate) fn for_each(&self, visit: impl FnMut(&mut T)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().for_each(visit);
    }
}
