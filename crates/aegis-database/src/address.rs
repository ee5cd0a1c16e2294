//! A file or a server, from a text.

use std::path::PathBuf;

use crate::error::AddressFault;

/// Where a database is.
///
/// | text | address |
/// |---|---|
/// | a path, `sqlite:PATH` or `sqlite:///PATH` | a file |
/// | `postgres://…` or `postgresql://…` | a server |
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL server: the text as it was, which may hold a password, and is checked when it is opened.
    Server(String),
}

impl std::str::FromStr for Address {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let path = match text.split_once(':') {
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                return Ok(Self::Server(text.to_owned()));
            }
            // As other programs write it: two slashes, no host, and a path from the root.
            Some(("sqlite", rest)) if rest.starts_with("///") => rest.get(2..).unwrap_or(rest),
            Some(("sqlite", rest)) if !rest.starts_with("//") && !rest.starts_with(':') => rest,
            Some((_, rest)) if rest.starts_with("//") || rest == "memory:" => {
                return Err(AddressFault::Scheme);
            }
            Some(("sqlite", _)) => return Err(AddressFault::NoFile),
            _ => text,
        };
        Ok(Self::File(path.into()))
    }
}
