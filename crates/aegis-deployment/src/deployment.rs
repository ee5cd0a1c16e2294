//! The deployment itself: where it is, its keyring, and what an interrupted command left.

use std::path::PathBuf;
use std::sync::Arc;

use aegis_audit::AuditLog;
use aegis_crypto::KeyId;
use aegis_kek::Variables;
use aegis_keyring::clock::SystemClock;
use aegis_keyring::{
    Change, DekQuery, DekState, DekVersion, KekState, KeyObject, Keyring, Scope, Store, StoreError,
};

use crate::approvals::{ApprovalsError, Resumed};
use crate::change_log::{
    ChangeLog, DekChange, Held, Intent, Made, Note, NoteError, RecoverError, noted_version,
};
use crate::lock::{LockError, StateLock};
use crate::state_dir::{Presence, StateDir, StateDirError};

/// The variable that names another keyring than the one in the state directory.
pub const KEYRING: &str = "AEGIS_KEYRING";

/// The keys of one machine or service, as the variables of this process describe them.
#[derive(Debug)]
pub struct Deployment {
    state: StateDir,
    log: Arc<ChangeLog>,
}

/// A keyring that is there, with the lock under which it may be changed.
#[derive(Debug)]
pub(crate) struct Unlocked {
    pub(crate) keyring: Keyring,
    _lock: StateLock,
}

impl Deployment {
    /// The deployment that the variables of this process describe. `program` is the name in the log.
    ///
    /// # Errors
    ///
    /// [`StateDirError`] if nothing says where it could be.
    pub fn of_process(program: &'static str) -> Result<Self, StateDirError> {
        Ok(Self::new(StateDir::of_process()?, program))
    }

    /// The deployment in a state directory, which need not exist.
    pub fn new(state: StateDir, program: &'static str) -> Self {
        let log = ChangeLog::new(AuditLog::new(state.audit_dir()), state.pending_dir(), program);
        Self { state, log: Arc::new(log) }
    }

    /// Where things are on this machine.
    pub const fn state_dir(&self) -> &StateDir {
        &self.state
    }

    /// Where changes are logged.
    pub const fn change_log(&self) -> &Arc<ChangeLog> {
        &self.log
    }

    /// Where the keyring is said to be.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Variable`], [`KeyringError::Settings`].
    pub fn keyring_place(&self) -> Result<KeyringPlace, KeyringError> {
        let named = Variables::of_process().text(KEYRING).map_err(KeyringError::Variable)?;
        Ok(match named {
            None => KeyringPlace::File(self.state.keyring()),
            Some(named) => {
                let address = named.expose();
                if is_list_of_settings(address) {
                    return Err(KeyringError::Settings);
                }
                let path = address.strip_prefix("sqlite:").unwrap_or(address);
                // Whatever looks like an address of another kind is for the store to judge.
                match !path.contains("://") && (!path.starts_with("//") || path.starts_with("///")) {
                    true => KeyringPlace::File(PathBuf::from(path)),
                    false => KeyringPlace::Address(named),
                }
            }
        })
    }

    /// Opens the keyring, which has to be there and to have a KEK. Changes of it are logged.
    ///
    /// # Errors
    ///
    /// [`KeyringError`].
    pub fn keyring(&self) -> Result<Keyring, KeyringError> {
        self.state.check().map_err(KeyringError::StateDir)?;
        let place = self.keyring_place()?;
        if let KeyringPlace::File(path) = &place
            && let Err(error) = std::fs::symlink_metadata(path)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return Err(KeyringError::Absent { location: path.display().to_string() });
        }
        let keyring = self.open_keyring(&place)?;
        let keks = keyring.store().keks().map_err(KeyringError::Store)?;
        if keks.is_empty() {
            return Err(KeyringError::Absent { location: keyring.store().location().to_owned() });
        }
        Ok(keyring)
    }

    /// Opens the keyring, or makes an empty one.
    pub(crate) fn open_keyring(&self, place: &KeyringPlace) -> Result<Keyring, KeyringError> {
        let store: Arc<dyn Store> = place.open().map_err(KeyringError::Store)?;
        Ok(Keyring::new(store, Arc::new(SystemClock)).observed_by(Arc::clone(&self.log) as _))
    }

    /// The keyring, to be changed: nobody else on this machine changes it meanwhile, and what an interrupted command did
    /// is in the log.
    pub(crate) fn unlock(&self) -> Result<Unlocked, SetupError> {
        let state = |error| SetupError::Keyring(KeyringError::StateDir(error));
        if self.state.check().map_err(state)? == Presence::Absent {
            // A keyring elsewhere has its log here.
            self.keyring().map_err(SetupError::Keyring)?;
            self.state.prepare().map_err(state)?;
        }
        let lock = StateLock::acquire(self.state.path()).map_err(SetupError::Lock)?;
        let keyring = self.keyring().map_err(SetupError::Keyring)?;
        self.recover(&keyring)?;
        Ok(Unlocked { keyring, _lock: lock })
    }

    /// The keyring, for a job that takes long and lets others change it meanwhile.
    pub(crate) fn unlock_shared(&self) -> Result<Keyring, SetupError> {
        self.unlock().map(|unlocked| unlocked.keyring)
    }

    /// Writes down what is about to be done.
    pub(crate) fn begin(&self, intent: Intent) -> Result<Held, SetupError> {
        self.log.begin(intent).map_err(SetupError::Note)
    }

    /// Logs what interrupted commands did. Only under the lock: what a living command has just made is not to be taken
    /// for theirs.
    pub(crate) fn recover(&self, keyring: &Keyring) -> Result<(), SetupError> {
        for held in self.log.orphans().map_err(SetupError::Note)? {
            let approvals = SetupError::Approvals;
            if let Intent::Approval { .. } = held.note.intent {
                let reader = self.open_reader().map_err(Box::new).map_err(approvals)?;
                self.recover_approval(&held, &reader).map_err(Box::new).map_err(approvals)?;
                continue;
            }
            if let Some(approval) = held.note.intent.approval() {
                let resumed = self.resume_erasure(keyring, &held, approval).map_err(Box::new);
                match resumed.map_err(approvals)? {
                    Resumed::Erased => {}
                    Resumed::Settled { why } => {
                        self.log.log_not_erased(&held, &why).map_err(SetupError::Recover)?;
                    }
                    Resumed::NotUsed => {
                        self.log.recover(&held, &[]).map_err(SetupError::Recover)?;
                        continue;
                    }
                    Resumed::Later => continue,
                }
            }
            let made = made_since(keyring, &held.note)
                .map_err(|error| SetupError::Keyring(KeyringError::Store(error)))?;
            tracing::warn!(
                transaction = held.note.transaction,
                made = made.len(),
                "an interrupted command is logged"
            );
            self.log.recover(&held, &made).map_err(SetupError::Recover)?;
        }
        Ok(())
    }
}

/// What of an intent has come true, by what the keyring says now.
fn made_since(keyring: &Keyring, note: &Note) -> Result<Vec<Made>, StoreError> {
    let store = keyring.store();
    let one = |change, object| vec![Made { change, object, instead_of: None }];
    Ok(match &note.intent {
        Intent::NewDek { scope, active, key } => {
            // Without a key, nothing was put into the keyring.
            let (Ok(scope), Some(key)) = (scope.parse(), key) else { return Ok(Vec::new()) };
            let before = active.as_deref().and_then(noted_version);
            match dek_with_key(keyring, scope, *key)? {
                Some(made) => {
                    let change = if before.is_some() { Change::DekRotated } else { Change::DekCreated };
                    let instead_of = before.map(KeyObject::Dek);
                    vec![Made { change, object: KeyObject::Dek(made), instead_of }]
                }
                None => Vec::new(),
            }
        }
        Intent::DekState { version, change, before, approval: _ } => {
            let Some(version) = noted_version(version) else { return Ok(Vec::new()) };
            let Some(record) = store.dek(version)? else { return Ok(Vec::new()) };
            let now = (record.state.as_str().to_owned(), record.destroy_after);
            let expected = match change {
                DekChange::Retire | DekChange::Mark | DekChange::Unmark => DekState::Retired,
                DekChange::Unretire => DekState::DecryptOnly,
                DekChange::Destroy => DekState::Destroyed,
            };
            if now != *before && record.state == expected {
                one(change.to_change(), KeyObject::Dek(version))
            } else {
                Vec::new()
            }
        }
        Intent::KekRotation { incoming, before } => {
            let keks = store.keks()?;
            let Some(record) = keks.iter().find(|kek| kek.key_id() == *incoming) else {
                return Ok(Vec::new());
            };
            let instead_of =
                keks.iter().find(|kek| kek.state == KekState::Active).map(aegis_keyring::KekRecord::key_id);
            let begun = before.as_deref() != Some(KekState::Incoming.as_str());
            let object = KeyObject::Kek(*incoming);
            let mut made = Vec::new();
            if begun
                && matches!(record.state, KekState::Incoming | KekState::Active)
                && before.as_deref() != Some("active")
            {
                let instead_of = instead_of.filter(|kek| kek != incoming).map(KeyObject::Kek);
                made.push(Made { change: Change::KekRotationBegun, object: object.clone(), instead_of });
            }
            if record.state == KekState::Active && before.as_deref() != Some("active") {
                made.push(Made { change: Change::KekSwitched, object, instead_of: None });
            }
            made
        }
        Intent::KekAbandoned { incoming } => {
            let keks = store.keks()?;
            match keks.iter().find(|kek| kek.key_id() == *incoming).map(|kek| kek.state) {
                Some(KekState::Incoming | KekState::Active) => Vec::new(),
                None | Some(KekState::Grace | KekState::Retired) => {
                    one(Change::KekRotationAbandoned, KeyObject::Kek(*incoming))
                }
            }
        }
        Intent::KekRetired { kek, approval: _ } => {
            let keks = store.keks()?;
            match keks.iter().find(|record| record.key_id() == *kek).map(|record| record.state) {
                Some(KekState::Retired) => one(Change::KekRetired, KeyObject::Kek(*kek)),
                _ => Vec::new(),
            }
        }
        // Told from the approvals, not from the keyring.
        Intent::Approval { .. } => Vec::new(),
        // It was empty before.
        Intent::Restore if store.keks()?.is_empty() => Vec::new(),
        Intent::Restore => one(Change::BackupRestored, KeyObject::Keyring),
        Intent::Init => {
            let kek = store.keks()?.into_iter().find(|kek| kek.state == KekState::Active);
            let kek = kek.filter(|kek| kek.created_at >= note.started_at);
            let dek = store.active_dek(&Scope::default())?.filter(|dek| dek.created_at >= note.started_at);
            let kek = kek.map(|kek| (Change::KekEnrolled, KeyObject::Kek(kek.key_id())));
            let dek = dek.map(|dek| (Change::DekCreated, KeyObject::Dek(dek.version)));
            kek.into_iter()
                .chain(dek)
                .map(|(change, object)| Made { change, object, instead_of: None })
                .collect()
        }
    })
}

/// The DEK of a scope that has this key. It need not be active any more: others rotate too.
fn dek_with_key(keyring: &Keyring, scope: Scope, key: KeyId) -> Result<Option<DekVersion>, StoreError> {
    let mut query = DekQuery { scope: Some(scope), state: None, after: None, limit: 1_000 };
    loop {
        let page = keyring.list(&query)?;
        if let Some(found) = page.iter().find(|dek| dek.public_key.key_id() == key) {
            return Ok(Some(found.version));
        }
        match page.last() {
            Some(last) => query.after = Some(last.version),
            None => return Ok(None),
        }
    }
}

/// Whether a text is what libpq calls a connection string, `host=… password=…`. Taken for the name of a file, it would be
/// shown, and the password with it.
fn is_list_of_settings(text: &str) -> bool {
    let name = text.trim_start().split_once('=').map(|(name, _)| name.trim_end());
    name.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Where a keyring is.
pub enum KeyringPlace {
    /// A SQLite file.
    File(PathBuf),
    /// A server. The text may hold a password.
    Address(aegis_kek::SecretText),
}

impl KeyringPlace {
    fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::File(path) => Ok(Arc::new(aegis_keyring::SqliteStore::open(path)?)),
            Self::Address(address) => aegis_keyring::open_store(address.expose()).map(Arc::from),
        }
    }
}

/// Why there is no keyring to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Nobody has made one.
    #[error("there is no keyring in {location} yet")]
    Absent {
        /// Where it would be.
        location: String,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(StateDirError),
    /// [`KEYRING`] cannot be used.
    #[error(transparent)]
    Variable(aegis_kek::VariableError),
    /// [`KEYRING`] is a list of settings.
    #[error("{KEYRING} is a list of settings (NAME=…), neither a path nor an address")]
    Settings,
    /// The store did not answer, or not as it should.
    #[error(transparent)]
    Store(StoreError),
}

impl KeyringError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Absent { .. } => Some(format!(
                "set this machine up with `aegis init`; if it is set up elsewhere, set AEGIS_STATE_DIR or {KEYRING}"
            )),
            Self::StateDir(source) => source.help(),
            Self::Variable(source) => source.help(),
            Self::Settings => Some(
                "write postgres://USER@HOST:PORT/DATABASE, with the password in PGPASSWORD or PGPASSFILE; a file of such a \
                 name as ./NAME"
                    .to_owned(),
            ),
            Self::Store(source) => source.help(),
        }
    }
}

/// Why a change was not begun.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no keyring to change.
    #[error(transparent)]
    Keyring(KeyringError),
    /// Another command is changing something.
    #[error(transparent)]
    Lock(LockError),
    /// It could not be written down, so it was not begun.
    #[error(transparent)]
    Note(NoteError),
    /// An earlier command was interrupted, and what it did cannot be logged.
    #[error("an earlier command was interrupted, and what it did has to be logged first")]
    Recover(#[source] RecoverError),
    /// An earlier command was interrupted while it did something with approvals, and what became of that cannot be told.
    #[error("an earlier command was interrupted, and what it did with approvals cannot be told")]
    Approvals(#[source] Box<ApprovalsError>),
}

impl SetupError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Keyring(source) => source.help(),
            Self::Lock(source) => source.help(),
            Self::Note(source) => source.help(),
            Self::Recover(source) => source.help(),
            Self::Approvals(source) => source.help(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_machine_made_is_not_logged_as_interrupted_here() {
        use aegis_crypto::HybridPrivateKey;
        use aegis_kek::{Kek, ProviderKind};

        let dir = test_services::scratch::dir();
        let deployment = Deployment::new(StateDir::new(dir.path().join("state")), "test");
        deployment.state.prepare().unwrap();
        let place = KeyringPlace::File(dir.path().join("shared.sqlite"));
        let ours = deployment.open_keyring(&place).unwrap();
        let other = Keyring::new(place.open().unwrap(), Arc::new(SystemClock));
        let kek = Kek::new(HybridPrivateKey::generate().unwrap());
        other.enrol_first_kek(&kek, ProviderKind::Environment).unwrap();
        let scope = Scope::default();
        let first = other.create(&scope).unwrap().version;
        let intent =
            || Intent::NewDek { scope: scope.to_string(), active: Some(first.to_string()), key: None };
        let noted = |held: &Held| {
            let name = format!("{}.json", held.note.transaction);
            let bytes = std::fs::read(deployment.state.pending_dir().join(name)).unwrap();
            serde_json::from_slice::<Note>(&bytes).unwrap()
        };

        // Killed before it made a key; meanwhile the other machine rotated.
        let held = deployment.begin(intent()).unwrap();
        other.rotate(&scope).unwrap();
        assert_eq!(made_since(&ours, &noted(&held)).unwrap(), []);
        deployment.log.finish(&held);
        // Killed after it made its DEK; the other machine rotated after that.
        let held = deployment.begin(intent()).unwrap();
        let made = ours.rotate(&scope).unwrap().active.version;
        other.rotate(&scope).unwrap();
        let found = made_since(&ours, &noted(&held)).unwrap();
        assert_eq!(found.into_iter().map(|made| made.object).collect::<Vec<_>>(), [KeyObject::Dek(made)]);
        deployment.log.finish(&held);
        assert!(deployment.log.orphans().unwrap().is_empty());
    }

    #[test]
    fn tells_a_list_of_settings_from_a_path() {
        for list in ["host=db password=s3cret", "password=s3cret", " host = db", "PASSWORD=x", "a_1=", "a=/b"]
        {
            assert!(is_list_of_settings(list), "{list}");
        }
        for other in [
            "./a=b",
            "/srv/a=b",
            "sqlite:a=b",
            "postgres://u@h/d?sslmode=disable",
            "keyring.sqlite",
            "=a",
            "",
        ] {
            assert!(!is_list_of_settings(other), "{other}");
        }
    }
}
