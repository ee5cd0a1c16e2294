//! The stores that the tests run on.

use aegis_kek::Variables;
use aegis_keyring::{Store, open_store_with};
use test_services::postgres::{Database, Postgres};

/// An empty store, and how to open it once more, also from another process.
pub(crate) struct Place {
    /// What `open_store` takes.
    pub(crate) address: String,
    /// Its database, if it is on a server.
    pub(crate) database: Option<Database>,
    // Removed with the test.
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let dir = test_services::scratch::dir();
        let address = dir.path().join("keyring.db").display().to_string();
        Self { address, database: None, _dir: Some(dir) }
    }

    /// A database on the server that all tests share.
    pub(crate) fn postgres(test: &str) -> Option<Self> {
        Some(Self::on_server(Postgres::shared(test)?))
    }

    pub(crate) fn on_server(server: &Postgres) -> Self {
        let database = server.database();
        Self { address: database.url.clone(), database: Some(database), _dir: None }
    }

    pub(crate) fn open(&self) -> Box<dyn Store> {
        open(&self.address)
    }
}

pub(crate) fn open(address: &str) -> Box<dyn Store> {
    open_store_with(address, &Variables::of_pairs([])).unwrap()
}
