//! A key's name: the SHA-256 of its raw public bytes, and the short forms in which people read and type it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex_text::{self, Case, HexFault};
use crate::sha256::sha256;

/// SHA-256 of a raw public key. Prints as 64 lowercase hex digits, and is read from exactly those.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id of a key, from its raw public bytes: 32 of them for Ed25519.
    pub fn of(raw_public_key: &[u8]) -> Self {
        Self(*sha256(raw_public_key).as_bytes())
    }

    /// An id as a file of ours stores it. Whose it is, the reader checks against a key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 digits, for a screen. It is never compared to decide trust.
    pub fn fingerprint(&self) -> String {
        self.to_string().chars().take(16).collect()
    }
}

/// The start of a key id as a person typed it: 8 to 64 hex digits in either case, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIdPrefix(String);

impl KeyIdPrefix {
    /// Fewest digits that may stand for a key.
    pub const MIN_DIGITS: usize = 8;

    /// Whether the id starts with these digits. More than one key may; the caller must refuse that.
    pub fn matches(&self, id: &KeyId) -> bool {
        id.to_string().starts_with(&self.0)
    }

    /// The digits, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`KeyId`] or a [`KeyIdPrefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyIdError {
    /// A whole id was wanted, and this is not 64 characters.
    #[error("a key id has 64 hex digits, this text has {found} characters")]
    Length {
        /// Characters in the text.
        found: usize,
    },
    /// Too short to stand for one key, or longer than an id.
    #[error("a key id is typed with 8 to 64 hex digits, this text has {found} characters")]
    PrefixLength {
        /// Characters in the text.
        found: usize,
    },
    /// A character that is not a hex digit, or for a whole id one in upper case.
    #[error("character {position} of the key id is {found:?}, not a lowercase hex digit")]
    NotHex {
        /// Its place, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
}

impl ParseKeyIdError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Length { .. } | Self::PrefixLength { .. } => {
                Some("`aegisbpf keys list` prints the ids of the trusted keys".to_owned())
            }
            Self::NotHex { found, .. } if found.is_ascii_hexdigit() => {
                Some("write it in lower case".to_owned())
            }
            Self::NotHex { .. } => Some("a key id has only the digits 0 to 9 and a to f".to_owned()),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        hex_text::decode(text, Case::Lower).map(Self).map_err(|fault| match fault {
            HexFault::Length(found) => ParseKeyIdError::Length { found },
            HexFault::Digit(position, found) => ParseKeyIdError::NotHex { position, found },
        })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_text::deserialize(deserializer, "64 lowercase hex digits")
    }
}

impl fmt::Display for KeyIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyIdPrefix {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        match hex_text::find_fault(text, Case::Either) {
            Err(HexFault::Digit(position, found)) => Err(ParseKeyIdError::NotHex { position, found }),
            Err(HexFault::Length(found)) => Err(ParseKeyIdError::PrefixLength { found }),
            Ok(()) if (Self::MIN_DIGITS..=64).contains(&text.len()) => Ok(Self(text.to_ascii_lowercase())),
            Ok(()) => Err(ParseKeyIdError::PrefixLength { found: text.len() }),
        }
    }
}
