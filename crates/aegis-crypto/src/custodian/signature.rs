//! A custodian's signature as it travels, by whichever algorithm, not yet believed.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64, Encoding};

use super::algorithm::CustodianAlgorithm;
use super::ed25519_ml_dsa::SIGNATURE_LEN;
use crate::bip322::{Bip322Signature, Bip322SignatureError};

/// A signature, in text: `smp…` as wallets print it, or `ed25519+ml-dsa-65:` and base64.
///
/// It says nothing until [`CustodianPublicKey::verify`](crate::CustodianPublicKey::verify).
#[derive(Clone, PartialEq, Eq)]
pub struct CustodianSignature(pub(super) Form);

/// By which algorithm.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Form {
    Bip322(Bip322Signature),
    Ed25519MlDsa65(Box<[u8; SIGNATURE_LEN]>),
}

impl CustodianSignature {
    /// The most characters of a text that is looked at.
    pub const MAX_TEXT_LEN: usize = Bip322Signature::MAX_TEXT_LEN;

    /// By which algorithm it claims to be.
    pub const fn algorithm(&self) -> CustodianAlgorithm {
        match &self.0 {
            Form::Bip322(_) => CustodianAlgorithm::Bip322,
            Form::Ed25519MlDsa65(_) => CustodianAlgorithm::Ed25519MlDsa65,
        }
    }
}

impl From<Bip322Signature> for CustodianSignature {
    fn from(signature: Bip322Signature) -> Self {
        Self(Form::Bip322(signature))
    }
}

impl FromStr for CustodianSignature {
    type Err = CustodianSignatureError;

    /// Reads a signature by any algorithm. One without a name before it is BIP-322's.
    fn from_str(text: &str) -> Result<Self, CustodianSignatureError> {
        if text.len() > Self::MAX_TEXT_LEN {
            return Err(CustodianSignatureError::TooLong { found: text.len() });
        }
        let hybrid = text
            .strip_prefix(CustodianAlgorithm::Ed25519MlDsa65.id())
            .and_then(|rest| rest.strip_prefix(':'));
        let Some(base64) = hybrid else {
            let signature = Bip322Signature::parse(text).map_err(CustodianSignatureError::Bip322)?;
            return Ok(signature.into());
        };
        let bytes = Base64::decode_vec(base64).map_err(|_| CustodianSignatureError::NotBase64)?;
        let found = bytes.len();
        let bytes: Box<[u8; SIGNATURE_LEN]> =
            bytes.try_into().map_err(|_| CustodianSignatureError::Length { found })?;
        Ok(Self(Form::Ed25519MlDsa65(bytes)))
    }
}

impl fmt::Display for CustodianSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Bip322(signature) => signature.fmt(f),
            Form::Ed25519MlDsa65(bytes) => {
                write!(f, "{}:{}", self.algorithm(), Base64::encode_string(bytes.as_slice()))
            }
        }
    }
}

impl fmt::Debug for CustodianSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustodianSignature({self})")
    }
}

/// Why a text is not a signature of a custodian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CustodianSignatureError {
    /// More than any signature has.
    #[error("a signature has at most {} characters, this text has {found}", CustodianSignature::MAX_TEXT_LEN)]
    TooLong {
        /// Bytes that were given.
        found: usize,
    },
    /// It does not name an algorithm, and is not what BIP-322 wallets print.
    #[error("this is not a BIP-322 signature")]
    Bip322(#[source] Bip322SignatureError),
    /// What follows the name is not base64 in its one spelling.
    #[error("what follows ed25519+ml-dsa-65: is not base64")]
    NotBase64,
    /// Not the bytes of both halves.
    #[error("an ed25519+ml-dsa-65 signature has {SIGNATURE_LEN} bytes, this one has {found}")]
    Length {
        /// Bytes that were given.
        found: usize,
    },
}

impl CustodianSignatureError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Bip322(error) => error.help(),
            Self::TooLong { .. } | Self::NotBase64 | Self::Length { .. } => {
                Some("copy the whole signature again: one line, without white space around it".to_owned())
            }
        }
    }
}
