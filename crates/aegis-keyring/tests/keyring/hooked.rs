//! A real store with somebody in between: who kills, refuses, waits, or changes what is read and written.

use std::ops::ControlFlow;
use std::sync::Arc;

use aegis_crypto::KeyId;
use aegis_database::{Contents, Place};
use aegis_keyring::{
    Answer, DatabaseError, DekQuery, DekRecord, DekState, DekVersion, Dumped, KekRecord, NewDek, NewWrapping,
    Scope, Store, StoreError, StoredWrapping, Usage, WrapProgress,
};
use jiff::Timestamp;

/// Whether a call is about to be made or was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// Asked around each call, by the name of the method.
type OnCall = dyn Fn(&'static str, When) -> Result<(), StoreError> + Send + Sync;
type OnDek = dyn Fn(DekRecord) -> DekRecord + Send + Sync;
type OnSealed = dyn Fn(DekVersion, KeyId, Vec<u8>) -> Vec<u8> + Send + Sync;

/// A store behind hooks, each of which does nothing unless it is set.
pub(crate) struct Hooked {
    inner: Arc<dyn Store>,
    on_call: Box<OnCall>,
    on_dek: Box<OnDek>,
    on_read: Box<OnSealed>,
    on_write: Box<OnSealed>,
}

impl Hooked {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            on_call: Box::new(|_, _| Ok(())),
            on_dek: Box::new(|dek| dek),
            on_read: Box::new(|_, _, sealed| sealed),
            on_write: Box::new(|_, _, sealed| sealed),
        }
    }

    /// Around each call.
    pub(crate) fn on_call(
        self,
        hook: impl Fn(&'static str, When) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self { on_call: Box::new(hook), ..self }
    }

    /// Changes each DEK record that is read.
    pub(crate) fn on_dek(self, hook: impl Fn(DekRecord) -> DekRecord + Send + Sync + 'static) -> Self {
        Self { on_dek: Box::new(hook), ..self }
    }

    /// Changes each wrapping that is read.
    pub(crate) fn on_read(
        self,
        hook: impl Fn(DekVersion, KeyId, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { on_read: Box::new(hook), ..self }
    }

    /// Changes each wrapping that is written by `add_wrappings`.
    pub(crate) fn on_write(
        self,
        hook: impl Fn(DekVersion, KeyId, Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { on_write: Box::new(hook), ..self }
    }

    fn around<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        (self.on_call)(name, When::Before)?;
        let done = call(&*self.inner)?;
        (self.on_call)(name, When::After)?;
        Ok(done)
    }

    fn read(&self, kek: KeyId, stored: Vec<StoredWrapping>) -> Vec<StoredWrapping> {
        let change = |stored: StoredWrapping| StoredWrapping {
            sealed: (self.on_read)(stored.version, kek, stored.sealed),
            ..stored
        };
        stored.into_iter().map(change).collect()
    }
}

/// What a store says that cannot be reached.
pub(crate) fn unavailable() -> StoreError {
    let answer = Answer { text: "it was to be so".to_owned(), code: None };
    static NOTHING: Contents = Contents { name: "nothing", one: "nothing", example: "", restore: "" };
    let place = Place { contents: &NOTHING, location: "here".to_owned() };
    StoreError::Database(DatabaseError::Unavailable { place, answer })
}

impl Store for Hooked {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn keks(&self) -> Result<Vec<KekRecord>, StoreError> {
        self.around("keks", |store| store.keks())
    }

    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError> {
        self.around("enrol_first_kek", |store| store.enrol_first_kek(kek))
    }

    fn enrol_incoming_kek(&self, kek: &KekRecord, replaces: KeyId) -> Result<(), StoreError> {
        self.around("enrol_incoming_kek", |store| store.enrol_incoming_kek(kek, replaces))
    }

    fn switch_kek(&self, incoming: KeyId, now: Timestamp, grace_until: Timestamp) -> Result<(), StoreError> {
        self.around("switch_kek", |store| store.switch_kek(incoming, now, grace_until))
    }

    fn abandon_incoming_kek(&self, incoming: KeyId) -> Result<(), StoreError> {
        self.around("abandon_incoming_kek", |store| store.abandon_incoming_kek(incoming))
    }

    fn retire_kek(&self, kek: KeyId, now: Timestamp) -> Result<(), StoreError> {
        self.around("retire_kek", |store| store.retire_kek(kek, now))
    }

    fn dek(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError> {
        Ok(self.around("dek", |store| store.dek(version))?.map(&self.on_dek))
    }

    fn active_dek(&self, scope: &Scope) -> Result<Option<DekRecord>, StoreError> {
        Ok(self.around("active_dek", |store| store.active_dek(scope))?.map(&self.on_dek))
    }

    fn deks(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError> {
        Ok(self.around("deks", |store| store.deks(query))?.into_iter().map(&self.on_dek).collect())
    }

    fn last_version_of(&self, first_of_day: DekVersion) -> Result<Option<DekVersion>, StoreError> {
        self.around("last_version_of", |store| store.last_version_of(first_of_day))
    }

    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError> {
        self.around("insert_active_dek", |store| store.insert_active_dek(new, replaces))
    }

    fn change_dek(
        &self,
        from: &DekRecord,
        to: DekState,
        destroy_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.around("change_dek", |store| store.change_dek(from, to, destroy_after, now))
    }

    fn destroy_dek(&self, version: DekVersion, now: Timestamp) -> Result<(), StoreError> {
        self.around("destroy_dek", |store| store.destroy_dek(version, now))
    }

    fn add_usage(&self, used: &[(DekVersion, Usage)]) -> Result<(), StoreError> {
        self.around("add_usage", |store| store.add_usage(used))
    }

    fn wrapping(&self, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed = self.around("wrapping", |store| store.wrapping(version, kek))?;
        Ok(sealed.map(|sealed| (self.on_read)(version, kek, sealed)))
    }

    fn wrappings_to_make(
        &self,
        from: KeyId,
        to: KeyId,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        let stored =
            self.around("wrappings_to_make", |store| store.wrappings_to_make(from, to, after, limit))?;
        Ok(self.read(from, stored))
    }

    fn add_wrappings(&self, wrappings: &[NewWrapping]) -> Result<(), StoreError> {
        let change = |new: &NewWrapping| NewWrapping {
            sealed: (self.on_write)(new.version, new.kek, new.sealed.clone()),
            ..new.clone()
        };
        let wrappings: Vec<_> = wrappings.iter().map(change).collect();
        self.around("add_wrappings", |store| store.add_wrappings(&wrappings))
    }

    fn wrappings_under(
        &self,
        kek: KeyId,
        unverified_only: bool,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError> {
        let stored = self
            .around("wrappings_under", |store| store.wrappings_under(kek, unverified_only, after, limit))?;
        Ok(self.read(kek, stored))
    }

    fn mark_verified(&self, kek: KeyId, good: &[StoredWrapping], now: Timestamp) -> Result<(), StoreError> {
        self.around("mark_verified", |store| store.mark_verified(kek, good, now))
    }

    fn drop_wrapping(&self, version: DekVersion, kek: KeyId) -> Result<(), StoreError> {
        self.around("drop_wrapping", |store| store.drop_wrapping(version, kek))
    }

    fn wrap_progress(&self, kek: KeyId) -> Result<WrapProgress, StoreError> {
        self.around("wrap_progress", |store| store.wrap_progress(kek))
    }

    fn dump(&self, each: &mut dyn FnMut(Dumped) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.around("dump", |store| store.dump(each))
    }

    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError> {
        self.around("restore", |store| store.restore(keks, deks))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.around("check", |store| store.check())
    }
}
