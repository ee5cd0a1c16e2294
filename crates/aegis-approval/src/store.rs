//! What a store of custodians and requests does. Each call is one transaction: it happens whole or not at all, also if the
//! process is killed in it.

use std::collections::BTreeSet;

use aegis_crypto::KeyId;
use aegis_database::DatabaseError;
use jiff::Timestamp;

use crate::name::{Audience, PersonId, RequestId, Role};
use crate::quorum::Quorum;
use crate::registry::{CustodianKey, KeyState, Registry, RegistryError};
use crate::request::Request;
use crate::signed::{GivenSignature, SignedRequest};
use crate::standing::Closed;
use crate::statement::Decision;
use crate::subject::{Kind, Subject};
use crate::text::TextError;

/// Where custodians and requests are kept. Several threads and processes may use one store at once.
///
/// A store compares before it changes: what has changed since it was read is a [`StoreError::Conflict`], and the caller
/// reads again. It judges no signature; that is [`standing`](crate::standing())'s. It never holds a private key.
pub trait Store: Send + Sync {
    /// Where it is, for messages: a path or a URL, without user name or password.
    fn location(&self) -> &str;

    /// Every custodian, and the number of this state of the registry, which grows with each change of it.
    fn registry(&self) -> Result<(Registry, u64), StoreError>;

    /// Adds an active key of a person, who is new or has exactly these roles. `revision` is that of the registry. Conflict
    /// if it has changed, or if the key is or was anybody's.
    fn add_key(
        &self,
        revision: u64,
        person: &PersonId,
        roles: &BTreeSet<Role>,
        key: &CustodianKey,
    ) -> Result<(), StoreError>;

    /// Makes a key that is active, or replaced, revoked; or one that is active replaced, by another key of that person.
    /// Conflict if the registry has changed, or a key is not in such a state.
    fn end_key(
        &self,
        revision: u64,
        person: &PersonId,
        key: KeyId,
        state: &KeyState,
    ) -> Result<(), StoreError>;

    /// Gives a person other roles. Conflict if the registry has changed, or there is no such person.
    fn set_roles(&self, revision: u64, person: &PersonId, roles: &BTreeSet<Role>) -> Result<(), StoreError>;

    /// Stores a new request. Conflict if there is one of its id.
    fn insert_request(&self, request: &Request) -> Result<(), StoreError>;

    /// One request, whole.
    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, StoreError>;

    /// Requests in the order in which they were stored, a page at a time.
    fn requests(&self, query: &RequestQuery) -> Result<Vec<RequestRecord>, StoreError>;

    /// Adds a signature to an open request. Conflict if the request has changed (`revision`), the registry has
    /// (`registry`), the request is closed, it is not by a key of that person, this key has decided so already, or the
    /// request has as many signatures as can be.
    fn add_signature(
        &self,
        id: &RequestId,
        revision: u64,
        registry: u64,
        signature: &GivenSignature,
    ) -> Result<(), StoreError>;

    /// Ends a request, with the signature of whoever rejected it or took it back. Conflict as with
    /// [`add_signature`](Self::add_signature); a request is closed once, so an approval is used once.
    fn close(
        &self,
        id: &RequestId,
        revision: u64,
        registry: u64,
        closed: &Closed,
        rejection: Option<&GivenSignature>,
    ) -> Result<(), StoreError>;

    /// Signatures of a key, in the order of [`RequestRecord::number`], and of arrival where there are two on one request;
    /// those after `after`, at most `limit`. Reads no request as a whole: fast for a key that signed little, however many
    /// requests there are, and for one that signed all of a million.
    fn signed_by(
        &self,
        key: KeyId,
        after: Option<&Involvement>,
        limit: usize,
    ) -> Result<Vec<Involvement>, StoreError>;

    /// Begins the emergency rotation of a key. Conflict if one of this key was begun before.
    fn begin_rotation(&self, rotation: &Rotation) -> Result<(), StoreError>;

    /// The emergency rotation of a key.
    fn rotation(&self, key: KeyId) -> Result<Option<Rotation>, StoreError>;

    /// Every emergency rotation, in the order of their beginning; only those not done if `open_only`.
    fn rotations(&self, open_only: bool) -> Result<Vec<Rotation>, StoreError>;

    /// Takes a rotation one step further. Conflict if it is not as `from` says.
    fn advance_rotation(&self, from: &Rotation, to: &Rotation) -> Result<(), StoreError>;

    /// Reads everything, and finds what is damaged.
    fn check(&self) -> Result<(), StoreError>;
}

/// A request as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its place in the order in which requests were stored, from 1.
    pub number: u64,
    /// Grows with each signature and with its end.
    pub revision: u64,
    /// What is asked for.
    pub request: Request,
    /// What was signed, in the order of arrival.
    pub signatures: Vec<GivenSignature>,
    /// How it ended, other than by time.
    pub closed: Option<Closed>,
}

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestQuery {
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// Only those that nobody ended and that could be signed or used at this time, as far as the request alone says
    /// (`expires` + `use_within`).
    pub open_at: Option<Timestamp>,
    /// Of this requester only.
    pub requester: Option<PersonId>,
    /// Those after this number.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// A signature of a key on a request, and what became of that; without what a report does not need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Involvement {
    /// [`RequestRecord::number`] of the request.
    pub number: u64,
    /// The place of the signature among those of the request.
    pub place: usize,
    /// Which way.
    pub decision: Decision,
    /// In which role.
    pub role: Role,
    /// When, as the signer says.
    pub signed: Timestamp,
    /// The request.
    pub id: RequestId,
    /// What was asked for.
    pub subject: Subject,
    /// For where.
    pub audience: Audience,
    /// Who asked.
    pub requester: PersonId,
    /// Until when it could be signed or used, as far as the request alone says (`expires` + `use_within`).
    pub usable_until: Timestamp,
    /// How it ended, other than by time.
    pub closed: Option<Closed>,
    /// Who had to agree.
    pub quorum: Quorum,
    /// Who signed, this key among them, in the order of arrival.
    pub signers: Vec<Signer>,
}

/// A signature without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Who.
    pub person: PersonId,
    /// In which role.
    pub role: Role,
    /// Which way.
    pub decision: Decision,
    /// With which key.
    pub key: KeyId,
}

/// An emergency rotation: a key that may be in the wrong hands goes, another one comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The key that goes. It names the rotation.
    pub old_key: KeyId,
    /// Whose it is.
    pub person: PersonId,
    /// Why, in words that keep the rules of a [`Justification`](crate::Justification).
    pub reason: String,
    /// When it was begun.
    pub started: Timestamp,
    /// The key that comes, once it is known.
    pub new_key: Option<KeyId>,
    /// Whether DEKs are to be rotated as well.
    pub with_deks: bool,
    /// The last step that was done.
    pub step: RotationStep,
    /// When the last step was done.
    pub updated: Timestamp,
}

/// How far an emergency rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RotationStep {
    /// It is known that it has to be done; nothing else is.
    Begun,
    /// The old key is revoked, so that none of its signatures counts.
    KeyRevoked,
    /// The new key is registered.
    KeyRegistered,
    /// It is logged which open requests dropped back and have to be signed again.
    RequestsReopened,
    /// The report of every decision that the key took part in was written.
    Reported,
    /// DEKs were rotated, or were not to be. Nothing is left to do.
    Done,
}

impl RotationStep {
    /// Every step, in their order.
    pub const ALL: [Self; 6] = [
        Self::Begun,
        Self::KeyRevoked,
        Self::KeyRegistered,
        Self::RequestsReopened,
        Self::Reported,
        Self::Done,
    ];

    /// The name in stores, listings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::KeyRevoked => "key_revoked",
            Self::KeyRegistered => "key_registered",
            Self::RequestsReopened => "requests_reopened",
            Self::Reported => "reported",
            Self::Done => "done",
        }
    }
}

/// Why a store did not do what it was asked. Nothing of the call was done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something has changed since it was read, or was never so. Reading again and deciding anew is right.
    #[error("the approvals are not as they were thought to be")]
    Conflict {
        /// What was not as expected.
        #[source]
        what: ConflictKind,
    },
    /// Its database did not do it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Words that no store takes.
    #[error("{what} cannot be stored")]
    Text {
        /// Which words.
        what: &'static str,
        /// Why.
        #[source]
        source: TextError,
    },
    /// The custodians in the store cannot be together.
    #[error("the custodians in {location} cannot be used")]
    Registry {
        /// The store.
        location: String,
        /// Why.
        #[source]
        source: RegistryError,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Conflict { .. } => Some("look at it again, and decide anew".to_owned()),
            Self::Database(error) => error.help(),
            Self::Text { source, .. } => source.help(),
            Self::Registry { source, .. } => source.help(),
        }
    }
}

/// What was not as a caller expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflictKind {
    /// Custodians have changed.
    #[error("the custodians have changed meanwhile")]
    RegistryChanged,
    /// The key is or was somebody's.
    #[error("the key {} is registered, or was, for {person}", key.fingerprint())]
    KeyTaken {
        /// The key.
        key: KeyId,
        /// Whose.
        person: PersonId,
    },
    /// The person has other roles.
    #[error("{person} has other roles")]
    OtherRoles {
        /// Who.
        person: PersonId,
    },
    /// Nobody of that name, or no such key of theirs.
    #[error("{person} has no such key")]
    NoSuchKey {
        /// Who.
        person: PersonId,
    },
    /// The key has ended already.
    #[error("the key {} is {state} already", key.fingerprint())]
    KeyEnded {
        /// The key.
        key: KeyId,
        /// What became of it.
        state: &'static str,
    },
    /// There is no such request.
    #[error("there is no request {id}")]
    NoSuchRequest {
        /// Its id.
        id: RequestId,
    },
    /// There is a request of that id.
    #[error("there is a request {id} already")]
    RequestExists {
        /// Its id.
        id: RequestId,
    },
    /// The request has changed.
    #[error("the request {id} has changed meanwhile")]
    RequestChanged {
        /// Its id.
        id: RequestId,
    },
    /// The request has ended.
    #[error("the request {id} was {state} already")]
    RequestClosed {
        /// Its id.
        id: RequestId,
        /// How it ended.
        state: &'static str,
    },
    /// The key has signed this request.
    #[error("the key {} has signed the request {id} already", key.fingerprint())]
    SignedAlready {
        /// Its id.
        id: RequestId,
        /// The key.
        key: KeyId,
    },
    /// No more signatures fit.
    #[error("the request {id} has {} signatures, the most there can be", SignedRequest::MAX_SIGNATURES)]
    SignaturesFull {
        /// Its id.
        id: RequestId,
    },
    /// The rotation is not where it was.
    #[error("the emergency rotation of the key {} is at another step", key.fingerprint())]
    RotationChanged {
        /// The key that goes.
        key: KeyId,
    },
}
