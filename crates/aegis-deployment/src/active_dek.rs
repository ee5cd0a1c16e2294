//! The DEK to seal under, for a job that runs long: looked up again now and then, so that it follows rotation.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aegis_keyring::{
    ActiveDek, ActiveDekError, DekVersion, Keyring, Scope, StoreError, Usage, UsageCounter, UsageMeter,
};
use aegis_pii::stream::{Counts, Transform};
use aegis_pii::{
    DekUnavailable, EncryptError, EncryptorOptions, Moment, OptionsError, PiiEncryptor, SealingDek,
    SealingDekSource,
};

/// How often the keyring is asked which DEK is active.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often what was sealed is added to the counters of the keyring.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// The active DEK of a scope, for all threads of a job, with the counters of what is sealed under it. They reach the
/// keyring every few seconds, on [`flush`](Self::flush) and on drop.
///
/// If the keyring does not answer, the DEK that was active last goes on sealing: what is sealed under it can be read.
#[derive(Debug)]
pub struct FollowedDek {
    shared: Arc<Followed>,
    usage: UsageCounter,
    follower: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Followed {
    active: Mutex<Sealing>,
    /// Counts the changes of `active`, so that a thread sees without a lock that there was none.
    changes: AtomicU64,
    /// Under which something was sealed.
    used: Mutex<BTreeSet<DekVersion>>,
}

#[derive(Debug, Clone)]
struct Sealing {
    version: DekVersion,
    dek: SealingDek,
}

impl FollowedDek {
    /// Looks up the active DEK of `scope`, and follows it. With `pinned`, it has to be that one, and stays it.
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn start(
        keyring: &Keyring,
        scope: &Scope,
        pinned: Option<DekVersion>,
        interval: Duration,
    ) -> Result<Self, FollowError> {
        let active = keyring.active(scope).map_err(FollowError::Active)?;
        if let Some(wanted) = pinned.filter(|wanted| *wanted != active.version) {
            return Err(FollowError::NotActive { wanted, active: active.version, scope: scope.clone() });
        }
        let shared = Arc::new(Followed {
            active: Mutex::new(Sealing::new(active)?),
            changes: AtomicU64::new(0),
            used: Mutex::default(),
        });
        let follower = match pinned {
            Some(_) => None,
            None => Some(follow(Arc::clone(&shared), keyring.clone(), scope.clone(), interval)?),
        };
        let usage = UsageCounter::start(Arc::clone(keyring.store()), FLUSH_INTERVAL);
        Ok(Self { shared, usage, follower })
    }

    /// The DEK that is active now, by what is known here.
    pub fn version(&self) -> DekVersion {
        lock(&self.shared.active).version
    }

    /// Under which DEKs something was sealed.
    pub fn used(&self) -> BTreeSet<DekVersion> {
        lock(&self.shared.used).clone()
    }

    /// An encryptor for one thread, which follows.
    ///
    /// # Errors
    ///
    /// [`OptionsError`].
    pub fn encryptor(&self, options: EncryptorOptions) -> Result<PiiEncryptor, OptionsError> {
        PiiEncryptor::new(Arc::new(self.source()), options)
    }

    /// An encryptor for one thread, which follows and counts what it seals.
    ///
    /// # Errors
    ///
    /// [`OptionsError`].
    pub fn metered(self: &Arc<Self>, options: EncryptorOptions) -> Result<MeteredEncryptor, OptionsError> {
        Ok(MeteredEncryptor {
            encryptor: self.encryptor(options)?,
            followed: Arc::clone(self),
            moment: Moment::now(),
            meter: None,
            sealed: Usage::default(),
        })
    }

    /// What one thread asks. It has its own copy: the counter of a shared one would be what the threads wait for.
    fn source(&self) -> ThreadSource {
        let sealing = lock(&self.shared.active).clone();
        let changes = self.shared.changes.load(Ordering::Acquire);
        let mine = Mutex::new((changes, Arc::new(sealing.dek)));
        ThreadSource { shared: Arc::clone(&self.shared), mine }
    }

    /// What dead letters are sealed under.
    pub fn sealing_source(&self) -> Arc<dyn SealingDekSource> {
        Arc::new(self.source())
    }

    pub(crate) fn meter(&self, dek: &SealingDek) -> Option<UsageMeter> {
        let version: DekVersion = dek.name.as_str().parse().ok()?;
        lock(&self.shared.used).insert(version);
        Some(self.usage.meter(version))
    }

    /// Adds what was counted so far to the counters of the keyring.
    ///
    /// # Errors
    ///
    /// Those of the store; what it did not take is still counted.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.usage.flush()
    }
}

impl Drop for FollowedDek {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.follower.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Sealing {
    fn new(active: ActiveDek) -> Result<Self, FollowError> {
        let ActiveDek { version, public_key, .. } = active;
        let name = version.to_string().parse().map_err(|_| FollowError::Name { version })?;
        Ok(Self { version, dek: SealingDek { public_key, name } })
    }
}

fn follow(
    shared: Arc<Followed>,
    keyring: Keyring,
    scope: Scope,
    interval: Duration,
) -> Result<(Sender<()>, JoinHandle<()>), FollowError> {
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name("aegis-follow".to_owned()).spawn(move || {
        let mut is_silent = false;
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            match keyring.active(&scope) {
                Ok(active) => {
                    is_silent = false;
                    shared.set(active);
                }
                Err(error) => {
                    // Once, until it answers again.
                    if !std::mem::replace(&mut is_silent, true) {
                        tracing::warn!(%error, %scope, "cannot see whether the DEK was rotated; the last one seals");
                    }
                }
            }
        }
    });
    Ok((stop, thread.map_err(FollowError::Thread)?))
}

impl Followed {
    fn set(&self, active: ActiveDek) {
        let mut current = lock(&self.active);
        if current.version == active.version {
            return;
        }
        match Sealing::new(active) {
            Ok(sealing) => {
                tracing::info!(from = %current.version, to = %sealing.version, "the DEK was rotated");
                *current = sealing;
                self.changes.fetch_add(1, Ordering::Release);
            }
            Err(error) => tracing::error!(%error, "the DEK was rotated, and cannot be followed"),
        }
    }
}

#[derive(Debug)]
struct ThreadSource {
    shared: Arc<Followed>,
    /// The change that was seen last, and the DEK since then.
    mine: Mutex<(u64, Arc<SealingDek>)>,
}

impl SealingDekSource for ThreadSource {
    fn active(&self) -> Result<Arc<SealingDek>, DekUnavailable> {
        let changes = self.shared.changes.load(Ordering::Acquire);
        let mut mine = lock(&self.mine);
        if mine.0 != changes {
            let sealing = lock(&self.shared.active).clone();
            *mine = (changes, Arc::new(sealing.dek));
        }
        Ok(Arc::clone(&mine.1))
    }
}

/// Seals events under a [`FollowedDek`], and counts each under its DEK.
#[derive(Debug)]
pub struct MeteredEncryptor {
    encryptor: PiiEncryptor,
    followed: Arc<FollowedDek>,
    /// When the chunk was begun.
    moment: Moment,
    meter: Option<(Arc<SealingDek>, UsageMeter)>,
    /// What was sealed under that DEK and is not counted yet: all threads count in the same place.
    sealed: Usage,
}

impl MeteredEncryptor {
    fn count(&mut self) {
        let Usage { messages, bytes } = std::mem::take(&mut self.sealed);
        if let Some((_, meter)) = self.meter.as_ref().filter(|_| messages > 0) {
            meter.count_many(messages, bytes);
        }
    }
}

impl Transform for MeteredEncryptor {
    type Error = EncryptError;

    fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, EncryptError> {
        self.transform_in(event, out, &mut |_| {})
    }

    fn transform_in(
        &mut self,
        event: &[u8],
        out: &mut Vec<u8>,
        room: &mut dyn FnMut(usize),
    ) -> Result<Counts, EncryptError> {
        let done = self.encryptor.encrypt_event_in(self.moment, event, out, room)?;
        if let Some(dek) = &done.dek {
            if self.meter.as_ref().is_none_or(|(metered, _)| !Arc::ptr_eq(metered, dek)) {
                self.count();
                self.meter = self.followed.meter(dek).map(|meter| (Arc::clone(dek), meter));
            }
            self.sealed.messages += 1;
            self.sealed.bytes += done.plaintext_bytes;
        }
        Ok(Counts::from(&done))
    }

    fn begin_chunk(&mut self) {
        self.moment = Moment::now();
    }

    fn end_chunk(&mut self) {
        self.count();
    }

    fn release_memory(&mut self) {
        self.encryptor.release_memory();
    }
}

/// Why there is no DEK to seal under.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The keyring names none.
    #[error(transparent)]
    Active(ActiveDekError),
    /// Another one is active.
    #[error("{wanted} is not the active DEK of scope {scope}, {active} is")]
    NotActive {
        /// The one that was asked for.
        wanted: DekVersion,
        /// The active one.
        active: DekVersion,
        /// The scope.
        scope: Scope,
    },
    /// Its version is none that events can carry.
    #[error("events cannot name {version}")]
    Name {
        /// The version.
        version: DekVersion,
    },
    /// The system gave no thread to follow it with.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl FollowError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Active(error) => error.help(),
            Self::NotActive { .. } => {
                Some("leave --dek-version out to seal under the active DEK, whichever it is".to_owned())
            }
            Self::Name { .. } | Self::Thread(_) => None,
        }
    }
}

/// Whoever panicked with the lock left a whole value behind: each change of it is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
