//! A file beside the keyring's, tables beside the keyring's; a server that is restarted.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_approval::{
    Closed, FILE_NAME, RequestQuery, SqliteStore, StoreError, open_store, open_store_beside_keyring,
};
use aegis_database::{AddressFault, DatabaseError, Variables};
use test_services::postgres::Postgres;

use crate::fixture::*;
use crate::on::Place;

fn none() -> Variables {
    Variables::of_pairs([])
}

#[test]
fn stands_in_a_private_file_beside_the_keyring() {
    let dir = test_services::scratch::dir();
    let keyring = dir.path().join("keyring.sqlite");
    drop(aegis_keyring::SqliteStore::open(&keyring).unwrap());
    let path = dir.path().join(FILE_NAME);
    for address in [keyring.display().to_string(), format!("sqlite:{}", keyring.display())] {
        let store = open_store_beside_keyring(&address, &none()).unwrap();
        assert_eq!(store.location(), path.display().to_string());
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    // Neither is taken for the other, and neither is changed.
    let before = [fs::read(&keyring).unwrap(), fs::read(&path).unwrap()];
    let error = SqliteStore::open(&keyring).err().unwrap();
    assert!(matches!(error, StoreError::Database(DatabaseError::Foreign { .. })), "{error:?}");
    assert!(told(&error).contains("holds something else, not an approval store"), "{}", told(&error));
    let error = aegis_keyring::SqliteStore::open(&path).err().unwrap();
    assert!(error.to_string().contains("holds something else, not a keyring"), "{error}");
    assert_eq!([fs::read(&keyring).unwrap(), fs::read(&path).unwrap()], before);
}

#[test]
fn refuses_a_file_that_others_can_read_and_one_of_a_later_release() {
    let dir = test_services::scratch::dir();
    let path = dir.path().join(FILE_NAME);
    drop(SqliteStore::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Database(DatabaseError::Insecure { .. })), "{error:?}");
    assert!(told(&error).contains("if this is no approval store of yours"), "{}", told(&error));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    let is_newer = matches!(error, StoreError::Database(DatabaseError::Newer { found: 2, known: 1, .. }));
    assert!(is_newer, "{error:?}");
}

#[test]
fn refuses_what_names_no_store_and_repeats_no_password() {
    let cases = [
        ("", AddressFault::NoFile),
        ("sqlite:", AddressFault::NoFile),
        ("/", AddressFault::NoFile),
        ("mysql://u:s3cret@h/d", AddressFault::Scheme),
        ("postgres://u:s3cret@h/d?s3cret", AddressFault::Parameter),
        ("postgres://u:s3cret@x@h/d", AddressFault::Malformed),
    ];
    for (address, expected) in cases {
        for error in [open_store(address, &none()).err(), open_store_beside_keyring(address, &none()).err()] {
            let error = error.unwrap();
            assert!(!told(&error).contains("s3cret"), "{}", told(&error));
            assert!(error.to_string().contains("approval store"), "{error}");
            let StoreError::Database(DatabaseError::Address { fault, .. }) = error else {
                panic!("{address}: {error:?}")
            };
            assert_eq!(fault, expected, "{address}");
        }
    }
}

/// Both have tables of their own there, whichever comes first.
#[test]
fn stands_in_the_database_of_the_keyring() {
    let Some(server) = Postgres::shared("stands in the database of the keyring") else { return };
    for is_first in [true, false] {
        let place = Place::on_server(server);
        let keyring = || aegis_keyring::PostgresStore::open(&place.address, &none()).unwrap();
        let approvals = || open_store_beside_keyring(&place.address, &none()).unwrap();
        let (keyring, approvals) = if is_first {
            let approvals = approvals();
            (keyring(), approvals)
        } else {
            let keyring = keyring();
            (keyring, approvals())
        };
        leads(approvals.as_ref());
        asked(approvals.as_ref());
        approvals.check().unwrap();
        aegis_keyring::Store::check(&keyring).unwrap();
        // Also each time later.
        drop((keyring, approvals));
        assert_eq!(place.open().registry().unwrap().1, 2);
        aegis_keyring::PostgresStore::open(&place.address, &none()).unwrap();
    }
}

#[test]
fn refuses_tables_of_others_and_of_a_later_release() {
    let Some(server) = Postgres::shared("refuses tables of others") else { return };
    let place = Place::on_server(server);
    let name = &place.database.as_ref().unwrap().name;
    server.sql(name, "CREATE SCHEMA aegis_approval; CREATE TABLE aegis_approval.theirs (a BIGINT)");
    let error = open_store(&place.address, &none()).err().unwrap();
    assert!(matches!(error, StoreError::Database(DatabaseError::Foreign { .. })), "{error:?}");
    server.sql(name, "DROP SCHEMA aegis_approval CASCADE");
    let store = place.open();
    server.sql(name, "UPDATE aegis_approval.approvals SET version = 2");
    let is_newer = |error: Option<StoreError>| {
        matches!(error, Some(StoreError::Database(DatabaseError::Newer { found: 2, known: 1, .. })))
    };
    assert!(is_newer(open_store(&place.address, &none()).err()));
    // A process that looked before notices before it writes.
    assert!(is_newer(
        store.insert_request(&aegis_approval::Request::new(new_override(), at(0)).unwrap()).err()
    ));
}

#[test]
fn a_server_that_is_restarted_and_killed_loses_nothing_and_does_nothing_twice() {
    let Some(server) = Postgres::start("a server that is restarted") else { return };
    let place = Place::on_server(&server);
    let store = place.open();
    let [rita, _] = leads(store.as_ref());
    let ended = AtomicBool::new(false);
    let decided = std::thread::scope(|scope| {
        let deciding = scope.spawn(|| {
            let mut decided = 0_u64;
            while !ended.load(Ordering::SeqCst) {
                let request = asked(store.as_ref());
                sign(store.as_ref(), &request, &rita.approves(&request)).unwrap();
                let used = Closed::Consumed { at: at(5), used_for: "a change".to_owned() };
                store.close(request.id(), 2, 2, &used, None).unwrap();
                decided += 1;
            }
            decided
        });
        for round in 0..2 {
            std::thread::sleep(Duration::from_millis(150));
            if round == 0 {
                server.stop();
            } else {
                server.kill();
            }
            std::thread::sleep(Duration::from_millis(100));
            server.start_again();
        }
        ended.store(true, Ordering::SeqCst);
        deciding.join().unwrap()
    });
    // Also after it was away while nobody asked.
    server.restart();
    let all = store.requests(&RequestQuery { limit: 100_000, ..RequestQuery::default() }).unwrap();
    assert_eq!(all.len() as u64, decided);
    for record in &all {
        assert_eq!((record.revision, record.signatures.len(), record.closed.is_some()), (3, 1, true));
    }
    store.check().unwrap();
}
