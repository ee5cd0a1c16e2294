//! DEKs opened with the KEK, for a job that meets many versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aegis_crypto::{HybridPrivateKey, KeyId};
use aegis_kek::{Kek, LoadError};
use aegis_keyring::{DekVersion, KekRecord, KekState, Keyring, OpenDekError, Retired, StoreError};
use aegis_pii::stream::{Counts, Transform};
use aegis_pii::{
    DecryptError, DecryptorOptions, DekName, DekUnavailable, FieldFault, OpeningDekSource, PiiDecryptor,
};

use crate::deployment::{Deployment, KeyringError};
use crate::kek_source::{ProviderError, Purpose};

/// How long a DEK that was opened, or refused, is taken to be still what it was. Then the keyring is asked again, so that
/// a DEK that is retired or destroyed meanwhile is refused.
pub const KEPT_FOR: Duration = Duration::from_secs(60);

/// DEKs that are kept at once.
const KEPT: usize = 64;
/// DEKs of which it is remembered why they were refused. A stream can name as many as it likes.
const MAX_REFUSED: usize = 100;

/// Opens DEKs with one KEK, which was loaded once, and keeps those used last.
#[derive(Debug)]
pub struct OpenedDeks {
    keyring: Keyring,
    kek: Kek,
    /// Opened although they are retired.
    retired: BTreeSet<DekVersion>,
    /// The last used at the end.
    kept: Mutex<Vec<Kept>>,
    /// Why DEKs were refused, the last time.
    refused: Mutex<BTreeMap<DekName, Arc<OpenDekError>>>,
}

#[derive(Debug)]
struct Kept {
    name: DekName,
    since: Instant,
    key: Result<Opened, DekUnavailable>,
}

struct Opened(Arc<HybridPrivateKey>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("key_id", &self.0.public_key().key_id()).finish_non_exhaustive()
    }
}

impl Deployment {
    /// Loads the KEK, and opens DEKs with it when they are met. Those in `retired` are opened although they are retired.
    ///
    /// # Errors
    ///
    /// [`OpeningError`]; before anybody is asked for a passphrase, if it can be told.
    pub fn open_deks(
        &self,
        passphrase_file: Option<&Path>,
        retired: BTreeSet<DekVersion>,
    ) -> Result<OpenedDeks, OpeningError> {
        let keyring = self.keyring().map_err(OpeningError::Keyring)?;
        let provider = self.provider(passphrase_file).map_err(OpeningError::Provider)?;
        let kek = provider.public_key().key_id();
        let keks = keyring.store().keks().map_err(OpeningError::Store)?;
        if !keks.iter().any(|known| known.key_id() == kek) {
            let active = keks.iter().find(|known| known.state == KekState::Active).map(KekRecord::key_id);
            return Err(OpeningError::UnknownKek { kek, active });
        }
        let kek = self.load(&*provider, Purpose::Decrypt).map_err(OpeningError::Load)?;
        Ok(OpenedDeks::new(keyring, kek, retired))
    }
}

impl OpenedDeks {
    /// Opens DEKs of a keyring with a KEK that was loaded. Those in `retired` are opened although they are retired.
    pub fn new(keyring: Keyring, kek: Kek, retired: BTreeSet<DekVersion>) -> Self {
        Self { keyring, kek, retired, kept: Mutex::default(), refused: Mutex::default() }
    }

    /// Why a DEK was refused, if it was.
    pub fn refusal(&self, name: &DekName) -> Option<Arc<OpenDekError>> {
        lock(&self.refused).get(name).map(Arc::clone)
    }

    /// Why DEKs were refused, at most 100 of them.
    pub fn refusals(&self) -> Vec<Arc<OpenDekError>> {
        lock(&self.refused).values().map(Arc::clone).collect()
    }

    /// A decryptor for one thread, which asks again after a while.
    pub fn decryptor(self: &Arc<Self>, options: DecryptorOptions) -> FreshDecryptor {
        let source: Arc<dyn OpeningDekSource> = Arc::clone(self) as _;
        FreshDecryptor { decryptor: PiiDecryptor::new(source, options), since: Instant::now() }
    }

    fn open(&self, name: &DekName) -> Result<Opened, DekUnavailable> {
        // Events may name versions that no keyring has.
        let version: DekVersion = name.as_str().parse().map_err(|_| DekUnavailable::Unknown)?;
        let retired = if self.retired.contains(&version) { Retired::Allow } else { Retired::Refuse };
        self.keyring
            .open(version, &self.kek, retired)
            .map(|dek| Opened(Arc::clone(dek.private_key())))
            .map_err(|error| {
                tracing::info!(%error, "a DEK is not opened");
                let why = unavailable(&error);
                let mut refused = lock(&self.refused);
                if refused.len() < MAX_REFUSED || refused.contains_key(name) {
                    refused.insert(name.clone(), Arc::new(error));
                }
                why
            })
    }
}

impl OpeningDekSource for OpenedDeks {
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        // Held while it is opened: several threads meet a version at the same time.
        let mut kept = lock(&self.kept);
        kept.retain(|kept| kept.since.elapsed() < KEPT_FOR);
        if let Some(at) = kept.iter().position(|kept| kept.name == *name) {
            if let Some(used) = kept.get_mut(at..) {
                used.rotate_left(1);
            }
            if let Some(Kept { key, .. }) = kept.last() {
                return key.as_ref().map(|key| Arc::clone(&key.0)).map_err(|why| *why);
            }
        }
        let opened = self.open(name);
        let result = opened.as_ref().map(|key| Arc::clone(&key.0)).map_err(|why| *why);
        // What may answer the next time is asked the next time.
        if !matches!(result, Err(DekUnavailable::Unreachable)) {
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push(Kept { name: name.clone(), since: Instant::now(), key: opened });
        }
        result
    }
}

fn unavailable(error: &OpenDekError) -> DekUnavailable {
    match error {
        OpenDekError::Unknown { .. } => DekUnavailable::Unknown,
        OpenDekError::Retired { .. } | OpenDekError::Marked { .. } => DekUnavailable::Retired,
        OpenDekError::Destroyed { .. } => DekUnavailable::Destroyed,
        OpenDekError::KekRetired { .. } | OpenDekError::NotWrapped { .. } | OpenDekError::Unwrap { .. } => {
            DekUnavailable::Denied
        }
        OpenDekError::Store(_) => DekUnavailable::Unreachable,
    }
}

/// Opens events with [`OpenedDeks`].
#[derive(Debug)]
pub struct FreshDecryptor {
    decryptor: PiiDecryptor,
    since: Instant,
}

impl Transform for FreshDecryptor {
    type Error = DecryptError;

    fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, DecryptError> {
        self.decryptor.transform(event, out)
    }

    fn begin_chunk(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.since) >= KEPT_FOR {
            self.decryptor.forget();
            self.since = now;
        }
    }

    fn release_memory(&mut self) {
        self.decryptor.release_memory();
    }
}

/// The DEK that a refused event would have needed, if that was the reason.
pub fn missing_dek(error: &DecryptError) -> Option<&DekName> {
    match error {
        DecryptError::Field { dek, fault: FieldFault::Dek(_), .. } => Some(dek),
        DecryptError::Field { .. } | DecryptError::Event(_) | DecryptError::EventId(_) => None,
    }
}

/// Why no DEK can be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpeningError {
    /// There is no keyring.
    #[error(transparent)]
    Keyring(KeyringError),
    /// There is no KEK.
    #[error(transparent)]
    Provider(ProviderError),
    /// The keyring did not answer, or not as it should.
    #[error(transparent)]
    Store(StoreError),
    /// The KEK that is configured opens nothing of this keyring.
    #[error("KEK {} is none of this keyring{}", kek.fingerprint(), under(active))]
    UnknownKek {
        /// The one that is configured.
        kek: KeyId,
        /// The active one.
        active: Option<KeyId>,
    },
    /// It does not load.
    #[error(transparent)]
    Load(LoadError),
}

fn under(active: &Option<KeyId>) -> String {
    active.as_ref().map(|kek| format!(", which is under KEK {}", kek.fingerprint())).unwrap_or_default()
}

impl OpeningError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Keyring(error) => error.help(),
            Self::Provider(error) => error.help(),
            Self::Store(error) => error.help(),
            Self::UnknownKek { .. } => {
                Some("configure the KEK of this keyring, or set AEGIS_KEYRING to another keyring".to_owned())
            }
            Self::Load(error) => error.help(),
        }
    }
}

/// Whoever panicked with the lock left a list of whole entries behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
