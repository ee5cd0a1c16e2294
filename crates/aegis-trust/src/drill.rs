//! The revocation drill: rotation, revocation, an emergency policy, the refusal of a rollback, and the rule of two,
//! rehearsed on a shadow of this host with the code that production uses. No real key, policy or counter is touched.
//!
//! A drill that passes leaves evidence, signed with the host key, in `drill.json`; health counts the days since. One that
//! fails is logged and leaves the older evidence as it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aegis_audit::{Action, AppendError, Event, HostKeyError, Outcome};
use aegis_crypto::{Digest, KeyId, PublicKeyFileError, RandomError, parse_public_key_file, sha256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    HostPaths,
    bundle::{self, BundleError, SignedBundle},
    config::ConfigError,
    durable::{self, ReadError, WriteError},
    host::{Caller, ChangeError, Host},
    host_statement::{self, HostStatement, StatementError},
    manifest::truncate_to_seconds,
};

pub(crate) mod custodians;
mod rehearsal;

use rehearsal::Rehearsal;

/// The payload type that the host's signature over a drill's evidence covers.
pub const PAYLOAD_TYPE: &str = "application/vnd.aegis.drill-report.v1+json";

const FORMAT: u32 = 1;
const MAX_EVIDENCE_LEN: u64 = 1 << 20;

/// What is rehearsed with on a host that has no policy yet.
const BUILT_IN_POLICY: &[u8] = b"version=2\n\n[deny_path]\n/usr/bin/nc\n\n[deny_port]\n4444:tcp:egress\n";

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillStep {
    /// What was tried.
    pub name: String,
    /// What should come of it.
    pub expected: String,
    /// What came of it.
    pub observed: String,
    /// Whether that is the same.
    pub passed: bool,
}

/// What a drill found.
#[derive(Debug, Clone, Serialize)]
pub struct DrillReport {
    /// When it was run.
    pub finished_at: Timestamp,
    /// The host key that signed the evidence.
    pub host_key: KeyId,
    /// Everything that was tried, in order.
    pub steps: Vec<DrillStep>,
    /// Whether every step passed.
    pub passed: bool,
    /// The same, signed: a DSSE envelope as one line of JSON.
    #[serde(serialize_with = "as_text")]
    pub evidence: Vec<u8>,
}

/// What the evidence of the last drill that passed says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DrillEvidence {
    /// When it was run.
    pub finished_at: Timestamp,
    /// Whether every step passed.
    pub passed: bool,
    /// The host key that signed it.
    pub host_key: KeyId,
}

/// Why a drill could not be run to its end, or its evidence not be believed.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The shadow of the host cannot be made.
    #[error("the shadow host {} cannot be made", path.display())]
    Shadow {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the shadow cannot be written.
    #[error("the shadow host cannot be set up")]
    SetUp {
        /// Why.
        source: WriteError,
    },
    /// The settings of this host cannot be used.
    #[error("the shadow host cannot take the settings of this host")]
    Config {
        /// Why.
        source: ConfigError,
    },
    /// What is to be rehearsed with, or the evidence, cannot be read.
    #[error("a file of this host cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// What is in force begins like a bundle and is none.
    #[error("the policy in force is damaged, so it cannot be rehearsed with")]
    Applied {
        /// Why.
        source: BundleError,
    },
    /// No throw-away key can be made.
    #[error("no key can be made for the drill")]
    Random {
        /// Why.
        source: RandomError,
    },
    /// The host's own key cannot be had.
    #[error("the key of this host cannot be had")]
    HostKey {
        /// Why.
        source: Box<HostKeyError>,
    },
    /// The evidence cannot be stored.
    #[error("the drill passed, but its evidence cannot be stored")]
    Store {
        /// Why.
        source: WriteError,
    },
    /// That it was run could not be logged.
    #[error("the drill was run, but could not be logged, so it does not count")]
    NotLogged {
        /// Why.
        source: Box<AppendError>,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
    /// The stored evidence is not a signed statement, or does not hold.
    #[error("the evidence {} of the last drill cannot be believed", path.display())]
    Evidence {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StatementError,
    },
    /// The stored evidence does not say what evidence says.
    #[error("the evidence {} of the last drill is malformed", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// The host key in the stored evidence is none.
    #[error("the evidence {} of the last drill carries no key that can be trusted", path.display())]
    RecordKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PublicKeyFileError,
    },
    /// The stored evidence means a drill, but is not what this program writes.
    #[error("the evidence {} of the last drill is not of a drill that passed, in the spelling of format {FORMAT}", path.display())]
    RecordForm {
        /// The file.
        path: PathBuf,
    },
    /// The stored evidence is of another host.
    #[error("the evidence {} of the last drill is signed by host key {key_id}, which is not a key of this host", path.display())]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// Who signed it.
        key_id: KeyId,
    },
}

impl DrillError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Shadow { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root, or as the owner of the state directory".to_owned())
            }
            Self::Shadow { .. } => None,
            Self::SetUp { source } | Self::Store { source } => source.help(),
            Self::Config { source } => source.help(),
            Self::Read { source } => source.help(),
            Self::Applied { .. } => {
                Some("see what is wrong with `aegisbpf health`, then run the drill again".to_owned())
            }
            Self::Random { source } => source.help(),
            Self::HostKey { source } => source.help(),
            Self::NotLogged { source } => source.help(),
            Self::Change(source) => source.help(),
            Self::Evidence { .. }
            | Self::Record { .. }
            | Self::RecordKey { .. }
            | Self::RecordForm { .. }
            | Self::OtherHost { .. } => Some("run `aegisbpf keys drill`; it writes new evidence".to_owned()),
        }
    }
}

/// What the host signs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    finished_at: Timestamp,
    host_key: KeyId,
    host_key_pem: String,
    /// SHA-256 of the policy text that was rehearsed with.
    policy_sha256: Digest,
    /// How many signatures this host asks for.
    required_signatures: u32,
    passed: bool,
    steps: Vec<DrillStep>,
}

impl Record {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("names, numbers and times always serialise")
    }
}

impl Host {
    /// Rehearses rotation, revocation, an emergency policy, the refusal of a rollback, and the rule of two. `progress` hears of each step.
    ///
    /// Other changes of this host wait meanwhile. A drill in which a step fails is a report, not an error.
    ///
    /// # Errors
    ///
    /// [`DrillError`] if it could not be run to its end, logged, or its evidence not stored.
    pub fn drill(&self, caller: &Caller, progress: &mut dyn FnMut(&str)) -> Result<DrillReport, DrillError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let report = begun.map_err(DrillError::Change).and_then(|()| self.drill_locked(caller, progress));
        if let Err(error) = &report
            && !matches!(error, DrillError::NotLogged { .. })
        {
            let event = Event::new(caller.now, caller.actor.clone(), Action::KeyDrill, "shadow host");
            self.log_refusal(&event.outcome(Outcome::Failed).reason(crate::health::cause_chain(error)));
        }
        report
    }

    fn drill_locked(
        &self,
        caller: &Caller,
        progress: &mut dyn FnMut(&str),
    ) -> Result<DrillReport, DrillError> {
        self.require_sound_log().map_err(DrillError::Change)?;
        let host_key =
            self.audit().host_key().map_err(|source| DrillError::HostKey { source: Box::new(source) })?;
        let text = self.text_to_rehearse()?;
        let policy_sha256 = sha256(&text);
        let shadow = Shadow::of(self)?;
        let steps = Rehearsal::new(shadow.host()?, caller, text, progress)
            .map_err(|source| DrillError::Random { source })?
            .run();
        drop(shadow);
        let record = Record {
            format: FORMAT,
            finished_at: truncate_to_seconds(caller.now),
            host_key: host_key.public_key().key_id(),
            host_key_pem: host_key.public_key().to_spki_pem(),
            policy_sha256,
            required_signatures: self.config().required_signatures,
            passed: !steps.is_empty() && steps.iter().all(|step| step.passed),
            steps,
        };
        let evidence = host_statement::sign(&host_key, PAYLOAD_TYPE, &record.to_json());
        drop(host_key);
        self.log_drill(caller, &record, &evidence)?;
        if record.passed {
            durable::write_atomic(&self.paths().drill_report(), &evidence, 0o644)
                .map_err(|source| DrillError::Store { source })?;
        }
        let Record { finished_at, host_key, passed, steps, .. } = record;
        Ok(DrillReport { finished_at, host_key, steps, passed, evidence })
    }

    /// The log comes first: evidence of a drill that nobody logged does not restart the clock.
    fn log_drill(&self, caller: &Caller, record: &Record, evidence: &[u8]) -> Result<(), DrillError> {
        let event = Event::new(caller.now, caller.actor.clone(), Action::KeyDrill, "shadow host")
            .detail("steps", record.steps.len() as u64)
            .detail("evidence_sha256", sha256(evidence).to_string());
        let event = match record.steps.iter().find(|step| !step.passed) {
            None => event,
            Some(failed) => {
                event.outcome(Outcome::Failed).reason(format!("{}: {}", failed.name, failed.observed))
            }
        };
        self.audit()
            .append(&event)
            .map(drop)
            .map_err(|source| DrillError::NotLogged { source: Box::new(source) })
    }

    /// What is in force here, so that the drill finds what would stop this very policy; else a small one.
    fn text_to_rehearse(&self) -> Result<Vec<u8>, DrillError> {
        let file = durable::read_state(&self.paths().applied(), self.max_file_len())
            .map_err(|source| DrillError::Read { source })?;
        match file {
            None => Ok(BUILT_IN_POLICY.to_vec()),
            Some(file) if !bundle::is_bundle(&file) => Ok(file),
            Some(file) => {
                let (file, policy) =
                    SignedBundle::parse(file).map_err(|source| DrillError::Applied { source })?.into_file();
                Ok(file.get(policy).unwrap_or_default().to_vec())
            }
        }
    }

    /// What the evidence of the last drill that passed says, if there is any; signed by a key of this host.
    ///
    /// # Errors
    ///
    /// [`DrillError`] if it is there and cannot be believed.
    pub fn last_drill(&self) -> Result<Option<DrillEvidence>, DrillError> {
        let path = self.paths().drill_report();
        let bytes =
            durable::read_state(&path, MAX_EVIDENCE_LEN).map_err(|source| DrillError::Read { source })?;
        let Some(bytes) = bytes else { return Ok(None) };
        let broken = |source| DrillError::Evidence { path: path.clone(), source };
        let statement = HostStatement::parse(&bytes, PAYLOAD_TYPE).map_err(broken)?;
        let payload = statement.unverified_payload();
        let record: Record = serde_json::from_slice(payload)
            .map_err(|source| DrillError::Record { path: path.clone(), source })?;
        let passed = record.passed && !record.steps.is_empty() && record.steps.iter().all(|step| step.passed);
        if record.to_json() != payload || record.format != FORMAT || !passed {
            return Err(DrillError::RecordForm { path });
        }
        let key = parse_public_key_file(record.host_key_pem.as_bytes())
            .map_err(|source| DrillError::RecordKey { path: path.clone(), source })?
            .key;
        statement.verify(&key).map_err(broken)?;
        let key_id = key.key_id();
        if record.host_key != key_id {
            return Err(DrillError::RecordForm { path });
        }
        // The current key is told by a look at the checkpoint; only for an earlier one is the whole log read.
        let current =
            self.audit().exists() && self.audit().quick_check().is_ok_and(|check| check.host_key == key_id);
        let own = || {
            self.audit().host_public_keys().map_err(|source| DrillError::HostKey { source: Box::new(source) })
        };
        if !current && !own()?.contains(&key) {
            return Err(DrillError::OtherHost { path, key_id });
        }
        Ok(Some(DrillEvidence { finished_at: record.finished_at, passed, host_key: key_id }))
    }
}

/// A private directory in the state directory, with the settings of the host; removed when this is dropped.
struct Shadow {
    root: PathBuf,
}

impl Shadow {
    fn of(host: &Host) -> Result<Self, DrillError> {
        use std::os::unix::fs::DirBuilderExt;
        let root = host.paths().state_dir.join("drill.shadow");
        let failed = |source| DrillError::Shadow { path: root.clone(), source };
        // What a killed drill left. The lock of the host's state is held, so nobody is using it.
        remove_tree(&root).map_err(failed)?;
        fs::DirBuilder::new().mode(0o700).create(&root).map_err(failed)?;
        let shadow = Self { root };
        let settings = durable::read_state(&host.paths().config_file(), MAX_EVIDENCE_LEN)
            .map_err(|source| DrillError::Read { source })?;
        if let Some(settings) = settings {
            let file = HostPaths::under(&shadow.root).config_file();
            let dir = file.parent().map_or_else(|| shadow.root.clone(), Path::to_owned);
            durable::make_dir(&dir, 0o755)
                .and_then(|()| durable::write_atomic(&file, &settings, 0o644))
                .map_err(|source| DrillError::SetUp { source })?;
        }
        Ok(shadow)
    }

    fn host(&self) -> Result<Host, DrillError> {
        Host::open(HostPaths::under(&self.root)).map_err(|source| DrillError::Config { source })
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // If this fails, the next drill does it.
        let _ = remove_tree(&self.root);
    }
}

fn remove_tree(root: &Path) -> io::Result<()> {
    match root.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(root),
        Ok(_) => fs::remove_file(root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn as_text<S: Serializer>(evidence: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&String::from_utf8_lossy(evidence))
}

#[cfg(test)]
mod tests;
