//! A store from its address.

use aegis_kek::Variables;

use crate::store::Store;
use crate::store_error::{AddressFault, StoreError};

/// Opens the keyring at an address, with the variables of this process: see [`open_store_with`].
///
/// # Errors
///
/// [`StoreError`].
pub fn open_store(address: &str) -> Result<Box<dyn Store>, StoreError> {
    open_store_with(address, &Variables::of_process())
}

/// Opens the keyring at an address.
///
/// | address | store |
/// |---|---|
/// | a path, `sqlite:PATH` or `sqlite:///PATH` | a file, made if it is not there |
/// | `postgres://…` or `postgresql://…` | a server, see [`PostgresStore`](crate::PostgresStore) |
///
/// # Errors
///
/// [`StoreError`]. No message repeats the address, which may hold a password.
pub fn open_store_with(address: &str, variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
    let path = match address.split_once(':') {
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            return open_server(address, variables);
        }
        // As other programs write it: two slashes, no host, and a path from the root.
        Some(("sqlite", rest)) if rest.starts_with("///") => rest.get(2..).unwrap_or(rest),
        Some(("sqlite", rest)) if !rest.starts_with("//") && !rest.starts_with(':') => rest,
        Some((_, rest)) if rest.starts_with("//") || rest == "memory:" => {
            return Err(fault(AddressFault::Scheme));
        }
        Some(("sqlite", _)) => return Err(fault(AddressFault::NoFile)),
        _ => address,
    };
    open_file(path)
}

#[cfg(feature = "sqlite")]
fn open_file(path: &str) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(crate::sqlite::SqliteStore::open(std::path::Path::new(path))?))
}

#[cfg(not(feature = "sqlite"))]
fn open_file(_path: &str) -> Result<Box<dyn Store>, StoreError> {
    Err(fault(AddressFault::NotBuilt { store: "SQLite" }))
}

#[cfg(feature = "postgres")]
fn open_server(address: &str, variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(crate::postgres::PostgresStore::open(address, variables)?))
}

#[cfg(not(feature = "postgres"))]
fn open_server(_address: &str, _variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
    Err(fault(AddressFault::NotBuilt { store: "PostgreSQL" }))
}

fn fault(fault: AddressFault) -> StoreError {
    StoreError::Address { fault }
}
