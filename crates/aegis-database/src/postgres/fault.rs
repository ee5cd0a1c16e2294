//! PostgreSQL's errors, sorted into ours.

use std::error::Error;
use std::time::Duration;

use crate::contents::Place;
use crate::error::{Answer, Damage, DatabaseError};

/// Why a step of an operation failed, before it is known to which database it belongs. `E` is the error of the operation.
#[derive(Debug)]
pub enum Fault<E> {
    /// The one who asked refuses it.
    Refused(E),
    /// Something there is not what was ever written.
    Damage(Damage),
    /// The server did not do it.
    Sql(postgres::Error),
}

impl<E> From<postgres::Error> for Fault<E> {
    fn from(error: postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl<E> From<Damage> for Fault<E> {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl<E: From<DatabaseError>> From<DatabaseError> for Fault<E> {
    fn from(error: DatabaseError) -> Self {
        Self::Refused(error.into())
    }
}

/// Which kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No answer, or none now. The connection is of no use any more.
    Gone,
    /// Others were in the way; the server has undone the transaction.
    Contention,
    /// Waited for others for as long as it may.
    TimedOut,
    Denied,
    NoDatabase,
    Full,
    ReadOnly,
    Corrupt,
    /// A table is not what it was.
    Schema,
    Other,
}

impl<E: From<DatabaseError>> Fault<E> {
    /// Whether nothing was done, and doing it again may go well.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Sql(error) => matches!(kind(error), Kind::Gone | Kind::Contention),
            Self::Refused(_) | Self::Damage(_) => false,
        }
    }

    /// Whether the server is only starting, or stopping.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self, Self::Sql(error) if error.code().is_some_and(|code| code.code() == "57P03"))
    }

    /// The unique index that did not let a row in.
    pub fn broken_constraint(&self) -> Option<&str> {
        let Self::Sql(error) = self else { return None };
        error.as_db_error().filter(|said| said.code().code() == "23505")?.constraint()
    }

    /// The error of the database at `place`, after it was tried for as long as `waited`.
    pub(super) fn sorted(self, place: &Place, waited: Duration) -> E {
        let place = place.clone();
        let error = match self {
            Self::Refused(error) => return error,
            Self::Damage(damage) => return DatabaseError::Damaged { place, damage }.into(),
            Self::Sql(error) => error,
        };
        let answer = answer(&error);
        let sorted = match kind(&error) {
            Kind::Gone => DatabaseError::Unavailable { place, answer },
            Kind::Contention | Kind::TimedOut => DatabaseError::Busy { place, waited },
            Kind::Denied => DatabaseError::Denied { place, answer },
            Kind::NoDatabase => DatabaseError::NoPlace { place, answer },
            Kind::Full => DatabaseError::Full { place, answer },
            Kind::ReadOnly => DatabaseError::ReadOnly { place },
            Kind::Corrupt | Kind::Schema => {
                DatabaseError::Damaged { place, damage: Damage::Structure { found: answer.to_string() } }
            }
            Kind::Other => DatabaseError::Failed { place, answer },
        };
        sorted.into()
    }
}

/// Whether the server said, of a commit, that it did not happen. Otherwise it may have: the answer got lost, or the server
/// was told to stop while it waited for a replica.
pub(super) fn denies_commit(error: &postgres::Error) -> bool {
    error.as_db_error().is_some() && kind(error) != Kind::Gone
}

/// What the server or the system said; never a parameter or a setting.
pub(super) fn answer(error: &postgres::Error) -> Answer {
    match error.as_db_error() {
        Some(said) => Answer::new(said.message(), Some(said.code().code().to_owned())),
        None => {
            let mut text = error.to_string();
            if let Some(cause) = error.source() {
                text.push_str(": ");
                text.push_str(&cause.to_string());
            }
            Answer::new(&text, None)
        }
    }
}

/// Sorts by SQLSTATE (PostgreSQL documentation, appendix A).
fn kind(error: &postgres::Error) -> Kind {
    let Some(code) = error.code().map(postgres::error::SqlState::code) else {
        return kind_of_connection(error);
    };
    match code {
        // Admin shutdown, crash shutdown, cannot connect now, database dropped; idle for too long.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "53300" => Kind::Gone,
        "40001" | "40P01" => Kind::Contention,
        "55P03" | "57014" => Kind::TimedOut,
        "42501" => Kind::Denied,
        "3D000" => Kind::NoDatabase,
        "53100" => Kind::Full,
        "25006" => Kind::ReadOnly,
        "XX001" | "XX002" => Kind::Corrupt,
        "3F000" | "42P01" | "42703" | "42804" | "42883" => Kind::Schema,
        _ if code.starts_with("08") => Kind::Gone,
        _ if code.starts_with("28") => Kind::Denied,
        _ => Kind::Other,
    }
}

/// Sorts what did not come from the server.
fn kind_of_connection(error: &postgres::Error) -> Kind {
    if error.is_closed() {
        return Kind::Gone;
    }
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause {
        // A certificate that does not verify is no matter of time.
        Some(cause) if cause.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>) => {
            Kind::Denied
        }
        Some(_) => Kind::Gone,
        None => {
            let text = error.to_string();
            // The client has no other way to tell these apart.
            if text.contains("timeout") {
                Kind::Gone
            } else if text.contains("TLS")
                || text.contains("authentication")
                || text.contains("configuration")
            {
                Kind::Denied
            } else {
                Kind::Other
            }
        }
    }
}
