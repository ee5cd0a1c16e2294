//! Rotates the DEK of a scope when it is due: by age, by messages, by bytes.
//!
//! Several may run at once, in one process or in many: each names the DEK that it found due, and the store lets one of
//! them replace it. A clock that went back makes nobody rotate: it is said, and age is judged again once the clock is past
//! the DEK's making. Rotating then would set two machines whose clocks differ to rotate in turns.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{MAX_CLOCK_BEHIND, later};
use crate::keyring::{ActiveDekError, Keyring, MakeDekError};
use crate::record::{DekRecord, Usage};
use crate::scope::Scope;
use crate::version::DekVersion;

/// How long a DEK is active unless it is set otherwise.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The shortest age that may be set: below, every look could find the DEK due.
pub const MIN_MAX_AGE: Duration = Duration::from_secs(60);

/// How long the usage of a DEK may go unlooked at.
const USAGE_INTERVAL: Duration = Duration::from_secs(60);
/// How long age may go unlooked at: the system's clock can be set, and others can rotate.
const AGE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// When a DEK is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPolicy {
    max_age: Duration,
    max_messages: Option<u64>,
    max_bytes: Option<u64>,
}

impl RotationPolicy {
    /// Due at an age, and at limits of use if they are given.
    ///
    /// # Errors
    ///
    /// [`RotationPolicyError`] if every DEK would be due at once.
    pub fn new(
        max_age: Duration,
        max_messages: Option<u64>,
        max_bytes: Option<u64>,
    ) -> Result<Self, RotationPolicyError> {
        if max_age < MIN_MAX_AGE {
            return Err(RotationPolicyError::MaxAge { found: max_age });
        }
        if max_messages == Some(0) || max_bytes == Some(0) {
            return Err(RotationPolicyError::Limit);
        }
        Ok(Self { max_age, max_messages, max_bytes })
    }

    fn has_limit(&self) -> bool {
        self.max_messages.is_some() || self.max_bytes.is_some()
    }
}

impl Default for RotationPolicy {
    /// At [`DEFAULT_MAX_AGE`], however much it is used.
    fn default() -> Self {
        Self { max_age: DEFAULT_MAX_AGE, max_messages: None, max_bytes: None }
    }
}

/// Settings under which every DEK would be due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationPolicyError {
    /// Too short an age.
    #[error("a DEK is active for {} seconds at least, not {}", MIN_MAX_AGE.as_secs(), found.as_secs())]
    MaxAge {
        /// The age.
        found: Duration,
    },
    /// A limit of nothing.
    #[error("a limit of messages or bytes is 1 at least")]
    Limit,
}

/// Why a DEK is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationReason {
    /// It is as old as it may become.
    Age,
    /// As many messages as may be were sealed under it.
    Messages,
    /// As many bytes as may be were sealed under it.
    Bytes,
}

/// What came of a look at a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotatorOutcome {
    /// Nothing is due.
    NotDue {
        /// The active DEK.
        active: DekVersion,
        /// When its age will make it due.
        due_at: Timestamp,
    },
    /// A new DEK is active.
    Rotated {
        /// The one before.
        replaced: DekVersion,
        /// The new one.
        active: DekVersion,
        /// Why.
        reason: RotationReason,
    },
    /// It was due, and somebody else was faster.
    RotatedElsewhere {
        /// The one that was due.
        replaced: DekVersion,
        /// The one that is active.
        active: DekVersion,
    },
    /// The clock is behind what was known before, so ages mean nothing. Limits of use were looked at.
    ClockWentBack {
        /// The active DEK.
        active: DekVersion,
        /// The time now.
        now: Timestamp,
        /// The later time that was known: of the last look, or the one at which the DEK was made.
        before: Timestamp,
    },
}

/// What a look found.
enum Judged {
    /// This DEK is due.
    Due { replaced: DekVersion, reason: RotationReason },
    /// None is.
    Stays(RotatorOutcome),
}

/// Rotates the DEK of one scope when it is due.
pub struct DekRotator {
    keyring: Keyring,
    scope: Scope,
    policy: RotationPolicy,
    last_look: Mutex<Option<Timestamp>>,
}

impl DekRotator {
    /// Has looked at nothing yet.
    pub const fn new(keyring: Keyring, scope: Scope, policy: RotationPolicy) -> Self {
        Self { keyring, scope, policy, last_look: Mutex::new(None) }
    }

    /// Looks, and rotates if it is due.
    ///
    /// # Errors
    ///
    /// A [`RotatorError`]; the DEK is as it was.
    pub fn run_once(&self) -> Result<RotatorOutcome, RotatorError> {
        let (replaced, reason) = match self.judge()? {
            Judged::Due { replaced, reason } => (replaced, reason),
            Judged::Stays(outcome) => return Ok(outcome),
        };
        match self.keyring.rotate_from(&self.scope, replaced) {
            Ok(rotated) => Ok(RotatorOutcome::Rotated { replaced, active: rotated.active.version, reason }),
            Err(MakeDekError::ActiveChanged { active, .. }) => {
                Ok(RotatorOutcome::RotatedElsewhere { replaced, active })
            }
            Err(error) => Err(RotatorError::Rotate(error)),
        }
    }

    /// Looks, and changes nothing: `None` if a DEK is due, else what is to be said. For those who rotate under a lock, and
    /// look again there.
    ///
    /// # Errors
    ///
    /// [`RotatorError::Look`].
    pub fn look_only(&self) -> Result<Option<RotatorOutcome>, RotatorError> {
        Ok(match self.judge()? {
            Judged::Due { .. } => None,
            Judged::Stays(outcome) => Some(outcome),
        })
    }

    fn judge(&self) -> Result<Judged, RotatorError> {
        let active = self.look()?;
        let now = self.keyring.now();
        let before = self.time_before(&active, now);
        let reason = match (used_up(&self.policy, active.usage), before) {
            (Some(reason), _) => reason,
            (None, Some(before)) => {
                tracing::warn!(scope = %self.scope, %now, %before, "the clock went back, no DEK is rotated by age");
                let outcome = RotatorOutcome::ClockWentBack { active: active.version, now, before };
                return Ok(Judged::Stays(outcome));
            }
            (None, None) if later(active.created_at, self.policy.max_age) <= now => RotationReason::Age,
            (None, None) => {
                let due_at = later(active.created_at, self.policy.max_age);
                return Ok(Judged::Stays(RotatorOutcome::NotDue { active: active.version, due_at }));
            }
        };
        Ok(Judged::Due { replaced: active.version, reason })
    }

    /// How long to wait before the next look.
    ///
    /// # Errors
    ///
    /// A [`RotatorError`].
    pub fn next_check(&self) -> Result<Duration, RotatorError> {
        let active = self.look()?;
        let due_at = later(active.created_at, self.policy.max_age);
        let until_due = Duration::try_from(due_at.duration_since(self.keyring.now())).unwrap_or_default();
        let longest = if self.policy.has_limit() { USAGE_INTERVAL } else { AGE_INTERVAL };
        // Never a loop, also if the DEK stays due because its rotation fails.
        Ok(until_due.clamp(Duration::from_secs(1), longest))
    }

    /// Looks at once and then whenever it is time, from a thread of its own. `told` is given every outcome.
    ///
    /// # Errors
    ///
    /// Those of the system, if it gives no thread.
    pub fn spawn(
        self,
        told: impl FnMut(Result<RotatorOutcome, RotatorError>) + Send + 'static,
    ) -> std::io::Result<RunningRotator> {
        self.spawn_with(Self::run_once, told)
    }

    /// The same, with `look` in the place of [`run_once`](Self::run_once).
    ///
    /// # Errors
    ///
    /// Those of the system, if it gives no thread.
    pub fn spawn_with<E>(
        self,
        look: impl FnMut(&Self) -> Result<RotatorOutcome, E> + Send + 'static,
        told: impl FnMut(Result<RotatorOutcome, E>) + Send + 'static,
    ) -> std::io::Result<RunningRotator> {
        let signal = Arc::new((Mutex::new(false), Condvar::new()));
        let stop = Arc::clone(&signal);
        let thread = std::thread::Builder::new()
            .name("aegis-rotator".to_owned())
            .spawn(move || self.run_until_stopped(&stop, look, told))?;
        Ok(RunningRotator { signal, thread: Some(thread) })
    }

    fn run_until_stopped<E>(
        &self,
        (stopping, stop): &(Mutex<bool>, Condvar),
        mut look: impl FnMut(&Self) -> Result<RotatorOutcome, E>,
        mut told: impl FnMut(Result<RotatorOutcome, E>),
    ) {
        loop {
            told(look(self));
            let wait = self.next_check().unwrap_or(USAGE_INTERVAL);
            let guard = stopping.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = stop.wait_timeout_while(guard, wait, |stopping| !*stopping);
            let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if *guard {
                return;
            }
        }
    }

    fn look(&self) -> Result<DekRecord, RotatorError> {
        let found = self.keyring.store().active_dek(&self.scope);
        let found = found.map_err(|error| RotatorError::Look(ActiveDekError::Store(error)))?;
        found.ok_or_else(|| RotatorError::Look(ActiveDekError::NoActive { scope: self.scope.clone() }))
    }

    /// A time before now that lies after now. What this rotator saw itself is said once, then the clock is believed.
    fn time_before(&self, active: &DekRecord, now: Timestamp) -> Option<Timestamp> {
        let mut last_look = self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last_look.replace(now).map_or(active.created_at, |last| last.max(active.created_at));
        (known > later(now, MAX_CLOCK_BEHIND)).then_some(known)
    }
}

impl fmt::Debug for DekRotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DekRotator")
            .field("keyring", &self.keyring)
            .field("scope", &self.scope)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A rotator with a thread of its own. Dropping it stops the thread, after the look that it may be in the middle of.
#[derive(Debug)]
pub struct RunningRotator {
    signal: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl RunningRotator {
    /// Stops the thread and waits for it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for RunningRotator {
    fn drop(&mut self) {
        let (stopping, stop) = &*self.signal;
        *stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn used_up(policy: &RotationPolicy, usage: Usage) -> Option<RotationReason> {
    let reached = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
    if reached(policy.max_messages, usage.messages) {
        Some(RotationReason::Messages)
    } else if reached(policy.max_bytes, usage.bytes) {
        Some(RotationReason::Bytes)
    } else {
        None
    }
}

/// Why a rotator did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum RotatorError {
    /// It could not look at the active DEK.
    #[error("cannot tell whether a DEK is due")]
    Look(#[source] ActiveDekError),
    /// A DEK is due and was not replaced.
    #[error("cannot rotate a DEK that is due")]
    Rotate(#[source] MakeDekError),
}

impl RotatorError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Look(error) => error.help(),
            Self::Rotate(error) => error.help(),
        }
    }
}
