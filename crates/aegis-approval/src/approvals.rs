//! What is done with custodians and requests, each call judged against what the store holds at that instant.
//!
//! Whatever changes something reads the registry and the request, judges, and stores with the numbers of what it read. If
//! somebody was faster, the store says so, and it is read and judged again: of two final signatures one is the last, and
//! of two uses one is the first.
//!
//! | module | what is done |
//! |---|---|
//! | `rules` | the least quorum of each kind, and for which deployment this is |
//! | `custodians` | keys registered, replaced and revoked; roles |
//! | `requests` | something is asked for |
//! | `signing` | signatures, made here or elsewhere; rejections |
//! | `using` | an approval is used, once |

mod custodians;
mod requests;
mod rules;
mod signing;
mod using;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use aegis_crypto::KeyId;
use jiff::Timestamp;

use crate::name::RequestId;
use crate::observer::{Act, Ended, MayFail, Observer};
use crate::registry::Registry;
use crate::signed::SignedRequest;
use crate::standing::{Standing, standing};
use crate::store::{RequestQuery, RequestRecord, Rotation, Store, StoreError};

pub(crate) use custodians::holds_active;
pub use custodians::{ChangeCustodianError, RegisterError};
pub use requests::AskError;
pub(crate) use requests::list_missing;
pub use rules::{ApprovalRules, RulesError};
pub(crate) use signing::ended;
pub use signing::{ImportError, Imported, OfflineSignError, SignError, Signed, sign_offline};
pub use using::UseError;

/// How often a change is tried while others change the same things. Each conflict is somebody else's success, and a
/// request takes [`SignedRequest::MAX_SIGNATURES`] signatures and one end.
const MAX_TRIES: u32 = 64;

/// Custodians and requests, to be looked at. Cheap to clone.
#[derive(Clone)]
pub struct ApprovalsReader {
    store: Arc<dyn Store>,
    rules: ApprovalRules,
}

/// Custodians and requests, to be changed. Cheap to clone; threads and processes may use one store at once.
#[derive(Clone)]
pub struct Approvals {
    reader: ApprovalsReader,
    observer: Option<Arc<dyn Observer>>,
}

/// A request, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The request as it is stored.
    pub record: RequestRecord,
    /// Where it stands.
    pub standing: Standing,
}

impl Shown {
    /// The file of it, with every signature that counts: what hosts and others verify.
    pub fn to_signed(&self) -> SignedRequest {
        let is_void = |index| self.standing.void.iter().any(|(void, _)| *void == index);
        let signatures = self.record.signatures.iter().enumerate();
        let signatures = signatures.filter(|(index, _)| !is_void(*index));
        let signatures = signatures.map(|(_, signature)| signature.clone()).collect();
        SignedRequest::new(self.record.request.clone(), signatures)
    }

    /// The keys whose approval counts, in the order in which they signed.
    pub fn signers(&self) -> Vec<KeyId> {
        let signed = self.to_signed().signatures.into_iter();
        let approving = signed.filter(|given| self.standing.approvals.contains_key(&given.person));
        approving.map(|given| given.key).collect()
    }
}

impl ApprovalsReader {
    /// What is in `store`, under these rules.
    pub const fn new(store: Arc<dyn Store>, rules: ApprovalRules) -> Self {
        Self { store, rules }
    }

    /// Where it is kept.
    pub const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The rules of this deployment.
    pub const fn rules(&self) -> &ApprovalRules {
        &self.rules
    }

    /// Every custodian, as the registry is now.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn registry(&self) -> Result<Registry, StoreError> {
        self.store.registry().map(|(registry, _)| registry)
    }

    /// One request, and where it stands.
    ///
    /// # Errors
    ///
    /// [`LookupError`].
    pub fn show(&self, id: &RequestId, now: Timestamp) -> Result<Shown, LookupError> {
        let registry = self.registry().map_err(LookupError::Store)?;
        let record = self.store.request(id).map_err(LookupError::Store)?;
        let record = record.ok_or_else(|| LookupError::NoSuchRequest { id: id.clone() })?;
        Ok(judged(record, &registry, now))
    }

    /// The file of a request: the signatures that count, and the keys that made them. It is for custodians who sign
    /// offline, for hosts, and for whoever verifies it from the file alone.
    ///
    /// # Errors
    ///
    /// [`LookupError`].
    pub fn export(&self, id: &RequestId, now: Timestamp) -> Result<SignedRequest, LookupError> {
        let registry = self.registry().map_err(LookupError::Store)?;
        Ok(self.show(id, now)?.to_signed().with_keys(&registry))
    }

    /// A page of requests, in the order in which they were made, each as it stands. The next page is after the last
    /// [`RequestRecord::number`].
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn list(&self, query: &RequestQuery, now: Timestamp) -> Result<Vec<Shown>, StoreError> {
        let registry = self.registry()?;
        let records = self.store.requests(query)?.into_iter();
        Ok(records.map(|record| judged(record, &registry, now)).collect())
    }

    /// The emergency rotations, in the order of their beginning.
    ///
    /// # Errors
    ///
    /// The store's.
    pub fn emergencies(&self, open_only: bool) -> Result<Vec<Rotation>, StoreError> {
        self.store.rotations(open_only)
    }
}

fn judged(record: RequestRecord, registry: &Registry, now: Timestamp) -> Shown {
    let standing = standing(&record.request, &record.signatures, record.closed.as_ref(), registry, now);
    Shown { record, standing }
}

impl Approvals {
    /// The same, to be changed.
    pub const fn new(reader: ApprovalsReader) -> Self {
        Self { reader, observer: None }
    }

    /// The same, with somebody who is told of everything.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    pub(crate) fn before(&self, act: &Act) -> Result<(), NotStored> {
        match &self.observer {
            Some(observer) => observer.before(act).map_err(NotStored::NotNoted),
            None => Ok(()),
        }
    }

    /// Tells how an act ended, and hands the result on.
    pub(crate) fn told<T, E: MayFail + 'static>(&self, act: &Act, result: Result<T, E>) -> Result<T, E> {
        if let Some(observer) = &self.observer {
            observer.observe(act, Ended::of(&result));
        }
        result
    }
}

impl Deref for Approvals {
    type Target = ApprovalsReader;

    fn deref(&self) -> &ApprovalsReader {
        &self.reader
    }
}

impl fmt::Debug for ApprovalsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApprovalsReader").field("location", &self.store.location()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approvals").field("location", &self.store.location()).finish_non_exhaustive()
    }
}

/// What one try came to.
enum Tried<T> {
    /// It was stored.
    Done(T),
    /// Somebody was faster. It is to be read and judged again.
    Again,
}

impl<T> Tried<T> {
    /// Takes a conflict for what it is, and other failures as they are.
    fn of(stored: Result<(), StoreError>, value: T) -> Result<Self, NotStored> {
        match stored {
            Ok(()) => Ok(Self::Done(value)),
            Err(StoreError::Conflict { .. }) => Ok(Self::Again),
            Err(error) => Err(NotStored::Store(error)),
        }
    }
}

/// Tries until it is stored or refused.
fn until_stored<T, E: From<NotStored>>(mut attempt: impl FnMut() -> Result<Tried<T>, E>) -> Result<T, E> {
    for _ in 0..MAX_TRIES {
        if let Tried::Done(value) = attempt()? {
            return Ok(value);
        }
    }
    Err(NotStored::Contended.into())
}

/// Why something that was right was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// Others changed the same things all the time.
    #[error("others were changing the same custodians or request all the time")]
    Contended,
    /// The store did not do it.
    #[error(transparent)]
    Store(StoreError),
    /// It could not be noted for the log, so it was not done.
    #[error("it could not be noted for the log")]
    NotNoted(#[source] io::Error),
}

impl NotStored {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Contended => Some("run it again".to_owned()),
            Self::Store(error) => error.help(),
            Self::NotNoted(_) => None,
        }
    }
}

/// Why a request was not found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is none of that id.
    #[error("there is no request {id}")]
    NoSuchRequest {
        /// The id.
        id: RequestId,
    },
    /// The store did not answer, or not as it should.
    #[error(transparent)]
    Store(StoreError),
}

impl LookupError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoSuchRequest { .. } => Some(NO_SUCH_REQUEST.to_owned()),
            Self::Store(error) => error.help(),
        }
    }
}

/// What to do if there is no such request.
const NO_SUCH_REQUEST: &str = "look for it in the list of requests of this deployment";
