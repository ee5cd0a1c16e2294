//! Setting a machine up. Each step is made if it was not, so an interrupted run is finished by the next one.
//!
//! | step | what | refused |
//! |---|---|---|
//! | 1 | the state directory, 0700 | others can change it |
//! | 2 | the KEK: the one that is configured; or the key file, under a passphrase | what is configured cannot be used |
//! | 3 | the keyring, under that KEK | it is under another one; there was one, and it is gone |
//! | 4 | the first DEK of the scope `default` | |

use std::path::Path;

use aegis_audit::{Action, Outcome, Query};
use aegis_crypto::{HybridPrivateKey, HybridPrivateKeyError, KeyId};
use aegis_kek::file::KekFileWriteError;
use aegis_kek::{
    FileKekProvider, Kek, LoadError, PassphraseSource, ProviderKind, SelectError, get_kek_provider,
};
use aegis_keyring::{DekVersion, EnrolKekError, KekState, Keyring, MakeDekError, Scope};

use crate::change_log::{Intent, chain};
use crate::deployment::{Deployment, KeyringError, SetupError};
use crate::kek_source::{KekOrigin, ProviderError, Purpose};
use crate::lock::StateLock;
use crate::state_dir::StateDirError;

/// What a machine is set up with now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initialised {
    /// Where the KEK's private half rests.
    pub provider: ProviderKind,
    /// The KEK.
    pub kek: KeyId,
    /// The variables that decided on the provider; none if it is the key file of the state directory.
    pub configured_by: Vec<String>,
    /// The key file, if this machine's own is used.
    pub kek_file: Option<std::path::PathBuf>,
    /// Where the keyring is, without a password.
    pub keyring: String,
    /// The active DEK of the scope `default`.
    pub dek: DekVersion,
    /// What this run made: `kek`, `keyring`, `dek`. Empty if everything was there.
    pub made: Vec<&'static str>,
}

impl Deployment {
    /// Sets the machine up, or finishes what an interrupted run began.
    ///
    /// # Errors
    ///
    /// [`InitError`]; what was there stays as it was.
    pub fn init(&self, passphrase_file: Option<&Path>) -> Result<Initialised, InitError> {
        self.state_dir().prepare().map_err(InitError::StateDir)?;
        let lock = StateLock::acquire(self.state_dir().path())
            .map_err(|error| InitError::Setup(SetupError::Lock(error)))?;
        self.state_dir().sweep();
        let held = self.begin(Intent::Init).map_err(InitError::Setup)?;
        let done = self.init_locked(passphrase_file);
        if let Err(
            error @ (InitError::OtherKek { .. }
            | InitError::KekMissing { .. }
            | InitError::Lost { .. }
            | InitError::Provider(_)),
        ) = &done
        {
            let object = self.state_dir().path().display().to_string();
            let event = self.change_log().event(Action::KekEnrol, object);
            self.change_log().append(&event.outcome(Outcome::Refused).reason(chain(error)));
        }
        self.change_log().finish(&held);
        drop(lock);
        done
    }

    fn init_locked(&self, passphrase_file: Option<&Path>) -> Result<Initialised, InitError> {
        let mut made = Vec::new();
        let settings = self.settings(passphrase_file);
        let (settings, origin) = settings
            .map_err(|error| InitError::Provider(ProviderError::Select(SelectError::Variable(error))))?;
        let (provider, kek) = if origin == KekOrigin::Nothing {
            if settings.is_set(aegis_kek::known_variables::MASTER_KEK_PUBLIC) {
                return Err(InitError::Provider(ProviderError::Select(SelectError::PublicKeyAlone)));
            }
            // A keyring that is there has a KEK already: a second one could not open it.
            self.refuse_other_keyring()?;
            let source = PassphraseSource::of(&settings).map_err(InitError::Passphrase)?;
            let path = self.state_dir().kek_file();
            let passphrase = source.take_new(&path).map_err(InitError::Passphrase)?;
            let private = HybridPrivateKey::generate().map_err(InitError::Generate)?;
            FileKekProvider::create(&path, &passphrase, &private).map_err(InitError::Create)?;
            made.push("kek");
            let provider = FileKekProvider::open(&path, PassphraseSource::Given(passphrase));
            let provider = provider.map_err(|error| {
                InitError::Provider(ProviderError::Select(SelectError::Settings(
                    aegis_kek::SettingsError::KekFile(error),
                )))
            })?;
            (Box::new(provider) as Box<dyn aegis_kek::KekProvider>, Some(Kek::new(private)))
        } else {
            let provider = get_kek_provider(None, &settings);
            (provider.map_err(|error| InitError::Provider(ProviderError::Select(error)))?, None)
        };
        let (kind, key_id) = (provider.kind(), provider.public_key().key_id());
        if origin != KekOrigin::Nothing && !matches!(origin, KekOrigin::StateDir) {
            tracing::info!(provider = kind.as_str(), "the configured KEK is used, no key file is made");
        }
        let own_file = matches!(origin, KekOrigin::Nothing | KekOrigin::StateDir);
        if own_file {
            self.log_once(Action::KekProvision, &key_id.to_string(), |event| {
                event.detail("key_id", key_id.to_string()).detail("provider", kind.as_str())
            })?;
        }

        let place = self.keyring_place().map_err(keyring)?;
        let ring = self.open_keyring(&place).map_err(keyring)?;
        self.recover(&ring).map_err(InitError::Setup)?;
        let keks = ring.store().keks().map_err(|error| keyring(KeyringError::Store(error)))?;
        match keks.iter().find(|kek| kek.state == KekState::Active).map(aegis_keyring::KekRecord::key_id) {
            Some(active) if active == key_id => {}
            Some(active) => return Err(InitError::OtherKek { active, configured: key_id, kind }),
            None => {
                self.refuse_lost_keyring(&ring)?;
                let kek = match kek {
                    Some(kek) => kek,
                    None => self.load(&*provider, Purpose::Init).map_err(InitError::Load)?,
                };
                ring.enrol_first_kek(&kek, kind).map_err(InitError::Enrol)?;
                made.push("keyring");
            }
        }
        self.log_once(Action::KekEnrol, &key_id.to_string(), |event| {
            event.detail("key_id", key_id.to_string())
        })?;

        let dek = self.first_dek(&ring, &mut made)?;
        let configured_by = match origin {
            KekOrigin::Configured(set) => set,
            KekOrigin::StateDir | KekOrigin::Nothing => Vec::new(),
        };
        Ok(Initialised {
            provider: kind,
            kek: key_id,
            configured_by,
            kek_file: own_file.then(|| self.state_dir().kek_file()),
            keyring: ring.store().location().to_owned(),
            dek,
            made,
        })
    }

    fn first_dek(&self, ring: &Keyring, made: &mut Vec<&'static str>) -> Result<DekVersion, InitError> {
        let scope = Scope::default();
        let there = ring.store().active_dek(&scope).map_err(|error| keyring(KeyringError::Store(error)))?;
        let version = match there {
            Some(record) => record.version,
            None => {
                let version = ring.create(&scope).map_err(InitError::Dek)?.version;
                made.push("dek");
                return Ok(version);
            }
        };
        // Of an older deployment, the first DEK is not the active one, and its entry may be long ago.
        let only_one = ring
            .list(&aegis_keyring::DekQuery { scope: Some(scope), state: None, after: None, limit: 2 })
            .map_err(|error| keyring(KeyringError::Store(error)))?;
        if only_one.len() == 1 {
            self.log_once(Action::DekCreate, &version.to_string(), |event| event)?;
        }
        Ok(version)
    }

    /// Logs a step of an interrupted run, unless its entry is there.
    fn log_once(
        &self,
        action: Action,
        object: &str,
        detail: impl FnOnce(aegis_audit::Event) -> aegis_audit::Event,
    ) -> Result<(), InitError> {
        if !self.has_logged(action, Some(object))? {
            self.change_log().append(&detail(self.change_log().event(action, object)));
        }
        Ok(())
    }

    /// Whether the log says that something was done.
    fn has_logged(&self, action: Action, object: Option<&str>) -> Result<bool, InitError> {
        let query = Query {
            action: Some(action),
            outcome: Some(Outcome::Accepted),
            object: object.map(str::to_owned),
            limit: Some(1),
            ..Query::default()
        };
        let found = self.change_log().log().query(&query).map_err(InitError::ReadLog)?.next();
        Ok(found.transpose().map_err(InitError::ReadLog)?.is_some())
    }

    /// A keyring that this machine had is not replaced by an empty one: its DEKs would have versions that data was sealed
    /// under already, and a backup would no longer find the keyring empty.
    fn refuse_lost_keyring(&self, ring: &Keyring) -> Result<(), InitError> {
        // A keyring is changed first, and logged then: what is in the log was in a keyring.
        if self.has_logged(Action::KekEnrol, None)? || self.has_logged(Action::KeyringRestore, None)? {
            return Err(InitError::Lost { location: ring.store().location().to_owned() });
        }
        Ok(())
    }

    /// A keyring whose KEK is not here must not be given a key file that does not open it.
    fn refuse_other_keyring(&self) -> Result<(), InitError> {
        match self.keyring() {
            Ok(ring) => {
                let keks = ring.store().keks().map_err(|error| keyring(KeyringError::Store(error)))?;
                match keks.into_iter().find(|kek| kek.state == KekState::Active) {
                    Some(active) => {
                        Err(InitError::KekMissing { active: active.key_id(), kind: active.provider })
                    }
                    None => Ok(()),
                }
            }
            Err(KeyringError::Absent { .. }) => Ok(()),
            Err(error) => Err(keyring(error)),
        }
    }
}

fn keyring(error: KeyringError) -> InitError {
    InitError::Setup(SetupError::Keyring(error))
}

/// Why a machine was not set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(StateDirError),
    /// Nothing was begun, or the keyring cannot be used.
    #[error(transparent)]
    Setup(SetupError),
    /// There is no passphrase for the key file.
    #[error("there is no passphrase for the KEK")]
    Passphrase(#[source] aegis_kek::file::PassphraseError),
    /// No key was made.
    #[error("cannot make a KEK")]
    Generate(#[source] HybridPrivateKeyError),
    /// The key file was not written.
    #[error("cannot keep the KEK")]
    Create(#[source] KekFileWriteError),
    /// The KEK that is configured cannot be used.
    #[error(transparent)]
    Provider(ProviderError),
    /// The KEK does not load.
    #[error("cannot load the KEK")]
    Load(#[source] LoadError),
    /// The keyring is under another KEK than the one that is configured.
    #[error("this machine is set up with KEK {}, and the {kind} provider has {}", active.fingerprint(), configured.fingerprint())]
    OtherKek {
        /// The keyring's.
        active: KeyId,
        /// The configured one.
        configured: KeyId,
        /// Where that one rests.
        kind: ProviderKind,
    },
    /// The keyring is under a KEK of which nothing is configured here.
    #[error("the keyring is there, under KEK {} of the {kind} provider, which is not configured here", active.fingerprint())]
    KekMissing {
        /// The keyring's.
        active: KeyId,
        /// Where it rests.
        kind: ProviderKind,
    },
    /// There was a keyring, and it is not here any more.
    #[error("by the log this machine has a keyring already, and {location} is empty")]
    Lost {
        /// Where it is looked for.
        location: String,
    },
    /// The KEK was not enrolled.
    #[error(transparent)]
    Enrol(EnrolKekError),
    /// The first DEK was not made.
    #[error(transparent)]
    Dek(MakeDekError),
    /// Whether an interrupted run has logged what it did cannot be told.
    #[error("the log cannot be read")]
    ReadLog(#[source] aegis_audit::ReadError),
}

impl InitError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::StateDir(source) => source.help(),
            Self::Setup(source) => source.help(),
            Self::Passphrase(source) => source.help(),
            Self::Generate(source) => source.help(),
            Self::Create(source) => source.help(),
            Self::Provider(source) => source.help(),
            Self::Load(source) => source.help(),
            Self::OtherKek { .. } => Some(
                "to go from one KEK to another, `aegis kek rotate --to FILE`; for a second deployment, another AEGIS_STATE_DIR"
                    .to_owned(),
            ),
            Self::KekMissing { kind: ProviderKind::File, .. } => Some(
                "put kek.age back into the state directory from its copy, or set AEGIS_KEK_FILE to where the key file is"
                    .to_owned(),
            ),
            Self::KekMissing { kind, .. } => {
                Some(format!("set the variables of the {kind} provider for that KEK; `aegis doctor` names them"))
            }
            Self::Lost { .. } => Some(
                "if AEGIS_KEYRING named it, set that again; if it is lost, `aegis backup restore`; to begin anew, take another \
                 AEGIS_STATE_DIR"
                    .to_owned(),
            ),
            Self::Enrol(source) => source.help(),
            Self::Dek(source) => source.help(),
            Self::ReadLog(source) => source.help(),
        }
    }
}
