//! Connections that wait for the next call, and how many there may be.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::session::Session;

/// The most connections of one process. More than so many calls at once wait for each other.
const MAX_SESSIONS: usize = 8;

/// The connections of one process. A copy of it, by `fork`, has a pool of its own: the parent's connections are there,
/// too, but two processes cannot talk through one socket.
pub(super) struct Pool {
    process: u32,
    state: Mutex<State>,
    freed: Condvar,
    in_copy: OnceLock<Box<Self>>,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// Idle ones and those in use.
    open: usize,
}

/// The right to one connection. It goes back when it is dropped; with the connection, if that was given back.
pub(super) struct Place<'p> {
    pool: &'p Pool,
    session: Option<Session>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            process: std::process::id(),
            state: Mutex::default(),
            freed: Condvar::new(),
            in_copy: OnceLock::new(),
        }
    }

    /// The pool of this process.
    pub(super) fn here(&self) -> &Self {
        let mut pool = self;
        while pool.process != std::process::id() {
            pool = pool.in_copy.get_or_init(|| Box::new(Self::new()));
        }
        pool
    }

    /// A place, with an idle connection if there is one; `None` if none gets free in time.
    pub(super) fn place(&self, patience: Duration) -> Option<Place<'_>> {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                return Some(Place { pool: self, session: Some(session) });
            }
            if state.open < MAX_SESSIONS {
                state.open += 1;
                return Some(Place { pool: self, session: None });
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes every idle connection out, to be dropped by the caller: after one has ended, the others have, too.
    pub(super) fn take_idle(&self) -> Vec<Session> {
        let mut state = self.lock();
        let idle = std::mem::take(&mut state.idle);
        state.open = state.open.saturating_sub(idle.len());
        self.freed.notify_all();
        idle
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// The idle connection that came with the place.
    pub(super) fn take(&mut self) -> Option<Session> {
        self.session.take()
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep(&mut self, session: Session) {
        self.session = Some(session);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.session.take() {
            Some(session) => state.idle.push(session),
            None => state.open = state.open.saturating_sub(1),
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.state.get_mut().unwrap_or_else(PoisonError::into_inner).idle);
        if self.process != std::process::id() {
            // The parent's: closing them would tell the server that the parent has gone.
            std::mem::forget(idle);
            return;
        }
        if idle.is_empty() {
            return;
        }
        // Saying good-bye is a call, too, and the thread that drops the store may run a loop.
        let closing = std::thread::Builder::new().name("aegis-postgres".to_owned()).spawn(move || drop(idle));
        if let Ok(closing) = closing {
            let _ = closing.join();
        }
    }
}
