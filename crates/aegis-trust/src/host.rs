//! One host: its paths, its settings, its log, its enforcer, and what is common to every change.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use aegis_audit::{Action, Actor, AppendError, AuditLog, EntryError, Event, Outcome};
use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::{
    HostPaths,
    approval::ApprovalFile,
    bundle::{self, BundleFormat, MAX_HEADER_LEN, SignedBundle},
    config::{Config, ConfigError},
    counter::{Counter, CounterError, MAX_COUNTER_LEN},
    custodians::record::Record,
    durable::{self, ReadError, WriteError},
    enforce::{Enforcer, RecordingEnforcer},
    journal::{Journal, JournalError},
    key_dir::{KeysError, TrustedKeys},
    lock::{LockError, StateLock},
    revoked::RevokedKeys,
    verify::{self, Expiry, Trust, V1, VerifiedBundle, VerifyError},
};

/// Who asks, when, and by whose leave.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The time, as the host's clock says.
    pub now: Timestamp,
    /// Who it is.
    pub actor: Actor,
    /// Approvals by custodians, for a change that needs one.
    pub approvals: Vec<ApprovalFile>,
}

impl Caller {
    /// This process, now.
    pub fn current(program: &str) -> Self {
        Self { now: Timestamp::now(), actor: Actor::current(program), approvals: Vec::new() }
    }

    /// The same, with approvals.
    #[must_use]
    pub fn with_approvals(self, approvals: Vec<ApprovalFile>) -> Self {
        Self { approvals, ..self }
    }

    /// Whoever began the change that is finished now.
    pub(crate) fn of_journal(journal: &Journal) -> Self {
        Self { now: journal.started_at, actor: journal.actor.clone(), approvals: Vec::new() }
    }
}

/// A host and everything in it.
pub struct Host {
    paths: HostPaths,
    config: Config,
    audit: AuditLog,
    enforcer: Box<dyn Enforcer>,
    unlogged: Mutex<Vec<AppendError>>,
}

/// What is common to every change, and can stop it before or after.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another change is under way, or the state directory cannot be used.
    #[error("the state of this host cannot be locked")]
    Lock {
        /// Why.
        source: LockError,
    },
    /// An earlier change was interrupted and cannot be finished.
    #[error("an earlier change was interrupted and cannot be finished")]
    Recovery {
        /// Why.
        source: Box<crate::recover::RecoverError>,
    },
    /// The change cannot be written down, so it was not begun.
    #[error("the change was not begun")]
    Journal {
        /// Why.
        source: JournalError,
    },
    /// What happens could not be logged, so nothing was begun.
    #[error("the audit log is not sound, so nothing was begun")]
    AuditUnsound {
        /// Why.
        source: Box<aegis_audit::VerifyError>,
    },
    /// A step failed. Nothing, or everything before it, was done; the next command finishes it.
    #[error("the change was begun and could not be finished")]
    Step {
        /// Why.
        source: WriteError,
    },
    /// The change was made, but is not in the log yet. The next command writes it.
    #[error("the change was made, but could not be written to the audit log")]
    NotLogged {
        /// Why.
        source: Box<AppendError>,
    },
}

impl ChangeError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Lock { source } => source.help(),
            Self::Recovery { source } => source.help(),
            Self::Journal { source } => source.help(),
            Self::AuditUnsound { source } => source.help(),
            Self::Step { source } => Some(
                source
                    .help()
                    .unwrap_or_else(|| "correct the cause and run the same command again".to_owned()),
            ),
            Self::NotLogged { source } => source.help(),
        }
    }
}

/// How far the log is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// All of it: before anything is changed.
    WholeLog,
    /// [`NEWEST_ENTRIES`] of it: for a report that must not take longer as the log grows.
    NewestEntries,
}

const NEWEST_ENTRIES: usize = 1000;

impl Host {
    /// The host at `paths`, with the enforcer that this release has.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if its settings are there but cannot be used.
    pub fn open(paths: HostPaths) -> Result<Self, ConfigError> {
        let enforcer = Box::new(RecordingEnforcer::new(&paths));
        Self::with_enforcer(paths, enforcer)
    }

    /// The host at `paths`, with another enforcer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if its settings are there but cannot be used.
    pub fn with_enforcer(paths: HostPaths, enforcer: Box<dyn Enforcer>) -> Result<Self, ConfigError> {
        let config = Config::load(&paths.config_file())?;
        let audit = AuditLog::new(paths.audit_dir());
        Ok(Self { paths, config, audit, enforcer, unlogged: Mutex::new(Vec::new()) })
    }

    /// Loads the policy that was put in force last: after a restart of the host, the kernel has none.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] if a change that was interrupted cannot be finished, or the policy cannot be loaded.
    pub fn load_applied(&self, caller: &Caller) -> Result<(), ChangeError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        begun?;
        let recovery = |source| ChangeError::Recovery { source: Box::new(source) };
        let enforced = self.load_applied_file().map_err(recovery)?;
        enforced.map_err(|source| recovery(crate::recover::RecoverError::Enforce { source }))
    }

    /// Where everything is.
    pub fn paths(&self) -> &HostPaths {
        &self.paths
    }
    /// What the host insists on.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// Its log.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }
    /// Who loads the rules.
    pub fn enforcer(&self) -> &dyn Enforcer {
        self.enforcer.as_ref()
    }

    /// Refusals that could not be logged since this was last asked. The refusals stand.
    pub fn take_unlogged(&self) -> Vec<AppendError> {
        std::mem::take(&mut *self.unlogged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The trusted keys: all that are installed, or where there are custodians, those that were approved.
    ///
    /// # Errors
    ///
    /// [`KeysError`] if any file in the key directory cannot be trusted, or the record of approvals cannot be used.
    pub fn trusted_keys(&self) -> Result<TrustedKeys, KeysError> {
        self.trusted_of(self.installed_keys()?)
    }

    /// Those of the installed keys that are trusted. This is the one place that knows which.
    pub(crate) fn trusted_of(&self, installed: TrustedKeys) -> Result<TrustedKeys, KeysError> {
        let record = Record::load(&self.paths).map_err(|source| KeysError::Approved { source })?;
        Ok(match record.as_ref().and_then(Record::trusted_only) {
            Some(approved) => installed.only(approved),
            None => installed,
        })
    }

    /// Every key in the key directory, approved or not.
    ///
    /// # Errors
    ///
    /// [`KeysError`] if any file in the key directory cannot be trusted.
    pub fn installed_keys(&self) -> Result<TrustedKeys, KeysError> {
        TrustedKeys::load(&self.paths.keys_dir)
    }

    /// The ids that are refused for ever.
    ///
    /// # Errors
    ///
    /// [`KeysError::Revoked`].
    pub fn revoked_keys(&self) -> Result<RevokedKeys, KeysError> {
        RevokedKeys::load(&self.paths).map_err(|source| KeysError::Revoked { source })
    }

    /// The most bytes that a bundle or policy file may have on this host.
    pub fn max_file_len(&self) -> u64 {
        self.config.max_policy_bytes.saturating_add(MAX_HEADER_LEN as u64)
    }

    /// Believes a bundle, or says why not.
    ///
    /// # Errors
    ///
    /// [`VerifyError`].
    pub fn verify(&self, file: Vec<u8>, v1: V1, now: Timestamp) -> Result<VerifiedBundle, VerifyError> {
        let bundle = SignedBundle::parse(file).map_err(|source| VerifyError::Bundle { source })?;
        self.verify_bundle(bundle, v1, now, Expiry::Judged)
    }

    pub(crate) fn verify_bundle(
        &self,
        bundle: SignedBundle,
        v1: V1,
        now: Timestamp,
        expiry: Expiry,
    ) -> Result<VerifiedBundle, VerifyError> {
        let untold = |source| VerifyError::Keys { source };
        let keys = self.trusted_keys().map_err(untold)?.by_id();
        let revoked = self.revoked_keys().map_err(untold)?.reasons();
        let trust = Trust {
            keys: &keys,
            revoked: &revoked,
            required_signatures: self.config.required_signatures,
            v1,
            accepted_format: self.accepted_format(),
        };
        verify::verify_with(bundle, &trust, now, expiry)
    }

    /// The highest format this host has accepted. Whatever cannot be read counts as the newer one.
    pub(crate) fn accepted_format(&self) -> Option<BundleFormat> {
        match durable::read_state(&self.paths.bundle_format(), 16) {
            Ok(None) => None,
            Ok(Some(bytes)) if bytes == b"1\n" => Some(BundleFormat::V1),
            Ok(Some(_)) | Err(_) => Some(BundleFormat::V2),
        }
    }

    pub(crate) fn note_accepted_format(&self, format: BundleFormat) -> Result<(), WriteError> {
        let text: &[u8] = match (format, self.accepted_format()) {
            (BundleFormat::V2, Some(BundleFormat::V2)) | (BundleFormat::V1, Some(_)) => return Ok(()),
            (BundleFormat::V2, _) => b"2\n",
            (BundleFormat::V1, None) => b"1\n",
        };
        durable::write_atomic(&self.paths.bundle_format(), text, 0o644)
    }

    /// The version counter, or `None` on a host that has never accepted a signed policy.
    ///
    /// # Errors
    ///
    /// [`CounterError`]: it is missing where it must be, malformed, or not safe. It is never read as zero.
    pub fn counter(&self) -> Result<Option<Counter>, CounterError> {
        self.counter_searching(Search::WholeLog)
    }

    /// The counter; if there is none, the log is searched as far as `search` says for a reason why there should be.
    pub(crate) fn counter_searching(&self, search: Search) -> Result<Option<Counter>, CounterError> {
        let path = &self.paths.version_counter;
        let read = durable::read_state_of(path, MAX_COUNTER_LEN)
            .map_err(|source| CounterError::Read { path: path.clone(), source })?;
        let Some((bytes, metadata)) = read else {
            return match self.evidence_of_a_signed_policy(search)? {
                Some(evidence) => Err(CounterError::Missing { path: path.clone(), evidence }),
                None => Ok(None),
            };
        };
        if let Some(problem) = counter_problem(path, &metadata) {
            return Err(CounterError::Permissions { path: path.clone(), problem });
        }
        Counter::parse(&bytes)
            .map(Some)
            .map_err(|source| CounterError::Malformed { path: path.clone(), source })
    }

    /// The version that `--policy-version auto` means: one above the counter, or 1.
    ///
    /// # Errors
    ///
    /// [`CounterError`] if the counter cannot be used, or is at its end.
    pub fn next_version(&self) -> Result<u64, CounterError> {
        let Some(counter) = self.counter()? else { return Ok(1) };
        counter
            .policy_version
            .checked_add(1)
            .ok_or_else(|| CounterError::Exhausted { path: self.paths.version_counter.clone() })
    }

    /// How this host knows that it has accepted a signed policy, other than by its counter.
    fn evidence_of_a_signed_policy(&self, search: Search) -> Result<Option<String>, CounterError> {
        let marker = self.paths.bundle_format();
        if marker.symlink_metadata().is_ok() {
            return Ok(Some(format!("{} exists", marker.display())));
        }
        for path in [self.paths.applied(), self.paths.previous(), self.paths.rolled_back()] {
            match begins_like_a_bundle(&path) {
                Ok(false) => {}
                Ok(true) => return Ok(Some(format!("{} holds a signed bundle", path.display()))),
                Err(source) => {
                    return Err(CounterError::Evidence {
                        path: self.paths.version_counter.clone(),
                        evidence: path,
                        source,
                    });
                }
            }
        }
        Ok(self
            .highest_in_log(search)
            .map(|counter| format!("the audit log says version {} was accepted", counter.policy_version)))
    }

    /// The highest version that the audit log says was accepted, or that a repair raised the counter to. A log that
    /// cannot be read says nothing.
    pub(crate) fn highest_in_audit_log(&self) -> Option<Counter> {
        self.highest_in_log(Search::WholeLog)
    }

    /// The latest time among the newest entries. One that a clock far ahead has left is passed over in time.
    pub(crate) fn latest_logged_time(&self) -> Option<Timestamp> {
        self.audit.last_entries(NEWEST_ENTRIES).ok()?.flatten().map(|entry| entry.time).max()
    }

    fn highest_in_log(&self, search: Search) -> Option<Counter> {
        let entries = match search {
            Search::WholeLog => self.audit.entries(),
            Search::NewestEntries => self.audit.last_entries(NEWEST_ENTRIES),
        };
        entries
            .ok()?
            // Past one damaged line the next may be sound; past a line without end or a failing disk nothing is.
            .map_while(|entry| match entry {
                Ok(entry) => Some(Some(entry)),
                Err(aegis_audit::ReadError::Line { source, .. })
                    if !matches!(source, EntryError::TooLong { .. }) =>
                {
                    Some(None)
                }
                Err(aegis_audit::ReadError::Sequence { .. }) => Some(None),
                Err(_) => None,
            })
            .flatten()
            .filter(|entry| entry.outcome == Outcome::Accepted)
            .filter(|entry| {
                matches!(entry.action, Action::PolicyApply | Action::CounterRepair | Action::BackupRestore)
            })
            .filter_map(|entry| {
                Some(Counter {
                    policy_version: entry.detail.get("policy_version")?.as_u64()?,
                    policy_sha256: entry.detail.get("policy_sha256")?.as_str()?.parse().ok()?,
                    epoch: u32::try_from(entry.detail.get("epoch")?.as_u64()?).ok()?,
                })
            })
            // Of two entries for one version, the one that knows the content is better.
            .max_by_key(|counter| (counter.order(), counter.knows_content()))
    }

    /// Takes the lock and puts right what an interrupted command left.
    pub(crate) fn begin_change(&self, caller: &Caller) -> Result<StateLock, ChangeError> {
        let counter_dir = directory_of(&self.paths.version_counter);
        let lock = StateLock::acquire(&self.paths.state_dir, &[counter_dir, &self.paths.keys_dir])
            .map_err(|source| ChangeError::Lock { source })?;
        self.recover_locked(caller).map_err(|source| ChangeError::Recovery { source: Box::new(source) })?;
        Ok(lock)
    }

    /// As [`begin_change`](Self::begin_change), for a caller who logs why nothing was begun: the log has a lock of its own.
    pub(crate) fn begin_logged_change(
        &self,
        caller: &Caller,
    ) -> (Option<StateLock>, Result<(), ChangeError>) {
        match self.begin_change(caller) {
            Ok(lock) => (Some(lock), Ok(())),
            Err(error) => (None, Err(error)),
        }
    }

    /// Refuses to begin what could not be logged.
    pub(crate) fn require_sound_log(&self) -> Result<(), ChangeError> {
        if self.audit.exists() {
            self.audit
                .quick_check()
                .map_err(|source| ChangeError::AuditUnsound { source: Box::new(source) })?;
        }
        Ok(())
    }

    /// Writes the one entry of a change and ends its journal.
    pub(crate) fn finish_change(&self, journal: &Journal, event: Event) -> Result<(), ChangeError> {
        self.audit
            .append(&event.transaction(&journal.transaction))
            .map_err(|source| ChangeError::NotLogged { source: Box::new(source) })?;
        Journal::clear(&self.paths).map_err(|source| ChangeError::Step { source })
    }

    /// Logs a refusal or failure. If even that fails the refusal stands, and [`take_unlogged`](Self::take_unlogged) tells.
    pub(crate) fn log_refusal(&self, event: &Event) {
        if let Err(error) = self.audit.append(event) {
            self.unlogged.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        }
    }

    /// The file of a key in the key directory.
    pub(crate) fn key_path(&self, file_name: &str) -> PathBuf {
        self.paths.keys_dir.join(file_name)
    }
}

/// The directory that a file is in; a bare name is in the current one.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn counter_problem(path: &Path, metadata: &std::fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    // Who can write to the directory can put an older counter back, whoever it belongs to.
    let directory = directory_of(path);
    let problem_above = || {
        let problem = durable::insecure(&directory.metadata().ok()?)?;
        Some(format!("is in the directory {}, which {problem}", directory.display()))
    };
    durable::insecure(metadata).or_else(problem_above).or_else(|| {
        (metadata.mode() & 0o200 == 0).then(|| "is read-only, so no policy can advance it".to_owned())
    })
}

/// Looks at the first bytes of a state file; what is no regular file is an error, and not waited for.
fn begins_like_a_bundle(path: &Path) -> Result<bool, ReadError> {
    use std::{io::Read, os::unix::fs::OpenOptionsExt};
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(ReadError::Open { path: path.to_owned(), source }),
    };
    let failed = |source| ReadError::Read { path: path.to_owned(), source };
    durable::check_regular(&file.metadata().map_err(failed)?, path)?;
    let mut start = Vec::new();
    file.take(64).read_to_end(&mut start).map_err(failed)?;
    Ok(bundle::is_bundle(&start))
}
