//! A signature as it travels: 64 bytes, not yet believed.

use std::fmt;

use crate::hex_text::{self, Case, HexFault};

/// An Ed25519 signature, R ‖ S, 64 bytes. It says nothing until [`PublicKey::verify`](crate::PublicKey::verify).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Bytes in a signature.
    pub const LEN: usize = 64;

    /// Takes 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Takes a slice of exactly 64 bytes.
    ///
    /// # Errors
    ///
    /// [`SignatureParseError::ByteLength`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SignatureParseError> {
        let found = bytes.len();
        bytes.try_into().map(Self).map_err(|_| SignatureParseError::ByteLength { found })
    }

    /// Reads exactly 128 hex digits in either case, as external signers print them. Blanks are not taken off.
    ///
    /// # Errors
    ///
    /// [`SignatureParseError::HexLength`] or [`SignatureParseError::NotHex`].
    pub fn from_hex(text: &str) -> Result<Self, SignatureParseError> {
        hex_text::decode(text, Case::Either).map(Self).map_err(|fault| match fault {
            HexFault::Length(found) => SignatureParseError::HexLength { found },
            HexFault::Digit(position, found) => SignatureParseError::NotHex { position, found },
        })
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Whether S, the second half as a little-endian number, is less than the order of the group.
    pub(super) fn s_is_below_l(&self) -> bool {
        let (_, s) = self.0.split_at(32);
        // Compared from the most significant byte, which comes last in S.
        s.iter().rev().lt(L.iter().rev())
    }
}

/// Why something is not a signature's 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureParseError {
    /// Not 64 bytes.
    #[error("an Ed25519 signature has 64 bytes, this one has {found}")]
    ByteLength {
        /// Bytes that were given.
        found: usize,
    },
    /// Not 128 characters.
    #[error("an Ed25519 signature in hex has 128 digits, this text has {found}")]
    HexLength {
        /// Characters that were given.
        found: usize,
    },
    /// A character that is not a hex digit.
    #[error("character {position} of the signature is {found:?}, not a hex digit")]
    NotHex {
        /// Its place, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
}

impl SignatureParseError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::ByteLength { .. } => None,
            Self::HexLength { .. } | Self::NotHex { .. } => {
                Some("print the raw 64 bytes as hex, for example with `xxd -p -c 64`".to_owned())
            }
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

/// The order of the group, 2²⁵² + 27742317777372353535851937790883648493, little-endian (RFC 8032 §5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The provider refuses S ≥ L as well, so only here can it be seen that we do.
    #[test]
    fn s_is_compared_with_l_from_its_last_byte() {
        let changed = |at: usize, by: i8| {
            let mut s = L;
            s[at] = s[at].wrapping_add_signed(by);
            s
        };
        for (s, below) in [
            ([0; 32], true),
            (changed(0, -1), true),
            (L, false),
            (changed(0, 1), false),
            (changed(31, -1), true),
            (changed(31, 1), false),
            (changed(16, 1), false),
            (changed(15, -1), true),
            ([0xff; 32], false),
        ] {
            // R plays no part, however large it is.
            for r in [[0; 32], [0xff; 32]] {
                let signature = Signature::from_slice(&[r, s].concat()).unwrap();
                assert_eq!(signature.s_is_below_l(), below, "{s:02x?}");
            }
        }
    }
}
