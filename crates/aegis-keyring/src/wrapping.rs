//! A DEK's private half in a sealed box to a KEK. Layout: `docs/formats.md`.
//!
//! The box is bound to the DEK's version, the DEK's key id and the KEK's: in the place of any other it does not open.

use std::time::Instant;

use aegis_crypto::{
    AssociatedData, BOX_OVERHEAD, HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, HybridPrivateKeyError,
    HybridPublicKey, KeyId, OpenError, Opener, Purpose, SealError, Sealer,
};
use aegis_kek::Kek;
use zeroize::Zeroizing;

use crate::record::{NewWrapping, StoredWrapping};
use crate::version::DekVersion;

/// Bytes of every wrapping.
pub(crate) const WRAPPING_LEN: usize = BOX_OVERHEAD + HYBRID_PRIVATE_KEY_LEN;

/// Where the ML-KEM public key stands in a private key: after X25519 (32) and the private vector (1,152, FIPS 203 §7.1).
const EK_START: usize = 32 + 1152;
/// Where it stands in a public key: after X25519.
const PUBLIC_EK_START: usize = 32;

/// Wraps DEKs under one KEK, with one encapsulation for many of them.
pub(crate) struct Wrapper {
    sealer: Sealer,
    kek: KeyId,
}

impl Wrapper {
    pub(crate) fn new(kek: &HybridPublicKey) -> Result<Self, SealError> {
        let sealer = Sealer::new(kek.clone(), Purpose::DekWrap, Instant::now())?;
        Ok(Self { sealer, kek: kek.key_id() })
    }

    pub(crate) fn wrap(
        &mut self,
        version: DekVersion,
        dek: KeyId,
        private: &[u8],
    ) -> Result<NewWrapping, SealError> {
        let associated_data = associated_data(version, dek, self.kek);
        let sealed = self.sealer.seal(Instant::now(), &associated_data, private)?;
        Ok(NewWrapping { version, kek: self.kek, sealed })
    }
}

/// Unwraps DEKs under one KEK, and decapsulates once for those that were wrapped together.
pub(crate) struct Unwrapper {
    opener: Opener,
    kek: KeyId,
}

impl Unwrapper {
    pub(crate) fn new(kek: &Kek) -> Self {
        let opener = Opener::new(kek.private_key().clone(), Purpose::DekWrap);
        Self { opener, kek: kek.key_id() }
    }

    /// The private half's bytes, which are authentic and hold the ML-KEM public key that they should.
    ///
    /// Comparing that costs nothing beside the decapsulation, and finds what an honest but broken writer could have
    /// sealed. [`import`] makes every check, for as much again as the decapsulation.
    pub(crate) fn unwrap(&mut self, wrapping: &StoredWrapping) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let StoredWrapping { version, public_key, sealed } = wrapping;
        // The shape first: it is no secret, and says more than that the box does not open.
        if sealed.len() != WRAPPING_LEN {
            return Err(UnwrapError::Length { found: sealed.len() });
        }
        let associated_data = associated_data(*version, public_key.key_id(), self.kek);
        let private = self.opener.open(&associated_data, sealed, None).map_err(|error| match error {
            OpenError::TooShort { found } => UnwrapError::Length { found },
            OpenError::NotAuthentic => UnwrapError::NotAuthentic,
            OpenError::Provider => UnwrapError::Provider,
        })?;
        let ek = public_key.as_bytes().get(PUBLIC_EK_START..);
        let ek_len = ek.map_or(0, <[u8]>::len);
        if private.get(EK_START..EK_START.saturating_add(ek_len)) != ek {
            return Err(UnwrapError::OtherKey);
        }
        Ok(private)
    }
}

/// Makes every check of a private key, and that it belongs to `public_key`.
pub(crate) fn import(private: &[u8], public_key: &HybridPublicKey) -> Result<HybridPrivateKey, UnwrapError> {
    HybridPrivateKey::import_for(private, public_key).map_err(UnwrapError::Key)
}

/// What the box of a wrapping is bound to.
fn associated_data(version: DekVersion, dek: KeyId, kek: KeyId) -> AssociatedData {
    let version = version.to_string();
    AssociatedData::new([b"aegis/dek/v1", version.as_bytes(), dek.as_bytes(), kek.as_bytes()])
}

/// Why a wrapping gives no DEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Not the length of any wrapping.
    #[error("a wrapping has {WRAPPING_LEN} bytes, this one has {found}")]
    Length {
        /// Bytes that are stored.
        found: usize,
    },
    /// The box does not open. Wrapping, version or one of the public keys is not what it was sealed with; which, nobody
    /// is told.
    #[error("the wrapping does not open: it, the version or a public key was changed after it was sealed")]
    NotAuthentic,
    /// The box is authentic, and in it is the private half of another key.
    #[error("the wrapping holds the private half of another key")]
    OtherKey,
    /// The box is authentic, and in it is no good key.
    #[error("the wrapping holds a key that fails a check")]
    Key(#[source] HybridPrivateKeyError),
    /// The provider of cryptography failed, for want of memory for instance.
    #[error("the cryptographic provider could not unwrap")]
    Provider,
}

impl UnwrapError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Provider | Self::Key(HybridPrivateKeyError::Provider) => {
                Some("check that memory is available and try again".to_owned())
            }
            Self::Length { .. } | Self::NotAuthentic | Self::OtherKey | Self::Key(_) => Some(
                "try another KEK that it is wrapped under, or restore the keyring from a backup: `aegis kek \
                 status`, `aegis backup verify`"
                    .to_owned(),
            ),
        }
    }

    /// Whether it says something of the wrapping, and not of this machine at this moment.
    pub(crate) const fn is_lasting(&self) -> bool {
        !matches!(self, Self::Provider | Self::Key(HybridPrivateKeyError::Provider))
    }
}
