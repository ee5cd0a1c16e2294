//! SQLite's errors, sorted into ours.

use std::time::Duration;

use rusqlite::{Error, ErrorCode, ffi};

use crate::store_error::{Answer, ConflictKind, Damage, StoreError};

/// Why a step of an operation failed, before it is known to which store it belongs.
#[derive(Debug)]
pub(super) enum Fault {
    Store(StoreError),
    Damage(Damage),
    Sql(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ConflictKind> for Fault {
    fn from(what: ConflictKind) -> Self {
        Self::Store(StoreError::conflict(what))
    }
}

impl Fault {
    /// Whether it is only that somebody else holds a lock.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// The same, of a commit. If the disk fails in it, its frames may be in the WAL whole, and are read from there after a
    /// crash: then nobody knows how it will have ended. For want of room nothing was written whole.
    pub(super) fn of_commit(self, location: &str) -> Self {
        match self {
            Self::Sql(Error::SqliteFailure(failure, text)) if failure.code == ErrorCode::SystemIoFailure => {
                let text = text.unwrap_or_else(|| failure.to_string());
                let answer = Answer::new(&text, Some(failure.extended_code.to_string()));
                Self::Store(StoreError::OutcomeUnknown { location: location.to_owned(), answer })
            }
            other => other,
        }
    }

    /// The error of the store at `location`, where locks are waited for as long as `waited`.
    pub(super) fn sorted(self, location: &str, waited: Duration) -> StoreError {
        let location = location.to_owned();
        let error = match self {
            Self::Store(error) => return error,
            Self::Damage(damage) => return StoreError::Damaged { location, damage },
            Self::Sql(error) => error,
        };
        let (code, extended) = match &error {
            Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
                (failure.code, failure.extended_code)
            }
            // The library could not read what it was given: no column here is of such a type.
            _ => {
                let damage = Damage::Structure { found: Answer::new(&error.to_string(), None).text };
                return StoreError::Damaged { location, damage };
            }
        };
        let answer = Answer::new(&words(&error), Some(extended.to_string()));
        let broken = |found: &str| Damage::Structure { found: found.to_owned() };
        match code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy { location, waited },
            // The shared index beside the file could not grow: there SQLite does not say why, but it is this.
            ErrorCode::SystemIoFailure if extended == ffi::SQLITE_IOERR_SHMSIZE => {
                StoreError::Full { location, answer }
            }
            ErrorCode::DiskFull => StoreError::Full { location, answer },
            ErrorCode::ReadOnly if extended == ffi::SQLITE_READONLY_DBMOVED => {
                StoreError::Failed { location, answer }
            }
            ErrorCode::ReadOnly => StoreError::ReadOnly { location },
            ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
                StoreError::Denied { location, answer }
            }
            ErrorCode::DatabaseCorrupt => StoreError::Damaged { location, damage: broken(&answer.text) },
            ErrorCode::NotADatabase => StoreError::Damaged { location, damage: Damage::NotADatabase },
            // A value longer than any that was ever written.
            ErrorCode::TooBig => StoreError::Damaged { location, damage: broken("a value is far too long") },
            // Our statements are fixed; if one does not fit, a table is not what it was.
            ErrorCode::Unknown | ErrorCode::SchemaChanged | ErrorCode::TypeMismatch
                if extended & 0xff != ffi::SQLITE_INTERNAL =>
            {
                StoreError::Damaged { location, damage: broken(&answer.text) }
            }
            _ => StoreError::Failed { location, answer },
        }
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
