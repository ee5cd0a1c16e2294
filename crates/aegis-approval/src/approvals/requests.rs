//! Something is asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Approvals, NotStored, Tried, until_stored};
use crate::name::{Audience, PersonId, Role};
use crate::observer::{Act, Asked, MayFail, RequestRef};
use crate::quorum::{Quorum, QuorumError};
use crate::registry::{KeyState, Registry};
use crate::request::{NewRequest, NewRequestError, Request};

impl Approvals {
    /// Makes a request and stores it. Its quorum is what was asked for, raised to the rules of this deployment; and there
    /// have to be custodians who can fill it without the requester.
    ///
    /// # Errors
    ///
    /// An [`AskError`]; there is no request then.
    pub fn ask(&self, new: NewRequest, now: Timestamp) -> Result<Request, AskError> {
        let mut asked = Asked {
            request: None,
            subject: new.subject.clone(),
            audience: new.audience.clone(),
            requester: new.requester.clone(),
            quorum: new.quorum.to_string(),
        };
        let made = self.prepare(new, now);
        if let Ok(request) = &made {
            asked.request = Some(RequestRef::of(request));
            asked.quorum = request.quorum().to_string();
        }
        let act = Act::Request(Box::new(asked));
        let stored = made.and_then(|request| {
            until_stored(|| {
                let (registry, _) = self.registry_now()?;
                check_quorum(&registry, &request)?;
                self.before(&act)?;
                Ok(Tried::of(self.store.insert_request(&request), ())?)
            })
            .map(|()| request)
        });
        self.told(&act, stored)
    }

    fn prepare(&self, new: NewRequest, now: Timestamp) -> Result<Request, AskError> {
        let kind = new.subject.kind();
        let here = self.rules.deployment();
        if !kind.is_of_hosts() && new.audience != *here {
            return Err(AskError::OtherDeployment { audience: new.audience, here: here.clone() });
        }
        let quorum = self.rules.raise(kind, &new.quorum).map_err(AskError::Quorum)?;
        Request::new(NewRequest { quorum, ..new }, now).map_err(AskError::Request)
    }
}

/// Whether the custodians who can sign now, without the requester, are enough.
fn check_quorum(registry: &Registry, request: &Request) -> Result<(), AskError> {
    let can_sign = |person: &PersonId| {
        registry.custodian(person).is_some_and(|custodian| {
            custodian.keys.iter().any(|key| {
                key.state == KeyState::Active && request.algorithms().contains(&key.public.algorithm())
            })
        })
    };
    let mut able: BTreeMap<PersonId, BTreeSet<Role>> = registry.able_to_sign(request.requester());
    able.retain(|person, _| can_sign(person));
    let missing = request.quorum().missing(&able);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(AskError::TooFewCustodians {
            quorum: request.quorum().clone(),
            requester: request.requester().clone(),
            missing,
        })
    }
}

/// Why nothing was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It breaks a rule of requests.
    #[error(transparent)]
    Request(NewRequestError),
    /// What was asked for and what the rules ask for are together more than can be.
    #[error("the quorum cannot be raised to what this deployment asks for")]
    Quorum(#[source] QuorumError),
    /// It is for another deployment than this.
    #[error("a request for {audience} cannot be made here, which is {here}")]
    OtherDeployment {
        /// For which it was to be.
        audience: Audience,
        /// Which this is.
        here: Audience,
    },
    /// Nobody could ever fill the quorum.
    #[error(
        "the quorum of {quorum} is above the number of custodians who can sign without {requester}: {} missing",
        list_missing(missing)
    )]
    TooFewCustodians {
        /// Who would have to agree.
        quorum: Quorum,
        /// Who asked, and cannot sign.
        requester: PersonId,
        /// Of which roles how many are missing.
        missing: BTreeMap<Role, u8>,
    },
    /// It was not stored.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

impl MayFail for AskError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::NotStored(_) | Self::Request(NewRequestError::Random(_)))
    }
}

impl AskError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Request(error) => error.help(),
            Self::Quorum(error) => error.help(),
            Self::OtherDeployment { here, .. } => Some(format!("ask for {here}, or ask there")),
            Self::TooFewCustodians { .. } => Some(
                "register custodians with these roles and an active key, or ask for fewer people".to_owned(),
            ),
            Self::NotStored(error) => error.help(),
        }
    }
}

pub(crate) fn list_missing(missing: &BTreeMap<Role, u8>) -> String {
    missing.iter().map(|(role, count)| format!("{count} of {role}")).collect::<Vec<_>>().join(", ")
}
