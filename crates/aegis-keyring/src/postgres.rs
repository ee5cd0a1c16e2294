//! A keyring on a server, for several machines: PostgreSQL 13 and later, in the schema `aegis` of any database.
//!
//! Every write locks one row first, so that writers come one after the other and each sees what the one before left.
//! After a server has restarted, or a connection was cut, a call connects anew and goes on; a commit whose answer was lost
//! is asked for by its id before anything is done again. With TLS, the server's certificate is always verified, also for
//! `sslmode=prefer` and `require`; a server on another machine is not talked to without, unless `sslmode=disable` is
//! written out.
//!
//! What was erased is in dead rows until they are vacuumed, and in the server's WAL and its archives as long as those are
//! kept. No box opens without its KEK.

mod address;
mod deks;
mod fault;
mod keks;
mod password;
mod pool;
mod schema;
mod session;
mod tls;
mod whole;
mod wrappings;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use aegis_crypto::KeyId;
use aegis_kek::Variables;
use jiff::Timestamp;
use postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::address::Address;
use self::fault::{Fault, answer, denies_commit};
use self::pool::Pool;
use self::session::Session;
use crate::record::{
    DekRecord, DekState, KekRecord, NewDek, NewWrapping, StoredWrapping, Usage, WrapProgress,
};
use crate::row::{Cell, Cells as _};
use crate::scope::Scope;
use crate::store::{DekQuery, Dumped, Store};
use crate::store_error::{Answer, Damage, StoreError};
use crate::version::DekVersion;

/// The pauses between attempts, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Records on their way between the thread that reads or writes and the one that talks to the server.
const ON_THE_WAY: usize = 64;

/// A keyring on a server.
pub struct PostgresStore {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    location: String,
    patience: Duration,
    pool: Pool,
}

impl PostgresStore {
    /// How long a call goes on trying to reach a server that has gone.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// Opens the keyring at `postgres://USER@HOST:PORT/DATABASE?PARAMETERS`; makes its tables if they are not there.
    ///
    /// What the address does not say is taken from `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD`, `PGPASSFILE`
    /// (else `~/.pgpass`), `PGSSLMODE` and `PGSSLROOTCERT`. A server that cannot be reached is an error at once; only one that
    /// is just starting is waited for.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; none repeats the address.
    pub fn open(address: &str, variables: &Variables) -> Result<Self, StoreError> {
        Self::open_patiently(address, variables, Self::PATIENCE)
    }

    /// As [`open`](Self::open), with another time for which calls go on trying.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_patiently(
        address: &str,
        variables: &Variables,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let Address { config, location, tls } = Address::parse(address, variables)?;
        let store = Self { config, tls: tls::connector(&tls)?, location, patience, pool: Pool::new() };
        store.on_own_thread(|| {
            let mut attempts = Attempts::new(store.patience);
            loop {
                match store
                    .with_session(&attempts, |session| schema::bring_up_to_date(session, &store.location))
                {
                    Err(fault) if fault.is_starting() && attempts.pause() => {}
                    other => return other.map_err(|fault| store.sorted(fault, &attempts)),
                }
            }
        })??;
        Ok(store)
    }

    fn sorted(&self, fault: Fault, attempts: &Attempts) -> StoreError {
        fault.sorted(&self.location, attempts.began.elapsed())
    }

    /// Runs what talks to the server on a thread of its own: the client cannot be used on one that belongs to an
    /// asynchronous runtime, and nobody who calls a store should have to know.
    fn on_own_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, StoreError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("aegis-postgres".to_owned());
            let thread = thread.spawn_scoped(scope, work).map_err(|error| self.no_thread(&error))?;
            thread.join().map_err(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn no_thread(&self, error: &std::io::Error) -> StoreError {
        StoreError::Unavailable { location: self.location.clone(), answer: Answer::of_io(error) }
    }

    /// Runs one operation on a connection: an idle one, or a new one. One that has ended is not kept.
    fn with_session<T>(
        &self,
        attempts: &Attempts,
        operation: impl FnOnce(&mut Session) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let pool = self.pool.here();
        let Some(mut place) = pool.place(attempts.left()) else {
            let waited = attempts.began.elapsed();
            return Err(StoreError::Busy { location: self.location.clone(), waited }.into());
        };
        let mut session = match place.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => Session::connect(&self.config, self.tls.as_ref(), self.patience)?,
        };
        let done = operation(&mut session);
        match &done {
            // The others have ended with it, most likely.
            Err(fault) if fault.is_transient() && session.is_closed() => drop(pool.take_idle()),
            _ if session.is_closed() => {}
            Ok(_) => place.keep(session),
            // Whatever is left open, such as a transaction, ends here; if that fails, so does the connection.
            Err(_) => {
                if session.run("ROLLBACK").is_ok() {
                    place.keep(session);
                }
            }
        }
        done
    }

    /// Reads, in one statement. Done again after a lost connection.
    fn read<T: Send>(
        &self,
        operation: impl Fn(&mut Session) -> Result<T, Fault> + Send,
    ) -> Result<T, StoreError> {
        self.on_own_thread(move || {
            let mut attempts = Attempts::new(self.patience);
            loop {
                match self.with_session(&attempts, &operation) {
                    Err(fault) if fault.is_transient() && attempts.pause() => {}
                    other => return other.map_err(|fault| self.sorted(fault, &attempts)),
                }
            }
        })?
    }

    /// Writes, whole or not at all. Done again if the server has certainly not done it.
    fn write<T: Send>(
        &self,
        operation: impl Fn(&mut Session) -> Result<T, Fault> + Send,
    ) -> Result<T, StoreError> {
        self.on_own_thread(move || {
            let mut attempts = Attempts::new(self.patience);
            loop {
                match self.write_once(&mut attempts, &operation) {
                    Ok(Some(done)) => return Ok(done),
                    Ok(None) => {}
                    Err(fault) if fault.is_transient() && attempts.pause() => {}
                    Err(fault) => return Err(self.sorted(fault, &attempts)),
                }
            }
        })?
    }

    /// One attempt; `None` if its commit was lost, and it has to be made again.
    fn write_once<T>(
        &self,
        attempts: &mut Attempts,
        operation: impl FnOnce(&mut Session) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let (done, lost) = self.with_session(attempts, |session| {
            self.begin_writing(session)?;
            let done = operation(session)?;
            let id = commit_id(session)?;
            match session.run("COMMIT") {
                Ok(()) => Ok((done, None)),
                Err(error) if denies_commit(&error) => Err(error.into()),
                Err(error) => Ok((done, Some((id, answer(&error))))),
            }
        })?;
        match lost {
            None => Ok(Some(done)),
            Some((id, lost)) => Ok(self.was_committed(attempts, &id, lost)?.then_some(done)),
        }
    }

    /// Begins a transaction and waits for the turn of this writer.
    fn begin_writing(&self, session: &mut Session) -> Result<(), Fault> {
        session.run("BEGIN")?;
        match session.first("SELECT version FROM aegis.keyring FOR UPDATE", &[])?.map(|row| row.cell(0)) {
            // A later release may have changed the tables since this process looked.
            Some(Cell::Integer(version)) => schema::known(version, &self.location),
            _ => Err(Damage::Structure { found: "the table aegis.keyring is empty".to_owned() }.into()),
        }
    }

    /// Asks how a commit ended whose answer was lost. The row that every writer locks is free when that transaction has
    /// ended, one way or the other.
    fn was_committed(&self, attempts: &mut Attempts, id: &str, lost: Answer) -> Result<bool, Fault> {
        loop {
            let asked = self.with_session(attempts, |session| {
                self.begin_writing(session)?;
                let found = session.first("SELECT 1 FROM aegis.commits WHERE id = $1::text::uuid", &[&id])?;
                session.run("ROLLBACK")?;
                Ok(found.is_some())
            });
            match asked {
                Ok(was_committed) => return Ok(was_committed),
                Err(_) if attempts.pause() => {}
                Err(_) => {
                    return Err(
                        StoreError::OutcomeUnknown { location: self.location.clone(), answer: lost }.into()
                    );
                }
            }
        }
    }
}

/// Leaves the id of this transaction in it, and forgets those that nobody asks for any more.
fn commit_id(session: &mut Session) -> Result<String, Fault> {
    let row = session.first(
        "WITH old AS (DELETE FROM aegis.commits WHERE at < now() - interval '1 day')
         INSERT INTO aegis.commits (id) VALUES (gen_random_uuid()) RETURNING id::text",
        &[],
    )?;
    match row.map(|row| row.cell(0)) {
        Some(Cell::Text(id)) => Ok(id),
        _ => Err(Damage::Structure { found: "a commit has no id".to_owned() }.into()),
    }
}

/// When a call began, and how long it may go on trying.
struct Attempts {
    began: Instant,
    patience: Duration,
    pause: Duration,
}

impl Attempts {
    fn new(patience: Duration) -> Self {
        Self { began: Instant::now(), patience, pause: PAUSES.0 }
    }

    fn left(&self) -> Duration {
        self.patience.saturating_sub(self.began.elapsed())
    }

    /// Waits before the next attempt; `false` if there is to be none.
    fn pause(&mut self) -> bool {
        let left = self.left();
        std::thread::sleep(self.pause.min(left));
        self.pause = self.pause.saturating_mul(2).min(PAUSES.1);
        !left.is_zero()
    }
}

impl Store for PostgresStore {
    fn location(&self) -> &str {
        &self.location
    }

    fn keks(&self) -> Result<Vec<KekRecord>, StoreError> {
        self.read(|session| Ok(keks::all(session)?.into_iter().map(|(_, kek)| kek).collect()))
    }

    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError> {
        self.write(|session| keks::enrol_first(session, kek))
    }

    fn enrol_incoming_kek(&self, kek: &KekRecord, replaces: KeyId) -> Result<(), StoreError> {
        self.write(|session| keks::enrol_incoming(session, kek, replaces))
    }

    fn switch_kek(&self, incoming: KeyId, now: Timestamp, grace_until: Timestamp) -> Result<(), StoreError> {
        self.write(|session| keks::switch(session, incoming, now, grace_until))
    }

    fn abandon_incoming_kek(&self, incoming: KeyId) -> Result<(), StoreError> {
        self.write(|session| keks::abandon(session, incoming))
    }

    fn retire_kek(&self, kek: KeyId, now: Timestamp) -> Result<(), StoreError> {
        self.write(|session| keks::retire(session, kek, now))
    }

    fn dek(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError> {
        self.read(|session| deks::find(session, version))
    }

    fn active_dek(&self, scope: &Scope) -> Result<Option<DekRecord>, StoreError> {
        self.read(|session| deks::active(session, scope))
    }

    fn deks(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError> {
        self.read(|session| deks::page(session, query))
    }

    fn last_version_of(&self, first_of_day: DekVersion) -> Result<Option<DekVersion>, StoreError> {
        self.read(|session| deks::last_of_day(session, first_of_day))
    }

    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError> {
        self.write(|session| deks::insert_active(session, new, replaces))
    }

    fn change_dek(
        &self,
        from: &DekRecord,
        to: DekState,
        destroy_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|session| deks::change(session, from, to, destroy_after, now))
    }

    fn destroy_dek(&self, version: DekVersion, now: Timestamp) -> Result<(), StoreError> {
        self.write(|session| deks::destroy(session, version, now))
    }

    fn add_usage(&self, used: &[(DekVersion, Usage)]) -> Result<(), StoreError> {
        self.write(|session| deks::add_usage(session, used))
    }

    fn wrapping(&self, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|session| wrappings::find(session, version, kek))
    }

    fn wrappings_to_make(
        &self,
        from: KeyId,
        to: KeyId,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.read(|session| wrappings::to_make(session, from, to, after, limit))
    }

    fn add_wrappings(&self, wrappings: &[NewWrapping]) -> Result<(), StoreError> {
        self.write(|session| wrappings::add(session, wrappings))
    }

    fn wrappings_under(
        &self,
        kek: KeyId,
        unverified_only: bool,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        self.read(|session| wrappings::under(session, kek, unverified_only, after, limit))
    }

    fn mark_verified(&self, kek: KeyId, good: &[StoredWrapping], now: Timestamp) -> Result<(), StoreError> {
        self.write(|session| wrappings::mark_verified(session, kek, good, now))
    }

    fn drop_wrapping(&self, version: DekVersion, kek: KeyId) -> Result<(), StoreError> {
        self.write(|session| wrappings::drop_one(session, version, kek))
    }

    fn wrap_progress(&self, kek: KeyId) -> Result<WrapProgress, StoreError> {
        self.read(|session| wrappings::progress(session, kek))
    }

    fn dump(&self, each: &mut dyn FnMut(Dumped) -> ControlFlow<()>) -> Result<(), StoreError> {
        let (give, given) = sync_channel(ON_THE_WAY);
        std::thread::scope(|scope| {
            let reading = move || {
                let attempts = Attempts::new(self.patience);
                // Not done again if it fails: what was given cannot be taken back.
                let done = self.with_session(&attempts, |session| {
                    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
                    whole::dump(session, &mut |next| give.send(next).is_ok())?;
                    Ok(session.run("COMMIT")?)
                });
                done.map_err(|fault| self.sorted(fault, &attempts))
            };
            let thread = std::thread::Builder::new().name("aegis-postgres".to_owned());
            let thread = thread.spawn_scoped(scope, reading).map_err(|error| self.no_thread(&error))?;
            for next in &given {
                if each(next).is_break() {
                    break;
                }
            }
            drop(given);
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError> {
        type Next = Result<(DekRecord, Vec<NewWrapping>), StoreError>;
        let (give, given) = sync_channel::<Next>(ON_THE_WAY);
        std::thread::scope(|scope| {
            let writing = move || {
                let mut attempts = Attempts::new(self.patience);
                // Not done again if it fails: the records can be read once.
                let done = self.write_once(&mut attempts, |session| {
                    let live = whole::restore_keks(session, keks)?;
                    restore_deks(session, &live, given)
                });
                match done {
                    Ok(Some(())) => Ok(()),
                    Ok(None) => Err(StoreError::Unavailable {
                        location: self.location.clone(),
                        answer: Answer::new("the connection was lost, and nothing was restored", None),
                    }),
                    Err(fault) => Err(self.sorted(fault, &attempts)),
                }
            };
            let thread = std::thread::Builder::new().name("aegis-postgres".to_owned());
            let thread = thread.spawn_scoped(scope, writing).map_err(|error| self.no_thread(&error))?;
            for next in deks {
                let failed = next.is_err();
                // Nobody receives any more: the writer has failed, and says why.
                if give.send(next).is_err() || failed {
                    break;
                }
            }
            drop(give);
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        self.read(|session| {
            session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            whole::check(session)?;
            Ok(session.run("COMMIT")?)
        })
    }
}

fn restore_deks(
    session: &mut Session,
    live: &BTreeMap<KeyId, i64>,
    given: Receiver<Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
) -> Result<(), Fault> {
    for next in given {
        let (dek, boxes) = next?;
        whole::restore_dek(session, live, &dek, &boxes)?;
    }
    Ok(())
}
