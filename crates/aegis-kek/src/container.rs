//! A private key under a 32-byte data key, which a device wrapped.
//!
//! A device has to wrap 32 bytes only, and some can wrap no more. The 2,432 bytes are under those, in software.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `AEGISKEK` |
//! | 1 | version, 1 |
//! | 1 | how the device wrapped the data key, [`WrapMethod`] |
//! | 32 | id of the KEK |
//! | 2 | length of the wrapped data key, big-endian, 1 to 1,024 |
//! | that many | the wrapped data key |
//! | 12 ‖ 2,432 ‖ 16 | nonce ‖ AES-256-GCM ciphertext of the private key ‖ tag; nothing after |
//!
//! Everything before the nonce is bound: the version by the label of the associated data, the rest as its parts.
//!
//! Source: SP 800-38D; layout: `docs/formats.md`.

use std::fmt;

use aegis_crypto::{
    AssociatedData, HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, HybridPrivateKeyError, HybridPublicKey, KeyId,
    OpenUnderError, SYMMETRIC_BOX_OVERHEAD, SealUnderError, Secret, open_under, seal_under,
};

/// The first bytes of a container.
const MAGIC: &[u8; 8] = b"AEGISKEK";
/// The only version so far.
const VERSION: u8 = 1;
/// The most bytes that a device may make of 32. KMS makes about 180, a key wrap 40.
pub const MAX_WRAPPED_KEY_LEN: usize = 1024;
/// Nonce, ciphertext and tag.
const SEALED_LEN: usize = HYBRID_PRIVATE_KEY_LEN + SYMMETRIC_BOX_OVERHEAD;
/// Everything but the wrapped data key.
const FIXED_LEN: usize = MAGIC.len() + 1 + 1 + KEY_ID_LEN + 2 + SEALED_LEN;
const KEY_ID_LEN: usize = 32;
/// The most bytes of a container.
pub const MAX_CONTAINER_LEN: usize = FIXED_LEN + MAX_WRAPPED_KEY_LEN;

/// How a device wrapped the data key. The numbers stand for bytes, not for a mechanism's number, which means different
/// bytes on different devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WrapMethod {
    /// The `CiphertextBlob` of a KMS data key.
    KmsDataKey = 1,
    /// AES key wrap with padding, RFC 5649: 40 bytes.
    Rfc5649 = 2,
    /// AES-256-GCM by the device: nonce (12) ‖ ciphertext ‖ tag (16).
    AesGcm = 3,
    /// AES-CCM as YubiHSM 2 wraps data.
    YubicoCcm = 4,
}

impl WrapMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::KmsDataKey, Self::Rfc5649, Self::AesGcm, Self::YubicoCcm];

    /// The byte in a container.
    pub const fn byte(self) -> u8 {
        match self {
            Self::KmsDataKey => 1,
            Self::Rfc5649 => 2,
            Self::AesGcm => 3,
            Self::YubicoCcm => 4,
        }
    }

    /// The name in listings and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KmsDataKey => "kms-data-key",
            Self::Rfc5649 => "rfc5649",
            Self::AesGcm => "aes-gcm",
            Self::YubicoCcm => "yubico-ccm",
        }
    }
}

/// A private key at rest, as it was read. Its parts fit together; whether it is authentic shows when it is opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Container {
    method: WrapMethod,
    kek: KeyId,
    wrapped_key: Vec<u8>,
    sealed: Vec<u8>,
}

impl Container {
    /// Puts a private key under a data key. `wrapped_key` is what a device made of the same data key by `method`.
    ///
    /// A data key is used for one container and then erased.
    ///
    /// # Errors
    ///
    /// [`ContainerError::WrappedKeyLength`], [`ContainerError::Seal`].
    pub fn seal(
        private: &HybridPrivateKey,
        method: WrapMethod,
        data_key: &Secret<32>,
        wrapped_key: Vec<u8>,
    ) -> Result<Self, ContainerError> {
        if !(1..=MAX_WRAPPED_KEY_LEN).contains(&wrapped_key.len()) {
            return Err(ContainerError::WrappedKeyLength { found: wrapped_key.len() });
        }
        let kek = private.public_key().key_id();
        let bound = associated_data(&kek, method, &wrapped_key);
        let sealed =
            seal_under(data_key, &bound, private.dangerous_expose()).map_err(ContainerError::Seal)?;
        Ok(Self { method, kek, wrapped_key, sealed })
    }

    /// Whether bytes are meant to be a container, of any version.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads a container. What parses prints back as the same bytes.
    ///
    /// # Errors
    ///
    /// A [`ContainerError`] for the first part that does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(ContainerError::NoContainer)?;
        let cut = |rest: &[u8]| ContainerError::CutOff { found: bytes.len(), at: bytes.len() - rest.len() };
        let (&version, rest) = rest.split_first().ok_or_else(|| cut(rest))?;
        if version != VERSION {
            return Err(ContainerError::Version { found: version });
        }
        let (&method, rest) = rest.split_first().ok_or_else(|| cut(rest))?;
        let method = WrapMethod::ALL
            .into_iter()
            .find(|known| known.byte() == method)
            .ok_or(ContainerError::Method { found: method })?;
        let (kek, rest) = rest.split_first_chunk::<KEY_ID_LEN>().ok_or_else(|| cut(rest))?;
        let (len, rest) = rest.split_first_chunk().ok_or_else(|| cut(rest))?;
        let len = usize::from(u16::from_be_bytes(*len));
        if !(1..=MAX_WRAPPED_KEY_LEN).contains(&len) {
            return Err(ContainerError::WrappedKeyLength { found: len });
        }
        if rest.len() != len + SEALED_LEN {
            return Err(ContainerError::Length { found: bytes.len(), expected: FIXED_LEN + len });
        }
        let (wrapped_key, sealed) = rest.split_at(len);
        Ok(Self {
            method,
            kek: KeyId::from_bytes(*kek),
            wrapped_key: wrapped_key.to_vec(),
            sealed: sealed.to_vec(),
        })
    }

    /// How the data key was wrapped.
    pub const fn method(&self) -> WrapMethod {
        self.method
    }

    /// The KEK that it says is inside.
    pub const fn kek(&self) -> KeyId {
        self.kek
    }

    /// What the device is to unwrap.
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// Opens it with the data key that a device unwrapped, and makes every check of a private key.
    ///
    /// # Errors
    ///
    /// [`ContainerError::OtherKek`] if another KEK is inside, [`ContainerError::NotAuthentic`] if a byte was changed or
    /// the data key is another one, [`ContainerError::PrivateKey`], [`ContainerError::Provider`].
    pub fn open(
        &self,
        data_key: &Secret<32>,
        public_key: &HybridPublicKey,
    ) -> Result<HybridPrivateKey, ContainerError> {
        let Self { method, kek, wrapped_key, sealed } = self;
        let wanted = public_key.key_id();
        if *kek != wanted {
            return Err(ContainerError::OtherKek { inside: *kek, wanted });
        }
        let bound = associated_data(kek, *method, wrapped_key);
        let private = open_under(data_key, &bound, sealed).map_err(|error| match error {
            OpenUnderError::NotAuthentic | OpenUnderError::TooShort { .. } => ContainerError::NotAuthentic,
            OpenUnderError::Provider => ContainerError::Provider,
        })?;
        HybridPrivateKey::import_for(&private, public_key).map_err(ContainerError::PrivateKey)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { method, kek, wrapped_key, sealed } = self;
        let len = u16::try_from(wrapped_key.len()).expect("at most 1,024, checked where it is made");
        [MAGIC.as_slice(), &[VERSION, method.byte()], kek.as_bytes(), &len.to_be_bytes(), wrapped_key, sealed]
            .concat()
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("method", &self.method)
            .field("kek", &self.kek)
            .finish_non_exhaustive()
    }
}

/// Binds every field before the nonce. The label names the version.
fn associated_data(kek: &KeyId, method: WrapMethod, wrapped_key: &[u8]) -> AssociatedData {
    AssociatedData::new([b"aegis/kek-wrap/v1", kek.as_bytes(), &[method.byte()], wrapped_key])
}

/// Why a wrapped KEK was not made, read or opened. No message has any of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerError {
    /// It does not begin with `AEGISKEK`.
    #[error("this is no wrapped KEK: it does not begin with AEGISKEK")]
    NoContainer,
    /// A later version of this program made it, or the byte was changed.
    #[error("this wrapped KEK has version {found}, and only version 1 is known")]
    Version {
        /// The byte.
        found: u8,
    },
    /// A later version of this program made it, or the byte was changed.
    #[error("the data key of this wrapped KEK is wrapped by method {found}, and only 1 to 4 are known")]
    Method {
        /// The byte.
        found: u8,
    },
    /// It ends within its header.
    #[error("this wrapped KEK is cut off: it has {found} bytes, and needs more after byte {at}")]
    CutOff {
        /// Bytes that are there.
        found: usize,
        /// Where the part that is missing begins.
        at: usize,
    },
    /// Nothing, or more than any device makes of 32 bytes.
    #[error("a wrapped data key has 1 to 1024 bytes, this one has {found}")]
    WrappedKeyLength {
        /// Its length.
        found: usize,
    },
    /// Too short or too long for the wrapped data key that it says it has.
    #[error("a wrapped KEK with this header has {expected} bytes, this one has {found}")]
    Length {
        /// Bytes that are there.
        found: usize,
        /// Bytes that there should be.
        expected: usize,
    },
    /// It holds another KEK than the one of the public key.
    #[error("the wrapped KEK is {}, and the public key is that of {}", inside.fingerprint(), wanted.fingerprint())]
    OtherKek {
        /// The KEK that it says is inside.
        inside: KeyId,
        /// The KEK that was asked for.
        wanted: KeyId,
    },
    /// A byte was changed, or the data key is another one.
    #[error("the wrapped KEK does not open: it was changed, or the device unwrapped another data key")]
    NotAuthentic,
    /// What was inside is not the private key.
    #[error("what the wrapped KEK holds is not the private key of its public key")]
    PrivateKey(#[source] HybridPrivateKeyError),
    /// It could not be made.
    #[error("the KEK was not wrapped")]
    Seal(#[source] SealUnderError),
    /// It could not be tried.
    #[error("the cryptographic provider could not open the wrapped KEK")]
    Provider,
}

impl ContainerError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoContainer | Self::CutOff { .. } | Self::Length { .. } => {
                Some("give all of what `aegis kek provision` wrote, as base64".to_owned())
            }
            Self::Version { .. } | Self::Method { .. } => {
                Some("use the version of this program that made it, or a newer one".to_owned())
            }
            Self::OtherKek { .. } => {
                Some("set the public key and the wrapped private key that were made together".to_owned())
            }
            Self::WrappedKeyLength { .. } | Self::NotAuthentic => {
                Some("restore the wrapped private key from where `aegis kek provision` wrote it".to_owned())
            }
            Self::PrivateKey(source) => source.help(),
            Self::Seal(source) => source.help(),
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}
