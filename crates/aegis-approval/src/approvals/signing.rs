//! Signatures, made here or elsewhere, for a request or against it.

use std::collections::BTreeSet;

use aegis_crypto::{CustodianPrivateKey, CustodianSignError, KeyId, Statement};
use jiff::Timestamp;

use super::{
    Approvals, ApprovalsReader, LookupError, NO_SUCH_REQUEST, NotStored, Shown, Tried, until_stored,
};
use crate::canonical::to_second;
use crate::name::{PersonId, RequestId, Role};
use crate::observer::{Act, MayFail, RequestRef, SignedBy};
use crate::registry::{Custodian, Registry};
use crate::request::Request;
use crate::signed::{GivenSignature, SignedRequest};
use crate::standing::{CLOCK_TOLERANCE, Closed, SignatureFault, Standing, State, check_signature};
use crate::statement::{Decision, statement};

/// A signature that was stored, and where the request stands with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The signature.
    pub signature: GivenSignature,
    /// Where the request stands now.
    pub standing: Standing,
    /// Whether it was the signature that was still needed.
    pub decided: bool,
}

/// What became of one signature of a file.
#[derive(Debug)]
pub struct Imported {
    /// The signature.
    pub signature: GivenSignature,
    /// `None` if it was there already.
    pub result: Result<Option<Signed>, SignError>,
}

impl ApprovalsReader {
    /// What a custodian would sign now: the statement, and the time that it names, which belongs to the signature.
    ///
    /// # Errors
    ///
    /// A [`SignError`] if a signature of theirs would not count.
    pub fn statement(
        &self,
        id: &RequestId,
        decision: Decision,
        key: KeyId,
        role: Option<&Role>,
        now: Timestamp,
    ) -> Result<(Statement, PersonId, Role, Timestamp), SignError> {
        let shown = self.show(id, now).map_err(SignError::of_lookup)?;
        let registry = self.registry().map_err(|error| SignError::NotStored(NotStored::Store(error)))?;
        let (custodian, held) = registry.holder(key).ok_or(SignError::NobodysKey { key })?;
        let request = &shown.record.request;
        check_open(request, &shown.standing, shown.record.closed.as_ref())?;
        let role = choose_role(request, &shown.standing, custodian, role)?;
        let signed = time_of_signing(request, now);
        let algorithm = held.public.algorithm();
        let text = statement(request, decision, &custodian.person, &role, algorithm, signed);
        Ok((text, custodian.person.clone(), role, signed))
    }
}

impl Approvals {
    /// Signs with a key that is here: for the request, or against it. Without a role, in the one that is missing.
    ///
    /// # Errors
    ///
    /// A [`SignError`]; nothing was stored.
    pub fn sign(
        &self,
        id: &RequestId,
        decision: Decision,
        role: Option<&Role>,
        key: &CustodianPrivateKey,
        now: Timestamp,
    ) -> Result<Signed, SignError> {
        let key_id = key.public_key().key_id();
        let made =
            self.statement(id, decision, key_id, role, now).and_then(|(text, person, role, signed)| {
                let signature = key.sign(&text).map_err(SignError::Key)?;
                Ok(GivenSignature { decision, person, role, key: key_id, signed, signature })
            });
        match made {
            Ok(given) => self.add_signature(id, given, now),
            Err(error) => {
                let by = SignedBy { person: None, role: role.cloned(), key: key_id, signed: now };
                let request = RequestRef { id: id.clone(), about: None };
                let act = match decision {
                    Decision::Approve => Act::Sign { request, by, decides: None },
                    Decision::Reject => Act::Reject { request, by, closed: None },
                };
                self.told(&act, Err(error))
            }
        }
    }

    /// Takes a signature that was made elsewhere: an approval is added, a rejection ends the request.
    ///
    /// # Errors
    ///
    /// A [`SignError`]; nothing was stored.
    pub fn add_signature(
        &self,
        id: &RequestId,
        given: GivenSignature,
        now: Timestamp,
    ) -> Result<Signed, SignError> {
        let mut act = act_of(RequestRef { id: id.clone(), about: None }, &given);
        let done = until_stored(|| self.try_to_add(id, &given, now, &mut act));
        let done = done.map(|(standing, decided)| Signed { signature: given, standing, decided });
        self.told(&act, done)
    }

    fn try_to_add(
        &self,
        id: &RequestId,
        given: &GivenSignature,
        now: Timestamp,
        act: &mut Act,
    ) -> Result<Tried<(Standing, bool)>, SignError> {
        let (registry, registry_revision) = self.registry_now()?;
        let record = self.store.request(id).map_err(NotStored::Store)?;
        let record = record.ok_or_else(|| SignError::NoSuchRequest { id: id.clone() })?;
        *act = act_of(RequestRef::of(&record.request), given);
        let before = super::judged(record, &registry, now);
        judge(&before, given, &registry, now)?;

        let mut after = before.record.clone();
        after.signatures.push(given.clone());
        if given.decision == Decision::Reject {
            let closed = match before.standing.state {
                State::Approved => Closed::Revoked { at: to_second(now), by: given.person.clone() },
                _ => Closed::Rejected { at: to_second(now), by: given.person.clone() },
            };
            after.closed = Some(closed);
        }
        let after = super::judged(after, &registry, now);
        let decided = before.standing.state != State::Approved && after.standing.state == State::Approved;
        match act {
            Act::Sign { decides, .. } => *decides = decided.then(|| after.signers()),
            Act::Reject { closed, .. } => closed.clone_from(&after.record.closed),
            _ => {}
        }
        self.before(act)?;
        let revision = before.record.revision;
        let stored = match &after.record.closed {
            None => self.store.add_signature(id, revision, registry_revision, given),
            Some(closed) => self.store.close(id, revision, registry_revision, closed, Some(given)),
        };
        Ok(Tried::of(stored, (after.standing, decided))?)
    }

    /// Takes the signatures of a file that was signed offline. Each is judged by itself; what is there already is left.
    ///
    /// # Errors
    ///
    /// An [`ImportError`] if the file is of no request here.
    pub fn import(&self, file: &SignedRequest, now: Timestamp) -> Result<Vec<Imported>, ImportError> {
        let SignedRequest { request, signatures, keys: _ } = file;
        let id = request.id();
        let found = self.show(id, now).map_err(ImportError::Lookup);
        let known = match found {
            Ok(known) if known.record.request == *request => known,
            found => {
                let keys = signatures.iter().map(|given| given.key).collect();
                let act = Act::Import { request: RequestRef { id: id.clone(), about: None }, keys };
                let refused = found.and(Err(ImportError::OtherRequest { id: id.clone() }));
                return self.told(&act, refused);
            }
        };
        let mut imported = Vec::with_capacity(signatures.len());
        for signature in signatures.iter().take(SignedRequest::MAX_SIGNATURES) {
            let result = if known.record.signatures.contains(signature) {
                Ok(None)
            } else {
                self.add_signature(id, signature.clone(), now).map(Some)
            };
            imported.push(Imported { signature: signature.clone(), result });
        }
        Ok(imported)
    }
}

/// Signs a request on the custodian's own machine, which knows no registry: whether it counts is judged where it arrives.
///
/// # Errors
///
/// An [`OfflineSignError`].
pub fn sign_offline(
    request: &Request,
    decision: Decision,
    person: &PersonId,
    role: &Role,
    key: &CustodianPrivateKey,
    now: Timestamp,
) -> Result<GivenSignature, OfflineSignError> {
    let fault = OfflineSignError::Fault;
    let algorithm = key.algorithm();
    if person == request.requester() {
        return Err(fault(SignatureFault::Requester { person: person.clone() }));
    }
    if !request.quorum().asks(role) {
        return Err(fault(SignatureFault::RoleNotAsked { role: role.clone() }));
    }
    if !request.algorithms().contains(&algorithm) {
        return Err(fault(SignatureFault::Algorithm { algorithm }));
    }
    let signed = time_of_signing(request, now);
    if signed < request.created() {
        return Err(fault(SignatureFault::BeforeRequest { signed, created: request.created() }));
    }
    if decision == Decision::Approve && signed > request.expires() {
        return Err(fault(SignatureFault::AfterExpiry { signed, expires: request.expires() }));
    }
    let text = statement(request, decision, person, role, algorithm, signed);
    let signature = key.sign(&text).map_err(OfflineSignError::Key)?;
    Ok(GivenSignature {
        decision,
        person: person.clone(),
        role: role.clone(),
        key: key.public_key().key_id(),
        signed,
        signature,
    })
}

/// The time that a signature names. Clocks are never quite of one mind, and nothing is signed before it is asked for.
fn time_of_signing(request: &Request, now: Timestamp) -> Timestamp {
    let now = to_second(now);
    if request.created() > now && request.created().duration_since(now) <= CLOCK_TOLERANCE {
        request.created()
    } else {
        now
    }
}

fn act_of(request: RequestRef, given: &GivenSignature) -> Act {
    let by = SignedBy {
        person: Some(given.person.clone()),
        role: Some(given.role.clone()),
        key: given.key,
        signed: given.signed,
    };
    match given.decision {
        Decision::Approve => Act::Sign { request, by, decides: None },
        Decision::Reject => Act::Reject { request, by, closed: None },
    }
}

/// Whether a signature may be added to a request as it stands.
fn judge(
    shown: &Shown,
    given: &GivenSignature,
    registry: &Registry,
    now: Timestamp,
) -> Result<(), SignError> {
    let Shown { record, standing: stands } = shown;
    check_open(&record.request, stands, record.closed.as_ref())?;
    check_signature(&record.request, given, registry, now).map_err(SignError::Fault)?;
    // One that counted once counts no second time, under whichever key or role.
    if given.decision == Decision::Approve && stands.approvals.contains_key(&given.person) {
        return Err(SignError::Fault(SignatureFault::SamePerson { person: given.person.clone() }));
    }
    let is_there = |other: &GivenSignature| other.key == given.key && other.decision == given.decision;
    if record.signatures.iter().any(is_there) {
        return Err(SignError::Fault(SignatureFault::SamePerson { person: given.person.clone() }));
    }
    // The last place is for a rejection: there must always be room to say no.
    let room = match given.decision {
        Decision::Approve => SignedRequest::MAX_SIGNATURES - 1,
        Decision::Reject => SignedRequest::MAX_SIGNATURES,
    };
    if record.signatures.len() >= room {
        return Err(SignError::TooManySignatures { id: record.request.id().clone() });
    }
    Ok(())
}

/// Whether anything may be signed still.
fn check_open(request: &Request, stands: &Standing, closed: Option<&Closed>) -> Result<(), SignError> {
    let id = || request.id().clone();
    match stands.state {
        State::Pending | State::Partial | State::Approved => Ok(()),
        State::Expired => match stands.use_until {
            Some(until) => Err(SignError::UseOver { id: id(), until }),
            None => Err(SignError::Expired { id: id(), expires: request.expires() }),
        },
        State::Rejected | State::Revoked | State::Consumed => match closed {
            Some(closed) => Err(SignError::Closed { id: id(), closed: closed.clone() }),
            None => Err(SignError::Void { id: id() }),
        },
    }
}

/// In which role a custodian signs: the one that was named; else one that is missing; else any that is asked for.
fn choose_role(
    request: &Request,
    stands: &Standing,
    custodian: &Custodian,
    named: Option<&Role>,
) -> Result<Role, SignError> {
    if let Some(role) = named {
        return Ok(role.clone());
    }
    let asked = |role: &&Role| request.quorum().asks(role);
    let missing = custodian.roles.iter().find(|role| stands.missing.contains_key(*role));
    missing.or_else(|| custodian.roles.iter().find(asked)).cloned().ok_or_else(|| SignError::NoRole {
        person: custodian.person.clone(),
        roles: custodian.roles.clone(),
        asked: request.quorum().groups().map(|(role, _)| role.clone()).collect(),
    })
}

/// Why a signature was not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There is none of that id.
    #[error("there is no request {id}")]
    NoSuchRequest {
        /// The id.
        id: RequestId,
    },
    /// The key is not registered.
    #[error("the key {} is no custodian's", key.fingerprint())]
    NobodysKey {
        /// The key.
        key: KeyId,
    },
    /// The custodian has no role that is asked for.
    #[error("{person} is {}, and the request asks for {}", list(roles), list(asked))]
    NoRole {
        /// Who.
        person: PersonId,
        /// Their roles.
        roles: BTreeSet<Role>,
        /// The roles that are asked for.
        asked: BTreeSet<Role>,
    },
    /// It ended.
    #[error("the request {id} was {}", ended(closed))]
    Closed {
        /// The request.
        id: RequestId,
        /// How.
        closed: Closed,
    },
    /// A rejection is among its signatures.
    #[error("the request {id} was rejected")]
    Void {
        /// The request.
        id: RequestId,
    },
    /// It is too late.
    #[error("the request {id} expired at {expires}")]
    Expired {
        /// The request.
        id: RequestId,
        /// When.
        expires: Timestamp,
    },
    /// It was approved, and not used in time.
    #[error("the request {id} was approved and could be used until {until}")]
    UseOver {
        /// The request.
        id: RequestId,
        /// Until when.
        until: Timestamp,
    },
    /// The signature would not count.
    #[error(transparent)]
    Fault(SignatureFault),
    /// It has as many as it can have.
    #[error(
        "the request {id} has {} signatures already, the most there can be",
        SignedRequest::MAX_SIGNATURES
    )]
    TooManySignatures {
        /// The request.
        id: RequestId,
    },
    /// The key did not sign.
    #[error("the key made no signature")]
    Key(#[source] CustodianSignError),
    /// It was not stored.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

impl MayFail for SignError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::NotStored(_) | Self::Key(_))
    }
}

impl SignError {
    fn of_lookup(error: LookupError) -> Self {
        match error {
            LookupError::NoSuchRequest { id } => Self::NoSuchRequest { id },
            LookupError::Store(error) => Self::NotStored(NotStored::Store(error)),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoSuchRequest { .. } => Some(NO_SUCH_REQUEST.to_owned()),
            Self::NobodysKey { .. } => {
                Some("register it first, or sign with a key that is registered".to_owned())
            }
            Self::NoRole { .. } => Some("let somebody sign who has one of these roles".to_owned()),
            Self::Closed { .. }
            | Self::Void { .. }
            | Self::Expired { .. }
            | Self::UseOver { .. }
            | Self::TooManySignatures { .. } => Some("make a new request".to_owned()),
            Self::Fault(fault) => fault.help(),
            Self::Key(error) => error.help(),
            Self::NotStored(error) => error.help(),
        }
    }
}

/// `used at 2026-01-01T00:00:00Z for deploy-7`
pub(crate) fn ended(closed: &Closed) -> String {
    match closed {
        Closed::Rejected { at, by } => format!("rejected by {by} at {at}"),
        Closed::Revoked { at, by } => format!("taken back by {by} at {at}"),
        Closed::Consumed { at, used_for } => format!("used at {at} for {used_for}"),
    }
}

fn list(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")
}

/// Why nothing of a file was taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The request is not found here.
    #[error(transparent)]
    Lookup(LookupError),
    /// It has the id of a request here, and says something else.
    #[error("the file's request {id} is not the one of that id here")]
    OtherRequest {
        /// The id.
        id: RequestId,
    },
}

impl MayFail for ImportError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Lookup(LookupError::Store(_)))
    }
}

impl ImportError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Lookup(error) => error.help(),
            Self::OtherRequest { .. } => {
                Some("sign the file that this deployment exported; the other one was changed".to_owned())
            }
        }
    }
}

/// Why nothing was signed offline.
#[derive(Debug, thiserror::Error)]
pub enum OfflineSignError {
    /// It would not count anywhere.
    #[error(transparent)]
    Fault(SignatureFault),
    /// The key did not sign.
    #[error("the key made no signature")]
    Key(#[source] CustodianSignError),
}

impl OfflineSignError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Fault(fault) => fault.help(),
            Self::Key(error) => error.help(),
        }
    }
}
