//! Wraps a private key by KMS, and checks that it unwraps again.

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKey, Secret};

use super::fault::KmsFault;
use super::session::{Session, converse};
use super::settings::{KmsAccess, KmsSettingsError, Target};
use super::{Wrapped, unwrap};
use crate::container::{Container, WrapMethod};

/// What KMS is to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KmsWrap {
    /// The private key itself, by `kms:Encrypt`. What KMS gives back is the wrapping.
    #[default]
    Direct,
    /// A data key of `kms:GenerateDataKey`, under which software puts the private key, in a [`Container`]. For key
    /// stores that do not take 2,432 bytes.
    DataKey,
}

impl KmsWrap {
    /// The name in settings, listings and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DataKey => "data-key",
        }
    }
}

/// Wraps a private key, bound to its id, and unwraps it once to see that it can be.
///
/// Needs `kms:Decrypt`, and `kms:Encrypt` or `kms:GenerateDataKey`. What is returned is for
/// `AEGIS_KMS_WRAPPED_PRIVATE_KEY`, as base64; it is not secret.
///
/// # Errors
///
/// [`KmsProvisionError`]; then nothing was made that would have to be removed.
pub fn provision(
    access: KmsAccess,
    private: &HybridPrivateKey,
    wrap: KmsWrap,
) -> Result<Vec<u8>, KmsProvisionError> {
    let target = Target::check(access).map_err(KmsProvisionError::Settings)?;
    let public_key = private.public_key();
    let (_, said) = converse(&target, public_key.key_id(), async |session: &Session<'_>| {
        let wrapped = match wrap {
            KmsWrap::Direct => session.encrypt(private.dangerous_expose()).await?,
            KmsWrap::DataKey => {
                let (key, wrapped_key) = session.data_key().await?;
                let container = Container::seal(private, WrapMethod::KmsDataKey, &key, wrapped_key);
                container.map_err(KmsFault::Container)?.to_bytes()
            }
        };
        let read = match Wrapped::parse(wrapped.clone()) {
            Ok(read) => read,
            Err(error) => return Ok(Err(KmsProvisionError::Settings(error))),
        };
        let unwrapped = unwrap(session, &read, public_key).await?;
        Ok(Ok((wrapped, unwrapped)))
    });
    let (wrapped, unwrapped) = said.map_err(KmsProvisionError::Kms)??;
    // Beyond the public key: 32 bytes of the private one leave no trace in it.
    let same = unwrapped.key.is_ok_and(|key| bytes_of(&key).ct_eq(&bytes_of(private)));
    if same { Ok(wrapped) } else { Err(KmsProvisionError::Different) }
}

fn bytes_of(private: &HybridPrivateKey) -> Secret<HYBRID_PRIVATE_KEY_LEN> {
    Secret::copy_of(private.dangerous_expose())
}

/// Why a private key was not wrapped by KMS.
#[derive(Debug, thiserror::Error)]
pub enum KmsProvisionError {
    /// How KMS is to be reached is not well said.
    #[error("KMS cannot be used as it is set")]
    Settings(#[source] KmsSettingsError),
    /// KMS did not do it.
    #[error("KMS did not wrap the private key")]
    Kms(#[source] KmsFault),
    /// KMS does not give back what it was given.
    #[error("what KMS unwrapped is not the private key that it had wrapped")]
    Different,
}

impl KmsProvisionError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Settings(source) => source.help(),
            Self::Kms(source) => source.help(),
            Self::Different => Some("do not use what answers at this endpoint".to_owned()),
        }
    }
}
