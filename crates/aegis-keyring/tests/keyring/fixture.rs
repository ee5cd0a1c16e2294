//! A keyring in a directory of its own, with a clock that stands until it is moved, and data sealed under its DEKs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aegis_crypto::{AssociatedData, HybridPrivateKey, Purpose};
use aegis_kek::{Kek, ProviderKind, Variables};
use aegis_keyring::clock::Clock;
use aegis_keyring::{
    ActiveDek, Dek, DekQuery, DekRecord, DekState, DekVersion, KekRotated, KekRotation, KekRotationError,
    KekRotationOptions, KekState, Keyring, Retired, Scope, SqliteStore, Store, open_store_with,
};
use jiff::Timestamp;
use std::ops::ControlFlow;

/// A clock that tests move.
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn at(time: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(time.parse().unwrap())))
    }

    pub(crate) fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }

    pub(crate) fn set(&self, time: &str) {
        *self.0.lock().unwrap() = time.parse().unwrap();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A keyring under a KEK.
pub(crate) struct Ring {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) keyring: Keyring,
    pub(crate) kek: Kek,
}

impl Ring {
    /// A keyring with a KEK and no DEK, on the 15th of January 2026.
    pub(crate) fn new() -> Self {
        let ring = Self::empty();
        ring.keyring.enrol_first_kek(&ring.kek, ProviderKind::InMemory).unwrap();
        ring
    }

    /// A store, and a KEK that it knows nothing of.
    pub(crate) fn empty() -> Self {
        Self::empty_in(test_services::scratch::dir())
    }

    /// With so many DEKs, in a database of a server.
    #[cfg(feature = "postgres")]
    pub(crate) fn on_server(database: &test_services::postgres::Database, deks: usize) -> Self {
        let dir = test_services::scratch::dir();
        std::fs::write(dir.path().join("address"), &database.url).unwrap();
        let ring = Self::empty_in(dir);
        ring.keyring.enrol_first_kek(&ring.kek, ProviderKind::InMemory).unwrap();
        ring.make(deks);
        ring
    }

    fn empty_in(dir: tempfile::TempDir) -> Self {
        let clock = TestClock::at("2026-01-15T12:00:00Z");
        let keyring = Keyring::new(open(dir.path()), clock.clone());
        Self { dir, clock, keyring, kek: kek() }
    }

    /// With so many DEKs in the default scope, the last one active.
    pub(crate) fn with_deks(count: usize) -> Self {
        let ring = Self::new();
        ring.make(count);
        ring
    }

    /// Makes so many DEKs more.
    pub(crate) fn make(&self, count: usize) {
        for _ in 0..count {
            if self.keyring.active(&Scope::default()).is_ok() {
                self.keyring.rotate(&Scope::default()).unwrap();
            } else {
                self.keyring.create(&Scope::default()).unwrap();
            }
        }
    }

    /// The keyring again, with another store around the same file.
    pub(crate) fn on(&self, store: Arc<dyn Store>) -> Keyring {
        Keyring::new(store, self.clock.clone())
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.keyring.store())
    }

    pub(crate) fn rotate_kek(&self, old: &Kek, new: &Kek) -> Result<KekRotated, KekRotationError> {
        rotate_kek(&self.keyring, old, new)
    }

    pub(crate) fn versions(&self) -> Vec<DekVersion> {
        all_deks(&self.keyring).iter().map(|dek| dek.version).collect()
    }

    pub(crate) fn state(&self, version: DekVersion) -> DekState {
        self.keyring.show(version).unwrap().unwrap().state
    }
}

pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("keyring.db")
}

/// The file in `dir`, or the server that `dir` names.
pub(crate) fn open(dir: &Path) -> Arc<dyn Store> {
    match std::fs::read_to_string(dir.join("address")) {
        Ok(address) => Arc::from(open_store_with(&address, &Variables::of_pairs([])).unwrap()),
        Err(_) => Arc::new(SqliteStore::open(&file(dir)).unwrap()),
    }
}

/// A new KEK.
pub(crate) fn kek() -> Kek {
    Kek::new(HybridPrivateKey::generate().unwrap())
}

pub(crate) fn options() -> KekRotationOptions {
    KekRotationOptions { threads: 2.try_into().unwrap(), ..KekRotationOptions::default() }
}

pub(crate) fn rotate_kek(keyring: &Keyring, old: &Kek, new: &Kek) -> Result<KekRotated, KekRotationError> {
    KekRotation::new(keyring, old, new, ProviderKind::Environment, options())
        .run(&mut |_| ControlFlow::Continue(()))
}

pub(crate) fn scope(name: &str) -> Scope {
    name.parse().unwrap()
}

pub(crate) fn version(text: &str) -> DekVersion {
    text.parse().unwrap()
}

pub(crate) fn all_deks(keyring: &Keyring) -> Vec<DekRecord> {
    keyring.list(&DekQuery { scope: None, state: None, after: None, limit: 100_000 }).unwrap()
}

/// Something that was sealed under a DEK.
pub(crate) struct Sealed {
    pub(crate) version: DekVersion,
    text: Vec<u8>,
    boxed: Vec<u8>,
}

/// Seals a text that names its DEK.
pub(crate) fn seal(dek: &ActiveDek) -> Sealed {
    let text = format!("what was sealed under {}", dek.version).into_bytes();
    let boxed =
        aegis_crypto::seal(&dek.public_key, Purpose::Field, &AssociatedData::new([b"test"]), &text).unwrap();
    Sealed { version: dek.version, text, boxed }
}

/// Opens its DEK, and then itself.
#[track_caller]
pub(crate) fn assert_opens(keyring: &Keyring, kek: &Kek, sealed: &Sealed) {
    let dek = keyring.open(sealed.version, kek, Retired::Allow).unwrap();
    let opened =
        aegis_crypto::open(dek.private_key(), Purpose::Field, &AssociatedData::new([b"test"]), &sealed.boxed);
    assert_eq!(opened.unwrap().as_slice(), sealed.text);
}

/// Opens every DEK that is neither destroyed nor marked, and gives them.
#[track_caller]
pub(crate) fn assert_all_open(keyring: &Keyring, kek: &Kek) -> Vec<Dek> {
    let usable = |dek: &DekRecord| dek.state != DekState::Destroyed && dek.destroy_after.is_none();
    all_deks(keyring)
        .iter()
        .filter(|dek| usable(dek))
        .map(|dek| keyring.open(dek.version, kek, Retired::Allow).unwrap())
        .collect()
}

/// What holds at every instant: one active KEK, at most one incoming, and one active DEK in each scope.
#[track_caller]
pub(crate) fn assert_whole(keyring: &Keyring) {
    let keks = keyring.keks().unwrap();
    let count = |state| keks.iter().filter(|kek| kek.record.state == state).count();
    assert_eq!(count(KekState::Active), 1);
    assert!(count(KekState::Incoming) <= 1);
    let deks = all_deks(keyring);
    let scopes: std::collections::BTreeSet<_> = deks.iter().map(|dek| &dek.scope).collect();
    for scope in scopes {
        let active = deks.iter().filter(|dek| dek.scope == *scope && dek.state == DekState::Active).count();
        assert_eq!(active, 1, "scope {scope}");
    }
    keyring.store().check().unwrap();
}
