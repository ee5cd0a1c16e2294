//! A store that stops at a chosen call, as if the process had been killed there; or in which somebody else does something
//! in between.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aegis_approval::{
    Closed, CustodianKey, GivenSignature, Involvement, KeyState, PersonId, Registry, RegistryError, Request,
    RequestId, RequestQuery, RequestRecord, Role, Rotation, Store, StoreError,
};
use aegis_crypto::KeyId;

/// Whether the call at which it stops is still done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Before,
    After,
}

type Interference = Box<dyn FnOnce() + Send>;

pub(crate) struct Failing {
    inner: Arc<dyn Store>,
    calls: AtomicUsize,
    stop: Option<(usize, Stop)>,
    between: Mutex<Option<(&'static str, Interference)>>,
}

impl Failing {
    /// Stops at the n-th call, counted from 0, and is gone from then on.
    pub(crate) fn at(inner: Arc<dyn Store>, call: usize, stop: Stop) -> Arc<Self> {
        Arc::new(Self {
            inner,
            calls: AtomicUsize::new(0),
            stop: Some((call, stop)),
            between: Mutex::new(None),
        })
    }

    /// Somebody else does something right before the first call of that name.
    pub(crate) fn between(
        inner: Arc<dyn Store>,
        name: &'static str,
        what: impl FnOnce() + Send + 'static,
    ) -> Arc<Self> {
        let between = Mutex::new(Some((name, Box::new(what) as Interference)));
        Arc::new(Self { inner, calls: AtomicUsize::new(0), stop: None, between })
    }

    /// Whether it stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stop.is_some_and(|(at, _)| self.calls.load(Ordering::SeqCst) > at)
    }

    fn around<T>(
        &self,
        name: &'static str,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let what = {
            let mut between = self.between.lock().unwrap();
            match &*between {
                Some((wanted, _)) if *wanted == name => between.take().map(|(_, what)| what),
                _ => None,
            }
        };
        if let Some(what) = what {
            what();
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.stop {
            Some((at, Stop::Before)) if number >= at => Err(gone()),
            Some((at, Stop::After)) if number == at => call(&*self.inner).and(Err(gone())),
            Some((at, Stop::After)) if number > at => Err(gone()),
            _ => call(&*self.inner),
        }
    }
}

/// Any failure of a store will do.
fn gone() -> StoreError {
    StoreError::Registry { location: "nowhere".to_owned(), source: RegistryError::TooManyPeople }
}

impl Store for Failing {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn registry(&self) -> Result<(Registry, u64), StoreError> {
        self.around("registry", |store| store.registry())
    }

    fn add_key(
        &self,
        revision: u64,
        person: &PersonId,
        roles: &BTreeSet<Role>,
        key: &CustodianKey,
    ) -> Result<(), StoreError> {
        self.around("add_key", |store| store.add_key(revision, person, roles, key))
    }

    fn end_key(
        &self,
        revision: u64,
        person: &PersonId,
        key: KeyId,
        state: &KeyState,
    ) -> Result<(), StoreError> {
        self.around("end_key", |store| store.end_key(revision, person, key, state))
    }

    fn set_roles(&self, revision: u64, person: &PersonId, roles: &BTreeSet<Role>) -> Result<(), StoreError> {
        self.around("set_roles", |store| store.set_roles(revision, person, roles))
    }

    fn insert_request(&self, request: &Request) -> Result<(), StoreError> {
        self.around("insert_request", |store| store.insert_request(request))
    }

    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, StoreError> {
        self.around("request", |store| store.request(id))
    }

    fn requests(&self, query: &RequestQuery) -> Result<Vec<RequestRecord>, StoreError> {
        self.around("requests", |store| store.requests(query))
    }

    fn add_signature(
        &self,
        id: &RequestId,
        revision: u64,
        registry: u64,
        signature: &GivenSignature,
    ) -> Result<(), StoreError> {
        self.around("add_signature", |store| store.add_signature(id, revision, registry, signature))
    }

    fn close(
        &self,
        id: &RequestId,
        revision: u64,
        registry: u64,
        closed: &Closed,
        rejection: Option<&GivenSignature>,
    ) -> Result<(), StoreError> {
        self.around("close", |store| store.close(id, revision, registry, closed, rejection))
    }

    fn signed_by(
        &self,
        key: KeyId,
        after: Option<&Involvement>,
        limit: usize,
    ) -> Result<Vec<Involvement>, StoreError> {
        self.around("signed_by", |store| store.signed_by(key, after, limit))
    }

    fn begin_rotation(&self, rotation: &Rotation) -> Result<(), StoreError> {
        self.around("begin_rotation", |store| store.begin_rotation(rotation))
    }

    fn rotation(&self, key: KeyId) -> Result<Option<Rotation>, StoreError> {
        self.around("rotation", |store| store.rotation(key))
    }

    fn rotations(&self, open_only: bool) -> Result<Vec<Rotation>, StoreError> {
        self.around("rotations", |store| store.rotations(open_only))
    }

    fn advance_rotation(&self, from: &Rotation, to: &Rotation) -> Result<(), StoreError> {
        self.around("advance_rotation", |store| store.advance_rotation(from, to))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.around("check", |store| store.check())
    }
}
