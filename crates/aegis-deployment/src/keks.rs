//! What is done to the KEK once it is made: looked at, verified, rotated, retired.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_approval::{RequestId, Subject};
use aegis_audit::{Action, Outcome};
use aegis_crypto::{KeyId, KeyIdPrefix};
use aegis_kek::known_variables::{HSM_PIN, HSM_PIN_FD, HSM_PIN_FILE, HSM_SESSION_POOL_SIZE};
use aegis_kek::{
    Health, KNOWN_VARIABLES, LoadError, ProviderKind, SelectError, Variables, VariablesFile,
    VariablesFileError, get_kek_provider,
};
use aegis_keyring::{
    AbandonKekError, Grace, KekProgress, KekRecord, KekRotated, KekRotation, KekRotationError,
    KekRotationOptions, KekState, KekStatus, Keyring, RetireKekError, StoreError, Unreadable, WrapProgress,
};
use jiff::Timestamp;

use crate::approvals::ErasureError;
use crate::change_log::Intent;
use crate::deployment::{Deployment, KeyringError, SetupError};
use crate::kek_source::{KekOrigin, ProviderError, Purpose, configured};

/// How far the log is looked through for the last load.
const LOOK_BACK: usize = 10_000;

/// Whether a KEK is loaded to see whether it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Asks the device, and for a passphrase if need be.
    Now,
    /// Asks nobody.
    Offline,
}

/// The KEK of this deployment, and all that the keyring knows.
#[derive(Debug)]
pub struct KekOverview {
    /// The provider that is configured, and how its load ended.
    pub health: Health,
    /// Why it is taken.
    pub origin: KekOrigin,
    /// Why it did not load, if it was tried.
    pub load_error: Option<LoadError>,
    /// When it last loaded, by the log.
    pub last_loaded: Option<Timestamp>,
    /// What the keyring has; `None` if there is none yet.
    pub keks: Option<Vec<KekStatus>>,
}

impl KekOverview {
    /// What the configured KEK is to the keyring.
    pub fn state(&self) -> Option<KekState> {
        self.of_state(|kek| kek.record.key_id() == self.health.key_id).map(|kek| kek.record.state)
    }

    /// The KEK that is rotated to.
    pub fn incoming(&self) -> Option<&KekStatus> {
        self.of_state(|kek| kek.record.state == KekState::Incoming)
    }

    fn of_state(&self, wanted: impl Fn(&&KekStatus) -> bool) -> Option<&KekStatus> {
        self.keks.as_deref().unwrap_or_default().iter().find(wanted)
    }
}

impl Deployment {
    /// Looks at the KEK and at the keyring.
    ///
    /// # Errors
    ///
    /// [`KekError`] if nothing can be said at all; a KEK that does not load is part of the answer.
    pub fn kek_overview(&self, passphrase_file: Option<&Path>, load: Load) -> Result<KekOverview, KekError> {
        let provider = self.provider(passphrase_file).map_err(KekError::Provider)?;
        let origin = self.settings(passphrase_file).map_err(variable)?.1;
        let load_error = match load {
            Load::Now => self.load(&*provider, Purpose::Status).err(),
            Load::Offline => None,
        };
        let health = provider.health();
        let keks = match self.keyring() {
            Ok(keyring) => Some(keyring.keks().map_err(store)?),
            Err(KeyringError::Absent { .. }) => None,
            Err(error) => return Err(KekError::Setup(SetupError::Keyring(error))),
        };
        let last_loaded = self.last_loaded(health.key_id);
        Ok(KekOverview { health, origin, load_error, last_loaded, keks })
    }

    fn last_loaded(&self, kek: KeyId) -> Option<Timestamp> {
        let entries = self.change_log().log().last_entries(LOOK_BACK).ok()?;
        let object = kek.to_string();
        let loads = entries.filter_map(Result::ok).filter(|entry| {
            entry.action == Action::KekLoad && entry.outcome == Outcome::Accepted && entry.object == object
        });
        loads.last().map(|entry| entry.time)
    }

    /// Loads the KEK and opens every DEK with it. Returns the KEK's id and how many DEKs there are.
    ///
    /// # Errors
    ///
    /// [`KekError`].
    pub fn verify_kek(
        &self,
        passphrase_file: Option<&Path>,
        threads: Option<NonZeroUsize>,
        progress: &mut dyn FnMut(KekProgress),
    ) -> Result<(KeyId, u64), KekError> {
        let keyring = self.keyring().map_err(|error| KekError::Setup(SetupError::Keyring(error)))?;
        let provider = self.provider(passphrase_file).map_err(KekError::Provider)?;
        let key_id = provider.public_key().key_id();
        refuse_unknown(&keyring, key_id, provider.kind())?;
        // One that is retired, or is only being rotated to, opens what it has, which is not all.
        let WrapProgress { deks, wrapped, .. } = keyring.store().wrap_progress(key_id).map_err(store)?;
        if wrapped < deks {
            return Err(KekError::NotWrapped { kek: key_id, missing: deks.saturating_sub(wrapped), deks });
        }
        let kek = self.load(&*provider, Purpose::Verify).map_err(KekError::Load)?;
        let options = options(threads, None);
        let verified = keyring.verify_kek(&kek, &options, &mut |at| {
            progress(at);
            ControlFlow::Continue(())
        });
        let verified = verified.map_err(|error| match error {
            RetireKekError::ActiveUnreadable { kek, unreadable } => KekError::Unreadable { kek, unreadable },
            RetireKekError::Store(error) => store(error),
            error => KekError::Retire(error),
        });
        Ok((key_id, verified?))
    }

    /// Rewraps every DEK under the KEK that a variables file describes, and switches to it; or does what is left of that.
    ///
    /// # Errors
    ///
    /// [`KekError`]; the active KEK is what it was.
    pub fn rotate_kek(
        &self,
        request: &RotateKek<'_>,
        progress: &mut dyn FnMut(KekProgress),
    ) -> Result<RotatedKek, KekError> {
        let RotateKek { to, grace, threads, passphrase_file } = *request;
        let file = VariablesFile::read(to).map_err(|source| KekError::To { path: to.to_owned(), source })?;
        let names: Vec<String> = file.iter().map(|(name, _)| name.to_owned()).collect();
        let settings = file.into_variables().with_credentials_of(Variables::of_process());
        if configured(&settings).is_none() {
            return Err(KekError::ToNothing { path: to.to_owned() });
        }
        let new = get_kek_provider(None, &settings).map_err(KekError::New)?;
        if new.kind() == ProviderKind::InMemory {
            return Err(KekError::ToNothing { path: to.to_owned() });
        }
        let keyring = self.unlock_shared().map_err(KekError::Setup)?;
        let to_id = new.public_key().key_id();
        let variables = Exchange::of(names, new.kind(), &Variables::of_process());
        let keks = keyring.store().keks().map_err(store)?;
        if let Some(rotated) = done_already(&keks, to_id) {
            return Ok(RotatedKek { rotated, provider: new.kind(), variables });
        }

        let old = self.provider(passphrase_file).map_err(KekError::Provider)?;
        // Before any device is asked, and any passphrase.
        refuse_unknown(&keyring, old.public_key().key_id(), old.kind())?;
        let old_kek = self.load(&*old, Purpose::Rotate).map_err(KekError::Load)?;
        let new_kek = self.load(&*new, Purpose::Rotate).map_err(KekError::LoadNew)?;
        let before = keks.iter().find(|kek| kek.key_id() == to_id).map(|kek| kek.state.as_str().to_owned());
        let held = self.begin(Intent::KekRotation { incoming: to_id, before }).map_err(KekError::Setup)?;
        let rotation =
            KekRotation::new(&keyring, &old_kek, &new_kek, new.kind(), options(threads, Some(grace)));
        let rotated = rotation.run(&mut |at| {
            progress(at);
            ControlFlow::Continue(())
        });
        self.change_log().finish(&held);
        let rotated = rotated.map_err(KekError::Rotate)?;
        Ok(RotatedKek { rotated, provider: new.kind(), variables })
    }

    /// Gives up the rotation that is under way, before its switch.
    ///
    /// # Errors
    ///
    /// [`KekError`].
    pub fn abandon_kek_rotation(&self) -> Result<KeyId, KekError> {
        let keyring = self.unlock().map_err(KekError::Setup)?.keyring;
        let keks = keyring.store().keks().map_err(store)?;
        let incoming = keks.iter().find(|kek| kek.state == KekState::Incoming).map(KekRecord::key_id);
        let held = incoming.map(|incoming| self.begin(Intent::KekAbandoned { incoming })).transpose();
        let held = held.map_err(KekError::Setup)?;
        let abandoned = keyring.abandon_kek_rotation();
        if let Some(held) = held {
            self.change_log().finish(&held);
        }
        abandoned.map_err(KekError::Abandon)
    }

    /// Retires a KEK that is in grace: erases its wrappings, after every DEK was opened with the active one. Without a
    /// prefix, the only one that is in grace. It uses the approval, if one is named, and the rules may insist on one.
    ///
    /// # Errors
    ///
    /// [`KekError`]. An approval is used only if nothing else speaks against it.
    pub fn retire_kek(
        &self,
        kek: Option<&KeyIdPrefix>,
        grace: Grace,
        passphrase_file: Option<&Path>,
        approval: Option<&RequestId>,
        progress: &mut dyn FnMut(KekProgress),
    ) -> Result<KeyId, KekError> {
        let keyring = self.unlock_shared().map_err(KekError::Setup)?;
        let keks = keyring.store().keks().map_err(store)?;
        let kek = which_kek(&keks, kek)?;
        let insisted = self.insisted(Subject::KekRetire(kek), approval).map_err(KekError::Approval)?;
        let keyring = insisted.guard(&keyring);
        let provider = self.provider(passphrase_file).map_err(KekError::Provider)?;
        refuse_unknown(&keyring, provider.public_key().key_id(), provider.kind())?;
        let active = self.load(&*provider, Purpose::Retire).map_err(KekError::Load)?;
        let is_retired =
            keks.iter().any(|record| record.key_id() == kek && record.state == KekState::Retired);
        let held = match is_retired {
            // Nothing to be interrupted in: it will be refused.
            true => None,
            false => {
                let intent = Intent::KekRetired { kek, approval: insisted.id() };
                Some(self.begin_erasure(intent, &insisted).map_err(KekError::Setup)?)
            }
        };
        let retired = keyring.retire_kek(kek, &active, grace, &options(None, None), &mut |at| {
            progress(at);
            ControlFlow::Continue(())
        });
        if let Some(held) = held
            && let Some(refusal) = self.end_erasure(held, &insisted, retired.is_ok())
        {
            return Err(KekError::Approval(refusal));
        }
        retired.map_err(KekError::Retire)?;
        Ok(kek)
    }
}

/// To which KEK, and how.
#[derive(Debug, Clone, Copy)]
pub struct RotateKek<'a> {
    /// The file of variables that `provision` wrote.
    pub to: &'a Path,
    /// How long the KEK before is kept.
    pub grace: Duration,
    /// Threads; one for each processor if it is not said.
    pub threads: Option<NonZeroUsize>,
    /// Where the passphrase of the old KEK is.
    pub passphrase_file: Option<&'a Path>,
}

/// The keyring is under the new KEK, and the variables of everybody who opens DEKs have to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotatedKek {
    /// What was done.
    pub rotated: KekRotated,
    /// Where the new KEK rests.
    pub provider: ProviderKind,
    /// The variables to put in place.
    pub variables: Exchange,
}

/// Which variables take the place of which. Names only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// To be set, from the file.
    pub set: Vec<String>,
    /// Set in this process, of the old KEK, and to be unset.
    pub unset: Vec<String>,
}

impl Exchange {
    /// What a process has to do to come from its variables to those of the file, which holds no credentials.
    fn of(set: Vec<String>, to: ProviderKind, process: &Variables) -> Self {
        let of_a_kek = |name: &str| {
            ["AEGIS_KMS_", "AEGIS_HSM_", "AEGIS_MASTER_KEK_"].iter().any(|prefix| name.starts_with(prefix))
                || name == aegis_kek::known_variables::KEK_FILE
        };
        // Its own that the file does not repeat: the PIN, which the new KEK is loaded with, too, and how it is pooled.
        let is_kept = |name: &str| {
            to == ProviderKind::Hsm
                && (name == HSM_SESSION_POOL_SIZE || is_pin(name) && !set.iter().any(|new| is_pin(new)))
        };
        let is_left =
            |name: &&str| of_a_kek(name) && process.is_set(name) && !set.iter().any(|new| new == name);
        let unset =
            KNOWN_VARIABLES.iter().map(|known| known.name).filter(is_left).filter(|name| !is_kept(name));
        let unset = unset.map(str::to_owned).collect();
        Self { set, unset }
    }
}

fn is_pin(name: &str) -> bool {
    [HSM_PIN, HSM_PIN_FILE, HSM_PIN_FD].contains(&name)
}

fn options(threads: Option<NonZeroUsize>, grace: Option<Duration>) -> KekRotationOptions {
    let default = KekRotationOptions::default();
    KekRotationOptions {
        threads: threads.unwrap_or(default.threads),
        grace: grace.unwrap_or(default.grace),
        ..default
    }
}

/// What there is to say if the switch was made by an earlier run: the old KEK may no longer be configured.
fn done_already(keks: &[KekRecord], to: KeyId) -> Option<KekRotated> {
    keks.iter().find(|kek| kek.key_id() == to && kek.state == KekState::Active)?;
    let before = keks.iter().filter(|kek| matches!(kek.state, KekState::Grace | KekState::Retired));
    let before = before.max_by_key(|kek| (kek.state == KekState::Grace, kek.changed_at))?;
    Some(KekRotated {
        from: before.key_id(),
        to,
        grace_until: before.grace_until.filter(|_| before.state == KekState::Grace),
        rewrapped: 0,
        verified: 0,
        switched_now: false,
    })
}

/// A KEK that the keyring has never seen opens nothing in it. Said before it is loaded.
fn refuse_unknown(keyring: &Keyring, kek: KeyId, kind: ProviderKind) -> Result<(), KekError> {
    let keks = keyring.store().keks().map_err(store)?;
    match keks.iter().find(|known| known.state == KekState::Active).map(KekRecord::key_id) {
        Some(active) if !keks.iter().any(|known| known.key_id() == kek) => {
            Err(KekError::Unknown { kek, kind, active })
        }
        _ => Ok(()),
    }
}

fn which_kek(keks: &[KekRecord], wanted: Option<&KeyIdPrefix>) -> Result<KeyId, KekError> {
    let found: Vec<KeyId> = keks
        .iter()
        .filter(|kek| match wanted {
            Some(prefix) => prefix.matches(&kek.key_id()),
            None => kek.state == KekState::Grace,
        })
        .map(KekRecord::key_id)
        .collect();
    match (found.as_slice(), wanted) {
        ([kek], _) => Ok(*kek),
        ([], Some(prefix)) => Err(KekError::NoMatch { prefix: prefix.as_str().to_owned() }),
        ([], None) => Err(KekError::NoneInGrace),
        (several, _) => Err(KekError::Several { found: several.to_vec() }),
    }
}

fn store(error: StoreError) -> KekError {
    KekError::Setup(SetupError::Keyring(KeyringError::Store(error)))
}

fn variable(error: aegis_kek::VariableError) -> KekError {
    KekError::Provider(ProviderError::Select(SelectError::Variable(error)))
}

/// Why a KEK was not looked at, verified, rotated or retired.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// There is no KEK to work with.
    #[error(transparent)]
    Provider(ProviderError),
    /// It was not begun, or the keyring cannot be used.
    #[error(transparent)]
    Setup(SetupError),
    /// The KEK does not load.
    #[error("cannot load the KEK")]
    Load(#[source] LoadError),
    /// It is none of this keyring.
    #[error("KEK {} of the {kind} provider is none of this keyring, whose active one is {}", kek.fingerprint(), active.fingerprint())]
    Unknown {
        /// The one that is configured.
        kek: KeyId,
        /// Where it rests.
        kind: ProviderKind,
        /// The keyring's.
        active: KeyId,
    },
    /// It is retired, or still being rotated to.
    #[error("{missing} of {deks} DEKs have no wrapping under KEK {}", kek.fingerprint())]
    NotWrapped {
        /// The KEK.
        kek: KeyId,
        /// DEKs without a wrapping under it.
        missing: u64,
        /// DEKs in all.
        deks: u64,
    },
    /// A wrapping was changed, or the KEK is not what it was.
    #[error("KEK {} does not open {unreadable} of the DEKs", kek.fingerprint())]
    Unreadable {
        /// The KEK.
        kek: KeyId,
        /// The DEKs.
        unreadable: Unreadable,
    },
    /// The file of the new KEK cannot be read.
    #[error("cannot take the new KEK from {}", path.display())]
    To {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VariablesFileError,
    },
    /// The file says nothing of where a KEK would be.
    #[error("{} sets no variable of a KEK provider, and a KEK in memory would be lost", path.display())]
    ToNothing {
        /// The file.
        path: PathBuf,
    },
    /// The provider that the file describes cannot be used.
    #[error("the new KEK cannot be used")]
    New(#[source] SelectError),
    /// The new KEK does not load.
    #[error("cannot load the new KEK")]
    LoadNew(#[source] LoadError),
    /// The rotation was refused or failed.
    #[error(transparent)]
    Rotate(KekRotationError),
    /// There is nothing to give up, or the store failed.
    #[error(transparent)]
    Abandon(AbandonKekError),
    /// It was not retired, or not every DEK opens.
    #[error(transparent)]
    Retire(RetireKekError),
    /// Its retirement is not approved.
    #[error(transparent)]
    Approval(ErasureError),
    /// No KEK's id begins so.
    #[error("no KEK of this keyring has an id that begins with {prefix}")]
    NoMatch {
        /// What was typed.
        prefix: String,
    },
    /// There is none to retire.
    #[error("no KEK is in its grace period")]
    NoneInGrace,
    /// It is not clear which one is meant.
    #[error("{} KEKs could be meant: {}", found.len(), found.iter().map(KeyId::fingerprint).collect::<Vec<_>>().join(", "))]
    Several {
        /// Those.
        found: Vec<KeyId>,
    },
}

impl KekError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Provider(source) => source.help(),
            Self::Setup(source) => source.help(),
            // Two key files seldom have one passphrase.
            Self::LoadNew(LoadError::Denied { kind: ProviderKind::File, .. }) => Some(
                "the passphrase of the new key file is that of AEGIS_PASSPHRASE_FILE in FILE, or else of this process; \
                 --passphrase-file is for the old one"
                    .to_owned(),
            ),
            Self::Load(source) | Self::LoadNew(source) => source.help(),
            Self::Unknown { .. } => Some(
                "set the variables of the keyring's KEK; `aegis kek status --offline` lists the KEKs of this keyring"
                    .to_owned(),
            ),
            Self::NotWrapped { .. } => Some(
                "put the variables of the active KEK in place, or finish the rotation: `aegis kek rotate --to FILE`"
                    .to_owned(),
            ),
            Self::Unreadable { .. } => {
                Some("restore the keyring from a backup: `aegis backup restore`".to_owned())
            }
            Self::To { source, .. } => source.help(),
            Self::ToNothing { .. } => {
                Some("make one with `aegis kek provision --provider … --out FILE`".to_owned())
            }
            Self::New(source) => source.help(),
            Self::Rotate(source) => source.help(),
            Self::Abandon(source) => source.help(),
            Self::Retire(source) => source.help(),
            Self::Approval(source) => source.help(),
            Self::NoMatch { .. } | Self::NoneInGrace => {
                Some("`aegis kek status` lists the KEKs of this keyring".to_owned())
            }
            Self::Several { .. } => Some("name one of them, by as many digits as tell it from the others".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_new_kek_is_loaded_with_is_not_to_be_unset() {
        let hsm = [
            ("AEGIS_HSM_PIN_FILE", "pin"),
            ("AEGIS_HSM_MECHANISM", "cloudhsm-kwp"),
            ("AEGIS_HSM_SESSION_POOL_SIZE", "2"),
        ];
        let unset = |set: &[&str], to, process: &[(&'static str, &'static str)]| {
            let set = set.iter().map(|name| (*name).to_owned()).collect();
            Exchange::of(set, to, &Variables::of_pairs(process.iter().copied())).unset
        };
        let token = ["AEGIS_HSM_TOKEN_LABEL"];
        assert_eq!(unset(&token, ProviderKind::Hsm, &hsm), ["AEGIS_HSM_MECHANISM"]);
        // A file that says itself where the PIN is.
        let with_pin = ["AEGIS_HSM_TOKEN_LABEL", "AEGIS_HSM_PIN_FD"];
        assert_eq!(unset(&with_pin, ProviderKind::Hsm, &hsm), ["AEGIS_HSM_PIN_FILE", "AEGIS_HSM_MECHANISM"]);
        // Any of them left would have the HSM taken.
        let all = unset(&["AEGIS_KMS_KEY_ID"], ProviderKind::AwsKms, &hsm);
        assert_eq!(all, ["AEGIS_HSM_PIN_FILE", "AEGIS_HSM_SESSION_POOL_SIZE", "AEGIS_HSM_MECHANISM"]);
    }
}
