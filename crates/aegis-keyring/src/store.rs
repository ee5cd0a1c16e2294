//! What a store does. Each call is one transaction: it happens whole or not at all, also if the process is killed in it.

use std::ops::ControlFlow;

use aegis_crypto::KeyId;
use jiff::Timestamp;

use crate::record::{
    DekRecord, DekState, KekRecord, NewDek, NewWrapping, StoredWrapping, Usage, WrapProgress,
};
use crate::scope::Scope;
use crate::store_error::StoreError;
use crate::version::DekVersion;

/// Where a keyring is kept. Several threads and processes may use one store at once.
///
/// A store compares before it changes: what has changed since it was read is a [`StoreError::Conflict`], and the caller
/// reads again. It never opens a box, and never has a key that could.
///
/// Times are kept to the nanosecond, counters up to 2⁶³ − 1 (they stay there), boxes of 1 to [`MAX_SEALED_LEN`] bytes.
/// A page shorter than its limit is the last one. In a forked process, a store that was opened before answers
/// [`Forked`](aegis_database::DatabaseError::Forked) if it is a file; one on a server connects anew.
pub trait Store: Send + Sync {
    /// Where it is, for messages: a path or a URL, without user name or password.
    fn location(&self) -> &str;

    /// Every KEK, in the order of enrolment.
    fn keks(&self) -> Result<Vec<KekRecord>, StoreError>;

    /// Stores the first KEK, as active whatever its record says. Conflict if there is any KEK already.
    fn enrol_first_kek(&self, kek: &KekRecord) -> Result<(), StoreError>;

    /// Stores a KEK as incoming, to take the place of `replaces`. One that is in grace comes back: it keeps its record, its
    /// `grace_until` and its wrappings, none of which counts as verified from then on. Any other is stored as incoming
    /// whatever its record says. Conflict if another one is incoming, if this one is active or retired, if none is active
    /// or another one than `replaces`: from then on, no third one can become active.
    fn enrol_incoming_kek(&self, kek: &KekRecord, replaces: KeyId) -> Result<(), StoreError>;

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

    /// Makes a KEK in grace retired, and erases its wrappings as [`destroy_dek`](Self::destroy_dek) does.
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
    /// those that it is wrapped for, once each (no live KEK at all is a conflict, too). Wrappings of a new DEK count as
    /// verified for every KEK that is not incoming.
    fn insert_active_dek(&self, new: &NewDek, replaces: Option<DekVersion>) -> Result<(), StoreError>;

    /// Moves a DEK from one state to another, and sets or clears its time of destruction. Never to or from
    /// `active` or `destroyed`: that is a conflict. Conflict if its state and time of destruction are not those of `from`.
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

    /// Adds to the counters of several DEKs. A version that does not exist is a Conflict, and nothing is added. Added once,
    /// or [`OutcomeUnknown`](aegis_database::DatabaseError::OutcomeUnknown): never twice.
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
    /// left out. Conflict if a KEK is not live, or there never was a DEK of that version.
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
    /// and the first error of its undoes everything and is returned. Conflict if the store is not empty, or the records
    /// break a rule: two of one name, two active ones, a wrapping of another DEK or of a destroyed one, or for a KEK that
    /// is not live.
    fn restore(
        &self,
        keks: &[KekRecord],
        deks: &mut dyn Iterator<Item = Result<(DekRecord, Vec<NewWrapping>), StoreError>>,
    ) -> Result<(), StoreError>;

    /// Reads everything, and finds what is damaged: files, indexes, records, references. Takes seconds for a large
    /// keyring, in constant memory. What it cannot find is a box that was exchanged; only its KEK can show that.
    fn check(&self) -> Result<(), StoreError>;
}

/// The most bytes of a sealed box in a store; a DEK's has 3,580.
pub const MAX_SEALED_LEN: usize = 1 << 16;

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
