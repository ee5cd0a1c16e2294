//! Files of earlier schemas, as they were made then, and of later ones.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegis_keyring::{DatabaseError, DekQuery, DekState, KekState, SqliteStore, Store, StoreError};
use rusqlite::Connection;
use test_services::scratch;

use crate::fixture::version;

/// A keyring of schema 1, frozen: two KEKs, three DEKs, three wrappings.
const VERSION_1: &str = include_str!("fixtures/sqlite-v1.sql");

fn made_by(sql: &str, dir: &Path) -> PathBuf {
    let path = dir.join("keyring.db");
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn reads_a_keyring_of_schema_1() {
    let dir = scratch::dir();
    is_what_was_frozen(&SqliteStore::open(&made_by(VERSION_1, dir.path())).unwrap());
}

/// What the frozen keyrings hold, in every kind of store.
pub(crate) fn is_what_was_frozen(store: &dyn Store) {
    store.check().unwrap();
    let keks = store.keks().unwrap();
    assert_eq!(keks.iter().map(|kek| kek.state).collect::<Vec<_>>(), [KekState::Grace, KekState::Active]);
    assert_eq!(keks[0].grace_until.unwrap().to_string(), "2026-02-01T00:00:00.123456789Z");
    assert_eq!(keks[1].provider.as_str(), "hsm");
    let all = DekQuery { scope: None, state: None, after: None, limit: 9 };
    let deks = store.deks(&all).unwrap();
    let states = [DekState::Destroyed, DekState::DecryptOnly, DekState::Active];
    assert_eq!(deks.iter().map(|dek| dek.state).collect::<Vec<_>>(), states);
    assert_eq!(deks[1].usage.bytes, 1_234_567);
    assert_eq!(
        store.wrapping(version("dek-v1-20260102-2"), keks[0].key_id()).unwrap(),
        Some(b"box 1".to_vec())
    );
    assert_eq!(
        store.wrapping(version("dek-v1-20260102-2"), keks[1].key_id()).unwrap(),
        Some(b"box 2".to_vec())
    );
    assert_eq!(store.wrap_progress(keks[1].key_id()).unwrap().verified, 1);
}

#[test]
fn refuses_a_newer_schema_and_changes_nothing() {
    let dir = scratch::dir();
    let path = made_by(&format!("{VERSION_1}; PRAGMA user_version = 2; CREATE TABLE later (a)"), dir.path());
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(
        matches!(error, StoreError::Database(DatabaseError::Newer { found: 2, known: 1, .. })),
        "{error:?}"
    );
    assert!(error.help().unwrap().contains("later"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn refuses_a_version_that_never_was() {
    for never in [0, -1] {
        let dir = scratch::dir();
        let path = made_by(&format!("{VERSION_1}; PRAGMA user_version = {never}"), dir.path());
        assert!(
            matches!(SqliteStore::open(&path), Err(StoreError::Database(DatabaseError::Damaged { .. }))),
            "{never}"
        );
    }
}
