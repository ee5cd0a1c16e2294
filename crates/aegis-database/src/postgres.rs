//! A server, for several machines: PostgreSQL 13 and later, in a schema of its own of any database.
//!
//! Every write locks one row first, so that writers come one after the other and each sees what the one before left.
//! After a server has restarted, or a connection was cut, a call connects anew and goes on; a commit whose answer was lost
//! is asked for by its id before anything is done again. With TLS, the server's certificate is always verified, also for
//! `sslmode=prefer` and `require`; a server on another machine is not talked to without, unless `sslmode=disable` is
//! written out.
//!
//! What was erased is in dead rows until they are vacuumed, and in the server's WAL and its archives as long as those are
//! kept.

mod address;
mod fault;
mod password;
mod pool;
mod schema;
mod session;
mod tls;

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use aegis_kek::Variables;
use postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::address::{Address, Refusal};
use self::fault::{answer, denies_commit};
use self::pool::Pool;
use crate::cell::{Cell, Cells as _};
use crate::contents::{Contents, Place};
use crate::error::{Answer, Damage, DatabaseError};

pub use self::fault::Fault;
pub use self::schema::Schema;
pub use self::session::Session;

/// The pauses between attempts, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Items on their way between the thread that reads or writes and the one that talks to the server.
const ON_THE_WAY: usize = 64;

/// Begins a transaction all of which sees the same commit.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Tables on a server.
pub struct Database {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    place: Place,
    schema: &'static Schema,
    patience: Duration,
    pool: Pool,
}

impl Database {
    /// Opens the database at `postgres://USER@HOST:PORT/DATABASE?PARAMETERS`; makes its tables if they are not there.
    /// `patience` is how long a call goes on trying to reach a server that has gone.
    ///
    /// What the address does not say is taken from `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD`, `PGPASSFILE`
    /// (else `~/.pgpass`), `PGSSLMODE` and `PGSSLROOTCERT`. A server that cannot be reached is an error at once; only one that
    /// is just starting is waited for.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; none repeats the address.
    pub fn open(
        address: &str,
        variables: &Variables,
        contents: &'static Contents,
        schema: &'static Schema,
        patience: Duration,
    ) -> Result<Self, DatabaseError> {
        let refused = |refusal| match refusal {
            Refusal::Address { fault } => DatabaseError::Address { contents, fault },
            Refusal::Insecure { path, why } => DatabaseError::Insecure { contents, path, why },
        };
        let Address { config, location, tls } = Address::parse(address, variables).map_err(refused)?;
        let tls = tls::connector(&tls).map_err(refused)?;
        let place = Place { contents, location };
        let database = Self { config, tls, place, schema, patience, pool: Pool::new() };
        database.on_own_thread(|| {
            let mut attempts = Attempts::new(database.patience);
            loop {
                match database
                    .with_session(&attempts, |session| schema.bring_up_to_date(session, &database.place))
                {
                    Err(fault) if fault.is_starting() && attempts.pause() => {}
                    other => return other.map_err(|fault| database.sorted(fault, &attempts)),
                }
            }
        })??;
        Ok(database)
    }

    /// Where it is, for messages.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    fn sorted<E: From<DatabaseError>>(&self, fault: Fault<E>, attempts: &Attempts) -> E {
        fault.sorted(&self.place, attempts.began.elapsed())
    }

    /// Runs what talks to the server on a thread of its own: the client cannot be used on one that belongs to an
    /// asynchronous runtime, and nobody who calls should have to know.
    fn on_own_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, DatabaseError> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("aegis-postgres".to_owned());
            let thread = thread.spawn_scoped(scope, work).map_err(|error| self.no_thread(&error))?;
            thread.join().map_err(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn no_thread(&self, error: &std::io::Error) -> DatabaseError {
        DatabaseError::Unavailable { place: self.place.clone(), answer: Answer::of_io(error) }
    }

    /// Runs one operation on a connection: an idle one, or a new one. One that has ended is not kept.
    fn with_session<T, E: From<DatabaseError>>(
        &self,
        attempts: &Attempts,
        operation: impl FnOnce(&mut Session) -> Result<T, Fault<E>>,
    ) -> Result<T, Fault<E>> {
        let pool = self.pool.here();
        let Some(mut place) = pool.place(attempts.left()) else {
            let waited = attempts.began.elapsed();
            return Err(DatabaseError::Busy { place: self.place.clone(), waited }.into());
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
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one.
    pub fn read<T: Send, E: From<DatabaseError> + Send>(
        &self,
        operation: impl Fn(&mut Session) -> Result<T, Fault<E>> + Send,
    ) -> Result<T, E> {
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

    /// Reads, in several statements that see the same commit. Done again after a lost connection.
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one.
    pub fn read_repeatably<T: Send, E: From<DatabaseError> + Send>(
        &self,
        operation: impl Fn(&mut Session) -> Result<T, Fault<E>> + Send,
    ) -> Result<T, E> {
        self.read(move |session| {
            session.run(BEGIN_READING)?;
            let done = operation(session)?;
            session.run("COMMIT")?;
            Ok(done)
        })
    }

    /// Writes, whole or not at all. Done again if the server has certainly not done it.
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one. Nothing was changed, but for
    /// [`OutcomeUnknown`](DatabaseError::OutcomeUnknown).
    pub fn write<T: Send, E: From<DatabaseError> + Send>(
        &self,
        operation: impl Fn(&mut Session) -> Result<T, Fault<E>> + Send,
    ) -> Result<T, E> {
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
    fn write_once<T, E: From<DatabaseError>>(
        &self,
        attempts: &mut Attempts,
        operation: impl FnOnce(&mut Session) -> Result<T, Fault<E>>,
    ) -> Result<Option<T>, Fault<E>> {
        let (done, lost) = self.with_session(attempts, |session| {
            self.begin_writing(session)?;
            let done = operation(session)?;
            let id = self.commit_id(session)?;
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
    fn begin_writing<E: From<DatabaseError>>(&self, session: &mut Session) -> Result<(), Fault<E>> {
        let Schema { namespace, head, .. } = self.schema;
        session.run("BEGIN")?;
        let asked = format!("SELECT version FROM {namespace}.{head} FOR UPDATE");
        match session.first(&asked, &[])?.map(|row| row.cell(0)) {
            // A later release may have changed the tables since this process looked.
            Some(Cell::Integer(version)) => self.schema.known(version, &self.place),
            _ => Err(self.schema.no_head().into()),
        }
    }

    /// Asks how a commit ended whose answer was lost. The row that every writer locks is free when that transaction has
    /// ended, one way or the other.
    fn was_committed<E: From<DatabaseError>>(
        &self,
        attempts: &mut Attempts,
        id: &str,
        lost: Answer,
    ) -> Result<bool, Fault<E>> {
        let asked = format!("SELECT 1 FROM {}.commits WHERE id = $1::text::uuid", self.schema.namespace);
        loop {
            let asked = self.with_session(attempts, |session| -> Result<bool, Fault<E>> {
                self.begin_writing(session)?;
                let found = session.first(&asked, &[&id])?;
                session.run("ROLLBACK")?;
                Ok(found.is_some())
            });
            match asked {
                Ok(was_committed) => return Ok(was_committed),
                Err(_) if attempts.pause() => {}
                Err(_) => {
                    return Err(
                        DatabaseError::OutcomeUnknown { place: self.place.clone(), answer: lost }.into()
                    );
                }
            }
        }
    }

    /// Leaves the id of this transaction in it, and forgets those that nobody asks for any more.
    fn commit_id<E>(&self, session: &mut Session) -> Result<String, Fault<E>> {
        let namespace = self.schema.namespace;
        let sql = format!(
            "WITH old AS (DELETE FROM {namespace}.commits WHERE at < now() - interval '1 day')
             INSERT INTO {namespace}.commits (id) VALUES (gen_random_uuid()) RETURNING id::text"
        );
        match session.first(&sql, &[])?.map(|row| row.cell(0)) {
            Some(Cell::Text(id)) => Ok(id),
            _ => Err(Damage::Structure { found: "a commit has no id".to_owned() }.into()),
        }
    }

    /// Reads in several statements that see the same commit. What `operation` hands on goes to `each`, on the caller's
    /// thread; once that breaks, handing on gives `false`. Not done again if the connection is lost: what was given cannot
    /// be taken back.
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one.
    pub fn read_all<N: Send, E: From<DatabaseError> + Send>(
        &self,
        operation: impl FnOnce(&mut Session, &mut dyn FnMut(N) -> bool) -> Result<(), Fault<E>> + Send,
        each: &mut dyn FnMut(N) -> ControlFlow<()>,
    ) -> Result<(), E> {
        let (give, given) = sync_channel(ON_THE_WAY);
        std::thread::scope(|scope| {
            let reading = move || {
                let attempts = Attempts::new(self.patience);
                let done = self.with_session(&attempts, |session| {
                    session.run(BEGIN_READING)?;
                    operation(session, &mut |next| give.send(next).is_ok())?;
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

    /// Writes what an iterator gives on the caller's thread, in one transaction, up to the first error in it; the operation
    /// receives that, too, and fails with it. Not done again if the connection is lost: the items can be read once.
    ///
    /// # Errors
    ///
    /// That of the operation, or [`DatabaseError`] as one. Nothing was changed, but for
    /// [`OutcomeUnknown`](DatabaseError::OutcomeUnknown).
    pub fn write_all<N: Send, E: From<DatabaseError> + Send>(
        &self,
        operation: impl FnOnce(&mut Session, Receiver<Result<N, E>>) -> Result<(), Fault<E>> + Send,
        items: &mut dyn Iterator<Item = Result<N, E>>,
    ) -> Result<(), E> {
        let (give, given) = sync_channel(ON_THE_WAY);
        std::thread::scope(|scope| {
            let writing = move || {
                let mut attempts = Attempts::new(self.patience);
                match self.write_once(&mut attempts, |session| operation(session, given)) {
                    Ok(Some(())) => Ok(()),
                    Ok(None) => Err(E::from(DatabaseError::Unavailable {
                        place: self.place.clone(),
                        answer: Answer::new("the connection was lost, and nothing was restored", None),
                    })),
                    Err(fault) => Err(self.sorted(fault, &attempts)),
                }
            };
            let thread = std::thread::Builder::new().name("aegis-postgres".to_owned());
            let thread = thread.spawn_scoped(scope, writing).map_err(|error| self.no_thread(&error))?;
            for next in items {
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
