//! Why a KEK was not loaded, sorted into *try again*, *refused* and *broken*.

use aegis_crypto::HybridPrivateKeyError;

use crate::provider::ProviderKind;

/// Why a provider did not give its KEK. Nothing was written anywhere.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The device or service gave no usable answer; the same call may go through later.
    #[error("the {kind} provider is not available")]
    Unavailable {
        /// Which provider.
        kind: ProviderKind,
        /// What it said.
        source: ProviderFault,
    },
    /// It answered, and said no: credentials, permission, PIN, passphrase, a disabled key.
    #[error("the {kind} provider refused")]
    Denied {
        /// Which provider.
        kind: ProviderKind,
        /// What it said.
        source: ProviderFault,
    },
    /// What is stored or set cannot be used, now or later: a damaged wrapping, a missing key, a file that is no key.
    #[error("the {kind} provider cannot unwrap the KEK")]
    Broken {
        /// Which provider.
        kind: ProviderKind,
        /// Why.
        source: ProviderFault,
    },
    /// What came out is a private key, or was meant to be one, and not that of the public key that is set.
    #[error("what the {kind} provider unwrapped is not the private half of its public key")]
    WrongKey {
        /// Which provider.
        kind: ProviderKind,
        /// Which check failed.
        source: HybridPrivateKeyError,
    },
}

impl LoadError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unavailable { source, .. } | Self::Denied { source, .. } | Self::Broken { source, .. } => {
                source.help()
            }
            Self::WrongKey { source, .. } => source.help(),
        }
    }
}

/// What a provider met, in its own terms. A vendor's quirks are explained in the provider's own file.
#[derive(Debug, thiserror::Error)]
pub enum ProviderFault {
    /// A key file, or its passphrase.
    #[cfg(feature = "file")]
    #[error(transparent)]
    File(crate::file::FileFault),
    /// A PKCS#11 token, or its module.
    #[cfg(feature = "hsm")]
    #[error(transparent)]
    Hsm(crate::pkcs11::HsmFault),
    /// AWS KMS, or the way to it.
    #[cfg(feature = "kms")]
    #[error(transparent)]
    Kms(crate::aws_kms::KmsFault),
}

impl ProviderFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match *self {
            #[cfg(feature = "file")]
            Self::File(ref fault) => fault.help(),
            #[cfg(feature = "hsm")]
            Self::Hsm(ref fault) => fault.help(),
            #[cfg(feature = "kms")]
            Self::Kms(ref fault) => fault.help(),
        }
    }
}
