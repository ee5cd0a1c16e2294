//! The time, handed in so that tests can set it.

use std::time::Duration;

use jiff::Timestamp;

/// How far behind what is known the clock may be before it is called wrong: machines are never quite of one mind.
pub const MAX_CLOCK_BEHIND: Duration = Duration::from_secs(5 * 60);

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The clock of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `time` and so much more; the end of time if it is past that.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
