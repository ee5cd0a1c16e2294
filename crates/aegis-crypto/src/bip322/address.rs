//! Taproot addresses: an output key and the network it is for, as wallets write them (BIP-350).

use std::fmt;
use std::str::FromStr;

use bech32::Hrp;
use bech32::primitives::hrp::{BC, BCRT, TB};
use bech32::segwit::{self, VERSION_1};

use super::public_key::Bip322PublicKey;
use super::schnorr;

/// Whose addresses are meant. A signature does not say for which network it is, and holds for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitcoinNetwork {
    /// `bc1p…`. What wallets sign with, unless they are told otherwise.
    Mainnet,
    /// `tb1p…`: testnet and signet, whose addresses look the same.
    Testnet,
    /// `bcrt1p…`.
    Regtest,
}

impl BitcoinNetwork {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mainnet, Self::Testnet, Self::Regtest];

    /// What messages and commands call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mainnet => "mainnet",
            Self::Testnet => "testnet",
            Self::Regtest => "regtest",
        }
    }

    const fn hrp(self) -> Hrp {
        match self {
            Self::Mainnet => BC,
            Self::Testnet => TB,
            Self::Regtest => BCRT,
        }
    }
}

/// The Taproot address of a key: its output key, on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaprootAddress {
    network: BitcoinNetwork,
    output_key: [u8; 32],
}

impl TaprootAddress {
    /// The address that a wallet derives for this key: without scripts (BIP-86).
    pub const fn of(public_key: &Bip322PublicKey, network: BitcoinNetwork) -> Self {
        Self { network, output_key: *public_key.output_key() }
    }

    /// For which network it is written.
    pub const fn network(&self) -> BitcoinNetwork {
        self.network
    }

    /// Whether it is the address of this key, on any network.
    pub fn is_of(&self, public_key: &Bip322PublicKey) -> bool {
        self.output_key == *public_key.output_key()
    }

    pub(super) const fn output_key(&self) -> &[u8; 32] {
        &self.output_key
    }
}

impl fmt::Display for TaprootAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        segwit::encode_lower_to_fmt_unchecked(f, self.network.hrp(), VERSION_1, &self.output_key)
    }
}

impl FromStr for TaprootAddress {
    type Err = TaprootAddressError;

    /// Reads an address in lower or in upper case.
    fn from_str(text: &str) -> Result<Self, TaprootAddressError> {
        if text.len() > MAX_ADDRESS_LEN {
            return Err(TaprootAddressError::TooLong { found: text.len() });
        }
        let (hrp, version, program) = segwit::decode(text).map_err(|_| TaprootAddressError::NotAnAddress)?;
        let network = BitcoinNetwork::ALL
            .into_iter()
            .find(|network| network.hrp() == hrp)
            .ok_or_else(|| TaprootAddressError::Network { prefix: hrp.to_lowercase() })?;
        let other = TaprootAddressError::OtherType { version: version.to_u8(), bytes: program.len() };
        if version != VERSION_1 {
            return Err(other);
        }
        let output_key: [u8; 32] = program.try_into().map_err(|_| other)?;
        if !schnorr::is_public_key(&output_key) {
            return Err(TaprootAddressError::NotOnCurve);
        }
        Ok(Self { network, output_key })
    }
}

/// BIP-173.
const MAX_ADDRESS_LEN: usize = 90;

/// Why a text is not a Taproot address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaprootAddressError {
    /// Longer than any address of this form.
    #[error("an address has at most {MAX_ADDRESS_LEN} characters, this text has {found}")]
    TooLong {
        /// Characters that were given.
        found: usize,
    },
    /// Not bech32m, or its checksum is wrong.
    #[error("this is not a Taproot address, or a character of it is wrong")]
    NotAnAddress,
    /// An address of another chain.
    #[error("addresses that begin with {prefix}1 are not of Bitcoin")]
    Network {
        /// What stands before the `1`.
        prefix: String,
    },
    /// Another kind of address.
    #[error("this is an address of version {version} with {bytes} bytes, and Taproot is version 1 with 32")]
    OtherType {
        /// Its witness version.
        version: u8,
        /// Bytes of its program.
        bytes: usize,
    },
    /// Nobody can sign for it.
    #[error("the address has no point of secp256k1 in it, so nobody can sign for it")]
    NotOnCurve,
}

impl TaprootAddressError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::TooLong { .. } | Self::NotAnAddress | Self::OtherType { .. } => {
                "give an address that begins with bc1p, 62 characters; older ones (1…, 3…, bc1q…) do not serve".to_owned()
            }
            Self::Network { .. } => "give one that begins with bc1p, tb1p or bcrt1p".to_owned(),
            Self::NotOnCurve => "do not use it, and find out where it comes from".to_owned(),
        })
    }
}
