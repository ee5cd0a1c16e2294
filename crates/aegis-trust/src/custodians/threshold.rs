//! The file `threshold`: how many people of which roles a host asks for, and by which names approvals call it.
//!
//! ```text
//! # two people, and what this host is called
//! 1 of risk_lead
//! 1 of security_lead
//! host:web-1
//! group:edge
//! ```

use std::{collections::BTreeSet, fmt};

use aegis_approval::{Audience, NameError, Quorum, QuorumError, Role};
use aegis_crypto::PrivateMaterial;

/// The most bytes of the file.
pub const MAX_THRESHOLD_LEN: u64 = 16 * 1024;
/// The most groups that a host is in.
pub const MAX_GROUPS: usize = 16;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Threshold {
    /// How many people of which roles.
    pub quorum: Quorum,
    /// The name of the host, if the file gives one: `host:NAME`.
    pub host: Option<Audience>,
    /// The groups that the host is in: `group:NAME`.
    pub groups: BTreeSet<Audience>,
}

/// Why a text is not a threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// A private key lies where only rules belong.
    #[error("what must never be given away is in it: {}", found.name())]
    Private {
        /// In what form.
        found: PrivateMaterial,
    },
    /// Not text.
    #[error("it is not UTF-8")]
    NotText,
    /// A line that is none of the three.
    #[error("line {line} is neither `N of ROLE` nor `host:NAME` nor `group:NAME`")]
    Line {
        /// Which line, from 1.
        line: usize,
    },
    /// A name that breaks its rule.
    #[error("a name in line {line} cannot be used")]
    Name {
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: NameError,
    },
    /// The host has one name.
    #[error("line {line} names the host, or a group, a second time")]
    Twice {
        /// Which line, from 1.
        line: usize,
    },
    /// More groups than there can be.
    #[error("it names more than {MAX_GROUPS} groups")]
    TooManyGroups,
    /// Nobody can be asked like this.
    #[error("the numbers of people cannot be asked for")]
    Quorum {
        /// Why.
        source: QuorumError,
    },
}

impl ThresholdError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Private { .. } => Some(
                "take it away; that key is compromised: its holder makes a new one, and sends the registration alone"
                    .to_owned(),
            ),
            Self::Quorum { source } => source.help(),
            _ => Some("the file is described in docs/formats.md under \"Custodians of a host\"".to_owned()),
        }
    }
}

impl Threshold {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// A [`ThresholdError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ThresholdError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ThresholdError::NotText)?;
        if let Some(found) = PrivateMaterial::in_text(text) {
            return Err(ThresholdError::Private { found });
        }
        let (mut quorum, mut host, mut groups) = (Vec::new(), None, BTreeSet::new());
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim_ascii());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = |source| ThresholdError::Name { line: number, source };
            if line.starts_with("host:") || line.starts_with("group:") {
                let audience: Audience = line.parse().map_err(name)?;
                let is_new = match line.starts_with("host:") {
                    true => host.replace(audience).is_none(),
                    false => groups.insert(audience),
                };
                if !is_new {
                    return Err(ThresholdError::Twice { line: number });
                }
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            let (Some(needed), Some("of"), Some(role), None) =
                (words.next().and_then(strict_integer), words.next(), words.next(), words.next())
            else {
                return Err(ThresholdError::Line { line: number });
            };
            quorum.push((role.parse::<Role>().map_err(name)?, needed));
        }
        if groups.len() > MAX_GROUPS {
            return Err(ThresholdError::TooManyGroups);
        }
        let quorum = Quorum::new(quorum).map_err(|source| ThresholdError::Quorum { source })?;
        Ok(Self { quorum, host, groups })
    }
}

/// A whole number in its one spelling.
fn strict_integer(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

impl fmt::Display for Threshold {
    /// The file, in the order of [`canonical`](super::rule::CustodianRule::canonical).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quorum, host, groups } = self;
        for audience in host.iter().chain(groups) {
            writeln!(f, "{audience}")?;
        }
        quorum.groups().try_for_each(|(role, needed)| writeln!(f, "{needed} of {role}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_refuses_what_could_mean_less() {
        let text = "host:web-1\ngroup:edge\ngroup:eu\n1 of risk_lead\n1 of security_lead\n";
        let threshold = Threshold::parse(text.as_bytes()).unwrap();
        assert_eq!(threshold.to_string(), text);
        let loose =
            "# who decides\n\n  1  of security_lead\t\r\n1 of risk_lead\ngroup:eu\ngroup:edge\nhost:web-1";
        assert_eq!(Threshold::parse(loose.as_bytes()), Ok(threshold));
        let quorum =
            |text: &str| matches!(Threshold::parse(text.as_bytes()), Err(ThresholdError::Quorum { .. }));
        for below in [
            "",
            "# 2 of risk_lead\n",
            "1 of risk_lead",
            "0 of a\n2 of b",
            "-1 of a\n3 of b",
            "2 of a\n2 of a",
            "17 of a",
        ] {
            assert!(quorum(below), "{below:?}");
        }
        for (text, line) in [
            ("2 of a\nx", 2),
            ("02 of a", 1),
            ("+2 of a", 1),
            ("2 off a", 1),
            ("2 of a b", 1),
            ("2", 1),
            ("2 of a # note", 1),
            ("99999999999999999999 of a", 1),
            ("two of a", 1),
        ] {
            assert_eq!(Threshold::parse(text.as_bytes()), Err(ThresholdError::Line { line }), "{text:?}");
        }
        for name in
            ["2 of A", "2 of а", "2 of a\nhost:", "2 of a\ngroup:A", "2 of a\nhost:a b", "2 of a\nhost:a,b"]
        {
            assert!(
                matches!(Threshold::parse(name.as_bytes()), Err(ThresholdError::Name { .. })),
                "{name:?}"
            );
        }
        assert_eq!(Threshold::parse(b"2 of a\nhost:a\nhost:b"), Err(ThresholdError::Twice { line: 3 }));
        assert_eq!(Threshold::parse(b"2 of a\ngroup:a\ngroup:a"), Err(ThresholdError::Twice { line: 3 }));
        assert_eq!(Threshold::parse(b"2 of a\xff"), Err(ThresholdError::NotText));
        let groups: String = (0..17).map(|number| format!("group:g{number}\n")).collect();
        assert_eq!(
            Threshold::parse(format!("2 of a\n{groups}").as_bytes()),
            Err(ThresholdError::TooManyGroups)
        );
    }
}
