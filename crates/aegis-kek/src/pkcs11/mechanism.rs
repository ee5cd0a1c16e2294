//! The ways in which a token wraps a few bytes.
//!
//! The same number means different bytes on different tokens: 0x210A is RFC 5649 on SoftHSM2, and PKCS#7 padding with
//! RFC 3394 on NSS. So a wrapping says what its *bytes* are ([`WrapMethod`]), and which call and which number
//! produce those on the token at hand is found out by [`probe`](super::probe).

use std::fmt;
use std::str::FromStr;

use aegis_crypto::{AssociatedData, KEY_WRAP_OVERHEAD, KeyId, RandomError, Secret};
use zeroize::Zeroizing;

use super::answer::DeviceAnswer;
use super::raw::{Attribute, Cipher, Object, Session, number};
use crate::container::WrapMethod;

/// The most bytes that a device may add to what it wraps.
const MAX_OVERHEAD: usize = 96;
/// Bytes of the nonce that comes first in a wrapping by AES-GCM.
const NONCE_LEN: usize = 12;
/// `CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD`, AWS CloudHSM SDK 5.
const CLOUDHSM_KWP: u64 = 0x8000_216f;
/// `CKM_YUBICO_AES_CCM_WRAP`, YubiHSM 2.
const YUBICO_CCM: u64 = 0xd955_4204;

/// How a token wraps and unwraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// `CKM_AES_KEY_WRAP_KWP` by `C_Encrypt`: RFC 5649.
    KwpEncrypt,
    /// `CKM_AES_KEY_WRAP_KWP` by `C_WrapKey`: RFC 5649.
    KwpWrap,
    /// `CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD` by `C_WrapKey`: RFC 5649.
    CloudHsmKwp,
    /// `CKM_YUBICO_AES_CCM_WRAP` by `C_Encrypt`: AES-CCM.
    YubicoCcm,
    /// `CKM_AES_KEY_WRAP_PAD` by `C_WrapKey`, where that is RFC 5649.
    KeyWrapPad,
    /// `CKM_AES_GCM` by `C_Encrypt`.
    AesGcm,
}

/// A mechanism of one vendor, which is tried only if it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VendorMechanism {
    /// AWS CloudHSM: RFC 5649 under number 0x8000216F.
    CloudHsmKwp,
    /// YubiHSM 2: AES-CCM under number 0xD9554204.
    YubicoCcm,
}

/// Where a mechanism takes what it wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// From memory: `C_Encrypt`, `C_Decrypt`.
    Encrypting,
    /// From an object of the token: `C_WrapKey`, `C_UnwrapKey`.
    Wrapping,
}

impl VendorMechanism {
    /// The names in settings.
    pub const NAMES: &[&str] = &["cloudhsm-kwp", "yubico-ccm"];

    /// The name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudHsmKwp => "cloudhsm-kwp",
            Self::YubicoCcm => "yubico-ccm",
        }
    }

    pub(super) const fn mechanism(self) -> Mechanism {
        match self {
            Self::CloudHsmKwp => Mechanism::CloudHsmKwp,
            Self::YubicoCcm => Mechanism::YubicoCcm,
        }
    }
}

impl FromStr for VendorMechanism {
    type Err = UnknownMechanism;

    fn from_str(name: &str) -> Result<Self, UnknownMechanism> {
        [Self::CloudHsmKwp, Self::YubicoCcm]
            .into_iter()
            .find(|known| known.as_str() == name)
            .ok_or(UnknownMechanism)
    }
}

/// The name of no vendor's mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no vendor mechanism of this name, only cloudhsm-kwp and yubico-ccm")]
pub struct UnknownMechanism;

impl Mechanism {
    /// The name in listings and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KwpEncrypt => "CKM_AES_KEY_WRAP_KWP by C_Encrypt",
            Self::KwpWrap => "CKM_AES_KEY_WRAP_KWP by C_WrapKey",
            Self::CloudHsmKwp => "CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD by C_WrapKey",
            Self::YubicoCcm => "CKM_YUBICO_AES_CCM_WRAP by C_Encrypt",
            Self::KeyWrapPad => "CKM_AES_KEY_WRAP_PAD by C_WrapKey",
            Self::AesGcm => "CKM_AES_GCM by C_Encrypt",
        }
    }

    /// What the bytes are that it makes.
    pub const fn method(self) -> WrapMethod {
        match self {
            Self::KwpEncrypt | Self::KwpWrap | Self::CloudHsmKwp | Self::KeyWrapPad => WrapMethod::Rfc5649,
            Self::YubicoCcm => WrapMethod::YubicoCcm,
            Self::AesGcm => WrapMethod::AesGcm,
        }
    }

    pub(super) const fn by(self) -> By {
        match self {
            Self::KwpEncrypt | Self::YubicoCcm | Self::AesGcm => By::Encrypting,
            Self::KwpWrap | Self::CloudHsmKwp | Self::KeyWrapPad => By::Wrapping,
        }
    }

    /// The number, for those that have no parameters.
    const fn number(self) -> u64 {
        match self {
            Self::KwpEncrypt | Self::KwpWrap => number::CKM_AES_KEY_WRAP_KWP,
            Self::CloudHsmKwp => CLOUDHSM_KWP,
            Self::YubicoCcm => YUBICO_CCM,
            Self::KeyWrapPad => number::CKM_AES_KEY_WRAP_PAD,
            Self::AesGcm => 0x1087,
        }
    }

    /// Wraps `plain` under a key of the token. AES-GCM binds the KEK's id to it.
    pub(super) fn wrap(
        self,
        session: &Session,
        key: Object,
        plain: &[u8],
        kek: &KeyId,
    ) -> Result<Vec<u8>, WrapFault> {
        let limit = plain.len() + MAX_OVERHEAD;
        let wrapped = match self {
            Self::AesGcm => {
                // By the system's generator: a token's own may be asked for with a parameter that each spells otherwise.
                let nonce = Secret::<NONCE_LEN>::random().map_err(WrapFault::Random)?;
                let iv = nonce.expose();
                let bound = bound_to(kek);
                let cipher = Cipher::Gcm { iv, associated_data: bound.as_bytes() };
                let sealed = session.encrypt(&cipher, key, plain, limit)?;
                [iv.as_slice(), &sealed].concat()
            }
            _ if self.by() == By::Encrypting => {
                session.encrypt(&Cipher::Plain(self.number()), key, plain, limit)?
            }
            _ => {
                let object = session.create(&held(plain))?;
                let wrapped = session.wrap(&Cipher::Plain(self.number()), key, object, limit);
                session.destroy(object)?;
                wrapped?
            }
        };
        Ok(wrapped)
    }

    /// Unwraps what has to be `len` bytes long.
    pub(super) fn unwrap(
        self,
        session: &Session,
        key: Object,
        wrapped: &[u8],
        len: usize,
        kek: &KeyId,
    ) -> Result<Zeroizing<Vec<u8>>, DeviceAnswer> {
        // Room for more than there should be, so that too long an answer is told from a broken module.
        let limit = len.max(wrapped.len()) + MAX_OVERHEAD;
        let (function, plain) = match self {
            Self::AesGcm => {
                let Some((iv, sealed)) = wrapped.split_first_chunk::<NONCE_LEN>() else {
                    return Err(DeviceAnswer::WrongLength { function: "C_Decrypt", found: 0, expected: len });
                };
                let bound = bound_to(kek);
                let cipher = Cipher::Gcm { iv, associated_data: bound.as_bytes() };
                ("C_Decrypt", session.decrypt(&cipher, key, sealed, limit)?)
            }
            _ if self.by() == By::Encrypting => {
                ("C_Decrypt", session.decrypt(&Cipher::Plain(self.number()), key, wrapped, limit)?)
            }
            _ => ("C_UnwrapKey", self.unwrap_object(session, key, wrapped, limit)?),
        };
        if plain.len() == len {
            Ok(plain)
        } else {
            Err(DeviceAnswer::WrongLength { function, found: plain.len(), expected: len })
        }
    }

    fn unwrap_object(
        self,
        session: &Session,
        key: Object,
        wrapped: &[u8],
        limit: usize,
    ) -> Result<Zeroizing<Vec<u8>>, DeviceAnswer> {
        // A session object that may be read, for as long as that takes.
        let template = readable();
        let object = session.unwrap(&Cipher::Plain(self.number()), key, wrapped, &template)?;
        let value = session.attribute(object, number::CKA_VALUE, limit);
        // First out of the token, whatever came of reading it.
        session.destroy(object)?;
        // A token that unwraps, and shows nothing, says so with an empty answer.
        Ok(value?.unwrap_or_default())
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes that RFC 5649 makes of `len` bytes, a multiple of 8.
pub(super) const fn rfc5649_len(len: usize) -> usize {
    len + KEY_WRAP_OVERHEAD
}

/// Why a token did not wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrapFault {
    Device(DeviceAnswer),
    Random(RandomError),
}

impl From<DeviceAnswer> for WrapFault {
    fn from(answer: DeviceAnswer) -> Self {
        Self::Device(answer)
    }
}

/// What AES-GCM binds: a wrapping of one KEK is not one of another.
pub(super) fn bound_to(kek: &KeyId) -> AssociatedData {
    AssociatedData::new([b"aegis/hsm-wrap/v1", kek.as_bytes()])
}

/// A secret of a session that can be wrapped and is not kept.
fn held(bytes: &[u8]) -> [Attribute<'_>; 7] {
    let [class, kind, token, private, sensitive, extractable] = readable();
    [class, kind, token, private, sensitive, extractable, Attribute::Bytes(number::CKA_VALUE, bytes)]
}

fn readable() -> [Attribute<'static>; 6] {
    [
        Attribute::Number(number::CKA_CLASS, number::CKO_SECRET_KEY),
        Attribute::Number(number::CKA_KEY_TYPE, number::CKK_GENERIC_SECRET),
        Attribute::Flag(number::CKA_TOKEN, number::CK_FALSE),
        Attribute::Flag(number::CKA_PRIVATE, number::CK_TRUE),
        Attribute::Flag(number::CKA_SENSITIVE, number::CK_FALSE),
        Attribute::Flag(number::CKA_EXTRACTABLE, number::CK_TRUE),
    ]
}
