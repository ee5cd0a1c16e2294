//! Which KEK a command works with: the one that is configured, or else the one that `init` made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aegis_audit::{Action, Outcome};
use aegis_crypto::KeyId;
use aegis_kek::known_variables::{KEK_FILE, MASTER_KEK_PRIVATE};
use aegis_kek::{
    Kek, KekProvider, LoadError, ProviderKind, SelectError, VariableError, Variables, get_kek_provider,
};
use aegis_keyring::KekState;

use crate::change_log::chain;
use crate::deployment::Deployment;

/// Why that provider is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KekOrigin {
    /// These of its variables are set.
    Configured(Vec<String>),
    /// Nothing is configured, and the state directory has a key file.
    StateDir,
    /// Nothing is configured, and there is no key file.
    Nothing,
}

/// The first provider that is configured, with those of its variables that are set.
pub fn configured(variables: &Variables) -> Option<(ProviderKind, Vec<String>)> {
    let one = |name: &str| if variables.is_set(name) { vec![name.to_owned()] } else { Vec::new() };
    [
        (ProviderKind::AwsKms, variables.set_with_prefix("AEGIS_KMS_")),
        (ProviderKind::Hsm, variables.set_with_prefix("AEGIS_HSM_")),
        (ProviderKind::Environment, one(MASTER_KEK_PRIVATE)),
        (ProviderKind::File, one(KEK_FILE)),
    ]
    .into_iter()
    .find(|(_, set)| !set.is_empty())
}

/// What a KEK is loaded for, as the log calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To set a machine up.
    Init,
    /// To see whether it loads.
    Status,
    /// To see whether everything is in order.
    Doctor,
    /// To open every DEK.
    Verify,
    /// To rewrap every DEK.
    Rotate,
    /// To retire another one.
    Retire,
    /// To make, read or restore a backup.
    Backup,
    /// To open fields of events.
    Decrypt,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Status => "status",
            Self::Doctor => "doctor",
            Self::Verify => "verify",
            Self::Rotate => "rotate",
            Self::Retire => "retire",
            Self::Backup => "backup",
            Self::Decrypt => "decrypt",
        }
    }
}

impl Deployment {
    /// The settings of this process. A passphrase file that was named goes before what the variables say.
    ///
    /// # Errors
    ///
    /// The path of the passphrase file is no text.
    pub fn settings(&self, passphrase_file: Option<&Path>) -> Result<(Variables, KekOrigin), VariableError> {
        let mut settings = Variables::of_process();
        if let Some(file) = passphrase_file {
            settings = settings.with_passphrase_file(file)?;
        }
        let origin = match configured(&settings) {
            Some((_, set)) => KekOrigin::Configured(set),
            None if self.has_kek_file() => KekOrigin::StateDir,
            None => KekOrigin::Nothing,
        };
        if origin == KekOrigin::StateDir {
            settings = settings.with(KEK_FILE, &self.state_dir().kek_file().to_string_lossy());
        }
        Ok((settings, origin))
    }

    /// Whether there is something where `init` puts its key file. What cannot be looked at is not absent.
    pub(crate) fn has_kek_file(&self) -> bool {
        let found = fs::symlink_metadata(self.state_dir().kek_file());
        !matches!(found, Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// The provider of this deployment's KEK. A KEK in memory is refused: what is written under it could never be read.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    pub fn provider(&self, passphrase_file: Option<&Path>) -> Result<Box<dyn KekProvider>, ProviderError> {
        let settings = self.settings(passphrase_file);
        let (settings, origin) =
            settings.map_err(|error| ProviderError::Select(SelectError::Variable(error)))?;
        if origin == KekOrigin::Nothing {
            // A half of a setting is a mistake of its own.
            if let Err(error @ SelectError::PublicKeyAlone) =
                get_kek_provider(None, &settings.with("AEGIS_REQUIRE_DURABLE_KEK", "1"))
            {
                return Err(ProviderError::Select(error));
            }
            return Err(self.nothing_configured());
        }
        get_kek_provider(None, &settings).map_err(ProviderError::Select)
    }

    /// Why nothing is there: a machine that was never set up, or one whose KEK is gone.
    pub(crate) fn nothing_configured(&self) -> ProviderError {
        let keks = self.keyring().ok().and_then(|keyring| keyring.store().keks().ok()).unwrap_or_default();
        match keks.into_iter().find(|kek| kek.state == KekState::Active) {
            Some(active) => ProviderError::KekMissing {
                active: active.key_id(),
                kind: active.provider,
                kek_file: self.state_dir().kek_file(),
            },
            None => ProviderError::NothingConfigured,
        }
    }

    /// Loads a KEK, and logs that it was loaded, or why not.
    ///
    /// # Errors
    ///
    /// Those of the provider.
    pub fn load(&self, provider: &dyn KekProvider, purpose: Purpose) -> Result<Kek, LoadError> {
        let loaded = provider.load();
        let key_id = provider.public_key().key_id();
        let mut event = self
            .change_log()
            .event(Action::KekLoad, key_id.to_string())
            .detail("key_id", key_id.to_string())
            .detail("provider", provider.kind().as_str())
            .detail("purpose", purpose.as_str());
        if let Err(error) = &loaded {
            let outcome = match error {
                LoadError::Unavailable { .. } | LoadError::Broken { .. } => Outcome::Failed,
                LoadError::Denied { .. } | LoadError::WrongKey { .. } => Outcome::Refused,
            };
            event = event.outcome(outcome).reason(chain(error));
        }
        self.change_log().append(&event);
        loaded
    }
}

/// Why there is no KEK to work with.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Neither variables nor a key file: only a KEK that is lost with the process could be had.
    #[error("no KEK is configured, and one in memory would be lost when this command ends")]
    NothingConfigured,
    /// There is a keyring, and nothing leads to its KEK.
    #[error("the keyring is under KEK {} of the {kind} provider, which is not configured here", active.fingerprint())]
    KekMissing {
        /// The keyring's active KEK.
        active: KeyId,
        /// Where it rests.
        kind: ProviderKind,
        /// Where `init` would have put a key file.
        kek_file: PathBuf,
    },
    /// What is configured cannot be used.
    #[error(transparent)]
    Select(SelectError),
}

impl ProviderError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NothingConfigured => Some(
                "`aegis init` makes a KEK under a passphrase, `aegis kek provision` one for KMS, an HSM or the environment"
                    .to_owned(),
            ),
            Self::KekMissing { kind, kek_file, .. } => Some(match kind {
                ProviderKind::File => format!(
                    "put {} back from its copy, or set AEGIS_KEK_FILE to where the key file is",
                    kek_file.display()
                ),
                _ => format!("set the variables of the {kind} provider for that KEK; `aegis doctor` names them"),
            }),
            Self::Select(source) => source.help(),
        }
    }
}
