//! A BIP-322 *simple* signature as it travels: a witness in base64 after `smp`, not yet believed.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};

use super::schnorr::Bip340Signature;
use super::transactions::HashType;
use super::witness::{self, OtherAddressType, OtherVariant};

/// A BIP-322 *simple* signature over Taproot, by the key of the address.
///
/// It is read with the prefix `smp` (BIP-322, version 2.0.0) or without, as older wallets print it, and written with it.
/// It says nothing until [`Bip322Provider`](crate::Bip322Provider) has verified it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bip322Signature {
    pub(super) signature: Bip340Signature,
    pub(super) hash_type: HashType,
}

impl Bip322Signature {
    /// The most characters of a text that is looked at. A signature has 91 or 95; more than that is read only to say
    /// what it is instead.
    pub const MAX_TEXT_LEN: usize = 16 * 1024;

    /// Reads the text that a wallet prints. White space around it is not taken off.
    ///
    /// # Errors
    ///
    /// A [`Bip322SignatureError`] that says what the text is instead.
    pub fn parse(text: &str) -> Result<Self, Bip322SignatureError> {
        if text.is_empty() {
            return Err(Bip322SignatureError::Empty);
        }
        if text.len() > Self::MAX_TEXT_LEN {
            return Err(Bip322SignatureError::TooLong { found: text.len() });
        }
        // No witness of one signature begins with these letters, so a bare one cannot be taken for another variant.
        for (prefix, variant) in [("ful", OtherVariant::Full), ("pof", OtherVariant::ProofOfFunds)] {
            if text.starts_with(prefix) {
                return Err(Bip322SignatureError::OtherVariant { found: variant });
            }
        }
        let bare = text.strip_prefix(PREFIX);
        let bytes = decode(bare.unwrap_or(text), text.len() - bare.unwrap_or(text).len())?;
        if bare.is_none() && matches!(bytes.as_slice(), [27..=42, rest @ ..] if rest.len() == 64) {
            return Err(Bip322SignatureError::OtherVariant { found: OtherVariant::Legacy });
        }
        Self::from_witness(&bytes)
    }

    /// Reads the bytes of a witness: a count, 1, and one signature after its length.
    ///
    /// # Errors
    ///
    /// A [`Bip322SignatureError`].
    pub fn from_witness(bytes: &[u8]) -> Result<Self, Bip322SignatureError> {
        let (signature, hash_type) = witness::parse(bytes)?;
        Ok(Self { signature: Bip340Signature::from_bytes(signature), hash_type })
    }

    /// The bytes of the witness, 66 or 67.
    pub fn to_witness(&self) -> Vec<u8> {
        witness::write(self.signature.as_bytes(), self.hash_type)
    }
}

/// BIP-322: which variant this is.
const PREFIX: &str = "smp";

/// Base64 in its one spelling. `before` is how many characters stood before it.
fn decode(text: &str, before: usize) -> Result<Vec<u8>, Bip322SignatureError> {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    if let Some((index, found)) = text.chars().enumerate().find(|&(_, c)| !is_base64(c)) {
        return Err(Bip322SignatureError::NotBase64 { position: before + index + 1, found });
    }
    Base64::decode_vec(text).map_err(|_| Bip322SignatureError::Padding)
}

impl FromStr for Bip322Signature {
    type Err = Bip322SignatureError;

    fn from_str(text: &str) -> Result<Self, Bip322SignatureError> {
        Self::parse(text)
    }
}

impl fmt::Display for Bip322Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Base64::encode_string(&self.to_witness()))
    }
}

impl fmt::Debug for Bip322Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bip322Signature({self})")
    }
}

/// Why a text, or a witness, is not a BIP-322 simple signature over Taproot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bip322SignatureError {
    /// No characters at all.
    #[error("the signature is empty")]
    Empty,
    /// More than any signature of a wallet has.
    #[error("a signature has at most {} characters, this one has {found}", Bip322Signature::MAX_TEXT_LEN)]
    TooLong {
        /// Characters that were given.
        found: usize,
    },
    /// A character that base64 does not have.
    #[error("character {position} of the signature is {found:?}, which base64 does not have")]
    NotBase64 {
        /// Its place, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
    /// The characters are those of base64, but their number is wrong, or the last ones are not in their one spelling.
    #[error("the signature is not whole base64")]
    Padding,
    /// A signature, but not a simple one.
    #[error("this is {}, and not a simple signature (smp)", found.name())]
    OtherVariant {
        /// What it is.
        found: OtherVariant,
    },
    /// The witness ends too early.
    #[error("the witness is cut short: {missing} bytes are missing, or more")]
    Truncated {
        /// Bytes that the last length announced and that are not there.
        missing: u64,
    },
    /// A length in more bytes than it needs.
    #[error("the length at byte {at} of the witness is written in more bytes than it needs")]
    NonCanonicalLength {
        /// Its place, counted from 0.
        at: usize,
    },
    /// Bytes after the last item.
    #[error("{found} bytes follow the end of the witness")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
    /// A witness without items.
    #[error("the witness is empty: it has no signature in it")]
    NoItems,
    /// More items than one, and not of a kind that we know.
    #[error("the witness has {found} items, and one is wanted: the signature")]
    ItemCount {
        /// Items in it.
        found: u64,
    },
    /// An annex, whose meaning is not defined yet (BIP-341).
    #[error("the witness has an annex, which means nothing yet")]
    Annex,
    /// The witness of another kind of address.
    #[error("this is a signature for {}", found.name())]
    OtherAddressType {
        /// Which kind.
        found: OtherAddressType,
    },
    /// Not a BIP-340 signature.
    #[error("a signature by the key of a Taproot address has 64 or 65 bytes, this one has {found}")]
    SignatureLength {
        /// Its bytes.
        found: usize,
    },
    /// A signature that does not commit to the whole transaction, or a second spelling of one that does.
    #[error("the signature's hash type is 0x{found:02x}, and only 0x01 (SIGHASH_ALL), or none, is allowed")]
    HashType {
        /// The byte.
        found: u8,
    },
}

impl Bip322SignatureError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Empty | Self::TooLong { .. } | Self::NotBase64 { .. } => {
                "give the signature alone: one line that begins with smp, 91 or 95 characters".to_owned()
            }
            Self::Padding
            | Self::Truncated { .. }
            | Self::NonCanonicalLength { .. }
            | Self::TrailingBytes { .. }
            | Self::NoItems
            | Self::ItemCount { .. }
            | Self::SignatureLength { .. } => {
                "copy the whole signature again; if the wallet really printed this, sign with another".to_owned()
            }
            Self::OtherVariant { .. } => {
                "ask the wallet for a simple BIP-322 signature with the Taproot address (bc1p…)".to_owned()
            }
            Self::OtherAddressType { .. } => {
                "sign with the Taproot address (bc1p…) of the registered key, by the key itself".to_owned()
            }
            Self::Annex | Self::HashType { .. } => {
                "sign again, with the wallet's ordinary settings: SIGHASH_ALL or SIGHASH_DEFAULT, and no annex".to_owned()
            }
        })
    }
}
