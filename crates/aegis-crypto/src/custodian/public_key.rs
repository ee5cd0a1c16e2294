//! A custodian's public key as it is registered, by whichever algorithm, and the one verify function.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};

use super::algorithm::{CustodianAlgorithm, UnknownAlgorithm};
use super::ed25519_ml_dsa::HybridVerifyingKey;
use super::private_key::PRIVATE_LABEL;
use super::signature::{CustodianSignature, Form};
use super::statement::Statement;
use crate::bip322::{Bip322Provider, Bip322PublicKey, Bip322PublicKeyError};
use crate::ed25519::{NotAuthentic, PublicKeyError};
use crate::key_id::KeyId;

/// A public key that was checked. In text: its algorithm, a colon, its bytes in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct CustodianPublicKey(Key);

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Bip322(Bip322PublicKey),
    Ed25519MlDsa65(HybridVerifyingKey),
}

impl CustodianPublicKey {
    /// The most characters of a text that is looked at: more than any key has, enough to say what a file is instead.
    pub const MAX_TEXT_LEN: usize = 8 * 1024;

    /// Checks raw bytes, and takes them as a key.
    ///
    /// # Errors
    ///
    /// A [`CustodianPublicKeyError`].
    pub fn from_bytes(algorithm: CustodianAlgorithm, raw: &[u8]) -> Result<Self, CustodianPublicKeyError> {
        let length = CustodianPublicKeyError::Length { algorithm, found: raw.len() };
        match algorithm {
            CustodianAlgorithm::Bip322 => {
                let key = Bip322PublicKey::from_bytes(raw.try_into().map_err(|_| length)?);
                key.map(Self::from).map_err(CustodianPublicKeyError::Bip322)
            }
            CustodianAlgorithm::Ed25519MlDsa65 => {
                let key = HybridVerifyingKey::from_bytes(raw.try_into().map_err(|_| length)?);
                key.map(Self::of_hybrid).map_err(CustodianPublicKeyError::Ed25519)
            }
        }
    }

    pub(super) const fn of_hybrid(key: HybridVerifyingKey) -> Self {
        Self(Key::Ed25519MlDsa65(key))
    }

    /// By which algorithm its holder signs.
    pub const fn algorithm(&self) -> CustodianAlgorithm {
        match &self.0 {
            Key::Bip322(_) => CustodianAlgorithm::Bip322,
            Key::Ed25519MlDsa65(_) => CustodianAlgorithm::Ed25519MlDsa65,
        }
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Key::Bip322(key) => key.as_bytes(),
            Key::Ed25519MlDsa65(key) => key.as_bytes(),
        }
    }

    /// The key's name: SHA-256 of the raw bytes.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(self.as_bytes())
    }

    /// The key, if it is one with a Taproot address.
    pub const fn as_bip322(&self) -> Option<&Bip322PublicKey> {
        match &self.0 {
            Key::Bip322(key) => Some(key),
            Key::Ed25519MlDsa65(_) => None,
        }
    }

    /// Checks that the holder of this key signed `statement`.
    ///
    /// # Errors
    ///
    /// [`CustodianVerifyError::Algorithm`] if statement, key and signature do not all say the same one;
    /// [`CustodianVerifyError::NotAuthentic`], whatever the reason.
    pub fn verify(
        &self,
        statement: &Statement,
        signature: &CustodianSignature,
    ) -> Result<(), CustodianVerifyError> {
        let wrong_algorithm = CustodianVerifyError::Algorithm {
            key: self.algorithm(),
            statement: statement.algorithm(),
            signature: signature.algorithm(),
        };
        if statement.algorithm() != self.algorithm() {
            return Err(wrong_algorithm);
        }
        let text = statement.as_str();
        match (&self.0, &signature.0) {
            (Key::Bip322(key), Form::Bip322(signature)) => {
                Bip322Provider::new().verify_message(signature, text, key)
            }
            (Key::Ed25519MlDsa65(key), Form::Ed25519MlDsa65(signature)) => {
                key.verify(text.as_bytes(), signature)
            }
            (Key::Bip322(_), Form::Ed25519MlDsa65(_)) | (Key::Ed25519MlDsa65(_), Form::Bip322(_)) => {
                return Err(wrong_algorithm);
            }
        }
        .map_err(|NotAuthentic| CustodianVerifyError::NotAuthentic)
    }
}

impl From<Bip322PublicKey> for CustodianPublicKey {
    fn from(key: Bip322PublicKey) -> Self {
        Self(Key::Bip322(key))
    }
}

impl FromStr for CustodianPublicKey {
    type Err = CustodianPublicKeyError;

    /// Reads `ALGORITHM:BASE64`. A private key is refused as one, and not looked at further.
    fn from_str(text: &str) -> Result<Self, CustodianPublicKeyError> {
        if let Some(found) = PrivateMaterial::in_text(text) {
            return Err(CustodianPublicKeyError::Private { found });
        }
        if text.len() > Self::MAX_TEXT_LEN {
            return Err(CustodianPublicKeyError::TooLong { found: text.len() });
        }
        let (algorithm, base64) = text.split_once(':').ok_or(CustodianPublicKeyError::NoAlgorithm)?;
        let algorithm = algorithm.parse().map_err(CustodianPublicKeyError::Algorithm)?;
        let raw = Base64::decode_vec(base64).map_err(|_| CustodianPublicKeyError::NotBase64)?;
        Self::from_bytes(algorithm, &raw)
    }
}

impl fmt::Display for CustodianPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), Base64::encode_string(self.as_bytes()))
    }
}

impl fmt::Debug for CustodianPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustodianPublicKey")
            .field("algorithm", &self.algorithm())
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

/// In what form somebody handed over a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateMaterial {
    /// As our own key files hold it.
    Custodian,
    /// As wallets export it.
    Wif,
    /// A PEM block whose label says so.
    Pem,
    /// An age file or an age identity.
    Age,
    /// An extended private key of a wallet (`xprv…`).
    ExtendedKey,
}

impl PrivateMaterial {
    /// What messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Custodian => "the private key of a custodian",
            Self::Wif => "a private key in WIF",
            Self::Pem => "a private key in PEM",
            Self::Age => "an age file, in which private keys are kept",
            Self::ExtendedKey => "an extended private key of a wallet",
        }
    }

    /// Looks for a private key in a text that was given as a public one, anywhere in it.
    ///
    /// Keys without a form, such as 32 bytes in hex, look like public ones: nobody can tell them apart.
    pub fn in_text(text: &str) -> Option<Self> {
        // The whole of a public key in base64 is one word, so that no part of it is taken for something else.
        let words = || text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '/'));
        if text.contains(PRIVATE_LABEL) {
            Some(Self::Custodian)
        } else if text.contains("PRIVATE KEY-----") {
            Some(Self::Pem)
        } else if text.contains("AGE-SECRET-KEY-")
            || text.contains("-----BEGIN AGE ENCRYPTED FILE-----")
            || text.contains("age-encryption.org/")
        {
            Some(Self::Age)
        } else if words().any(is_extended_private_key) {
            Some(Self::ExtendedKey)
        } else if words().any(looks_like_wif) {
            Some(Self::Wif)
        } else {
            None
        }
    }
}

/// By its look and not by its checksum: a key with a slip of the pen is still a secret.
fn looks_like_wif(word: &str) -> bool {
    matches!((word.len(), word.as_bytes().first()), (52, Some(b'K' | b'L' | b'c')) | (51, Some(b'5' | b'9')))
}

fn is_extended_private_key(word: &str) -> bool {
    word.len() == 111 && matches!(word.as_bytes(), [_, b'p', b'r', b'v', ..])
}

/// Why a text, or bytes, are not a public key of a custodian.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodianPublicKeyError {
    /// A private key was given. It is compromised as soon as somebody else has it.
    #[error("this is {}, and a public key is wanted", found.name())]
    Private {
        /// In what form.
        found: PrivateMaterial,
    },
    /// More than any key has.
    #[error(
        "a public key has at most {} characters, this text has {found}",
        CustodianPublicKey::MAX_TEXT_LEN
    )]
    TooLong {
        /// Bytes that were given.
        found: usize,
    },
    /// Nothing says by which algorithm it is.
    #[error("the public key does not begin with its algorithm and a colon")]
    NoAlgorithm,
    /// It says one that does not exist.
    #[error("the public key is for an algorithm that does not exist")]
    Algorithm(#[source] UnknownAlgorithm),
    /// What follows the colon is not base64 in its one spelling.
    #[error("what follows the colon of the public key is not base64")]
    NotBase64,
    /// Not the bytes of a key of this algorithm.
    #[error("a public key for {algorithm} has {} bytes, this one has {found}", algorithm.public_key_len())]
    Length {
        /// The algorithm.
        algorithm: CustodianAlgorithm,
        /// Bytes that were given.
        found: usize,
    },
    /// Not an x-only key.
    #[error("the public key for bip322-p2tr cannot be used")]
    Bip322(#[source] Bip322PublicKeyError),
    /// The first half of a hybrid key is not an Ed25519 key that may be trusted.
    #[error("the Ed25519 half of the public key cannot be used")]
    Ed25519(#[source] PublicKeyError),
}

impl CustodianPublicKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Private { .. } => Some(
                "nothing was kept; a private key that was sent is compromised: its holder makes a new one, and sends \
                 the public key of that alone"
                    .to_owned(),
            ),
            Self::TooLong { .. } | Self::NoAlgorithm | Self::NotBase64 | Self::Length { .. } => Some(
                "give one line such as bip322-p2tr:BASE64, as it was printed when the key was made".to_owned(),
            ),
            Self::Algorithm(error) => error.help(),
            Self::Bip322(error) => error.help(),
            Self::Ed25519(error) => error.help(),
        }
    }
}

/// Why a statement was not signed by this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustodianVerifyError {
    /// Key, statement and signature are not all of one algorithm.
    #[error("the key is for {key}, the statement says {statement}, and the signature is by {signature}")]
    Algorithm {
        /// That of the key.
        key: CustodianAlgorithm,
        /// The one that the statement names.
        statement: CustodianAlgorithm,
        /// That of the signature.
        signature: CustodianAlgorithm,
    },
    /// The signature was not made over this statement by the holder of this key.
    #[error("the signature is not valid for this key and this statement")]
    NotAuthentic,
}

impl CustodianVerifyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Algorithm { key, .. } => {
                Some(format!("sign the statement that was made for this key; it says {key}"))
            }
            Self::NotAuthentic => Some(
                "check that the text was signed exactly as it is shown, and with the registered key"
                    .to_owned(),
            ),
        }
    }
}
