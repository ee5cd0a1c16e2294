//! Which provider is taken: the one that is asked for, or the first that is configured.
//!
//! KMS → HSM → environment → file → in-memory. A provider is configured if any variable of its own is set. What is
//! configured and cannot be used is an error: the next one would hold another key, or none that lasts.

use aegis_crypto::{HybridPrivateKeyError, HybridPublicKey};

use crate::kek_file::KekFile;
use crate::known_variables::{KEK_FILE, MASTER_KEK_PRIVATE, MASTER_KEK_PUBLIC, REQUIRE_DURABLE_KEK};
use crate::provider::{KekProvider, ProviderKind, UnknownProvider};
use crate::settings::SettingsError;
use crate::variables::{VariableError, Variables};

/// The provider called `name`, or the first that is configured if there is no name.
///
/// Says in the log which it took, and why the ones before it were passed over. No device is asked before
/// [`load`](KekProvider::load).
///
/// # Errors
///
/// [`SelectError`]. A forced provider names all the variables that are missing; a provider that is configured and cannot
/// be used is never passed over.
pub fn get_kek_provider(
    name: Option<&str>,
    variables: &Variables,
) -> Result<Box<dyn KekProvider>, SelectError> {
    // Looked at whichever provider it will be: a slip in this variable must not show on the day that it matters.
    let durable = Durable::asked_for(variables).map_err(SelectError::Variable)?;
    let Some(name) = name else { return auto_detect(variables, durable) };
    let kind: ProviderKind = name.parse().map_err(SelectError::Unknown)?;
    let provider = make(kind, variables, durable)?;
    tracing::info!(provider = kind.as_str(), kek = %provider.public_key().key_id(), "this KEK provider was asked for");
    Ok(provider)
}

/// The KEK's public key, for a process that only seals: no provider, no device and no passphrase is needed.
///
/// It is that of [`MASTER_KEK_PUBLIC`], or else the one in the key file that [`KEK_FILE`] names.
///
/// # Errors
///
/// [`SelectError::NoPublicKey`] if neither is set, and [`SelectError::Settings`] if what is set cannot be used.
pub fn master_public_key(variables: &Variables) -> Result<HybridPublicKey, SelectError> {
    if let Some(public_key) = variables.public_key().map_err(SelectError::Variable)? {
        return Ok(public_key);
    }
    match variables.text(KEK_FILE).map_err(SelectError::Variable)? {
        None => Err(SelectError::NoPublicKey),
        Some(path) => KekFile::read(path.expose().as_ref())
            .map(|file| file.public_key().clone())
            .map_err(|error| SelectError::Settings(SettingsError::KekFile(error))),
    }
}

fn auto_detect(variables: &Variables, durable: Durable) -> Result<Box<dyn KekProvider>, SelectError> {
    let mut configured = ProviderKind::ALL
        .into_iter()
        .map(|kind| (kind, own_variables(kind, variables)))
        .filter(|(kind, set)| {
            if set.is_empty() && *kind != ProviderKind::InMemory {
                tracing::info!(provider = kind.as_str(), "passed over: none of its variables is set");
            }
            !set.is_empty()
        });
    let Some((kind, set)) = configured.next() else { return fall_back_to_memory(variables, durable) };
    for (other, set) in configured {
        tracing::warn!(
            provider = other.as_str(),
            variables = set.join(" "),
            "configured too, and not taken: {kind} comes before it"
        );
    }
    let provider = make(kind, variables, durable)?;
    tracing::info!(
        provider = kind.as_str(),
        kek = %provider.public_key().key_id(),
        variables = set.join(" "),
        "this KEK provider was taken: it is the first whose variables are set"
    );
    Ok(provider)
}

/// Nothing is configured: a key that is lost when the process ends, if that may be.
fn fall_back_to_memory(variables: &Variables, durable: Durable) -> Result<Box<dyn KekProvider>, SelectError> {
    if variables.is_set(MASTER_KEK_PUBLIC) {
        return Err(SelectError::PublicKeyAlone);
    }
    let provider = make(ProviderKind::InMemory, variables, durable)?;
    tracing::warn!(
        provider = ProviderKind::InMemory.as_str(),
        kek = %provider.public_key().key_id(),
        "NO KEK IS CONFIGURED. A new one was made in memory: everything that is encrypted under it CAN NEVER BE READ \
         AGAIN once this process ends. For tests only; set {REQUIRE_DURABLE_KEK}=1 where this must not happen"
    );
    Ok(provider)
}

/// The variables of a provider's own that are set.
fn own_variables(kind: ProviderKind, variables: &Variables) -> Vec<String> {
    let one = |name: &str| {
        if variables.is_set(name) { vec![name.to_owned()] } else { Vec::new() }
    };
    match kind {
        // By their prefix: a misspelt one was meant for this provider too.
        ProviderKind::AwsKms => variables.set_with_prefix("AEGIS_KMS_"),
        ProviderKind::Hsm => variables.set_with_prefix("AEGIS_HSM_"),
        ProviderKind::Environment => one(MASTER_KEK_PRIVATE),
        ProviderKind::File => one(KEK_FILE),
        ProviderKind::InMemory => Vec::new(),
    }
}

#[cfg_attr(
    not(any(feature = "kms", feature = "hsm", feature = "environment", feature = "file")),
    allow(unused_variables)
)]
fn make(
    kind: ProviderKind,
    variables: &Variables,
    durable: Durable,
) -> Result<Box<dyn KekProvider>, SelectError> {
    if kind == ProviderKind::InMemory && durable == Durable::Required {
        return Err(SelectError::NotDurable);
    }
    match kind {
        #[cfg(feature = "kms")]
        ProviderKind::AwsKms => boxed(crate::AwsKmsKekProvider::from_environment(variables)),
        #[cfg(feature = "hsm")]
        ProviderKind::Hsm => boxed(crate::HsmKekProvider::from_environment(variables)),
        #[cfg(feature = "environment")]
        ProviderKind::Environment => boxed(crate::EnvironmentKekProvider::from_environment(variables)),
        #[cfg(feature = "file")]
        ProviderKind::File => boxed(crate::FileKekProvider::from_environment(variables)),
        #[cfg(feature = "in-memory")]
        ProviderKind::InMemory => match crate::InMemoryKekProvider::generate() {
            Ok(provider) => Ok(Box::new(provider)),
            Err(error) => Err(SelectError::Generate(error)),
        },
        #[allow(unreachable_patterns, reason = "a build with every provider has all of them above")]
        kind => Err(SelectError::NotBuilt { kind }),
    }
}

#[cfg_attr(
    not(any(feature = "kms", feature = "hsm", feature = "environment", feature = "file")),
    allow(dead_code)
)]
fn boxed<P: KekProvider + 'static>(
    made: Result<P, SettingsError>,
) -> Result<Box<dyn KekProvider>, SelectError> {
    match made {
        Ok(provider) => Ok(Box::new(provider)),
        Err(error) => Err(SelectError::Settings(error)),
    }
}

/// Whether a KEK that is lost with the process will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Required,
    NotAskedFor,
}

impl Durable {
    fn asked_for(variables: &Variables) -> Result<Self, VariableError> {
        Ok(if variables.flag(REQUIRE_DURABLE_KEK)? { Self::Required } else { Self::NotAskedFor })
    }
}

/// Why there is no provider. None was taken in its place.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// No provider has this name.
    #[error(transparent)]
    Unknown(UnknownProvider),
    /// It is configured, or was asked for, and cannot be used as it is set.
    #[error(transparent)]
    Settings(SettingsError),
    /// It is configured, or was asked for, and this program was built without it.
    #[error("this program was built without the {kind} provider")]
    NotBuilt {
        /// Which provider.
        kind: ProviderKind,
    },
    /// There is a public key, and nothing says where its private half is.
    #[error("{MASTER_KEK_PUBLIC} is set, and no variable says where the private half of that KEK is")]
    PublicKeyAlone,
    /// There is no public key to seal to.
    #[error("neither {MASTER_KEK_PUBLIC} nor {KEK_FILE} is set, so there is no KEK to seal to")]
    NoPublicKey,
    /// Only a key that is lost with the process is there, and that may not be.
    #[error("a KEK in memory is lost when the process ends, and {REQUIRE_DURABLE_KEK} forbids that")]
    NotDurable,
    /// A variable that every provider heeds cannot be used.
    #[error(transparent)]
    Variable(VariableError),
    /// No key could be made in memory.
    #[error("cannot make a KEK in memory")]
    Generate(#[source] HybridPrivateKeyError),
}

impl SelectError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => Some("give one of these names, or none to have one chosen".to_owned()),
            Self::Settings(source) => source.help(),
            Self::NotBuilt { kind } => Some(format!(
                "build it with the cargo feature for {kind}, or unset its variables; nothing else is tried instead"
            )),
            Self::PublicKeyAlone => Some(
                "set the variables of its provider. A process that only seals needs no provider: there, take the \
                 public key alone (`master_public_key`)"
                    .to_owned(),
            ),
            Self::NoPublicKey => Some("`aegis kek provision` makes a KEK and says what to set".to_owned()),
            Self::NotDurable => Some(
                "set the variables of a provider, or `aegis init` makes a key file; for a test, unset \
                 AEGIS_REQUIRE_DURABLE_KEK"
                    .to_owned(),
            ),
            Self::Variable(source) => source.help(),
            Self::Generate(source) => source.help(),
        }
    }
}
