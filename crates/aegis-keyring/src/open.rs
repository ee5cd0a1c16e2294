//! A store from its address.

use std::path::Path;

use aegis_database::{Address, AddressFault, DatabaseError};
use aegis_kek::Variables;

use crate::store::Store;
use crate::store_error::{KEYRING, StoreError};

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
    match address.parse().map_err(refused)? {
        Address::File(path) => open_file(&path),
        Address::Server(address) => open_server(&address, variables),
    }
}

#[cfg(feature = "sqlite")]
fn open_file(path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(crate::sqlite::SqliteStore::open(path)?))
}

#[cfg(not(feature = "sqlite"))]
fn open_file(_path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Err(refused(AddressFault::NotBuilt { store: "SQLite" }))
}

#[cfg(feature = "postgres")]
fn open_server(address: &str, variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(crate::postgres::PostgresStore::open(address, variables)?))
}

#[cfg(not(feature = "postgres"))]
fn open_server(_address: &str, _variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
    Err(refused(AddressFault::NotBuilt { store: "PostgreSQL" }))
}

fn refused(fault: AddressFault) -> StoreError {
    DatabaseError::Address { contents: &KEYRING, fault }.into()
}
