//! A store from its address, and what both kinds have in common.

use std::path::Path;

use aegis_database::{Address, AddressFault, Contents, DatabaseError, Variables};

use crate::store::{Store, StoreError};

/// The name of the file beside that of the keyring.
pub const FILE_NAME: &str = "approvals.sqlite";

/// What messages call a store.
pub(crate) static STORE: Contents = Contents {
    name: "approval store",
    one: "an approval store",
    example: "/var/lib/aegis/approvals.sqlite",
    restore: "put back a copy that was made before",
};

/// Opens the approvals that belong to the keyring at an address.
///
/// | the keyring | its approvals |
/// |---|---|
/// | a path, `sqlite:PATH` or `sqlite:///PATH` | the file `approvals.sqlite` beside it, made if it is not there |
/// | `postgres://…` or `postgresql://…` | tables of their own in the same database, made if they are not there |
///
/// # Errors
///
/// [`StoreError`]. No message repeats the address, which may hold a password.
pub fn open_store_beside_keyring(keyring: &str, variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
    match keyring.parse().map_err(refused)? {
        Address::File(path) => {
            // Such as `/`, beside which nothing can be.
            let path = Some(path).filter(|path| path.file_name().is_some());
            let path = path.ok_or_else(|| refused(AddressFault::NoFile))?;
            open_file(&path.with_file_name(FILE_NAME))
        }
        Address::Server(address) => open_server(&address, variables),
    }
}

/// Opens the approvals at an address of their own, of the same form.
///
/// # Errors
///
/// As [`open_store_beside_keyring`].
pub fn open_store(address: &str, variables: &Variables) -> Result<Box<dyn Store>, StoreError> {
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
    DatabaseError::Address { contents: &STORE, fault }.into()
}

/// Makes a [`Store`] of what has `read`, `write` and `check_everything`: each call one transaction on the tables.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[cfg(any(feature = "sqlite", feature = "postgres"))]
macro_rules! implement_store {
    ($store:ty) => {
        const _: () = {
            use std::collections::BTreeSet;

            use aegis_crypto::KeyId;

            use $crate::name::{PersonId, RequestId, Role};
            use $crate::registry::{CustodianKey, KeyState, Registry};
            use $crate::request::Request;
            use $crate::signed::GivenSignature;
            use $crate::standing::Closed;
            use $crate::store::{Involvement, RequestQuery, RequestRecord, Rotation, Store, StoreError};
            use $crate::tables::{custodians, requests, rotations};

            impl Store for $store {
                fn location(&self) -> &str {
                    &self.database.place().location
                }

                fn registry(&self) -> Result<(Registry, u64), StoreError> {
                    self.read(|tables| custodians::registry(tables))
                }

                fn add_key(
                    &self,
                    revision: u64,
                    person: &PersonId,
                    roles: &BTreeSet<Role>,
                    key: &CustodianKey,
                ) -> Result<(), StoreError> {
                    self.write(|tables| custodians::add_key(tables, revision, person, roles, key))
                }

                fn end_key(
                    &self,
                    revision: u64,
                    person: &PersonId,
                    key: KeyId,
                    state: &KeyState,
                ) -> Result<(), StoreError> {
                    self.write(|tables| custodians::end_key(tables, revision, person, key, state))
                }

                fn set_roles(
                    &self,
                    revision: u64,
                    person: &PersonId,
                    roles: &BTreeSet<Role>,
                ) -> Result<(), StoreError> {
                    self.write(|tables| custodians::set_roles(tables, revision, person, roles))
                }

                fn insert_request(&self, request: &Request) -> Result<(), StoreError> {
                    self.write(|tables| requests::insert(tables, request))
                }

                fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, StoreError> {
                    self.read(|tables| requests::find(tables, id))
                }

                fn requests(&self, query: &RequestQuery) -> Result<Vec<RequestRecord>, StoreError> {
                    self.read(|tables| requests::page(tables, query))
                }

                fn add_signature(
                    &self,
                    id: &RequestId,
                    revision: u64,
                    registry: u64,
                    signature: &GivenSignature,
                ) -> Result<(), StoreError> {
                    self.write(|tables| requests::add_signature(tables, id, revision, registry, signature))
                }

                fn close(
                    &self,
                    id: &RequestId,
                    revision: u64,
                    registry: u64,
                    closed: &Closed,
                    rejection: Option<&GivenSignature>,
                ) -> Result<(), StoreError> {
                    self.write(|tables| requests::close(tables, id, revision, registry, closed, rejection))
                }

                fn signed_by(
                    &self,
                    key: KeyId,
                    after: Option<&Involvement>,
                    limit: usize,
                ) -> Result<Vec<Involvement>, StoreError> {
                    self.read(|tables| requests::signed_by(tables, key, after, limit))
                }

                fn begin_rotation(&self, rotation: &Rotation) -> Result<(), StoreError> {
                    self.write(|tables| rotations::begin(tables, rotation))
                }

                fn rotation(&self, key: KeyId) -> Result<Option<Rotation>, StoreError> {
                    self.read(|tables| rotations::find(tables, key))
                }

                fn rotations(&self, open_only: bool) -> Result<Vec<Rotation>, StoreError> {
                    self.read(|tables| rotations::all(tables, open_only))
                }

                fn advance_rotation(&self, from: &Rotation, to: &Rotation) -> Result<(), StoreError> {
                    self.write(|tables| rotations::advance(tables, from, to))
                }

                fn check(&self) -> Result<(), StoreError> {
                    self.check_everything()
                }
            }
        };
    };
}
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use implement_store;
