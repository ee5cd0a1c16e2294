//! Where a request stands: which of its signatures count, whom it still needs, and what may be done with it now.
//!
//! This is the one place where signatures are judged; signing, using and verifying offline all come here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aegis_crypto::{CustodianAlgorithm, CustodianVerifyError, KeyId};
use jiff::{SignedDuration, Timestamp};

use crate::name::{PersonId, RequestId, Role};
use crate::registry::{KeyState, Registry};
use crate::request::Request;
use crate::signed::GivenSignature;
use crate::statement::{Decision, statement};

/// How far two clocks may be apart.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// A state of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nobody's signature counts yet.
    Pending,
    /// Some people agreed, not enough.
    Partial,
    /// Enough people agreed; it may be used once.
    Approved,
    /// A custodian said no.
    Rejected,
    /// Its time is over.
    Expired,
    /// It was approved, and taken back before it was used.
    Revoked,
    /// It was used.
    Consumed,
}

impl State {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Partial,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Revoked,
        Self::Consumed,
    ];

    /// The name in listings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Partial => "partial",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Consumed => "consumed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a request ended, other than by time. It is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// A custodian said no before it was approved.
    Rejected {
        /// When.
        at: Timestamp,
        /// Who.
        by: PersonId,
    },
    /// A custodian took it back after it was approved.
    Revoked {
        /// When.
        at: Timestamp,
        /// Who.
        by: PersonId,
    },
    /// It was used.
    Consumed {
        /// When.
        at: Timestamp,
        /// What for, in a word: the deployment's transaction, or the host.
        used_for: String,
    },
}

/// Where a request stands at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// People whose approval counts, and the role in which they signed.
    pub approvals: BTreeMap<PersonId, Role>,
    /// Of which roles how many people are still needed.
    pub missing: BTreeMap<Role, u8>,
    /// Signatures that do not count, by their place in the record, and why.
    pub void: Vec<(usize, SignatureFault)>,
    /// When the last signature was made that was needed, if it is approved or was.
    pub approved_at: Option<Timestamp>,
    /// Until when it can be used, if it is approved or was.
    pub use_until: Option<Timestamp>,
}

/// Judges a request with its signatures, as the registry is now.
pub fn standing(
    request: &Request,
    signatures: &[GivenSignature],
    closed: Option<&Closed>,
    registry: &Registry,
    now: Timestamp,
) -> Standing {
    let mut void = Vec::new();
    let mut approvals: BTreeMap<PersonId, (Role, Timestamp)> = BTreeMap::new();
    let mut is_rejected = false;
    for (index, signature) in signatures.iter().enumerate() {
        match check_signature(request, signature, registry, now) {
            Err(fault) => void.push((index, fault)),
            Ok(()) if signature.decision == Decision::Reject => is_rejected = true,
            Ok(()) if approvals.contains_key(&signature.person) => {
                void.push((index, SignatureFault::SamePerson { person: signature.person.clone() }));
            }
            Ok(()) => {
                approvals.insert(signature.person.clone(), (signature.role.clone(), signature.signed));
            }
        }
    }
    let (missing, approved_at) = count(request, &approvals);
    let use_until = approved_at.and_then(|at| at.checked_add(request.use_within()).ok());
    let state = match closed {
        Some(Closed::Rejected { .. }) => State::Rejected,
        Some(Closed::Revoked { .. }) => State::Revoked,
        Some(Closed::Consumed { .. }) => State::Consumed,
        None if is_rejected => State::Rejected,
        None => match use_until {
            Some(until) if now <= until => State::Approved,
            Some(_) => State::Expired,
            None if now > request.expires() => State::Expired,
            None if approvals.is_empty() => State::Pending,
            None => State::Partial,
        },
    };
    let approvals = approvals.into_iter().map(|(person, (role, _))| (person, role)).collect();
    Standing { state, approvals, missing, void, approved_at, use_until }
}

/// Whom these approvals leave to be found, and if nobody, when the last one was made that was needed.
fn count(
    request: &Request,
    approvals: &BTreeMap<PersonId, (Role, Timestamp)>,
) -> (BTreeMap<Role, u8>, Option<Timestamp>) {
    let people = |until: Timestamp| {
        let signed = approvals.iter().filter(|(_, (_, at))| *at <= until);
        signed.map(|(person, (role, _))| (person.clone(), BTreeSet::from([role.clone()]))).collect()
    };
    let times: BTreeSet<Timestamp> = approvals.values().map(|(_, at)| *at).collect();
    let approved_at = times.into_iter().find(|at| request.quorum().missing(&people(*at)).is_empty());
    (request.quorum().missing(&people(Timestamp::MAX)), approved_at)
}

/// Whether a signature may be counted: by whom, with which key, in which role, when, and over what.
///
/// # Errors
///
/// A [`SignatureFault`], the first that is found; the signature itself is checked last.
pub fn check_signature(
    request: &Request,
    given: &GivenSignature,
    registry: &Registry,
    now: Timestamp,
) -> Result<(), SignatureFault> {
    let GivenSignature { decision, person, role, key, signed, signature } = given;
    if person == request.requester() {
        return Err(SignatureFault::Requester { person: person.clone() });
    }
    let custodian =
        registry.custodian(person).ok_or_else(|| SignatureFault::UnknownPerson { person: person.clone() })?;
    let held = custodian.keys.iter().find(|held| held.public.key_id() == *key);
    let held = held.ok_or_else(|| SignatureFault::UnknownKey { person: person.clone(), key: *key })?;
    match &held.state {
        KeyState::Active => {}
        KeyState::Revoked { at } => return Err(SignatureFault::Revoked { key: *key, at: *at }),
        KeyState::Replaced { at, by } => {
            return Err(SignatureFault::Replaced { key: *key, at: *at, by: *by });
        }
    }
    if !request.quorum().asks(role) {
        return Err(SignatureFault::RoleNotAsked { role: role.clone() });
    }
    if !custodian.roles.contains(role) {
        return Err(SignatureFault::RoleNotHeld { person: person.clone(), role: role.clone() });
    }
    let algorithm = held.public.algorithm();
    if !request.algorithms().contains(&algorithm) {
        return Err(SignatureFault::Algorithm { algorithm });
    }
    if *signed < request.created() {
        return Err(SignatureFault::BeforeRequest { signed: *signed, created: request.created() });
    }
    // A rejection after the end does no harm, and an approval may be taken back until it is used.
    if *decision == Decision::Approve && *signed > request.expires() {
        return Err(SignatureFault::AfterExpiry { signed: *signed, expires: request.expires() });
    }
    if signed.duration_since(now) > CLOCK_TOLERANCE {
        return Err(SignatureFault::InFuture { signed: *signed });
    }
    let text = statement(request, *decision, person, role, algorithm, *signed);
    held.public.verify(&text, signature).map_err(|source| SignatureFault::NotAuthentic {
        person: person.clone(),
        request: request.id().clone(),
        source,
    })
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Nobody decides over what they asked for.
    #[error("{person} made the request, and cannot decide on it")]
    Requester {
        /// Who.
        person: PersonId,
    },
    /// Not a custodian.
    #[error("{person} is no custodian here")]
    UnknownPerson {
        /// Who.
        person: PersonId,
    },
    /// Not a key of this person.
    #[error("the key {} is not a key of {person}", key.fingerprint())]
    UnknownKey {
        /// Who.
        person: PersonId,
        /// The key.
        key: KeyId,
    },
    /// The key may be in the wrong hands.
    #[error("the key {} was revoked at {at}", key.fingerprint())]
    Revoked {
        /// The key.
        key: KeyId,
        /// When.
        at: Timestamp,
    },
    /// Its holder has another one now.
    #[error("the key {} was replaced by {} at {at}", key.fingerprint(), by.fingerprint())]
    Replaced {
        /// The key.
        key: KeyId,
        /// When.
        at: Timestamp,
        /// By which.
        by: KeyId,
    },
    /// Nobody of this role is asked.
    #[error("nobody is asked as {role}")]
    RoleNotAsked {
        /// The role.
        role: Role,
    },
    /// The person does not have the role.
    #[error("{person} is no {role}")]
    RoleNotHeld {
        /// Who.
        person: PersonId,
        /// The role.
        role: Role,
    },
    /// The request does not take signatures by this algorithm.
    #[error("signatures by {algorithm} are not taken for this request")]
    Algorithm {
        /// The algorithm.
        algorithm: CustodianAlgorithm,
    },
    /// Signed before there was anything to sign.
    #[error("it was signed at {signed}, before the request was made at {created}")]
    BeforeRequest {
        /// When it says that it was signed.
        signed: Timestamp,
        /// When the request was made.
        created: Timestamp,
    },
    /// Signed too late.
    #[error("it was signed at {signed}, after the request expired at {expires}")]
    AfterExpiry {
        /// When it says that it was signed.
        signed: Timestamp,
        /// Until when it could be.
        expires: Timestamp,
    },
    /// Signed at a time that has not come.
    #[error("it was signed at {signed}, which is in the future")]
    InFuture {
        /// When it says that it was signed.
        signed: Timestamp,
    },
    /// Not over this request, role, time and decision, or not by this key.
    #[error("the signature of {person} is not one over this decision on {request}")]
    NotAuthentic {
        /// Who.
        person: PersonId,
        /// The request.
        request: RequestId,
        /// Why.
        source: CustodianVerifyError,
    },
    /// A second signature of one person; people are counted, not signatures.
    #[error("{person} has signed already, and counts once")]
    SamePerson {
        /// Who.
        person: PersonId,
    },
}

impl SignatureFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Requester { .. } => "let somebody else decide".to_owned(),
            Self::UnknownPerson { .. } => {
                "register the custodian first, or name one of those that are listed".to_owned()
            }
            Self::UnknownKey { .. } => "sign with a key that is registered for this person".to_owned(),
            Self::Revoked { .. } | Self::Replaced { .. } => {
                "sign again with the key that took its place".to_owned()
            }
            Self::RoleNotAsked { .. } | Self::RoleNotHeld { .. } => {
                "sign in a role that the request asks for and that this person has".to_owned()
            }
            Self::Algorithm { .. } => "sign with a key of an algorithm that the request names".to_owned(),
            Self::BeforeRequest { .. } | Self::InFuture { .. } => {
                "set the signer's clock, and sign again".to_owned()
            }
            Self::AfterExpiry { .. } => "make a new request".to_owned(),
            Self::NotAuthentic { .. } => {
                "sign exactly the text that is shown for this person, role and time".to_owned()
            }
            Self::SamePerson { .. } => "let another person sign".to_owned(),
        })
    }
}
