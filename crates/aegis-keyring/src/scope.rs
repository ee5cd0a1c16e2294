//! What a DEK is for: a tenant, an environment, an application.

use std::fmt;
use std::str::FromStr;

/// The name of a scope: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or digit. Exactly one DEK is active in each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// The scope of those who name none.
    pub const DEFAULT: &'static str = "default";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(name: &str) -> Result<Self, ScopeError> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts_well = name.bytes().next().is_some_and(is_word);
        let is_good = name.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if starts_well && is_good && name.len() <= 64 { Ok(Self(name.into())) } else { Err(ScopeError) }
    }
}

/// A name that no scope can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scope is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit")]
pub struct ScopeError;
