//! Custodians: which people may decide, in which roles, by which keys.

use std::collections::{BTreeMap, BTreeSet};

use aegis_crypto::{CustodianPublicKey, KeyId};
use jiff::Timestamp;

use crate::name::{PersonId, Role};

/// A person with roles and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodian {
    /// Who.
    pub person: PersonId,
    /// What they answer for.
    pub roles: BTreeSet<Role>,
    /// Every key that they ever had, in the order of registration.
    pub keys: Vec<CustodianKey>,
}

/// A key of a custodian, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustodianKey {
    /// The public half. The private half is never here.
    pub public: CustodianPublicKey,
    /// When it was registered.
    pub registered: Timestamp,
    /// What became of it.
    pub state: KeyState,
}

/// What became of a key. It never becomes active again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Its signatures count.
    Active,
    /// It may be in the wrong hands: no signature of it counts, whenever it was made.
    Revoked {
        /// Since when.
        at: Timestamp,
    },
    /// Its holder signs with another one now.
    Replaced {
        /// Since when.
        at: Timestamp,
        /// With which.
        by: KeyId,
    },
}

impl KeyState {
    /// The name in stores, listings and JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked { .. } => "revoked",
            Self::Replaced { .. } => "replaced",
        }
    }
}

/// Every custodian of a deployment or host. No two are one person, and no key is two people's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    people: BTreeMap<PersonId, Custodian>,
}

impl Registry {
    /// The most custodians.
    pub const MAX_PEOPLE: usize = 1_000;
    /// The most keys that a person ever had.
    pub const MAX_KEYS: usize = 100;
    /// The most roles of a person.
    pub const MAX_ROLES: usize = 8;

    /// Takes custodians together.
    ///
    /// # Errors
    ///
    /// A [`RegistryError`].
    pub fn new(custodians: impl IntoIterator<Item = Custodian>) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        let mut holders: BTreeMap<KeyId, PersonId> = BTreeMap::new();
        for custodian in custodians {
            if registry.people.len() == Self::MAX_PEOPLE {
                return Err(RegistryError::TooManyPeople);
            }
            let person = custodian.person.clone();
            if custodian.roles.is_empty() || custodian.roles.len() > Self::MAX_ROLES {
                return Err(RegistryError::Roles { person, found: custodian.roles.len() });
            }
            if custodian.keys.len() > Self::MAX_KEYS {
                return Err(RegistryError::TooManyKeys { person });
            }
            for key in &custodian.keys {
                if let Some(other) = holders.insert(key.public.key_id(), person.clone()) {
                    return Err(RegistryError::SharedKey {
                        key: key.public.key_id(),
                        people: [other, person],
                    });
                }
            }
            if registry.people.insert(person.clone(), custodian).is_some() {
                return Err(RegistryError::Twice { person });
            }
        }
        Ok(registry)
    }

    /// Everybody, in the order of their names.
    pub fn custodians(&self) -> impl Iterator<Item = &Custodian> {
        self.people.values()
    }

    /// One of them.
    pub fn custodian(&self, person: &PersonId) -> Option<&Custodian> {
        self.people.get(person)
    }

    /// Whose key it is, or was.
    pub fn holder(&self, key: KeyId) -> Option<(&Custodian, &CustodianKey)> {
        self.custodians().find_map(|custodian| {
            custodian.keys.iter().find(|held| held.public.key_id() == key).map(|held| (custodian, held))
        })
    }

    /// Those who could sign now: people with an active key, with their roles, without one of them.
    pub fn able_to_sign(&self, without: &PersonId) -> BTreeMap<PersonId, BTreeSet<Role>> {
        self.custodians()
            .filter(|custodian| custodian.person != *without)
            .filter(|custodian| custodian.keys.iter().any(|key| key.state == KeyState::Active))
            .map(|custodian| (custodian.person.clone(), custodian.roles.clone()))
            .collect()
    }
}

/// Why custodians cannot be taken together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Two records of one person.
    #[error("{person} is registered twice")]
    Twice {
        /// Who.
        person: PersonId,
    },
    /// One key of two people, or twice of one: its signatures would be counted for both.
    #[error("the key {} is registered for {} and for {}", key.fingerprint(), people[0], people[1])]
    SharedKey {
        /// The key.
        key: KeyId,
        /// Both.
        people: [PersonId; 2],
    },
    /// No role, or too many.
    #[error("{person} has {found} roles; a custodian has 1 to {}", Registry::MAX_ROLES)]
    Roles {
        /// Who.
        person: PersonId,
        /// How many.
        found: usize,
    },
    /// More keys than anybody needs.
    #[error("{person} has more than {} keys", Registry::MAX_KEYS)]
    TooManyKeys {
        /// Who.
        person: PersonId,
    },
    /// More people than there can be.
    #[error("there are more than {} custodians", Registry::MAX_PEOPLE)]
    TooManyPeople,
}

impl RegistryError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Twice { .. } => "keep one record of each person, with all keys".to_owned(),
            Self::SharedKey { .. } => "each person makes a key of their own".to_owned(),
            Self::Roles { .. } => "name the roles, such as risk_lead".to_owned(),
            Self::TooManyKeys { .. } | Self::TooManyPeople => return None,
        })
    }
}
