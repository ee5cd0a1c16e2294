//! A custodian's private key, by whichever algorithm. It is used on the custodian's own machine and nowhere else.

use std::fmt;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::algorithm::{CustodianAlgorithm, UnknownAlgorithm};
use super::ed25519_ml_dsa::{HybridSigningKey, PRIVATE_KEY_LEN};
use super::public_key::CustodianPublicKey;
use super::signature::{CustodianSignature, Form};
use super::statement::Statement;
use crate::bip322::{Bip322PrivateKey, Bip322PrivateKeyError, Bip322Provider, Bip322SignError};
use crate::ed25519::SeedError;
use crate::secret::{RandomError, Secret};

/// How the text of a private key begins, so that nobody takes it for a public one.
pub(super) const PRIVATE_LABEL: &str = "aegis-custodian-private:";

/// A private key. Erased on drop, and its `Debug` shows the key id only.
pub struct CustodianPrivateKey {
    key: Key,
    public: CustodianPublicKey,
}

enum Key {
    Bip322(Bip322PrivateKey),
    Ed25519MlDsa65(Box<HybridSigningKey>),
}

impl CustodianPrivateKey {
    /// Makes a new key from the system's random generator.
    ///
    /// # Errors
    ///
    /// [`CustodianKeyError::Random`] if the generator gave no bytes, [`CustodianKeyError::Provider`] if the provider
    /// failed.
    pub fn generate(algorithm: CustodianAlgorithm) -> Result<Self, CustodianKeyError> {
        match algorithm {
            CustodianAlgorithm::Bip322 => {
                Bip322PrivateKey::generate().map(Self::from).map_err(CustodianKeyError::Random)
            }
            CustodianAlgorithm::Ed25519MlDsa65 => {
                Self::of_seeds(Secret::random().map_err(CustodianKeyError::Random)?)
            }
        }
    }

    /// Takes raw bytes, which are the caller's to erase.
    ///
    /// # Errors
    ///
    /// A [`CustodianKeyError`]; no message has any of the bytes.
    pub fn from_bytes(algorithm: CustodianAlgorithm, raw: &[u8]) -> Result<Self, CustodianKeyError> {
        let length = CustodianKeyError::Length { algorithm, found: raw.len() };
        match algorithm {
            CustodianAlgorithm::Bip322 => {
                let secret = Secret::copy_of(raw.try_into().map_err(|_| length)?);
                Bip322PrivateKey::from_secret(secret).map(Self::from).map_err(CustodianKeyError::Bip322)
            }
            CustodianAlgorithm::Ed25519MlDsa65 => {
                Self::of_seeds(Secret::copy_of(raw.try_into().map_err(|_| length)?))
            }
        }
    }

    /// Reads the text of a key file: `aegis-custodian-private:ALGORITHM:BASE64`.
    ///
    /// # Errors
    ///
    /// A [`CustodianKeyError`]; no message has any of the text, but an unknown name of an algorithm.
    pub fn parse_secret_text(text: &str) -> Result<Self, CustodianKeyError> {
        let rest = text.strip_prefix(PRIVATE_LABEL).ok_or(CustodianKeyError::NotAKey)?;
        let (algorithm, base64) = rest.split_once(':').ok_or(CustodianKeyError::NotAKey)?;
        let algorithm = algorithm.parse().map_err(CustodianKeyError::Algorithm)?;
        // Longer than any key by a byte, so that one that is too long is seen to be.
        let mut room = Zeroizing::new([0; PRIVATE_KEY_LEN + 1]);
        let raw = Base64::decode(base64, room.as_mut_slice()).map_err(|_| CustodianKeyError::NotBase64)?;
        Self::from_bytes(algorithm, raw)
    }

    /// The text that a key file holds, without a line feed. Erased on drop. It belongs into an encrypted file.
    pub fn dangerous_to_secret_text(&self) -> Zeroizing<String> {
        let base64 = Zeroizing::new(Base64::encode_string(self.dangerous_bytes()));
        let algorithm = self.algorithm().id();
        // Made at its full length, so that it does not grow and leave a copy behind.
        let mut text =
            Zeroizing::new(String::with_capacity(PRIVATE_LABEL.len() + algorithm.len() + 1 + base64.len()));
        for part in [PRIVATE_LABEL, algorithm, ":", &base64] {
            text.push_str(part);
        }
        text
    }

    /// Lends the raw bytes.
    pub fn dangerous_bytes(&self) -> &[u8] {
        match &self.key {
            Key::Bip322(key) => key.dangerous_secret().expose(),
            Key::Ed25519MlDsa65(key) => key.seeds().expose(),
        }
    }

    /// By which algorithm it signs.
    pub const fn algorithm(&self) -> CustodianAlgorithm {
        self.public.algorithm()
    }

    /// The public half.
    pub const fn public_key(&self) -> &CustodianPublicKey {
        &self.public
    }

    /// Signs a statement that was made for this key's algorithm.
    ///
    /// # Errors
    ///
    /// A [`CustodianSignError`]; there is no signature.
    pub fn sign(&self, statement: &Statement) -> Result<CustodianSignature, CustodianSignError> {
        if statement.algorithm() != self.algorithm() {
            return Err(CustodianSignError::Algorithm {
                key: self.algorithm(),
                statement: statement.algorithm(),
            });
        }
        let text = statement.as_str();
        match &self.key {
            Key::Bip322(key) => {
                let signature = Bip322Provider::new().sign_message(text, key);
                signature.map(CustodianSignature::from).map_err(CustodianSignError::Bip322)
            }
            Key::Ed25519MlDsa65(key) => {
                let signature = key.sign(text.as_bytes()).ok_or(CustodianSignError::Provider)?;
                Ok(CustodianSignature(Form::Ed25519MlDsa65(signature)))
            }
        }
    }

    fn of_seeds(seeds: Secret<PRIVATE_KEY_LEN>) -> Result<Self, CustodianKeyError> {
        let key = HybridSigningKey::from_seeds(seeds).map_err(CustodianKeyError::Provider)?;
        let public = CustodianPublicKey::of_hybrid(key.public().clone());
        Ok(Self { key: Key::Ed25519MlDsa65(Box::new(key)), public })
    }
}

impl From<Bip322PrivateKey> for CustodianPrivateKey {
    fn from(key: Bip322PrivateKey) -> Self {
        let public = CustodianPublicKey::from(*key.public_key());
        Self { key: Key::Bip322(key), public }
    }
}

impl fmt::Debug for CustodianPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustodianPrivateKey")
            .field("algorithm", &self.algorithm())
            .field("key_id", &self.public.key_id())
            .finish_non_exhaustive()
    }
}

/// Why there is no private key. No message has any byte of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodianKeyError {
    /// No random bytes.
    #[error("cannot make a key")]
    Random(#[source] RandomError),
    /// The text does not begin as a private key of a custodian does.
    #[error("this is not the private key of a custodian")]
    NotAKey,
    /// It names an algorithm that does not exist.
    #[error("the private key is for an algorithm that does not exist")]
    Algorithm(#[source] UnknownAlgorithm),
    /// The bytes are not base64 in its one spelling, or are far too many.
    #[error("the private key is not base64, or it is too long")]
    NotBase64,
    /// Not the bytes of a key of this algorithm.
    #[error("a private key for {algorithm} has {} bytes, this one has {found}", algorithm.private_key_len())]
    Length {
        /// The algorithm.
        algorithm: CustodianAlgorithm,
        /// Bytes that were given.
        found: usize,
    },
    /// The bytes are no number that is a key.
    #[error("the private key for bip322-p2tr cannot be used")]
    Bip322(#[source] Bip322PrivateKeyError),
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not take the key")]
    Provider(#[source] SeedError),
}

impl CustodianKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Random(error) => error.help(),
            Self::NotAKey | Self::NotBase64 | Self::Length { .. } => {
                Some("give the file that was made with the key, whole and unchanged".to_owned())
            }
            Self::Algorithm(error) => error.help(),
            Self::Bip322(error) => error.help(),
            Self::Provider(error) => error.help(),
        }
    }
}

/// Why a statement was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustodianSignError {
    /// The statement was made for a key of another kind.
    #[error("the key is for {key}, and the statement says {statement}")]
    Algorithm {
        /// That of the key.
        key: CustodianAlgorithm,
        /// The one that the statement names.
        statement: CustodianAlgorithm,
    },
    /// BIP-322 gave no signature.
    #[error("cannot make a BIP-322 signature")]
    Bip322(#[source] Bip322SignError),
    /// The provider failed, or what it made does not verify.
    #[error("the cryptographic provider made no signature that verifies")]
    Provider,
}

impl CustodianSignError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Algorithm { .. } => {
                Some("ask for the statement again, for the key that is registered for you".to_owned())
            }
            Self::Bip322(error) => error.help(),
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}
