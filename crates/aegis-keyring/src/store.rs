//! What a store does. Each call is one transaction: it happens whole or not at all, also if the process is killed in it.

use std::ops::ControlFlow;

use aegis_crypto::KeyId;
use jiff::Timestamp;

use crate::record::{
    DekRecord, DekState, KekRecord, NewDek, NewWrapping, StoredWrapping, Usage, WrapProgress,
};
use crate::scope::Scope;
use crate::version::DekVersion;

/// Where a keyring is kept. Several threads and processes may use one store at once.
///
/// A store compares before it changes: what has changed since it was read is a [`StoreError::Conflict`], and the caller
/// reads again. It never opens a box, and never has a key that could.
pub trait Store: Send + Sync {
    /// Where it is, for messages: a path or a URL, without user name or password.
    fn location(&self) -> &str;

    /// Every KEK, in the order of enrolment.
    fn keks(&self) -> Result<Vec<KekRecord>, StoreError>;

    /// Stores the first KEK, active. Conflict if there is any KEK already.
    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError>;

    /// Stores a KEK as incoming. One that is in grace comes back: it keeps its record, its `grace_until` and its wrappings,
    /// none of which counts as verified from then on. Conflict if another one is incoming, or this one is active or
    /// retired.
    fn enrol_incoming_kek(&self, kek: &KekRecord) -> Result<(), StoreError>;

    /// Makes the incoming KEK active, without `grace_until`, and the active one grace.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotVerified`] if any DEK that is not destroyed has no verified wrapping under it. Conflict if it is
    /// not the incoming one.
    fn switch_kek(&self, incoming: KeyId, now: Timestamp, grace_until: Timestamp) -> Result<(), StoreError>;

    /// Gives an incoming KEK up: its record and its wrappings are erased. One that came back from grace, which its
    /// `grace_until` says, is in grace again and keeps its wrappings. Conflict if it is not the incoming one.
    fn abandon_incoming_kek(&self, incoming: KeyId) -> Result<(), StoreError>;

    /// Makes a KEK in grace retired, and erases its wrappings.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotVerified`] if a DEK that is not destroyed has no verified wrapping under the active KEK. Conflict
    /// if it is not in grace.
    fn retire_kek(&self, kek: KeyId, now: Timestamp) -> Result<(), StoreError>;

    /// The DEK of that version.
    fn dek(&self, version: DekVersion) -> Result<Option<DekRecord>, StoreError>;

    /// The active DEK of a scope.
    fn active_dek(&self, scope: &Scope) -> Result<Option<DekRecord>, StoreError>;

    /// DEKs in the order of their versions, a page at a time.
    fn deks(&self, query: &DekQuery) -> Result<Vec<DekRecord>, StoreError>;

    /// The highest version of that date; `None` if there is none.
    fn last_version_of(&self, first_of_day: DekVersion) -> Result<Option<DekVersion>, StoreError>;

    /// Stores a DEK as the active one of its scope; the one it replaces decrypts only from then on.
    ///
    /// # Errors
    ///
    /// Conflict if the version is taken, if the scope's active DEK is not `replaces`, or if the live KEKs are not exactly
    /// those that it is wrapped for. Wrappings of a new DEK count as verified for every KEK that is not incoming.
    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError>;

    /// Moves a DEK from one state to another, and sets or clears its time of destruction. Never to or from
    /// `active` or `destroyed`. Conflict if its state and time of destruction are not those of `from`.
    fn change_dek(
        &self,
        from: &DekRecord,
        to: DekState,
        destroy_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Erases every wrapping of a retired DEK whose time of destruction has come, so that no copy of the bytes is left
    /// in the store's files where the store can help it, and makes it destroyed. Conflict otherwise.
    fn destroy_dek(&self, version: DekVersion, now: Timestamp) -> Result<(), StoreError>;

    /// Adds to the counters of several DEKs. A version that does not exist is a Conflict, and nothing is added.
    fn add_usage(&self, used: &[(DekVersion, Usage)]) -> Result<(), StoreError>;

    /// The wrapping of a DEK under a KEK.
    fn wrapping(&self, version: DekVersion, kek: KeyId) -> Result<Option<Vec<u8>>, StoreError>;

    /// DEKs (not destroyed) that have a wrapping under `from` and none under `to`, with the former; in the order of their
    /// versions, those after `after`, at most `limit`.
    fn wrappings_to_make(
        &self,
        from: KeyId,
        to: KeyId,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError>;

    /// Stores wrappings, not verified. One that exists stays as it is; one of a DEK that was destroyed meanwhile is
    /// left out. Conflict if a KEK is not live.
    fn add_wrappings(&self, wrappings: &[NewWrapping]) -> Result<(), StoreError>;

    /// Wrappings under `kek` of DEKs that are not destroyed, in the order of their versions, those after `after`, at
    /// most `limit`; only those not verified if `unverified_only`.
    fn wrappings_under(
        &self,
        kek: KeyId,
        unverified_only: bool,
        after: Option<DekVersion>,
        limit: usize,
    ) -> Result<Vec<StoredWrapping>, StoreError>;

    /// Notes that these wrappings, with exactly these bytes, were opened and found good. One that changed meanwhile is
    /// left as it is.
    fn mark_verified(&self, kek: KeyId, good: &[StoredWrapping], now: Timestamp) -> Result<(), StoreError>;

    /// Erases one wrapping under an incoming KEK that was found bad, so that it is made again. Conflict if the KEK is not
    /// incoming.
    fn drop_wrapping(&self, version: DekVersion, kek: KeyId) -> Result<(), StoreError>;

    /// How far the DEKs are wrapped under a KEK.
    fn wrap_progress(&self, kek: KeyId) -> Result<WrapProgress, StoreError>;

    /// Reads everything as it is at one instant, while others go on writing: first the KEKs, in the order of enrolment,
    /// then each DEK with its wrappings; DEKs in the order of their versions, wrappings in the order of their KEKs. Never
    /// more in memory than a page. Ends early, and without error, when `each` breaks.
    fn dump(&self, each: &mut dyn FnMut(Dumped) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// Fills an empty store with records and wrappings, not verified, in one transaction; the iterator is read to its end,
    /// and the first error of its undoes everything. Conflict if the store is not empty, or the records break a rule
    /// such as one active DEK a scope.
    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError>;
}

/// What [`Store::dump`] gives.
#[derive(Debug)]
pub enum Dumped {
    /// Every KEK; once, and first.
    Keks(Vec<KekRecord>),
    /// A DEK with its wrappings.
    Dek(Box<DekRecord>, Vec<NewWrapping>),
}

/// Which DEKs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DekQuery {
    /// Of this scope only.
    pub scope: Option<Scope>,
    /// In this state only.
    pub state: Option<DekState>,
    /// Those after this version.
    pub after: Option<DekVersion>,
    /// At most so many.
    pub limit: usize,
}

/// Why a store did not do what it was asked. Nothing of the call was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something has changed since it was read, or was never so. Reading again and deciding anew is right.
    #[error("the keyring is not as it was thought to be")]
    Conflict {
        /// What was not as expected.
        #[source]
        what: ConflictKind,
    },
    /// A KEK cannot be switched to, or the one before it retired, while DEKs are not proven to open with it.
    #[error("{missing} of {deks} DEKs have no verified wrapping under KEK {}", kek.fingerprint())]
    NotVerified {
        /// The KEK.
        kek: KeyId,
        /// DEKs without one.
        missing: u64,
        /// DEKs in all.
        deks: u64,
    },
    /// The iterator that [`Store::restore`] reads ended before its end; the one who made it knows why.
    #[error("what was to be stored came to an end too soon")]
    SourceFailed,
}

/// What was not as a caller of [`Store`] expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// A KEK is enrolled already.
    #[error("a KEK is enrolled there already")]
    KekEnrolled,
    /// Another KEK is being rotated to.
    #[error("another KEK rotation is under way")]
    RotationUnderWay,
    /// The KEK is not the incoming one.
    #[error("that KEK is not being rotated to")]
    KekNotIncoming,
    /// The KEK is not in grace.
    #[error("that KEK is not in its grace period")]
    KekNotInGrace,
    /// The KEK is retired or was never enrolled.
    #[error("that KEK is not in use")]
    KekNotLive,
    /// Another DEK has the version.
    #[error("the version is taken")]
    VersionTaken,
    /// Another DEK is active in the scope than the caller thought.
    #[error("another DEK has become active in that scope")]
    ActiveChanged,
    /// The live KEKs are not those that the DEK was wrapped for.
    #[error("a KEK has come or gone")]
    LiveKeksChanged,
    /// The DEK's state, or its time of destruction, is another one than the caller thought.
    #[error("the state of that DEK is another one now")]
    DekChanged,
    /// The DEK is not retired, not marked for destruction, or its waiting time is not over.
    #[error("that DEK is not due to be destroyed")]
    NotDue,
    /// There is no DEK of that version.
    #[error("there is no DEK of that version")]
    UnknownVersion,
    /// The store to be filled holds something.
    #[error("there is a keyring in it already")]
    NotEmpty,
}
