//! What there is to say of custodians, for a screen and for programs.

use std::{collections::BTreeMap, path::Path};

use aegis_approval::{Custodian, Role};
use aegis_crypto::{CustodianAlgorithm, Digest, KeyId};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    CustodiansError,
    change::CustodiansChangeError,
    rule::{CustodianFiles, CustodianRule},
};
use crate::{guarded_dir::Guard, host::Host};

/// The custodians of a host.
#[derive(Debug, Clone, Serialize)]
pub struct CustodiansListing {
    /// Whether the rule is on.
    pub on: bool,
    /// Whether the state of the host remembers it.
    pub taken_up: bool,
    /// What this host is called in approvals; none if the rule is off.
    pub host: Option<String>,
    /// The rule; none if it is off.
    pub rule: Option<ListedRule>,
    /// The keys that were approved.
    pub approved_keys: Vec<KeyId>,
    /// How many approvals were used here.
    pub used_approvals: usize,
}

/// A rule.
#[derive(Debug, Clone, Serialize)]
pub struct ListedRule {
    /// The digest that an approval of `custodians.set` or `custodians.off` names.
    pub digest: Digest,
    /// How many people of which roles.
    pub quorum: BTreeMap<String, u8>,
    /// The name that the rule gives the host.
    pub host: Option<String>,
    /// The groups that the host is in.
    pub groups: Vec<String>,
    /// Who may decide.
    pub custodians: Vec<ListedCustodian>,
    /// Those without whom the others could not decide.
    pub indispensable: Vec<String>,
}

/// A custodian.
#[derive(Debug, Clone, Serialize)]
pub struct ListedCustodian {
    /// Who.
    pub person: String,
    /// In which roles.
    pub roles: Vec<String>,
    /// By which keys.
    pub keys: Vec<ListedCustodianKey>,
}

/// A custodian's key.
#[derive(Debug, Clone, Serialize)]
pub struct ListedCustodianKey {
    /// SHA-256 of the key.
    pub id: KeyId,
    /// Its short form for a screen.
    pub fingerprint: String,
    /// The algorithm of its signatures.
    pub algorithm: CustodianAlgorithmName,
    /// When its holder proved that they hold it.
    pub registered: Timestamp,
}

/// [`CustodianAlgorithm`] as it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustodianAlgorithmName(pub CustodianAlgorithm);

impl Serialize for CustodianAlgorithmName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.id())
    }
}

impl ListedRule {
    /// What there is to say of a rule.
    pub fn of(rule: &CustodianRule) -> Self {
        let listed = |custodian: &Custodian| ListedCustodian {
            person: custodian.person.to_string(),
            roles: custodian.roles.iter().map(Role::to_string).collect(),
            keys: custodian
                .keys
                .iter()
                .map(|key| ListedCustodianKey {
                    id: key.public.key_id(),
                    fingerprint: key.public.key_id().fingerprint(),
                    algorithm: CustodianAlgorithmName(key.public.algorithm()),
                    registered: key.registered,
                })
                .collect(),
        };
        Self {
            digest: rule.digest(),
            quorum: rule.quorum().groups().map(|(role, needed)| (role.to_string(), needed)).collect(),
            host: rule.host().map(ToString::to_string),
            groups: rule.groups().iter().map(ToString::to_string).collect(),
            custodians: rule.registry().custodians().map(listed).collect(),
            indispensable: rule.indispensable().iter().map(ToString::to_string).collect(),
        }
    }
}

/// Checks a directory of custodians that is to be set, and tells its digest.
///
/// # Errors
///
/// [`CustodiansChangeError`] if it could not be set.
pub fn verify_custodians(dir: &Path) -> Result<ListedRule, CustodiansChangeError> {
    let files = CustodianFiles::load(dir, Guard::Offered).map_err(CustodiansChangeError::Custodians)?;
    let files = files.ok_or_else(|| CustodiansChangeError::NoDirectory { path: dir.to_owned() })?;
    Ok(ListedRule::of(files.rule()))
}

impl Host {
    /// What there is to say of this host's custodians.
    ///
    /// # Errors
    ///
    /// [`CustodiansError`].
    pub fn list_custodians(&self) -> Result<CustodiansListing, CustodiansError> {
        let there = self.custodians()?;
        let record = self.custodians_record()?.unwrap_or_default();
        Ok(CustodiansListing {
            on: there.is_some(),
            taken_up: there.as_ref().is_some_and(super::Custodians::is_taken_up),
            host: there.as_ref().map(|there| there.host().to_string()),
            rule: there.as_ref().map(|there| ListedRule::of(there.rule())),
            used_approvals: record.uses().count(),
            approved_keys: record.approved_keys.into_iter().collect(),
        })
    }
}
