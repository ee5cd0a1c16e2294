//! What was erased is in no file any more; and what is secret never was.

use std::fs;
use std::path::Path;
use std::process::Command;

use aegis_crypto::KeyId;
use aegis_keyring::{DekState, SqliteStore, Store as _};
use test_services::scratch;

use crate::fixture::{at, filled, insert, kek, nth_version, wrap_all, wrapping};

/// Every file beside the keyring, read while it is open; by another process, because to close a file here would release
/// the locks that SQLite has on it.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.map(|path| Command::new("cat").arg(path).output().unwrap().stdout).collect()
}

/// Whether any 16 bytes of a box are in a file, also where SQLite cut it into pages.
fn is_there(files: &[Vec<u8>], sealed: &[u8]) -> bool {
    sealed.chunks_exact(16).any(|part| files.iter().any(|file| memchr_find(file, part)))
}

fn memchr_find(file: &[u8], part: &[u8]) -> bool {
    file.windows(part.len()).step_by(1).any(|window| window[0] == part[0] && window == part)
}

#[test]
fn nothing_of_an_erased_box_is_left_in_any_file() {
    let dir = scratch::dir();
    let store = SqliteStore::open(&dir.path().join("keyring.db")).unwrap();
    let old = filled(&store, 24);
    let new = kek(1).key_id();
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    wrap_all(&store, old, new);
    let sample = |kek: KeyId, nth| wrapping(nth_version(nth), kek).sealed[..64].to_owned();
    let left = |kek, nth| is_there(&files(dir.path()), &sample(kek, nth));
    assert!((1..=24).all(|nth| left(old, nth) && left(new, nth)));

    // In no particular order, so that pages are split, filled and joined in all ways.
    let order = [7, 2, 20, 11, 12, 13, 1, 23, 5, 16, 8, 3];
    for nth in order {
        let dek = store.dek(nth_version(nth)).unwrap().unwrap();
        store.change_dek(&dek, DekState::Retired, Some(at(2)), at(2)).unwrap();
        store.destroy_dek(nth_version(nth), at(3)).unwrap();
        assert!(!left(old, nth) && !left(new, nth), "{nth}");
    }
    for nth in (1..=24).filter(|nth| !order.contains(nth)) {
        assert!(left(old, nth) && left(new, nth), "{nth}");
    }
    // What is stored where something was erased is erased, too.
    insert(&store, 25..=30, &[old, new]);
    store.abandon_incoming_kek(new).unwrap();
    assert!((1..=30).all(|nth| !left(new, nth)));
    store.enrol_incoming_kek(&kek(2), old).unwrap();
    let third = kek(2).key_id();
    wrap_all(&store, old, third);
    store.switch_kek(third, at(9), at(10)).unwrap();
    store.retire_kek(old, at(11)).unwrap();
    assert!((1..=30).all(|nth| !left(old, nth)));
    assert_eq!(store.wrap_progress(third).unwrap().verified, 18);
    store.check().unwrap();
}

#[test]
fn a_reader_in_the_way_only_delays_the_erasure() {
    let dir = scratch::dir();
    let path = dir.path().join("keyring.db");
    let store = SqliteStore::open_patiently(&path, std::time::Duration::from_millis(50)).unwrap();
    let kek = filled(&store, 3);
    let dek = store.dek(nth_version(1)).unwrap().unwrap();
    store.change_dek(&dek, DekState::Retired, Some(at(2)), at(2)).unwrap();
    let sealed = wrapping(nth_version(1), kek).sealed[..64].to_owned();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM deks").unwrap();
    store.destroy_dek(nth_version(1), at(3)).unwrap();
    assert_eq!(store.wrapping(nth_version(1), kek).unwrap(), None);
    assert!(is_there(&files(dir.path()), &sealed));
    reader.execute_batch("COMMIT").unwrap();
    store.add_usage(&[]).unwrap();
    assert!(!is_there(&files(dir.path()), &sealed));
}

#[test]
fn what_a_killed_process_left_in_the_wal_is_emptied_by_the_next() {
    let dir = scratch::dir();
    let path = dir.path().join("keyring.db");
    filled(&SqliteStore::open(&path).unwrap(), 1);
    let said = crate::child::Helper::start("count for ever", path.to_str().unwrap()).killed_after(3);
    let wal = dir.path().join("keyring.db-wal");
    assert!(fs::metadata(&wal).unwrap().len() > 0);
    let store = SqliteStore::open(&path).unwrap();
    store.add_usage(&[]).unwrap();
    assert_eq!(fs::metadata(&wal).unwrap().len(), 0);
    assert!(store.dek(nth_version(1)).unwrap().unwrap().usage.messages >= said.len() as u64);
}
