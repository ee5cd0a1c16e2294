//! What every provider is and says.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use aegis_crypto::{HybridPublicKey, KeyId};
use jiff::Timestamp;

use crate::fault::LoadError;
use crate::kek::Kek;

/// Where a KEK's private half rests while nothing runs.
///
/// Asked once, at start-up; the [`Kek`] it returns does all unwrapping from then on.
pub trait KekProvider: Send + Sync {
    /// The name in messages, `--json` output and audit entries.
    fn kind(&self) -> ProviderKind;

    /// The KEK's public key, 1,216 bytes. Needs no device, no passphrase and no network.
    fn public_key(&self) -> &HybridPublicKey;

    /// Unwraps the private half and checks that it belongs to [`public_key`](Self::public_key).
    ///
    /// # Errors
    ///
    /// [`LoadError::Unavailable`] if the device gave no answer, and trying again may help; [`LoadError::Denied`] if it
    /// said no; [`LoadError::Broken`] if what is stored or set cannot be used; [`LoadError::WrongKey`] if the halves do
    /// not match.
    fn load(&self) -> Result<Kek, LoadError>;

    /// What it is, and how the last [`load`](Self::load) of this instance ended. Asks no device.
    fn health(&self) -> Health;
}

/// Which provider. The names are those of the guide, and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderKind {
    /// Wrapped by a symmetric key in AWS KMS.
    AwsKms,
    /// Wrapped by an AES-256 key inside a PKCS#11 token.
    Hsm,
    /// In variables of the process.
    Environment,
    /// In a file under a passphrase.
    File,
    /// Nowhere: lost when the process ends.
    InMemory,
}

impl ProviderKind {
    /// Every kind, in the order in which they are tried.
    pub const ALL: [Self; 5] = [Self::AwsKms, Self::Hsm, Self::Environment, Self::File, Self::InMemory];

    /// The name for [`get_kek_provider`](crate::get_kek_provider), in settings, logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwsKms => "kms",
            Self::Hsm => "hsm",
            Self::Environment => "environment",
            Self::File => "file",
            Self::InMemory => "in_memory",
        }
    }

    /// What an attacker has to take to have the key.
    pub const fn security_level(self) -> SecurityLevel {
        match self {
            Self::AwsKms | Self::Hsm => SecurityLevel::Hardware,
            Self::File => SecurityLevel::Passphrase,
            Self::Environment => SecurityLevel::Software,
            Self::InMemory => SecurityLevel::Ephemeral,
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProviderKind {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownProvider { name: name.chars().take(64).collect() })
    }
}

/// A name that no provider has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no KEK provider {name:?}, only kms, hsm, environment, file and in_memory")]
pub struct UnknownProvider {
    /// The name that was given, at most 64 characters of it.
    pub name: String,
}

/// How well a KEK is kept while nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityLevel {
    /// Lost when the process ends.
    Ephemeral,
    /// As safe as the environment of the process.
    Software,
    /// As safe as a passphrase.
    Passphrase,
    /// Under a key that leaves no hardware.
    Hardware,
}

impl SecurityLevel {
    /// The name in JSON and in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Software => "software",
            Self::Passphrase => "passphrase",
            Self::Hardware => "hardware",
        }
    }
}

/// What a provider says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Which provider it is.
    pub kind: ProviderKind,
    /// How well the key is kept.
    pub security_level: SecurityLevel,
    /// The KEK's id.
    pub key_id: KeyId,
    /// How the last load ended.
    pub standing: Standing,
    /// When a load last succeeded.
    pub last_worked: Option<Timestamp>,
    /// Facts of this kind of provider, such as `mechanism`, `token` or `kms_key`; none is secret.
    pub detail: Vec<(&'static str, String)>,
}

/// How the last load of an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asked yet.
    Untried,
    /// It gave the key.
    Working,
    /// It did not; the text is that of the error and its causes.
    Failing {
        /// Why, in one line.
        reason: String,
    },
}

/// What a provider remembers of its loads, for [`KekProvider::health`].
#[derive(Debug)]
pub struct LastWorked(Mutex<(Standing, Option<Timestamp>)>);

impl LastWorked {
    /// Nothing was tried yet.
    pub const fn never() -> Self {
        Self(Mutex::new((Standing::Untried, None)))
    }

    /// Notes how a load ended, and passes it on.
    ///
    /// # Errors
    ///
    /// The one that is given.
    pub fn note(&self, loaded: Result<Kek, LoadError>) -> Result<Kek, LoadError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &loaded {
            Ok(_) => *state = (Standing::Working, Some(Timestamp::now())),
            Err(error) => state.0 = Standing::Failing { reason: in_one_line(error) },
        }
        loaded
    }

    /// How the last load ended, and when one last succeeded.
    pub fn get(&self) -> (Standing, Option<Timestamp>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An error and its causes. That the provider refused says nothing; why it did is in what follows.
fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
