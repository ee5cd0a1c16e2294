//! What a provider needs to be set, and why it is not usable as it is set.

use aegis_crypto::HybridPrivateKeyError;

use crate::known_variables::MASTER_KEK_PUBLIC;
use crate::provider::ProviderKind;
use crate::variables::{VariableError, Variables};

/// Why the settings of a provider do not make one. No device was asked, and no message has the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// Each half is good, and they do not belong together.
    #[error("{name} is not the private half of {MASTER_KEK_PUBLIC}")]
    Mismatch {
        /// The variable that holds the private half.
        name: &'static str,
        /// Where they differ.
        source: HybridPrivateKeyError,
    },
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
            Self::Mismatch { source, .. } => source.help(),
        }
    }
}

/// Checks that all of a provider's variables have a value, before any of them is looked at.
///
/// # Errors
///
/// [`SettingsError::Missing`] with the names of all that have none.
pub(crate) fn require(
    variables: &Variables,
    kind: ProviderKind,
    names: &[&'static str],
) -> Result<(), SettingsError> {
    let names: Vec<_> = names.iter().copied().filter(|name| !variables.is_set(name)).collect();
    if names.is_empty() { Ok(()) } else { Err(SettingsError::Missing { kind, names }) }
}
