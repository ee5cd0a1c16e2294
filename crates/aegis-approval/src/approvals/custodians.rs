//! Custodians' keys and roles.

use std::collections::BTreeSet;

use aegis_crypto::KeyId;
use jiff::Timestamp;

use super::{Approvals, NotStored, Tried, until_stored};
use crate::canonical::to_second;
use crate::name::{PersonId, Role};
use crate::observer::{Act, MayFail};
use crate::registration::Registration;
use crate::registry::{Custodian, CustodianKey, KeyState, Registry, RegistryError};
use crate::standing::CLOCK_TOLERANCE;

impl Approvals {
    /// Registers a person's first key, or a further one with the roles that they have.
    ///
    /// # Errors
    ///
    /// A [`RegisterError`]; nothing was changed.
    pub fn register(&self, registration: &Registration, now: Timestamp) -> Result<(), RegisterError> {
        let act = register_act(registration);
        let done = until_stored(|| {
            let (registry, revision) = self.registry_now()?;
            check_new_key(&registry, registration, now)?;
            self.before(&act)?;
            let key = new_key(registration, now);
            let stored = self.store.add_key(revision, registration.person(), registration.roles(), &key);
            Ok(Tried::of(stored, ())?)
        });
        self.told(&act, done)
    }

    /// Registers the key of `registration` and marks `old` as replaced by it: its signatures count no longer. If it was
    /// interrupted between the two, doing it again finishes it.
    ///
    /// # Errors
    ///
    /// A [`RegisterError`].
    pub fn replace_key(
        &self,
        old: KeyId,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        let (person, new) = (registration.person(), registration.key().key_id());
        let act = Act::ReplaceKey { person: person.clone(), old, new };
        let judged = self.registry_now().map_err(RegisterError::from).and_then(|(registry, _)| {
            check_replaced(&registry, old, registration)?;
            let is_there = holds_active(&registry, person, new);
            if is_there { Ok(true) } else { check_new_key(&registry, registration, now).map(|()| false) }
        });
        match judged {
            Ok(true) => {}
            Ok(false) => self.register(registration, now)?,
            Err(error) => return self.told(&act, Err(error)),
        }
        let done = until_stored(|| {
            let (registry, revision) = self.registry_now()?;
            check_replaced(&registry, old, registration)?;
            self.before(&act)?;
            let state = KeyState::Replaced { at: to_second(now), by: new };
            Ok(Tried::of(self.store.end_key(revision, person, old, &state), ())?)
        });
        self.told(&act, done)
    }

    /// Gives a person other roles. Signatures in a role that they no longer have count no longer.
    ///
    /// # Errors
    ///
    /// A [`ChangeCustodianError`]; nothing was changed.
    pub fn set_roles(&self, person: &PersonId, roles: &BTreeSet<Role>) -> Result<(), ChangeCustodianError> {
        let act = Act::SetRoles { person: person.clone(), roles: roles.clone() };
        let done = until_stored(|| {
            let (registry, revision) = self.registry_now()?;
            let custodian = registry
                .custodian(person)
                .ok_or_else(|| ChangeCustodianError::NoSuchPerson { person: person.clone() })?;
            if roles.is_empty() || roles.len() > Registry::MAX_ROLES {
                return Err(ChangeCustodianError::Registry(RegistryError::Roles {
                    person: person.clone(),
                    found: roles.len(),
                }));
            }
            if custodian.roles == *roles {
                return Err(ChangeCustodianError::SameRoles { person: person.clone() });
            }
            self.before(&act)?;
            Ok(Tried::of(self.store.set_roles(revision, person, roles), ())?)
        });
        self.told(&act, done)
    }

    /// Revokes a key: no signature of it counts, whenever it was made. It never comes back. Returns whose it is.
    ///
    /// # Errors
    ///
    /// A [`ChangeCustodianError`]; nothing was changed.
    pub fn revoke_key(&self, key: KeyId, now: Timestamp) -> Result<PersonId, ChangeCustodianError> {
        let mut act = Act::RevokeKey { person: None, key };
        let done = until_stored(|| {
            let (registry, revision) = self.registry_now()?;
            let (custodian, held) = registry.holder(key).ok_or(ChangeCustodianError::NoSuchKey { key })?;
            act = Act::RevokeKey { person: Some(custodian.person.clone()), key };
            if let KeyState::Revoked { at } = held.state {
                return Err(ChangeCustodianError::RevokedAlready { key, at });
            }
            self.before(&act)?;
            let state = KeyState::Revoked { at: to_second(now) };
            let stored = self.store.end_key(revision, &custodian.person, key, &state);
            Ok(Tried::of(stored, custodian.person.clone())?)
        });
        self.told(&act, done)
    }

    pub(super) fn registry_now(&self) -> Result<(Registry, u64), NotStored> {
        self.store.registry().map_err(NotStored::Store)
    }
}

fn register_act(registration: &Registration) -> Act {
    Act::RegisterKey {
        person: registration.person().clone(),
        roles: registration.roles().clone(),
        key: registration.key().key_id(),
        algorithm: registration.key().algorithm(),
    }
}

fn new_key(registration: &Registration, now: Timestamp) -> CustodianKey {
    CustodianKey { public: registration.key().clone(), registered: to_second(now), state: KeyState::Active }
}

/// Whether a key is an active one of that person.
pub(crate) fn holds_active(registry: &Registry, person: &PersonId, key: KeyId) -> bool {
    registry
        .holder(key)
        .is_some_and(|(custodian, held)| custodian.person == *person && held.state == KeyState::Active)
}

/// Whether a key may become one of that person.
fn check_new_key(
    registry: &Registry,
    registration: &Registration,
    now: Timestamp,
) -> Result<(), RegisterError> {
    let (person, key) = (registration.person(), registration.key().key_id());
    if let Some((custodian, held)) = registry.holder(key) {
        return Err(RegisterError::KeyTaken {
            key,
            person: custodian.person.clone(),
            state: held.state.as_str(),
        });
    }
    if registration.created().duration_since(now) > CLOCK_TOLERANCE {
        return Err(RegisterError::InFuture { created: registration.created() });
    }
    let mut added = Custodian {
        person: person.clone(),
        roles: registration.roles().clone(),
        keys: vec![new_key(registration, now)],
    };
    if let Some(known) = registry.custodian(person) {
        if known.roles != *registration.roles() {
            return Err(RegisterError::OtherRoles {
                person: person.clone(),
                known: known.roles.clone(),
                found: registration.roles().clone(),
            });
        }
        added.keys.extend(known.keys.iter().cloned());
    }
    let others = registry.custodians().filter(|other| other.person != *person).cloned();
    Registry::new(others.chain([added])).map_err(RegisterError::Registry)?;
    Ok(())
}

/// Whether `old` may be replaced by the key of `registration`.
fn check_replaced(registry: &Registry, old: KeyId, registration: &Registration) -> Result<(), RegisterError> {
    let (custodian, held) = registry.holder(old).ok_or(RegisterError::NoSuchKey { key: old })?;
    if custodian.person != *registration.person() {
        return Err(RegisterError::OfAnother {
            key: old,
            person: custodian.person.clone(),
            registration: registration.person().clone(),
        });
    }
    if held.state != KeyState::Active {
        return Err(RegisterError::EndedAlready { key: old, state: held.state.as_str() });
    }
    if registration.key().key_id() == old {
        return Err(RegisterError::KeyTaken {
            key: old,
            person: custodian.person.clone(),
            state: held.state.as_str(),
        });
    }
    Ok(())
}

/// Why a key was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It is somebody's, or was.
    #[error("the key {} is registered for {person}, and {state}", key.fingerprint())]
    KeyTaken {
        /// The key.
        key: KeyId,
        /// Whose.
        person: PersonId,
        /// What became of it.
        state: &'static str,
    },
    /// Its roles are not those that the person has.
    #[error("{person} is {}, and the registration says {}", list(known), list(found))]
    OtherRoles {
        /// Who.
        person: PersonId,
        /// Their roles.
        known: BTreeSet<Role>,
        /// Those of the registration.
        found: BTreeSet<Role>,
    },
    /// It was signed at a time that has not come.
    #[error("the registration was signed at {created}, which is in the future")]
    InFuture {
        /// When it says that it was signed.
        created: Timestamp,
    },
    /// There would be too many keys or people.
    #[error(transparent)]
    Registry(RegistryError),
    /// The key that is to be replaced is nobody's.
    #[error("the key {} is no custodian's", key.fingerprint())]
    NoSuchKey {
        /// The key.
        key: KeyId,
    },
    /// The key that is to be replaced is somebody else's.
    #[error("the key {} is {person}'s, and the registration is {registration}'s", key.fingerprint())]
    OfAnother {
        /// The key.
        key: KeyId,
        /// Whose.
        person: PersonId,
        /// Whose the registration is.
        registration: PersonId,
    },
    /// The key that is to be replaced is not active.
    #[error("the key {} is {state} already", key.fingerprint())]
    EndedAlready {
        /// The key.
        key: KeyId,
        /// What became of it.
        state: &'static str,
    },
    /// It was not stored.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

impl MayFail for RegisterError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::NotStored(_))
    }
}

impl RegisterError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::KeyTaken { .. } => {
                Some("each registration is of a new key: let its holder make one".to_owned())
            }
            Self::OtherRoles { .. } => Some(
                "change the roles by name first, or let its holder sign a registration with the roles they have"
                    .to_owned(),
            ),
            Self::InFuture { .. } => Some("set the clocks, and make the registration again".to_owned()),
            Self::Registry(error) => error.help(),
            Self::NoSuchKey { .. } | Self::OfAnother { .. } | Self::EndedAlready { .. } => {
                Some("name an active key of the person who signed the registration".to_owned())
            }
            Self::NotStored(error) => error.help(),
        }
    }
}

/// Why a custodian was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeCustodianError {
    /// Nobody of that name.
    #[error("{person} is no custodian here")]
    NoSuchPerson {
        /// The name.
        person: PersonId,
    },
    /// Nobody's key.
    #[error("the key {} is no custodian's", key.fingerprint())]
    NoSuchKey {
        /// The key.
        key: KeyId,
    },
    /// It was revoked before.
    #[error("the key {} was revoked at {at}", key.fingerprint())]
    RevokedAlready {
        /// The key.
        key: KeyId,
        /// When.
        at: Timestamp,
    },
    /// Nothing would change.
    #[error("{person} has exactly these roles")]
    SameRoles {
        /// Who.
        person: PersonId,
    },
    /// No role, or too many.
    #[error(transparent)]
    Registry(RegistryError),
    /// It was not stored.
    #[error(transparent)]
    NotStored(#[from] NotStored),
}

impl MayFail for ChangeCustodianError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::NotStored(_))
    }
}

impl ChangeCustodianError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoSuchPerson { .. } | Self::NoSuchKey { .. } => {
                Some("name one of those that are listed".to_owned())
            }
            Self::RevokedAlready { .. } | Self::SameRoles { .. } => None,
            Self::Registry(error) => error.help(),
            Self::NotStored(error) => error.help(),
        }
    }
}

fn list(roles: &BTreeSet<Role>) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")
}
