//! Where a rule stands: a section of the policy, or what protects the agent.

use std::fmt;
use std::str::FromStr;

use aegis_policy::Section;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of what protects the agent, and is in no policy.
const AGENT: &str = "agent";
/// Its number in the record.
const AGENT_NUMBER: u8 = 255;

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSection {
    /// A section of the policy.
    Policy(Section),
    /// What protects the agent's own files and maps, whatever the policy says.
    Agent,
}

impl RuleSection {
    /// The section of that number in the record.
    pub(super) fn of_number(number: u8) -> Option<Self> {
        if number == AGENT_NUMBER {
            return Some(Self::Agent);
        }
        Section::ALL.get(usize::from(number)).copied().map(Self::Policy)
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy(section) => section.name(),
            Self::Agent => AGENT,
        }
    }
}

/// A name that no section has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a policy has no section of this name, and it is not `{AGENT}`")]
pub struct UnknownSection;

impl FromStr for RuleSection {
    type Err = UnknownSection;

    fn from_str(name: &str) -> Result<Self, UnknownSection> {
        if name == AGENT {
            return Ok(Self::Agent);
        }
        Section::from_name(name).map(Self::Policy).ok_or(UnknownSection)
    }
}

impl fmt::Display for RuleSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RuleSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RuleSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl de::Visitor<'_> for Name {
            type Value = RuleSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a section")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RuleSection, E> {
                name.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}
