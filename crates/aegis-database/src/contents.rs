//! What is kept in a database, as messages call it; and where.

use std::fmt;

/// What is kept in a database, as messages call it.
#[derive(Debug, PartialEq, Eq)]
pub struct Contents {
    /// Such as `keyring`.
    pub name: &'static str,
    /// The same with its article, such as `a keyring`.
    pub one: &'static str,
    /// An example of its file.
    pub example: &'static str,
    /// What brings it back after damage, such as "restore the last backup: …".
    pub restore: &'static str,
}

/// A database, for messages. Displays as `keyring /var/lib/aegis/keyring.db`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is in it.
    pub contents: &'static Contents,
    /// A path or a URL, without user name or password.
    pub location: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.contents.name, self.location)
    }
}
