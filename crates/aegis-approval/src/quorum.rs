//! How many people of which roles have to agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::name::{PersonId, Role};

/// So many different people of each role, and all roles together. Never under two people.
///
/// A person who has several of the roles stands for one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum(BTreeMap<Role, u8>);

impl Quorum {
    /// The fewest people who can decide anything.
    pub const MIN_PEOPLE: u32 = 2;
    /// The most people that can be asked for.
    pub const MAX_PEOPLE: u32 = 16;
    /// The most roles that can be asked for.
    pub const MAX_ROLES: usize = 8;

    /// So many people of each of these roles.
    ///
    /// # Errors
    ///
    /// A [`QuorumError`].
    pub fn new(groups: impl IntoIterator<Item = (Role, i64)>) -> Result<Self, QuorumError> {
        let mut needed = BTreeMap::new();
        for (role, count) in groups {
            let most = i64::from(Self::MAX_PEOPLE);
            let Some(small) = u8::try_from(count).ok().filter(|_| (1..=most).contains(&count)) else {
                return Err(QuorumError::Count { role, found: count });
            };
            if needed.len() == Self::MAX_ROLES {
                return Err(QuorumError::TooManyRoles);
            }
            if needed.insert(role.clone(), small).is_some() {
                return Err(QuorumError::Twice { role });
            }
        }
        let quorum = Self(needed);
        match quorum.people() {
            found if found < Self::MIN_PEOPLE => Err(QuorumError::BelowTwo { found }),
            found if found > Self::MAX_PEOPLE => Err(QuorumError::TooManyPeople { found }),
            _ => Ok(quorum),
        }
    }

    /// One risk lead and one security lead.
    pub fn classic() -> Self {
        Self(BTreeMap::from([(Role::known(Role::RISK_LEAD), 1), (Role::known(Role::SECURITY_LEAD), 1)]))
    }

    /// Each role, and how many people of it.
    pub fn groups(&self) -> impl Iterator<Item = (&Role, u8)> {
        self.0.iter().map(|(role, needed)| (role, *needed))
    }

    /// Whether anybody of that role is asked.
    pub fn asks(&self, role: &Role) -> bool {
        self.0.contains_key(role)
    }

    /// How many different people.
    pub fn people(&self) -> u32 {
        self.0.values().map(|needed| u32::from(*needed)).sum()
    }

    /// What both ask for together: of each role, the larger number.
    ///
    /// # Errors
    ///
    /// A [`QuorumError`] if that is more than can be asked for.
    pub fn and(&self, other: &Self) -> Result<Self, QuorumError> {
        let mut both: BTreeMap<_, i64> = BTreeMap::new();
        for (role, needed) in self.groups().chain(other.groups()) {
            let most = both.entry(role.clone()).or_default();
            *most = (*most).max(i64::from(needed));
        }
        Self::new(both)
    }

    /// Whom these people leave to be found: of each role, how many more. Empty if they are enough.
    ///
    /// Each person is counted once, for whichever of their roles serves best.
    pub fn missing(&self, people: &BTreeMap<PersonId, BTreeSet<Role>>) -> BTreeMap<Role, u8> {
        // Places to be filled, and who fills them: the largest matching, one augmenting path at a time.
        let places: Vec<&Role> =
            self.0.iter().flat_map(|(role, n)| std::iter::repeat_n(role, usize::from(*n))).collect();
        let mut filled: Vec<Option<&PersonId>> = vec![None; places.len()];
        for person in people.keys() {
            seat(person, people, &places, &mut filled, &mut BTreeSet::new());
        }
        let mut missing = BTreeMap::new();
        for (role, _) in places.iter().zip(&filled).filter(|(_, person)| person.is_none()) {
            *missing.entry((*role).clone()).or_insert(0) += 1;
        }
        missing
    }
}

/// Finds a place for a person, if need be by moving others. At most 16 places, so at most 16 deep.
fn seat<'a>(
    person: &'a PersonId,
    people: &'a BTreeMap<PersonId, BTreeSet<Role>>,
    places: &[&Role],
    filled: &mut Vec<Option<&'a PersonId>>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    let Some(roles) = people.get(person) else { return false };
    for (index, role) in places.iter().enumerate() {
        if !roles.contains(*role) || !tried.insert(index) {
            continue;
        }
        let is_free = match filled.get(index).copied().flatten() {
            None => true,
            Some(other) => seat(other, people, places, filled, tried),
        };
        if is_free {
            if let Some(place) = filled.get_mut(index) {
                *place = Some(person);
            }
            return true;
        }
    }
    false
}

impl fmt::Display for Quorum {
    /// `1 of risk_lead and 1 of security_lead`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (role, needed)) in self.groups().enumerate() {
            let and = if index == 0 { "" } else { " and " };
            write!(f, "{and}{needed} of {role}")?;
        }
        Ok(())
    }
}

/// Why nobody can be asked like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Nobody, fewer than nobody, or a crowd.
    #[error("{found} of {role} cannot be asked for, only 1 to {}", Quorum::MAX_PEOPLE)]
    Count {
        /// The role.
        role: Role,
        /// How many were asked for.
        found: i64,
    },
    /// One role twice.
    #[error("the role {role} is named twice")]
    Twice {
        /// The role.
        role: Role,
    },
    /// One person alone could decide, or nobody would have to.
    #[error("a quorum of {found} is below {}, the fewest people who can decide", Quorum::MIN_PEOPLE)]
    BelowTwo {
        /// How many people were asked for.
        found: u32,
    },
    /// More than can be asked for.
    #[error("a quorum of {found} people is more than {}", Quorum::MAX_PEOPLE)]
    TooManyPeople {
        /// How many people were asked for.
        found: u32,
    },
    /// More roles than can be asked for.
    #[error("a quorum has at most {} roles", Quorum::MAX_ROLES)]
    TooManyRoles,
}

impl QuorumError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Count { .. } | Self::BelowTwo { .. } => Some(
                "ask for at least two different people, such as one risk_lead and one security_lead"
                    .to_owned(),
            ),
            Self::Twice { .. } => Some("name it once, with the number of people".to_owned()),
            Self::TooManyPeople { .. } | Self::TooManyRoles => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Role {
        name.parse().unwrap()
    }

    fn people(list: &[(&str, &[&str])]) -> BTreeMap<PersonId, BTreeSet<Role>> {
        list.iter()
            .map(|(person, roles)| (person.parse().unwrap(), roles.iter().map(|name| role(name)).collect()))
            .collect()
    }

    #[test]
    fn refuses_a_quorum_in_which_one_person_could_decide() {
        for count in [0, -1, i64::MIN, 17, i64::MAX] {
            let error = Quorum::new([(role("risk_lead"), count), (role("security_lead"), 1)]).unwrap_err();
            assert!(matches!(error, QuorumError::Count { .. }), "{count}: {error}");
        }
        assert_eq!(Quorum::new([(role("risk_lead"), 1)]), Err(QuorumError::BelowTwo { found: 1 }));
        assert_eq!(Quorum::new([]), Err(QuorumError::BelowTwo { found: 0 }));
        let twice = Quorum::new([(role("risk_lead"), 1), (role("risk_lead"), 1)]);
        assert!(matches!(twice, Err(QuorumError::Twice { .. })));
        assert!(Quorum::new([(role("a"), 16), (role("b"), 1)]).is_err());
        assert!(Quorum::new([(role("a"), 2)]).is_ok());
    }

    #[test]
    fn a_person_stands_for_one_role_whichever_serves_best() {
        let classic = Quorum::classic();
        let both: &[&str] = &["risk_lead", "security_lead"];
        assert_eq!(classic.missing(&people(&[("a", both)])).len(), 1);
        assert!(classic.missing(&people(&[("a", both), ("b", &["risk_lead"])])).is_empty());
        assert!(classic.missing(&people(&[("a", &["risk_lead"]), ("b", both)])).is_empty());
        assert_eq!(
            classic.missing(&people(&[("a", &["risk_lead"]), ("b", &["risk_lead"])])),
            BTreeMap::from([(role("security_lead"), 1)])
        );
        let large = Quorum::new([(role("x"), 2), (role("y"), 2), (role("z"), 1)]).unwrap();
        let chain =
            [("a", &["x", "y"][..]), ("b", &["x", "y"]), ("c", &["y", "z"]), ("d", &["x"]), ("e", &["x"])];
        assert!(large.missing(&people(&chain)).is_empty());
        assert_eq!(large.missing(&people(&chain[..4])).values().sum::<u8>(), 1);
    }
}
