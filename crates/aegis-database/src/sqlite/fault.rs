//! SQLite's errors, sorted into ours.

use std::time::Duration;

use rusqlite::{Error, ErrorCode, ffi};

use crate::contents::Place;
use crate::error::{Answer, Damage, DatabaseError};

/// Why a step of an operation failed, before it is known to which database it belongs. `E` is the error of the operation.
#[derive(Debug)]
pub enum Fault<E> {
    /// The one who asked refuses it.
    Refused(E),
    /// Something there is not what was ever written.
    Damage(Damage),
    /// SQLite did not do it.
    Sql(Error),
}

impl<E> From<Error> for Fault<E> {
    fn from(error: Error) -> Self {
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

/// Whether it is only that somebody else holds a lock.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

impl<E: From<DatabaseError>> Fault<E> {
    /// The same, of a commit. If the disk fails in it, its frames may be in the WAL whole, and are read from there after a
    /// crash: then nobody knows how it will have ended. For want of room nothing was written whole.
    pub(super) fn of_commit(self, place: &Place) -> Self {
        match self {
            Self::Sql(Error::SqliteFailure(failure, text)) if failure.code == ErrorCode::SystemIoFailure => {
                let text = text.unwrap_or_else(|| failure.to_string());
                let answer = Answer::new(&text, Some(failure.extended_code.to_string()));
                DatabaseError::OutcomeUnknown { place: place.clone(), answer }.into()
            }
            other => other,
        }
    }

    /// The error of the database at `place`, where locks are waited for as long as `waited`.
    pub(super) fn sorted(self, place: &Place, waited: Duration) -> E {
        let place = place.clone();
        match self {
            Self::Refused(error) => error,
            Self::Damage(damage) => DatabaseError::Damaged { place, damage }.into(),
            Self::Sql(error) => sorted(&error, place, waited).into(),
        }
    }
}

fn sorted(error: &Error, place: Place, waited: Duration) -> DatabaseError {
    let (code, extended) = match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
            (failure.code, failure.extended_code)
        }
        // The library could not read what it was given: no column here is of such a type.
        _ => {
            let damage = Damage::Structure { found: Answer::new(&error.to_string(), None).text };
            return DatabaseError::Damaged { place, damage };
        }
    };
    let answer = Answer::new(&words(error), Some(extended.to_string()));
    let broken = |found: &str| Damage::Structure { found: found.to_owned() };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DatabaseError::Busy { place, waited },
        // The shared index beside the file could not grow: there SQLite does not say why, but it is this.
        ErrorCode::SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => {
            DatabaseError::Full { place, answer }
        }
        ErrorCode::DiskFull => DatabaseError::Full { place, answer },
        ErrorCode::ReadOnly if extended == ffi::SQLITE_READONLY_DBMOVED => {
            DatabaseError::Failed { place, answer }
        }
        ErrorCode::ReadOnly => DatabaseError::ReadOnly { place },
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            DatabaseError::Denied { place, answer }
        }
        ErrorCode::DatabaseCorrupt => DatabaseError::Damaged { place, damage: broken(&answer.text) },
        ErrorCode::NotADatabase => DatabaseError::Damaged { place, damage: Damage::NotADatabase },
        // A value longer than any that was ever written.
        ErrorCode::TooBig => DatabaseError::Damaged { place, damage: broken("a value is far too long") },
        // Our statements are fixed; if one does not fit, a table is not what it was.
        ErrorCode::Unknown | ErrorCode::SchemaChanged | ErrorCode::TypeMismatch
            if extended & 0xff != ffi::SQLITE_INTERNAL =>
        {
            DatabaseError::Damaged { place, damage: broken(&answer.text) }
        }
        _ => DatabaseError::Failed { place, answer },
    }
}

/// SQLite's words, without the statement.
fn words(error: &Error) -> String {
    match error {
        Error::SqliteFailure(failure, None) => failure.to_string(),
        Error::SqliteFailure(_, Some(text)) | Error::SqlInputError { msg: text, .. } => text.clone(),
        other => other.to_string(),
    }
}
