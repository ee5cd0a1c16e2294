//! The registry of algorithms by which custodians sign.

use std::fmt;
use std::str::FromStr;

use super::ed25519_ml_dsa::{PRIVATE_KEY_LEN, PUBLIC_KEY_LEN};
use crate::bip322::Bip322Provider;

/// By what a custodian signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CustodianAlgorithm {
    /// BIP-322 *simple* over a Taproot address: what Bitcoin wallets and hardware can do.
    Bip322,
    /// Ed25519 and ML-DSA-65 (FIPS 204), both over the same bytes. It holds while either of them does.
    Ed25519MlDsa65,
}

impl CustodianAlgorithm {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Bip322, Self::Ed25519MlDsa65];

    /// The name in records, in signed texts and on command lines. It never changes.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Bip322 => Bip322Provider::ALGORITHM,
            Self::Ed25519MlDsa65 => "ed25519+ml-dsa-65",
        }
    }

    /// Bytes of a public key.
    pub const fn public_key_len(self) -> usize {
        match self {
            Self::Bip322 => 32,
            Self::Ed25519MlDsa65 => PUBLIC_KEY_LEN,
        }
    }

    /// Bytes of a private key.
    pub const fn private_key_len(self) -> usize {
        match self {
            Self::Bip322 => 32,
            Self::Ed25519MlDsa65 => PRIVATE_KEY_LEN,
        }
    }

    /// Whether the signatures still hold when large quantum computers exist.
    pub const fn is_post_quantum(self) -> bool {
        match self {
            Self::Bip322 => false,
            Self::Ed25519MlDsa65 => true,
        }
    }
}

impl fmt::Display for CustodianAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for CustodianAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.id() == text).ok_or_else(|| UnknownAlgorithm {
            // Enough to recognise it, and no more than a line.
            found: text.chars().take(40).collect(),
        })
    }
}

/// A name that no algorithm has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no algorithm of custodians is called {found:?}")]
pub struct UnknownAlgorithm {
    /// The name, at most 40 characters of it.
    pub found: String,
}

impl UnknownAlgorithm {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(format!("there are {}", CustodianAlgorithm::ALL.map(CustodianAlgorithm::id).join(" and ")))
    }
}
