//! Names that can be told apart: of people, roles, gates, requests, and of what a request is for.
//!
//! All are ASCII, so that no letter looks like another one and none changes the order of its neighbours.

use std::fmt;
use std::str::FromStr;

/// Which kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A person.
    Person,
    /// A role.
    Role,
    /// A governance gate.
    Gate,
    /// A request.
    Request,
    /// What a request is for.
    Audience,
}

impl NameKind {
    const fn rule(self) -> &'static str {
        match self {
            Self::Person => "a person is 1 to 64 of a-z 0-9 . _ @ - and begins with a letter or digit",
            Self::Role => "a role is 1 to 32 of a-z 0-9 _ and begins with a letter",
            Self::Gate => "a gate is 1 to 48 of a-z 0-9 . _ - and begins with a letter or digit",
            Self::Request => "a request is called \"req-\" and 32 hex digits (0-9 a-f)",
            Self::Audience => {
                "a request is for deployment:NAME, host:NAME or group:NAME; a name is 1 to 64 of a-z 0-9 . _ -, the first a letter or digit"
            }
        }
    }
}

/// A name that breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no name: {}", kind.rule())]
pub struct NameError {
    /// What it was to name.
    pub kind: NameKind,
    /// The text, at most 80 characters of it.
    pub found: String,
}

impl NameError {
    fn new(kind: NameKind, found: &str) -> Self {
        Self { kind, found: found.chars().take(80).collect() }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_name(text: &str, max: usize, first: impl Fn(u8) -> bool, further: &[u8]) -> bool {
    text.len() <= max
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|byte| is_word(byte) || further.contains(&byte))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(NameError::new($kind, text)) }
            }
        }
    };
}

name! {
    /// A person: 1 to 64 of `a-z 0-9 . _ @ -`, the first a letter or digit. A name has one spelling.
    PersonId, NameKind::Person, |text| is_name(text, 64, is_word, b"._@-")
}
name! {
    /// A role, such as `risk_lead`: 1 to 32 of `a-z 0-9 _`, the first a letter.
    Role, NameKind::Role, |text| is_name(text, 32, |byte| byte.is_ascii_lowercase(), b"_")
}
name! {
    /// A gate of governance, such as `drift`: 1 to 48 of `a-z 0-9 . _ -`, the first a letter or digit.
    Gate, NameKind::Gate, |text| is_name(text, 48, is_word, b"._-")
}
name! {
    /// A request: `req-` and 32 hex digits.
    RequestId, NameKind::Request, |text| {
        text.strip_prefix("req-")
            .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    }
}
name! {
    /// What a request is for: `deployment:NAME`, `host:NAME` or `group:NAME` (a group of hosts).
    Audience, NameKind::Audience, |text| {
        text.split_once(':').is_some_and(|(kind, name)| {
            matches!(kind, "deployment" | "host" | "group") && is_name(name, 64, is_word, b"._-")
        })
    }
}

impl Role {
    /// Who answers for risk.
    pub const RISK_LEAD: &'static str = "risk_lead";
    /// Who answers for security.
    pub const SECURITY_LEAD: &'static str = "security_lead";

    /// A role of the classic pair.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.into())
    }
}

impl Gate {
    /// Whether it is the gate that nobody can override: `complexity`, also as `complexity_gate`, `complexity-check` and
    /// whatever else begins or ends with that word.
    pub fn is_final(&self) -> bool {
        self.0.split(['.', '_', '-']).any(|word| word == "complexity")
    }
}

impl RequestId {
    /// A new one, of random bytes.
    pub(crate) fn of_bytes(bytes: [u8; 16]) -> Self {
        Self(format!("req-{}", hex::encode(bytes)).into())
    }
}

impl Audience {
    /// Whether it names a host or a group of hosts.
    pub fn is_of_hosts(&self) -> bool {
        !self.0.starts_with("deployment:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_be_taken_for_others() {
        for text in
            ["", " bob", "bob ", "Bob", "bоb", "b\u{202e}ob", "bob\n", ".bob", "-bob", &"b".repeat(65)]
        {
            assert!(text.parse::<PersonId>().is_err(), "{text:?}");
        }
        for text in ["", "risk-lead", "1lead", "_lead", "Risk_lead", &"r".repeat(33)] {
            assert!(text.parse::<Role>().is_err(), "{text:?}");
        }
        for text in ["", "req-", "req-0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcdef"] {
            assert!(text.parse::<RequestId>().is_err(), "{text:?}");
        }
        for text in ["", "host:", "host", "user:bob", "host:-a", "host:a b", "deployment:A", "host:a:b/"] {
            assert!(text.parse::<Audience>().is_err(), "{text:?}");
        }
        let error = "x".repeat(1 << 20).parse::<PersonId>().unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn the_complexity_gate_is_known_in_each_spelling() {
        for text in ["complexity", "complexity_gate", "complexity-check", "gate.complexity"] {
            assert!(text.parse::<Gate>().unwrap().is_final(), "{text}");
        }
        for text in ["drift", "risk", "complex"] {
            assert!(!text.parse::<Gate>().unwrap().is_final(), "{text}");
        }
    }
}
