//! The classic case: one risk lead and one security lead, each with one key.

use aegis_crypto::{CustodianPublicKey, KeyId};
use jiff::Timestamp;

use crate::name::{PersonId, Role};
use crate::registry::{Custodian, CustodianKey, KeyState, Registry, RegistryError};
use crate::request::Request;
use crate::signed::GivenSignature;
use crate::standing::{CLOCK_TOLERANCE, SignatureFault, check_signature};
use crate::statement::Decision;

/// Checks that a risk lead and a security lead, two people with two keys, both approve.
#[derive(Debug, Clone)]
pub struct DualSignatureValidator {
    risk_lead: PersonId,
    security_lead: PersonId,
    registry: Registry,
}

/// What was checked, and how it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DualChecks {
    /// The request itself allows it: it asks for both roles, and is in its time.
    pub request: Result<(), RequestFault>,
    /// The risk lead's signature.
    pub risk_lead: Result<(), DualFault>,
    /// The security lead's signature.
    pub security_lead: Result<(), DualFault>,
}

impl DualChecks {
    /// Whether every check passed.
    pub const fn is_valid(&self) -> bool {
        self.request.is_ok() && self.risk_lead.is_ok() && self.security_lead.is_ok()
    }

    /// The names of the checks that failed: `request`, `risk_lead`, `security_lead`.
    pub fn failed(&self) -> Vec<&'static str> {
        let Self { request, risk_lead, security_lead } = self;
        let checks = [
            ("request", request.is_err()),
            ("risk_lead", risk_lead.is_err()),
            ("security_lead", security_lead.is_err()),
        ];
        checks.into_iter().filter(|(_, failed)| *failed).map(|(name, _)| name).collect()
    }
}

impl DualSignatureValidator {
    /// A validator for two people with two keys.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Twice`] or [`RegistryError::SharedKey`] if they are one person or have one key.
    pub fn new(
        risk_lead: (PersonId, CustodianPublicKey),
        security_lead: (PersonId, CustodianPublicKey),
    ) -> Result<Self, RegistryError> {
        let custodian = |(person, public): &(PersonId, CustodianPublicKey), role| Custodian {
            person: person.clone(),
            roles: [Role::known(role)].into(),
            keys: vec![CustodianKey {
                public: public.clone(),
                registered: Timestamp::UNIX_EPOCH,
                state: KeyState::Active,
            }],
        };
        let registry = Registry::new([
            custodian(&risk_lead, Role::RISK_LEAD),
            custodian(&security_lead, Role::SECURITY_LEAD),
        ])?;
        Ok(Self { risk_lead: risk_lead.0, security_lead: security_lead.0, registry })
    }

    /// Checks both signatures over `request`. Every check is made, also after one failed.
    pub fn validate(&self, request: &Request, signatures: &[GivenSignature], now: Timestamp) -> DualChecks {
        let both = [Role::RISK_LEAD, Role::SECURITY_LEAD].map(Role::known);
        let in_time = if request.created().duration_since(now) > CLOCK_TOLERANCE {
            Err(RequestFault::NotYet)
        } else if now > request.expires() {
            Err(RequestFault::Expired)
        } else if let Some(role) = both.iter().find(|role| !request.quorum().asks(role)) {
            Err(RequestFault::RoleNotAsked { role: role.clone() })
        } else {
            Ok(())
        };
        DualChecks {
            request: in_time,
            risk_lead: self.check(request, signatures, &self.risk_lead, now),
            security_lead: self.check(request, signatures, &self.security_lead, now),
        }
    }

    fn check(
        &self,
        request: &Request,
        signatures: &[GivenSignature],
        person: &PersonId,
        now: Timestamp,
    ) -> Result<(), DualFault> {
        let mut given = signatures.iter().filter(|signature| signature.person == *person);
        let found = given.next().ok_or(DualFault::Missing)?;
        if given.next().is_some() {
            return Err(DualFault::Several);
        }
        if found.decision == Decision::Reject {
            return Err(DualFault::Rejected);
        }
        check_signature(request, found, &self.registry, now).map_err(DualFault::Signature)
    }

    /// The keys: the risk lead's, the security lead's.
    pub fn keys(&self) -> [Option<KeyId>; 2] {
        [&self.risk_lead, &self.security_lead].map(|person| {
            self.registry
                .custodian(person)
                .and_then(|custodian| custodian.keys.first())
                .map(|key| key.public.key_id())
        })
    }
}

/// Why a request cannot be approved by these two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Made later than now.
    #[error("the request was made later than now")]
    NotYet,
    /// Its time is over.
    #[error("the request has expired")]
    Expired,
    /// It does not ask for one of the two.
    #[error("the request asks for nobody as {role}")]
    RoleNotAsked {
        /// The role.
        role: Role,
    },
}

/// Why one of the two has not approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DualFault {
    /// There is no signature of this person.
    #[error("there is no signature")]
    Missing,
    /// There is more than one.
    #[error("there is more than one signature of this person")]
    Several,
    /// They said no.
    #[error("it was rejected")]
    Rejected,
    /// It does not count.
    #[error("the signature does not count")]
    Signature(#[source] SignatureFault),
}
