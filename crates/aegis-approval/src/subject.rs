//! What two people are asked to decide, and what it means in plain words.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aegis_crypto::{Digest, KeyId, ParseDigestError, ParseKeyIdError};

use crate::name::Gate;
use crate::text::{Line, TextError};

/// What kind of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An exception from gates of governance that failed.
    Override,
    /// A host is to trust a policy-signing key.
    KeysAdd,
    /// A host is no longer to trust a key, which may return.
    KeysRemove,
    /// A host is to refuse a key for ever.
    KeysRevoke,
    /// A host is to take policies of a higher epoch.
    PolicyEpoch,
    /// A host is to have other custodians, or another quorum.
    CustodiansSet,
    /// A host is to do without custodians.
    CustodiansOff,
    /// For a time, a host is only to tell what its policy denies.
    EnforcementOff,
    /// A DEK is to be erased.
    DekDestroy,
    /// A KEK is to be retired, and what it wraps erased.
    KekRetire,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Override,
        Self::KeysAdd,
        Self::KeysRemove,
        Self::KeysRevoke,
        Self::PolicyEpoch,
        Self::CustodiansSet,
        Self::CustodiansOff,
        Self::EnforcementOff,
        Self::DekDestroy,
        Self::KekRetire,
    ];

    /// The name in requests, statements and on command lines. It never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::KeysAdd => "keys.add",
            Self::KeysRemove => "keys.remove",
            Self::KeysRevoke => "keys.revoke",
            Self::PolicyEpoch => "policy.epoch",
            Self::CustodiansSet => "custodians.set",
            Self::CustodiansOff => "custodians.off",
            Self::EnforcementOff => "enforcement.off",
            Self::DekDestroy => "dek.destroy",
            Self::KekRetire => "kek.retire",
        }
    }

    /// Whether it is decided for hosts; the others are for a deployment.
    pub const fn is_of_hosts(self) -> bool {
        match self {
            Self::KeysAdd
            | Self::KeysRemove
            | Self::KeysRevoke
            | Self::PolicyEpoch
            | Self::CustodiansSet
            | Self::CustodiansOff
            | Self::EnforcementOff => true,
            Self::Override | Self::DekDestroy | Self::KekRetire => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind { found: text.chars().take(40).collect() })
    }
}

/// A name that no kind of request has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no request of the kind {found:?}, only {}", Kind::ALL.map(Kind::as_str).join(", "))]
pub struct UnknownKind {
    /// The name, at most 40 characters of it.
    pub found: String,
}

/// What exactly is decided: the kind, and the one object of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An exception, by the name of what it is for.
    Override(Line),
    /// The key to trust.
    KeysAdd(KeyId),
    /// The key to trust no longer.
    KeysRemove(KeyId),
    /// The key to refuse for ever.
    KeysRevoke(KeyId),
    /// The epoch, which is above the one in force.
    PolicyEpoch(u32),
    /// The digest of the new custodians and their quorum.
    CustodiansSet(Digest),
    /// The digest of the custodians who are to go.
    CustodiansOff(Digest),
    /// SHA-256 of the policy that is in force.
    EnforcementOff(Digest),
    /// The version of the DEK, such as `dek-v1-20260101` or `dek-v1-20260101-2`.
    DekDestroy(Line),
    /// The KEK.
    KekRetire(KeyId),
}

impl Subject {
    /// Reads the object of a request of that kind.
    ///
    /// # Errors
    ///
    /// A [`SubjectError`].
    pub fn parse(kind: Kind, text: &str) -> Result<Self, SubjectError> {
        let key = || text.parse().map_err(|source| SubjectError::Key { kind, source });
        let digest = || text.parse().map_err(|source| SubjectError::Digest { kind, source });
        let line = || text.parse::<Line>().map_err(|source| SubjectError::Text { kind, source });
        Ok(match kind {
            Kind::Override => Self::Override(line()?),
            Kind::KeysAdd => Self::KeysAdd(key()?),
            Kind::KeysRemove => Self::KeysRemove(key()?),
            Kind::KeysRevoke => Self::KeysRevoke(key()?),
            Kind::KekRetire => Self::KekRetire(key()?),
            Kind::CustodiansSet => Self::CustodiansSet(digest()?),
            Kind::CustodiansOff => Self::CustodiansOff(digest()?),
            Kind::EnforcementOff => Self::EnforcementOff(digest()?),
            Kind::PolicyEpoch => {
                let epoch = text.parse().ok().filter(|epoch: &u32| epoch.to_string() == text);
                Self::PolicyEpoch(epoch.ok_or(SubjectError::Epoch)?)
            }
            Kind::DekDestroy => {
                let line = line()?;
                if !is_dek_version(line.as_str()) {
                    return Err(SubjectError::DekVersion);
                }
                Self::DekDestroy(line)
            }
        })
    }

    /// The kind of decision.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Override(_) => Kind::Override,
            Self::KeysAdd(_) => Kind::KeysAdd,
            Self::KeysRemove(_) => Kind::KeysRemove,
            Self::KeysRevoke(_) => Kind::KeysRevoke,
            Self::PolicyEpoch(_) => Kind::PolicyEpoch,
            Self::CustodiansSet(_) => Kind::CustodiansSet,
            Self::CustodiansOff(_) => Kind::CustodiansOff,
            Self::EnforcementOff(_) => Kind::EnforcementOff,
            Self::DekDestroy(_) => Kind::DekDestroy,
            Self::KekRetire(_) => Kind::KekRetire,
        }
    }

    /// What it means if it is approved, in at most [`MAX_RISK_LEN`] printable ASCII characters.
    pub(crate) fn risk(&self, failed_gates: &BTreeSet<Gate>) -> String {
        match self {
            Self::Override(_) => return gates_at_risk(failed_gates),
            Self::KeysAdd(_) => "whoever holds this key can sign policies for these hosts",
            Self::KeysRemove(_) => "policies signed with this key are refused until it is added again",
            Self::KeysRevoke(_) => "policies signed with this key are refused for ever",
            Self::PolicyEpoch(_) => "policy versions are counted anew, and those of lower epochs are refused",
            Self::CustodiansSet(_) => "other people, or fewer of them, decide over the keys of these hosts",
            Self::CustodiansOff(_) => "one person alone can change the keys of these hosts from then on",
            Self::EnforcementOff(_) => {
                "for up to a day, what the policy of these hosts denies is let through"
            }
            Self::DekDestroy(_) => "what was sealed under this DEK can never be read again",
            Self::KekRetire(_) => "what only this KEK opens can never be read again",
        }
        .to_owned()
    }
}

/// The most characters that [`Subject::risk`] gives.
pub(crate) const MAX_RISK_LEN: usize = 180;

fn gates_at_risk(gates: &BTreeSet<Gate>) -> String {
    let mut text = match gates.len() {
        0 => return "a decision is made although the rules say otherwise".to_owned(),
        1 => "this goes ahead although a gate failed: ".to_owned(),
        count => format!("this goes ahead although {count} gates failed: "),
    };
    for (index, gate) in gates.iter().enumerate() {
        let left = gates.len() - index;
        let separator = if index == 0 { "" } else { ", " };
        // Room for the last words, should this be the last one that is named.
        let last_words = ", and 99 more".len();
        if text.len() + separator.len() + gate.as_str().len() + last_words > MAX_RISK_LEN {
            return format!("{text}, and {left} more");
        }
        text += separator;
        text += gate.as_str();
    }
    text
}

/// Whether it is spelled as the keyring spells a version.
fn is_dek_version(text: &str) -> bool {
    let number = |text: &str, max: usize| {
        !text.starts_with('0')
            && (1..=max).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    // `dek-v1-20260101`, and `dek-v1-20260101-2` for the second of that day.
    text.strip_prefix("dek-v").and_then(|rest| rest.split_once('-')).is_some_and(|(version, rest)| {
        let (date, nth) = match rest.split_once('-') {
            Some((date, nth)) => (date, Some(nth)),
            None => (rest, None),
        };
        number(version, 10)
            && date.len() == 8
            && number(date, 8)
            && nth.is_none_or(|nth| number(nth, 10) && nth != "1")
    })
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Override(line) | Self::DekDestroy(line) => line.fmt(f),
            Self::KeysAdd(key) | Self::KeysRemove(key) | Self::KeysRevoke(key) | Self::KekRetire(key) => {
                key.fmt(f)
            }
            Self::PolicyEpoch(epoch) => epoch.fmt(f),
            Self::CustodiansSet(digest) | Self::CustodiansOff(digest) | Self::EnforcementOff(digest) => {
                digest.fmt(f)
            }
        }
    }
}

/// Why a text is not the object of a request of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Not a text that may be shown.
    #[error("the subject of {kind} cannot be used")]
    Text {
        /// The kind of request.
        kind: Kind,
        /// Why.
        source: TextError,
    },
    /// Not a key id.
    #[error("the subject of {kind} is a key id")]
    Key {
        /// The kind of request.
        kind: Kind,
        /// Why it is none.
        source: ParseKeyIdError,
    },
    /// Not a digest.
    #[error("the subject of {kind} is a digest of {}", if *kind == Kind::EnforcementOff { "the policy in force" } else { "custodians" })]
    Digest {
        /// The kind of request.
        kind: Kind,
        /// Why it is none.
        source: ParseDigestError,
    },
    /// Not an epoch.
    #[error("the subject of policy.epoch is a number of 0 to 4294967295 without leading zeros")]
    Epoch,
    /// Not a DEK version.
    #[error("the subject of dek.destroy is a DEK version such as dek-v1-20260101")]
    DekVersion,
}

impl SubjectError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Text { source, .. } => source.help(),
            Self::Key { .. } => Some("give all 64 hex digits of the key id".to_owned()),
            Self::Digest { source, .. } => source.help(),
            Self::Epoch => None,
            Self::DekVersion => Some("`aegis dek list` shows the versions".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_gates_are_named_as_far_as_there_is_room() {
        let gates =
            |count: usize| (0..count).map(|n| format!("{}{n:02}", "g".repeat(46)).parse().unwrap()).collect();
        for count in 0..=16 {
            let risk = Subject::Override("x".parse().unwrap()).risk(&gates(count));
            assert!(risk.len() <= MAX_RISK_LEN, "{count}: {risk}");
        }
        let risk = Subject::Override("x".parse().unwrap()).risk(&gates(16));
        assert!(risk.ends_with(", and 14 more") && risk.contains("g00, "), "{risk}");
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn refuses_subjects_in_another_spelling() {
        let key = "a".repeat(64);
        for (kind, good, bad) in [
            (Kind::PolicyEpoch, "7", &["+7", "07", "-1", "4294967296", "", "7 "][..]),
            (Kind::KeysAdd, &key, &["", "aa", "A", "../etc"]),
            (Kind::CustodiansOff, &key, &["", "off"]),
            (Kind::EnforcementOff, &key, &["", "off", "7"]),
            (
                Kind::DekDestroy,
                "dek-v1-20260101",
                &["dek-v0-20260101", "dek-v1-2026010", "dek-v1-20260101\n", "dek-v01-20260101"],
            ),
            (
                Kind::DekDestroy,
                "dek-v1-20260101-2",
                &["dek-v1-20260101-1", "dek-v1-20260101-02", "dek-v1-20260101-", "dek-v1-20260101-2-2"],
            ),
        ] {
            assert_eq!(Subject::parse(kind, good).unwrap().to_string(), good);
            assert_eq!(Subject::parse(kind, good).unwrap().kind(), kind);
            for bad in bad {
                assert!(Subject::parse(kind, bad).is_err(), "{kind} {bad:?}");
            }
        }
        assert!(Subject::parse(Kind::KeysAdd, &"A".repeat(64)).is_err());
    }
}
