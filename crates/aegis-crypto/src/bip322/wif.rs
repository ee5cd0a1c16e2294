//! Private keys as wallets export them: WIF, which is a version byte, the key, a mark and a checksum in base58.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0x80 for mainnet, 0xef for the test networks |
//! | 32 | the key |
//! | 1 | 0x01: the public key is compressed. Absent for an uncompressed one, which has no Taproot address |
//! | 4 | the first bytes of SHA-256 of SHA-256 of what stands before |
//!
//! The digits are turned into bytes here, and not by a crate, so that each intermediate value is erased.

use zeroize::Zeroizing;

use super::private_key::{Bip322PrivateKey, Bip322PrivateKeyError};
use crate::secret::Secret;
use crate::sha256::sha256;

/// Which of the two kinds of networks a WIF names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WifNetwork {
    /// `K…` and `L…`.
    Mainnet,
    /// `c…`: testnet, signet and regtest.
    Test,
}

impl WifNetwork {
    const fn version(self) -> u8 {
        match self {
            Self::Mainnet => 0x80,
            Self::Test => 0xef,
        }
    }
}

impl Bip322PrivateKey {
    /// Reads a private key that a wallet has exported, and for which networks it was.
    ///
    /// # Errors
    ///
    /// A [`WifError`]; no message has any of the text.
    pub fn from_wif(text: &str) -> Result<(Self, WifNetwork), WifError> {
        let bytes = match text.len() {
            COMPRESSED_CHARS => decode(text)?,
            UNCOMPRESSED_CHARS => {
                // The checksum first: a slip of the pen is one, whatever it has made of the text.
                decode::<UNCOMPRESSED_LEN>(text)?;
                return Err(WifError::Uncompressed);
            }
            found => return Err(WifError::Length { found }),
        };
        let [version, key @ .., mark, _, _, _, _]: &[u8; COMPRESSED_LEN] = bytes.expose();
        let network = [WifNetwork::Mainnet, WifNetwork::Test]
            .into_iter()
            .find(|network| network.version() == *version)
            .ok_or(WifError::Network { version: *version })?;
        if *mark != COMPRESSED {
            return Err(WifError::Mark);
        }
        let key = Self::from_secret(Secret::copy_of(key)).map_err(WifError::Key)?;
        Ok((key, network))
    }

    /// Writes the key as wallets import it. Erased on drop.
    pub fn dangerous_to_wif(&self, network: WifNetwork) -> Zeroizing<String> {
        encode(&Secret::fill(|bytes| {
            let (body, checksum) = bytes.split_at_mut(COMPRESSED_LEN - CHECKSUM_LEN);
            if let [version, key @ .., mark] = body {
                *version = network.version();
                key.copy_from_slice(self.expose());
                *mark = COMPRESSED;
            }
            checksum.copy_from_slice(&checksum_of(body));
        }))
    }
}

const UNCOMPRESSED_CHARS: usize = 51;
const COMPRESSED_CHARS: usize = 52;
const UNCOMPRESSED_LEN: usize = 37;
const COMPRESSED_LEN: usize = 38;
const CHECKSUM_LEN: usize = 4;
const COMPRESSED: u8 = 1;

const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The `N` bytes of a text, whose last four are the checksum of the others.
fn decode<const N: usize>(text: &str) -> Result<Secret<N>, WifError> {
    Secret::try_fill(|bytes| {
        let mut overflow = 0;
        for (index, character) in text.bytes().enumerate() {
            let mut carry = DIGITS
                .iter()
                .zip(0_u32..)
                .find_map(|(&digit, value)| (digit == character).then_some(value))
                .ok_or(WifError::NotBase58 { position: index + 1 })?;
            for byte in bytes.iter_mut().rev() {
                carry += u32::from(*byte) * 58;
                let [.., low] = carry.to_be_bytes();
                *byte = low;
                carry >>= 8;
            }
            overflow |= carry;
        }
        let (body, checksum) = bytes.split_at(N - CHECKSUM_LEN);
        if overflow != 0 || checksum != checksum_of(body) {
            return Err(WifError::Checksum);
        }
        Ok(())
    })
}

/// The text of 38 bytes. Those that begin with one of our versions have 52 digits.
fn encode(bytes: &Secret<COMPRESSED_LEN>) -> Zeroizing<String> {
    let digits = Secret::<COMPRESSED_CHARS>::fill(|digits| {
        for byte in bytes.expose() {
            let mut carry = u32::from(*byte);
            for digit in digits.iter_mut().rev() {
                carry += u32::from(*digit) << 8;
                // Less than 58.
                let [.., low] = (carry % 58).to_be_bytes();
                *digit = low;
                carry /= 58;
            }
        }
    });
    // Made at its full length, so that it does not grow and leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(COMPRESSED_CHARS));
    text.extend(
        digits.expose().iter().filter_map(|&digit| DIGITS.get(usize::from(digit)).copied().map(char::from)),
    );
    text
}

fn checksum_of(body: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = sha256(sha256(body).as_bytes());
    let mut checksum = [0; CHECKSUM_LEN];
    checksum.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    checksum
}

/// Why a text is not a private key in WIF. No message has any of its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WifError {
    /// Neither 52 characters nor the 51 of an uncompressed key.
    #[error("a private key in WIF has 52 characters, this text has {found}")]
    Length {
        /// Bytes that were given.
        found: usize,
    },
    /// A character that base58 does not have.
    #[error("character {position} of the private key is not one of base58")]
    NotBase58 {
        /// Its place, counted from 1.
        position: usize,
    },
    /// A character is wrong.
    #[error("the checksum of the private key is wrong")]
    Checksum,
    /// Base58 with a good checksum, but of something else.
    #[error("this is not a private key of Bitcoin: its version byte is 0x{version:02x}, not 0x80 or 0xef")]
    Network {
        /// The byte.
        version: u8,
    },
    /// A key for addresses from before 2012.
    #[error("the private key is for an uncompressed public key, which has no Taproot address")]
    Uncompressed,
    /// The byte after the key is not 1.
    #[error("the private key has an unknown mark after it")]
    Mark,
    /// The 32 bytes are no key.
    #[error("the text is WIF, but what is in it is not a private key")]
    Key(#[source] Bip322PrivateKeyError),
}

impl WifError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Length { .. } | Self::NotBase58 { .. } | Self::Checksum => {
                "export it from the wallet again: one word that begins with K, L or c".to_owned()
            }
            Self::Network { .. } | Self::Mark => {
                "export the key of a Taproot address (bc1p…) from a Bitcoin wallet".to_owned()
            }
            Self::Uncompressed => {
                "make a new key for this; one that begins with 5 or 9 is not used again for Taproot"
                    .to_owned()
            }
            Self::Key(error) => return error.help(),
        })
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroize as _;

    use super::*;

    /// Erasing is by `Zeroizing`; that the arithmetic is base58's is seen in the vectors of `tests.rs`.
    #[test]
    fn a_text_of_ones_is_a_number_and_not_a_key() {
        assert!(matches!(decode::<COMPRESSED_LEN>(&"1".repeat(52)), Err(WifError::Checksum)));
        assert!(matches!(decode::<COMPRESSED_LEN>(&"z".repeat(52)), Err(WifError::Checksum)));
    }

    #[test]
    fn erases_what_it_returns() {
        let mut text = Bip322PrivateKey::from_secret(Secret::copy_of(&[7; 32]))
            .unwrap()
            .dangerous_to_wif(WifNetwork::Test);
        assert_eq!(text.capacity(), COMPRESSED_CHARS);
        text.zeroize();
        assert!(text.is_empty());
    }
}
