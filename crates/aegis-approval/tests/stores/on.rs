//! The stores that the tests run on.

use aegis_approval::{Store, open_store};
use aegis_database::Variables;
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
        let address = dir.path().join("approvals.sqlite").display().to_string();
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
    open_store(address, &Variables::of_pairs([])).unwrap()
}

/// Makes a test of each case on each store, from empty; each leaves a store in which nothing is damaged.
macro_rules! on_every_store {
    ($($module:ident: $($case:ident),+;)+) => {
        mod sqlite {
            $($(
                #[test]
                fn $case() {
                    let place = crate::on::Place::sqlite();
                    super::$module::$case(&place);
                    place.open().check().unwrap();
                }
            )+)+
        }

        mod postgres {
            $($(
                #[test]
                fn $case() {
                    let Some(place) = crate::on::Place::postgres(stringify!($case)) else { return };
                    super::$module::$case(&place);
                    place.open().check().unwrap();
                }
            )+)+
        }
    };
}
pub(crate) use on_every_store;
