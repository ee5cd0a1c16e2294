//! What a provider needs to be set, and why it is not usable as it is set.

use aegis_crypto::{HybridPrivateKeyError, KeyId};

use crate::kek_file::KekFileError;
use crate::known_variables::MASTER_KEK_PUBLIC;
use crate::provider::ProviderKind;
use crate::variables::VariableError;
#[cfg(any(feature = "kms", feature = "environment", feature = "file"))]
use crate::variables::Variables;

/// Why the settings of a provider do not make one. No device was asked, and no message has the value of a variable.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not all of its variables have a value.
    #[error("the {kind} provider needs {}, which {} not set", names.join(", "), if names.len() == 1 { "is" } else { "are" })]
    Missing {
        /// Which provider.
        kind: ProviderKind,
        /// Every one that is missing.
        names: Vec<&'static str>,
    },
    /// A variable has a value that cannot be used.
    #[error("the {kind} provider cannot be used as it is set")]
    Malformed {
        /// Which provider.
        kind: ProviderKind,
        /// The variable, and what is wrong with it.
        source: VariableError,
    },
    /// There is no PIN where the settings say it is.
    #[cfg(feature = "hsm")]
    #[error("the hsm provider cannot be used as it is set")]
    Pin(#[source] crate::pkcs11::PinError),
    /// What the HSM is to unwrap cannot be right.
    #[cfg(feature = "hsm")]
    #[error("the hsm provider cannot be used as it is set")]
    Hsm(#[source] crate::pkcs11::HsmSettingsError),
    /// How KMS is to be reached, or what it is to unwrap, cannot be right.
    #[cfg(feature = "kms")]
    #[error("the kms provider cannot be used as it is set")]
    Kms(#[source] crate::aws_kms::KmsSettingsError),
    /// Each half is good, and they do not belong together.
    #[error("{name} is not the private half of {MASTER_KEK_PUBLIC}")]
    Mismatch {
        /// The variable that holds the private half.
        name: &'static str,
        /// Where they differ.
        source: HybridPrivateKeyError,
    },
    /// What is sealed to the public key that is set would not open with the KEK of the provider.
    #[error(
        "{name} holds KEK {}, and {MASTER_KEK_PUBLIC} is set to that of {}", holds.fingerprint(), set.fingerprint()
    )]
    OtherPublicKey {
        /// The variable that names where the KEK is.
        name: &'static str,
        /// The KEK that is there.
        holds: KeyId,
        /// The KEK whose public key is set.
        set: KeyId,
    },
    /// The key file that is named cannot be used.
    #[error("the file provider cannot be used as it is set")]
    KekFile(#[source] KekFileError),
    /// What is set as its passphrase cannot be one.
    #[cfg(feature = "file")]
    #[error("the file provider cannot be used as it is set")]
    Passphrase(#[source] crate::file::PassphraseError),
}

impl SettingsError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Missing { kind, .. } => Some(format!(
                "`aegis kek provision --provider {kind}` makes a KEK and says what to set; nothing else is tried \
                 instead"
            )),
            Self::Malformed { source, .. } => source.help(),
            #[cfg(feature = "hsm")]
            Self::Pin(source) => source.help(),
            #[cfg(feature = "hsm")]
            Self::Hsm(source) => source.help(),
            #[cfg(feature = "kms")]
            Self::Kms(source) => source.help(),
            Self::Mismatch { source, .. } => source.help(),
            Self::OtherPublicKey { .. } => {
                Some(format!("unset {MASTER_KEK_PUBLIC}, or set the public key that belongs to the KEK"))
            }
            Self::KekFile(source) => source.help(),
            #[cfg(feature = "file")]
            Self::Passphrase(source) => source.help(),
        }
    }
}

/// Checks that all of a provider's variables have a value, before any of them is looked at.
///
/// # Errors
///
/// [`SettingsError::Missing`] with the names of all that have none.
#[cfg(any(feature = "kms", feature = "environment", feature = "file"))]
pub(crate) fn require(
    variables: &Variables,
    kind: ProviderKind,
    names: &[&'static str],
) -> Result<(), SettingsError> {
    let names: Vec<_> = names.iter().copied().filter(|name| !variables.is_set(name)).collect();
    if names.is_empty() { Ok(()) } else { Err(SettingsError::Missing { kind, names }) }
}
