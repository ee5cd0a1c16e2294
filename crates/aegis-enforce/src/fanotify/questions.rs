//! Questions that take long to answer, since a program has to be read for them. Threads of their own do that.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::group::Event;
use super::rules::Origin;

/// At most so many wait; each holds a descriptor.
const MAX_WAITING: usize = 512;

/// What has to be found out.
#[derive(Debug)]
pub(super) enum Question {
    /// Whether a program may be run; or mapped, as another's interpreter.
    Program(Event, Use),
    /// Whether who opens a protected file runs a verified program.
    Verified(Event, Origin),
}

/// What becomes of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Run,
    Interpreter,
}

impl Question {
    pub(super) fn event(&self) -> &Event {
        match self {
            Self::Program(event, _) | Self::Verified(event, _) => event,
        }
    }

    pub(super) fn event_mut(&mut self) -> &mut Event {
        match self {
            Self::Program(event, _) | Self::Verified(event, _) => event,
        }
    }

    pub(super) fn into_event(self) -> Event {
        match self {
            Self::Program(event, _) | Self::Verified(event, _) => event,
        }
    }
}

/// Questions in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Questions {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Question>,
    closed: bool,
}

/// Lets the threads that answer end, when whoever asks has ended, however that came.
pub(super) struct CloseAtEnd<'a>(pub(super) &'a Questions);

impl Questions {
    /// Adds one. Gives it back if too many wait already.
    pub(super) fn ask(&self, question: Question) -> Result<(), Question> {
        let mut state = self.lock();
        if state.waiting.len() >= MAX_WAITING || state.closed {
            return Err(question);
        }
        state.waiting.push_back(question);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for one. None: there will be no more.
    pub(super) fn take(&self) -> Option<Question> {
        let mut state = self.lock();
        loop {
            if let Some(question) = state.waiting.pop_front() {
                return Some(question);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}
