//! The rule of two on a host: who may decide over its keys, and how many of them have to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use aegis_approval::{Audience, Custodian, CustodianKey, KeyState, PersonId, Quorum, Registration, Registry};
use aegis_crypto::{Digest, sha256};

use super::{
    CustodiansError,
    threshold::{MAX_THRESHOLD_LEN, Threshold},
};
use crate::guarded_dir::{Guard, GuardedDir, GuardedDirError};

/// The most keys of custodians.
pub const MAX_REGISTRATIONS: usize = 64;
/// The name of the file that says how many people.
pub(super) const THRESHOLD: &str = "threshold";
/// The end of the name of a file with a registration.
pub(super) const REGISTRATION: &str = ".custodian";

/// Who may decide over the keys of a host, and how many of them have to. Its custodians can meet its quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodianRule {
    threshold: Threshold,
    registry: Registry,
}

/// A rule, and the files that say it.
#[derive(Debug, Clone)]
pub struct CustodianFiles {
    rule: CustodianRule,
    threshold: Vec<u8>,
    registrations: Vec<(String, Registration, Vec<u8>)>,
}

impl CustodianRule {
    /// How many people of which roles.
    pub fn quorum(&self) -> &Quorum {
        &self.threshold.quorum
    }

    /// How many people, and what the host is called.
    pub fn threshold(&self) -> &Threshold {
        &self.threshold
    }

    /// The name of the host, if the rule gives one.
    pub fn host(&self) -> Option<&Audience> {
        self.threshold.host.as_ref()
    }

    /// The groups that the host is in.
    pub fn groups(&self) -> &BTreeSet<Audience> {
        &self.threshold.groups
    }

    /// The custodians and their keys.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All of the rule in one spelling: what a digest of it is taken over, and what `custodians.set` approves.
    ///
    /// The first line is `aegis-custodians-v1`, then come host, groups and numbers as in the threshold file, then a line
    /// `PERSON ROLE,ROLE ALGORITHM:BASE64` a key, in the order of person and key id. Comments, file names, and when and how
    /// the holder proved possession are no part of it.
    pub fn canonical(&self) -> String {
        let Self { threshold, registry } = self;
        let mut text = format!("aegis-custodians-v1\n{threshold}");
        for Custodian { person, roles, keys } in registry.custodians() {
            let roles: Vec<_> = roles.iter().map(aegis_approval::Role::as_str).collect();
            let mut keys: Vec<_> = keys.iter().collect();
            keys.sort_by_key(|key| key.public.key_id());
            for key in keys {
                text.push_str(&format!("{person} {} {}\n", roles.join(","), key.public));
            }
        }
        text
    }

    /// SHA-256 of [`canonical`](Self::canonical).
    pub fn digest(&self) -> Digest {
        sha256(self.canonical().as_bytes())
    }

    /// People without whom the others could not meet the quorum.
    pub fn indispensable(&self) -> BTreeSet<PersonId> {
        let people = self.registry.custodians().map(|custodian| &custodian.person);
        people
            .filter(|person| !self.quorum().missing(&self.registry.able_to_sign(person)).is_empty())
            .cloned()
            .collect()
    }
}

impl CustodianFiles {
    /// Reads a directory; `None` if there is none. Each registration's proof is checked.
    pub(crate) fn load(dir: &Path, guard: Guard) -> Result<Option<Self>, CustodiansError> {
        let broken = |source| CustodiansError::Directory { source };
        let Some(guarded) = GuardedDir::open(dir, guard).map_err(broken)? else { return Ok(None) };
        let names = guarded.names(REGISTRATION, MAX_REGISTRATIONS).map_err(broken)?;
        let Some(threshold) = guarded.read(THRESHOLD, MAX_THRESHOLD_LEN).map_err(broken)? else {
            return Err(CustodiansError::NoThreshold { path: dir.join(THRESHOLD) });
        };
        let mut registrations = Vec::new();
        for name in names {
            let path = dir.join(&name);
            let Some(file) = guarded.read(&name, Registration::MAX_LEN as u64).map_err(broken)? else {
                let source = std::io::Error::from(std::io::ErrorKind::NotFound);
                return Err(broken(GuardedDirError::Directory { path, source }));
            };
            let registration = Registration::parse(&file.bytes)
                .map_err(|source| CustodiansError::Registration { path, source: Box::new(source) })?;
            registrations.push((name, registration, file.bytes));
        }
        let parsed = Threshold::parse(&threshold.bytes)
            .map_err(|source| CustodiansError::Threshold { path: threshold.path, source })?;
        Self::of_parts(parsed, threshold.bytes, registrations).map(Some)
    }

    /// The files of a rule that is made from registrations.
    ///
    /// # Errors
    ///
    /// A [`CustodiansError`] if these people cannot be custodians together, or cannot meet the quorum.
    pub fn new(
        threshold: Threshold,
        registrations: impl IntoIterator<Item = Registration>,
    ) -> Result<Self, CustodiansError> {
        let named = registrations.into_iter().map(|registration| {
            let name = format!(
                "{}.{}{REGISTRATION}",
                registration.person(),
                registration.key().key_id().fingerprint()
            );
            let bytes = registration.to_json().into_bytes();
            (name, registration, bytes)
        });
        let named: Vec<_> = named.collect();
        if named.len() > MAX_REGISTRATIONS {
            return Err(CustodiansError::TooMany { found: named.len() });
        }
        let bytes = threshold.to_string().into_bytes();
        Self::of_parts(threshold, bytes, named)
    }

    fn of_parts(
        threshold: Threshold,
        bytes: Vec<u8>,
        registrations: Vec<(String, Registration, Vec<u8>)>,
    ) -> Result<Self, CustodiansError> {
        let mut people: BTreeMap<PersonId, Custodian> = BTreeMap::new();
        for (_, registration, _) in &registrations {
            let (person, roles) = (registration.person(), registration.roles());
            let custodian = people.entry(person.clone()).or_insert_with(|| Custodian {
                person: person.clone(),
                roles: roles.clone(),
                keys: Vec::new(),
            });
            // With two keys of other roles, a person would have the roles of both by either.
            if custodian.roles != *roles {
                return Err(CustodiansError::OtherRoles { person: person.clone() });
            }
            custodian.keys.push(CustodianKey {
                public: registration.key().clone(),
                registered: registration.created(),
                state: KeyState::Active,
            });
        }
        let all =
            people.values().map(|custodian| (custodian.person.clone(), custodian.roles.clone())).collect();
        let missing = threshold.quorum.missing(&all);
        if !missing.is_empty() {
            return Err(CustodiansError::TooFew { quorum: threshold.quorum, missing });
        }
        let registry =
            Registry::new(people.into_values()).map_err(|source| CustodiansError::Registry { source })?;
        Ok(Self { rule: CustodianRule { threshold, registry }, threshold: bytes, registrations })
    }

    /// The rule.
    pub fn rule(&self) -> &CustodianRule {
        &self.rule
    }

    /// The names and the bytes of all files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let registrations =
            self.registrations.iter().map(|(name, _, bytes)| (name.as_str(), bytes.as_slice()));
        registrations.chain([(THRESHOLD, self.threshold.as_slice())])
    }

    /// The registrations.
    pub(crate) fn registrations(&self) -> impl Iterator<Item = &Registration> {
        self.registrations.iter().map(|(_, registration, _)| registration)
    }
}
