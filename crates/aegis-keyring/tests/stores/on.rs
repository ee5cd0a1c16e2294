//! The stores that the tests run on.

use aegis_keyring::{SqliteStore, Store};

/// An empty store, and how to open it once more, also from another process.
pub(crate) struct Place {
    /// What `open_store` takes.
    pub(crate) address: String,
    // Removed with the test.
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let dir = test_services::scratch::dir();
        Self { address: dir.path().join("keyring.db").display().to_string(), _dir: Some(dir) }
    }

    pub(crate) fn open(&self) -> Box<dyn Store> {
        open(&self.address)
    }
}

pub(crate) fn open(address: &str) -> Box<dyn Store> {
    Box::new(SqliteStore::open(std::path::Path::new(address)).unwrap())
}
