//! Wraps a private key by a token, and makes the key that wraps.

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, RandomError, Secret};

use super::answer::{DeviceAnswer, Meaning, ReturnCode};
use super::connection::{LoggedIn, Start, labelled};
use super::fault::HsmFault;
use super::mechanism::Mechanism;
use super::pool::Pool;
use super::probe::{DATA_KEY_LEN, Direct};
use super::raw::{Access, Attribute, Object, Session, number};
use super::settings::{HsmToken, Wrapped};
use super::unwrap;
use crate::container::{Container, ContainerError};

/// In how many steps a private key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HsmWrap {
    /// The token wraps a random key of 32 bytes, and software the private key under that. Every token can.
    #[default]
    TwoStep,
    /// The token wraps the 2,432 bytes: a bare RFC 5649 blob, which other programs read too.
    Direct,
}

impl HsmWrap {
    /// The name in settings, listings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TwoStep => "two-step",
            Self::Direct => "direct",
        }
    }
}

/// Wraps a private key by the token's key, and unwraps it once to see that it can be.
///
/// What is returned is for `AEGIS_HSM_WRAPPED_PRIVATE_KEY`, as base64; it is not secret.
///
/// # Errors
///
/// [`HsmProvisionError`]; nothing stays on the token.
pub fn provision(
    token: &HsmToken,
    private: &HybridPrivateKey,
    wrap: HsmWrap,
) -> Result<Vec<u8>, HsmProvisionError> {
    let public_key = private.public_key();
    let pool = Pool::new(token.clone(), public_key.key_id());
    let wrapped = match wrap {
        HsmWrap::TwoStep => {
            let data_key = Secret::<DATA_KEY_LEN>::random().map_err(HsmProvisionError::Random)?;
            let (wrapped_key, mechanism) = wrap_by(&pool, data_key.expose())?;
            Container::seal(private, mechanism.method(), &data_key, wrapped_key)
                .map_err(HsmProvisionError::Container)?
                .to_bytes()
        }
        HsmWrap::Direct => {
            let connection = pool.connection().map_err(HsmProvisionError::Hsm)?;
            if connection.finding.direct != Direct::Proven {
                return Err(HsmProvisionError::DirectNotProven {
                    token: token.token_label.clone(),
                    mechanism: connection.finding.mechanism,
                });
            }
            wrap_by(&pool, private.dangerous_expose())?.0
        }
    };
    // Read as it will be read: from its bytes.
    let read = Wrapped::parse(wrapped.clone()).map_err(|_| HsmProvisionError::Different)?;
    let unwrapped = unwrap(&pool, &read, public_key).map_err(HsmProvisionError::Hsm)?;
    // Beyond the public key: 32 bytes of the private one leave no trace in it.
    let same = unwrapped.is_ok_and(|key| bytes_of(&key).ct_eq(&bytes_of(private)));
    if same { Ok(wrapped) } else { Err(HsmProvisionError::Different) }
}

fn wrap_by(pool: &Pool, plain: &[u8]) -> Result<(Vec<u8>, Mechanism), HsmProvisionError> {
    pool.run(|session, connection| {
        let mechanism = connection.finding.mechanism;
        Ok((mechanism.wrap(session, connection.key, plain, pool.kek())?, mechanism))
    })
    .map_err(HsmProvisionError::Hsm)
}

fn bytes_of(private: &HybridPrivateKey) -> Secret<HYBRID_PRIVATE_KEY_LEN> {
    Secret::copy_of(private.dangerous_expose())
}

/// Makes the AES-256 key that [`provision`] wraps with, inside the token: it can be used there, and never leaves it.
///
/// # Errors
///
/// [`HsmProvisionError::KeyExists`] if a secret key has the label, [`HsmProvisionError::Readable`] if the token would
/// let the key out (then it is destroyed), [`HsmProvisionError::Hsm`].
pub fn generate_wrapping_key(token: &HsmToken) -> Result<(), HsmProvisionError> {
    let failed = |answer| HsmProvisionError::Hsm(HsmFault::of(&token.token_label, answer));
    let device = LoggedIn::to(token, Start::AsItIs).map_err(HsmProvisionError::Hsm)?;
    let session = device.session(Access::ReadWrite).map_err(failed)?;
    let exists = || HsmProvisionError::KeyExists {
        token: token.token_label.clone(),
        label: token.wrapping_key_label.clone(),
    };
    if !labelled(&session, &token.wrapping_key_label).map_err(failed)?.is_empty() {
        return Err(exists());
    }
    let key = generate(&session, &token.wrapping_key_label).map_err(failed)?;
    // Somebody may have made one at the same time. Then neither could be found by its label.
    let mistake = match labelled(&session, &token.wrapping_key_label) {
        Ok(found) if found.len() > 1 => Some(exists()),
        Ok(_) => match stays_inside(&session, key) {
            Ok(true) => None,
            Ok(false) => Some(HsmProvisionError::Readable { token: token.token_label.clone() }),
            Err(answer) => Some(failed(answer)),
        },
        Err(answer) => Some(failed(answer)),
    };
    match mistake {
        None => Ok(()),
        Some(mistake) => {
            session.destroy(key).map_err(failed)?;
            Err(mistake)
        }
    }
}

/// Some tokens refuse a key that may do all four; then one that encrypts is taken, or else one that wraps.
fn generate(session: &Session, label: &str) -> Result<Object, DeviceAnswer> {
    let both = [number::CKA_ENCRYPT, number::CKA_DECRYPT, number::CKA_WRAP, number::CKA_UNWRAP];
    let [encrypt, decrypt, wrap, unwrap] = both;
    let uses: [&[u64]; 3] = [&both, &[encrypt, decrypt], &[wrap, unwrap]];
    let mut first = None;
    for uses in uses {
        let mut template = vec![
            Attribute::Number(number::CKA_CLASS, number::CKO_SECRET_KEY),
            Attribute::Number(number::CKA_KEY_TYPE, number::CKK_AES),
            Attribute::Number(number::CKA_VALUE_LEN, 32),
            Attribute::Bytes(number::CKA_LABEL, label.as_bytes()),
            Attribute::Flag(number::CKA_TOKEN, number::CK_TRUE),
            Attribute::Flag(number::CKA_PRIVATE, number::CK_TRUE),
            Attribute::Flag(number::CKA_SENSITIVE, number::CK_TRUE),
            Attribute::Flag(number::CKA_EXTRACTABLE, number::CK_FALSE),
        ];
        template.extend(uses.iter().map(|kind| Attribute::Flag(*kind, number::CK_TRUE)));
        match session.generate_key(number::CKM_AES_KEY_GEN, &template) {
            Ok(key) => return Ok(key),
            Err(answer) if answer.meaning() == Meaning::Unsuited => {
                first.get_or_insert(answer);
            }
            Err(answer) => return Err(answer),
        }
    }
    Err(first
        .unwrap_or(DeviceAnswer::Code { function: "C_GenerateKey", code: ReturnCode::TEMPLATE_INCONSISTENT }))
}

/// Whether the token says that it keeps the key to itself.
fn stays_inside(session: &Session, key: Object) -> Result<bool, DeviceAnswer> {
    let flag = |kind| {
        Ok::<_, DeviceAnswer>(session.attribute(key, kind, 1)?.map(|value| *value == [number::CK_TRUE]))
    };
    Ok(flag(number::CKA_SENSITIVE)? == Some(true) && flag(number::CKA_EXTRACTABLE)? == Some(false))
}

/// Why a private key was not wrapped by a token, or a wrapping key not made.
#[derive(Debug, thiserror::Error)]
pub enum HsmProvisionError {
    /// The token did not do it.
    #[error("the HSM did not do it")]
    Hsm(#[source] HsmFault),
    /// The token was not seen to wrap a whole private key as the standard says.
    #[error("token {token:?}, by {mechanism}, was not seen to wrap 2432 bytes as RFC 5649 says")]
    DirectNotProven {
        /// The token.
        token: String,
        /// What was chosen for it.
        mechanism: Mechanism,
    },
    /// What was wrapped does not come out again.
    #[error("what the token wrapped does not unwrap to the same private key")]
    Different,
    /// A secret key has the label already.
    #[error("token {token:?} has a secret key labelled {label:?} already")]
    KeyExists {
        /// The token.
        token: String,
        /// The label.
        label: String,
    },
    /// The key would not be safe in the token.
    #[error("token {token:?} would let the new wrapping key out, so it was destroyed")]
    Readable {
        /// The token.
        token: String,
    },
    /// No randomness for the data key.
    #[error("the private key was not wrapped")]
    Random(#[source] RandomError),
    /// The container could not be made.
    #[error("the private key was not wrapped")]
    Container(#[source] ContainerError),
}

impl HsmProvisionError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Hsm(source) => return source.help(),
            Self::DirectNotProven { .. } => "leave out `--hsm-wrap direct`; two steps are as safe".to_owned(),
            Self::Different => "do not use this token as it is; nothing was kept".to_owned(),
            Self::KeyExists { .. } => "use it, or choose another AEGIS_HSM_WRAPPING_KEY_LABEL".to_owned(),
            Self::Readable { .. } => {
                "make an AES-256 key by the device's own tool, sensitive and not extractable".to_owned()
            }
            Self::Random(source) => return source.help(),
            Self::Container(source) => return source.help(),
        })
    }
}
