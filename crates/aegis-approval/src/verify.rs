//! Verifying an approval from its file alone, with the custodians that one trusts: what a host does, and an auditor.

use std::collections::{BTreeMap, BTreeSet};

use aegis_crypto::Digest;
use jiff::Timestamp;

use crate::name::{Audience, PersonId, RequestId, Role};
use crate::quorum::Quorum;
use crate::registry::Registry;
use crate::signed::SignedRequest;
use crate::standing::{CLOCK_TOLERANCE, SignatureFault, State, standing};
use crate::subject::Subject;

/// An approval that holds: for this subject, here, now. Only [`verify`] makes one. That it is used once is for whoever
/// uses it to see to, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedApproval {
    id: RequestId,
    hash: Digest,
    requester: PersonId,
    approvals: BTreeMap<PersonId, Role>,
    use_until: Timestamp,
}

impl VerifiedApproval {
    /// The request.
    pub const fn id(&self) -> &RequestId {
        &self.id
    }

    /// Its hash.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// Who asked.
    pub const fn requester(&self) -> &PersonId {
        &self.requester
    }

    /// Who agreed, and in which role.
    pub const fn approvals(&self) -> &BTreeMap<PersonId, Role> {
        &self.approvals
    }

    /// Until when it can be used.
    pub const fn use_until(&self) -> Timestamp {
        self.use_until
    }
}

/// Checks that `signed` approves exactly `subject` for one of `audiences`, now, by the people of `registry`; that they
/// are enough for its own quorum and for `at_least`, the quorum of whoever verifies.
///
/// # Errors
///
/// An [`ApprovalRefused`].
pub fn verify(
    signed: &SignedRequest,
    subject: &Subject,
    audiences: &[Audience],
    registry: &Registry,
    at_least: &Quorum,
    now: Timestamp,
) -> Result<VerifiedApproval, ApprovalRefused> {
    let SignedRequest { request, signatures, keys: _ } = signed;
    if request.subject() != subject {
        return Err(ApprovalRefused::OtherSubject {
            approved: Box::new(request.subject().clone()),
            wanted: Box::new(subject.clone()),
        });
    }
    if !audiences.contains(request.audience()) {
        return Err(ApprovalRefused::OtherAudience {
            approved: request.audience().clone(),
            here: audiences.to_vec(),
        });
    }
    if request.created().duration_since(now) > CLOCK_TOLERANCE {
        return Err(ApprovalRefused::NotYet { created: request.created(), now });
    }
    let stands = standing(request, signatures, None, registry, now);
    let faults = || stands.void.iter().map(|(_, fault)| fault.clone()).collect();
    match (stands.state, stands.use_until) {
        (State::Approved, Some(use_until)) => {
            let people = stands.approvals.iter();
            let people =
                people.map(|(person, role)| (person.clone(), BTreeSet::from([role.clone()]))).collect();
            let missing = at_least.missing(&people);
            if !missing.is_empty() {
                return Err(ApprovalRefused::BelowRule { rule: at_least.clone(), missing });
            }
            Ok(VerifiedApproval {
                id: request.id().clone(),
                hash: request.hash(),
                requester: request.requester().clone(),
                approvals: stands.approvals,
                use_until,
            })
        }
        (State::Expired, Some(until)) => Err(ApprovalRefused::UseOver { until, now }),
        (State::Expired, None) => {
            Err(ApprovalRefused::Expired { expires: request.expires(), now, faults: faults() })
        }
        (State::Rejected | State::Revoked | State::Consumed, _) => Err(ApprovalRefused::Rejected),
        (State::Pending | State::Partial | State::Approved, _) => {
            Err(ApprovalRefused::NotEnough { missing: stands.missing.clone(), faults: faults() })
        }
    }
}

/// Why an approval does not hold for this, here, now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalRefused {
    /// It approves something else.
    #[error("it approves {} {approved}, not {} {wanted}", approved.kind(), wanted.kind())]
    OtherSubject {
        /// What it approves.
        approved: Box<Subject>,
        /// What is to be done.
        wanted: Box<Subject>,
    },
    /// It is for another deployment, host or group.
    #[error("it is for {approved}, and this is {}", list(here))]
    OtherAudience {
        /// For what it is.
        approved: Audience,
        /// What this is.
        here: Vec<Audience>,
    },
    /// It was made later than now.
    #[error("it was requested at {created}, and the clock here says {now}")]
    NotYet {
        /// When it was made.
        created: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// Not enough people agree.
    #[error("not enough people approve it: {} missing", list_missing(missing))]
    NotEnough {
        /// Of which roles how many are missing.
        missing: BTreeMap<Role, u8>,
        /// Why signatures do not count, if any.
        faults: Vec<SignatureFault>,
    },
    /// Enough for the request, not for the rule here.
    #[error("the rule here asks for {rule}: {} missing", list_missing(missing))]
    BelowRule {
        /// The rule.
        rule: Quorum,
        /// Of which roles how many are missing.
        missing: BTreeMap<Role, u8>,
    },
    /// It was not signed in time.
    #[error("it expired at {expires} without enough signatures, and the clock here says {now}")]
    Expired {
        /// When.
        expires: Timestamp,
        /// The time here.
        now: Timestamp,
        /// Why signatures do not count, if any.
        faults: Vec<SignatureFault>,
    },
    /// It was not used in time.
    #[error("it could be used until {until}, and the clock here says {now}")]
    UseOver {
        /// Until when.
        until: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// A custodian said no.
    #[error("a custodian rejected it")]
    Rejected,
}

impl ApprovalRefused {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::OtherSubject { .. } | Self::OtherAudience { .. } => {
                "ask for an approval of exactly this, for exactly here".to_owned()
            }
            Self::NotYet { .. } => "set the clock".to_owned(),
            Self::NotEnough { faults, .. } => match faults.first() {
                Some(fault) => {
                    let more = fault.help().unwrap_or_default();
                    format!("a signature does not count because {fault}; {more}")
                }
                None => "let those who are missing sign".to_owned(),
            },
            Self::BelowRule { .. } => "let those who are missing sign".to_owned(),
            Self::Expired { .. } | Self::UseOver { .. } | Self::Rejected => "make a new request".to_owned(),
        })
    }
}

fn list(audiences: &[Audience]) -> String {
    audiences.iter().map(Audience::as_str).collect::<Vec<_>>().join(", ")
}

fn list_missing(missing: &BTreeMap<Role, u8>) -> String {
    missing.iter().map(|(role, count)| format!("{count} of {role}")).collect::<Vec<_>>().join(", ")
}
