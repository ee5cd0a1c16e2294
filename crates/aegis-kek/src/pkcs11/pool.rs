//! Sessions on a token, shared by the threads of a process, through the loss of a session and of the token.
//!
//! One thread uses a session at a time. There are at most as many as configured, and one more that is never used: it keeps
//! the process logged in. Whoever finds that the token is gone takes the connection down; whoever comes next makes a
//! new one. A session in which a call failed is closed, not used again: some tokens leave an operation open in it.
//!
//! No call to the device is made under the lock of the state: a device that does not answer holds up nobody but those who
//! asked it, and those who wait for them do not wait for ever.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use aegis_crypto::{KeyId, RandomError};

use super::Probed;
use super::answer::{DeviceAnswer, Meaning};
use super::connection::{Connection, Start, life_of};
use super::fault::{HsmFault, Outcome};
use super::mechanism::WrapFault;
use super::raw::{Access, Session};
use super::settings::HsmToken;

/// How often a call is made at most, and how long before the second time and those after it.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(320),
    Duration::from_millis(640),
];
/// How long a thread waits for a session at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The sessions on one token.
pub(super) struct Pool {
    settings: HsmToken,
    kek: KeyId,
    state: Mutex<State>,
    freed: Condvar,
    // Apart from the state, which is locked for as long as connecting takes.
    probed: Mutex<Option<Probed>>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Whether some thread is making one.
    connecting: bool,
    /// Which connection it is, counted from 1. A session of another one is not put back.
    number: u64,
    idle: Vec<Session>,
    /// Sessions that are open, idle or in use, those of earlier connections too.
    open: usize,
    /// Whether there ever was a connection. Then a token or a key that is not found is one that went.
    was_connected: bool,
    /// Losses and failed attempts since something last worked.
    failures: u32,
    /// The life of the module at the last of them.
    failed_in: u64,
}

/// Why a piece of work did not succeed, as it says itself.
pub(super) enum Trouble {
    /// What the device answered; the pool finds out what that means.
    Answer(DeviceAnswer),
    /// The device failed before, and so nothing can be asked of it as it is connected now.
    Gone(DeviceAnswer),
    /// Nothing that another attempt would change.
    Final(HsmFault),
}

impl From<DeviceAnswer> for Trouble {
    fn from(answer: DeviceAnswer) -> Self {
        Self::Answer(answer)
    }
}

impl From<WrapFault> for Trouble {
    fn from(fault: WrapFault) -> Self {
        match fault {
            WrapFault::Device(answer) => Self::Answer(answer),
            WrapFault::Random(source) => source.into(),
        }
    }
}

impl From<RandomError> for Trouble {
    fn from(source: RandomError) -> Self {
        Self::Final(HsmFault::Random(source))
    }
}

/// What is known after an attempt.
enum Attempt {
    /// It is of no use to try again.
    Final(HsmFault),
    /// It may help.
    Passing(HsmFault),
}

/// A session that one thread has, and the connection that it belongs to.
struct Lent {
    connection: Arc<Connection>,
    number: u64,
    session: Session,
}

impl Pool {
    pub(super) fn new(settings: HsmToken, kek: KeyId) -> Self {
        Self {
            settings,
            kek,
            state: Mutex::new(State::default()),
            freed: Condvar::new(),
            probed: Mutex::new(None),
        }
    }

    pub(super) const fn settings(&self) -> &HsmToken {
        &self.settings
    }

    pub(super) const fn kek(&self) -> &KeyId {
        &self.kek
    }

    /// The connection, made now if there is none.
    pub(super) fn connection(&self) -> Result<Arc<Connection>, HsmFault> {
        self.persist(|| self.connected(Instant::now()).map(|(_, connection)| connection))
    }

    /// What was found out when last connecting. Asks no device.
    pub(super) fn last_probed(&self) -> Option<Probed> {
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a piece of work in a session, again after the session or the token was lost.
    pub(super) fn run<T>(
        &self,
        work: impl Fn(&Session, &Connection) -> Result<T, Trouble>,
    ) -> Result<T, HsmFault> {
        self.persist(|| {
            let lent = self.lend()?;
            match work(&lent.session, &lent.connection) {
                Ok(done) => {
                    self.put_back(lent);
                    Ok(done)
                }
                Err(Trouble::Final(fault)) => {
                    self.put_back(lent);
                    Err(Attempt::Final(fault))
                }
                Err(Trouble::Gone(answer)) => {
                    let number = lent.number;
                    self.put_back(lent);
                    Err(self.lost(number, answer))
                }
                Err(Trouble::Answer(answer)) => Err(self.judge(lent, answer)),
            }
        })
    }

    /// Tries until it works, until trying is of no use, or until it was tried often enough.
    fn persist<T>(&self, attempt: impl Fn() -> Result<T, Attempt>) -> Result<T, HsmFault> {
        let mut pauses = PAUSES.iter();
        loop {
            match (attempt(), pauses.next()) {
                (Ok(done), _) => return Ok(done),
                (Err(Attempt::Final(fault)), _) | (Err(Attempt::Passing(fault)), None) => return Err(fault),
                (Err(Attempt::Passing(fault)), Some(pause)) => {
                    tracing::warn!(
                        token = self.settings.token_label,
                        error = &fault as &dyn std::error::Error,
                        "the HSM is asked again"
                    );
                    sleep(*pause);
                }
            }
        }
    }

    /// What an answer means: a lost device, a refusal, or something wrong with what was asked.
    fn judge(&self, lent: Lent, answer: DeviceAnswer) -> Attempt {
        let Lent { connection, number, session } = lent;
        self.close(session);
        let token = self.settings.token_label.clone();
        match answer.meaning() {
            Meaning::Refused | Meaning::Unsuited => Attempt::Final(HsmFault::of(&token, answer)),
            Meaning::Full => Attempt::Passing(HsmFault::of(&token, answer)),
            Meaning::Lost => self.lost(number, answer),
            // Two tokens of three say the same of a tampered wrapping as of a broken device. What the token wrapped
            // itself when it worked tells which: if it unwraps that, it works.
            Meaning::Unclear => {
                match connection.token.session(Access::ReadOnly).and_then(|session| {
                    connection.finding.check.unwrap(
                        connection.finding.mechanism,
                        &session,
                        connection.key,
                        &self.kek,
                    )
                }) {
                    Ok(()) => Attempt::Final(HsmFault::BadWrapping { token, source: answer }),
                    // It cannot be told at the moment.
                    Err(full) if full.meaning() == Meaning::Full => {
                        Attempt::Passing(HsmFault::Device { token, source: full })
                    }
                    Err(of_the_check) => self.lost(number, of_the_check),
                }
            }
        }
    }

    /// Takes down a connection, unless somebody did.
    fn lost(&self, number: u64, answer: DeviceAnswer) -> Attempt {
        let mut state = self.lock();
        if state.number == number && state.connection.is_some() {
            let remains = self.fail(&mut state);
            drop(state);
            drop(remains);
            tracing::warn!(token = self.settings.token_label, %answer, "the connection to the HSM is lost");
        }
        Attempt::Passing(HsmFault::Device { token: self.settings.token_label.clone(), source: answer })
    }

    /// Notes a loss. What is returned is closed when it is dropped, which takes calls to the device.
    #[must_use]
    fn fail(&self, state: &mut State) -> Remains {
        let sessions = std::mem::take(&mut state.idle);
        state.open -= sessions.len();
        state.failures = state.failures.saturating_add(1);
        state.failed_in = life_of(&self.settings);
        Remains { _sessions: sessions, _connection: state.connection.take() }
    }

    /// The state, with a connection. One thread makes it, and the others wait until it has.
    fn connected(&self, begun: Instant) -> Result<(MutexGuard<'_, State>, Arc<Connection>), Attempt> {
        let mut state = self.lock();
        loop {
            if let Some(connection) = state.connection.clone() {
                return Ok((state, connection));
            }
            if !state.connecting {
                break;
            }
            state = self.wait(state, begun)?;
        }
        state.connecting = true;
        let connecting = Connecting(self);
        // A new connection after the first loss; after another one, the module too is started anew.
        let start = match state.failures {
            0 | 1 => Start::AsItIs,
            _ => Start::Anew { seen: state.failed_in },
        };
        drop(state);
        let made = Connection::make(&self.settings, &self.kek, start);
        let mut state = self.lock();
        match made {
            Ok(connection) => {
                tracing::info!(
                    token = self.settings.token_label,
                    mechanism = connection.finding.mechanism.as_str(),
                    proven = connection.finding.proof.as_str(),
                    "connected to the HSM"
                );
                *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.probed());
                let connection = Arc::new(connection);
                state.connection = Some(Arc::clone(&connection));
                state.number += 1;
                state.was_connected = true;
                // What `connecting` would do, under the lock that is held already.
                std::mem::forget(connecting);
                state.connecting = false;
                self.freed.notify_all();
                Ok((state, connection))
            }
            Err(fault) => {
                let was_connected = state.was_connected;
                let remains = self.fail(&mut state);
                drop(state);
                drop(remains);
                Err(match fault {
                    // It was there; so it went, and may come back.
                    HsmFault::NoKey { token, label, .. } if was_connected => {
                        Attempt::Passing(HsmFault::KeyGone { token, label })
                    }
                    fault @ HsmFault::NoToken { .. } if !was_connected => Attempt::Final(fault),
                    fault @ HsmFault::LogIn { .. } => Attempt::Final(fault),
                    fault if fault.outcome() == Outcome::Unavailable => Attempt::Passing(fault),
                    fault => Attempt::Final(fault),
                })
            }
        }
    }

    fn lend(&self) -> Result<Lent, Attempt> {
        let begun = Instant::now();
        let mut may_open = true;
        loop {
            let (mut state, connection) = self.connected(begun)?;
            let number = state.number;
            if let Some(session) = state.idle.pop() {
                return Ok(Lent { connection, number, session });
            }
            if !may_open || state.open >= self.settings.session_pool_size.get() {
                drop(self.wait(state, begun)?);
                may_open = true;
                continue;
            }
            state.open += 1;
            drop(state);
            match connection.token.session(Access::ReadOnly) {
                Ok(session) => return Ok(Lent { connection, number, session }),
                Err(answer) => {
                    let mut state = self.lock();
                    state.open -= 1;
                    // The token has fewer sessions than the pool; those that there are have to do.
                    may_open = false;
                    if answer.meaning() != Meaning::Full || state.open == 0 {
                        drop(state);
                        return Err(self.lost(number, answer));
                    }
                }
            }
        }
    }

    /// Waits for a session or a connection. Whoever comes back looks again.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        begun: Instant,
    ) -> Result<MutexGuard<'a, State>, Attempt> {
        let waited = begun.elapsed();
        let Some(left) = LONGEST_WAIT.checked_sub(waited) else {
            return Err(Attempt::Final(HsmFault::Busy {
                token: self.settings.token_label.clone(),
                sessions: state.open,
                waited_secs: waited.as_secs(),
            }));
        };
        Ok(self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    fn put_back(&self, lent: Lent) {
        let Lent { connection, number, session } = lent;
        let mut state = self.lock();
        if state.number == number && state.connection.is_some() {
            state.idle.push(session);
            state.failures = 0;
            drop(state);
        } else {
            state.open -= 1;
            drop(state);
            drop(session);
            drop(connection);
        }
        self.freed.notify_all();
    }

    fn close(&self, session: Session) {
        drop(session);
        self.lock().open -= 1;
        self.freed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of a connection. Sessions first: its anchor has to be the last of the token's that is closed.
struct Remains {
    _sessions: Vec<Session>,
    _connection: Option<Arc<Connection>>,
}

/// A connection is being made. When it is, or is not, the others are told.
struct Connecting<'a>(&'a Pool);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.lock().connecting = false;
        self.0.freed.notify_all();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Before the connection: its anchor has to be the last session of the token that is closed.
        self.idle.clear();
    }
}
