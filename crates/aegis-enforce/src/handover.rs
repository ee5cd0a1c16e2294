//! How a policy reaches the agent, where fanotify enforces: by files, since nobody else may write them.
//!
//! | file in `fanotify/` | written by | what it says |
//! |---|---|---|
//! | `request.json` | `policy apply`, and whatever else puts a policy in force | what is to be in force |
//! | `policy-SHA256` | the same, before the request | the policy's text |
//! | `state.json` | the agent | what is in force, and what it refused last |
//! | `agent.lock` | the agent holds it as long as it lives | |
//!
//! Requests are numbered, so that an answer belongs to one. Who asks holds the lock of the host. A request that is refused,
//! or has no answer in time, is taken back: the one before it stands there again, and a restarted agent has its policy.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_crypto::{Digest, sha256};
use aegis_durable::{ReadError, WriteError, make_dir, read_state, remove_synced, write_atomic};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::compile::Mode;
use crate::kernel::InForce;

/// How long the agent may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether it has answered.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the agent waits for those who look whether it is there.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_FLAGS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
const REQUEST: &str = "request.json";
const STATE: &str = "state.json";
/// Requests and states are short.
const MAX_RECORD: u64 = 64 << 10;

/// What is to be in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Higher than any before it.
    pub(crate) serial: u64,
    pub(crate) policy_sha256: Digest,
    pub(crate) policy_version: Option<u64>,
    pub(crate) audit: bool,
    /// Until then what is denied is only told.
    pub(crate) lifted_until: Option<Timestamp>,
    /// From then on the one before counts again, unless this one is asked for anew without it.
    pub(crate) confirm_by: Option<Timestamp>,
    /// The one before. If there was none, nothing is denied.
    pub(crate) before: Option<Box<Request>>,
}

/// What a request means at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meant {
    pub(crate) policy_sha256: Digest,
    pub(crate) policy_version: Option<u64>,
    pub(crate) audit: bool,
}

impl Request {
    /// What it means now.
    pub(crate) fn meant(&self, now: Timestamp) -> Meant {
        let late = self.confirm_by.is_some_and(|by| now >= by);
        if let Some(before) = self.before.as_deref().filter(|_| late) {
            let Self { policy_sha256, policy_version, audit, .. } = *before;
            return Meant { policy_sha256, policy_version, audit };
        }
        let audit = late || self.audit || self.lifted_until.is_some_and(|until| now < until);
        Meant { policy_sha256: self.policy_sha256, policy_version: self.policy_version, audit }
    }

    /// What is in force by it now; none if it was the first and was not confirmed in time.
    pub(crate) fn held(&self, now: Timestamp) -> Option<Held> {
        let left = |until: Option<Timestamp>| {
            let left = until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
            left.filter(|left| !left.is_zero())
        };
        let fell_back = self.confirm_by.is_some_and(|by| now >= by);
        let Meant { policy_sha256, policy_version, audit } = self.meant(now);
        (!fell_back || self.before.is_some()).then(|| Held {
            serial: self.serial,
            policy_sha256,
            policy_version,
            // In an emergency too, what is denied is only told.
            mode: if audit && (fell_back || self.audit) { Mode::Audit } else { Mode::Enforce },
            unconfirmed_for: left(self.confirm_by),
            lifted_for: left(self.lifted_until).filter(|_| !fell_back),
            fell_back,
        })
    }

    /// The same, confirmed.
    pub(crate) fn confirmed(self) -> Self {
        Self { confirm_by: None, before: None, ..self }
    }
}

/// What is in force, whoever holds it: the kernel, or where no program can be loaded, the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Counted up by each policy that was put in force.
    pub serial: u64,
    /// SHA-256 of its text.
    pub policy_sha256: Digest,
    /// Its version; none for an unsigned one.
    pub policy_version: Option<u64>,
    /// Whether it denies, or only tells.
    pub mode: Mode,
    /// How long until the policy before it counts again, unless it is confirmed.
    pub unconfirmed_for: Option<Duration>,
    /// How long what it denies is only told, in an emergency.
    pub lifted_for: Option<Duration>,
    /// The policy that was applied last was not confirmed in time, so this is the one before it.
    pub fell_back: bool,
}

impl From<&InForce> for Held {
    fn from(in_force: &InForce) -> Self {
        Self {
            serial: in_force.generation,
            policy_sha256: Digest::from_bytes(in_force.policy_sha256),
            policy_version: in_force.policy_version,
            mode: in_force.mode,
            unconfirmed_for: in_force.unconfirmed_for,
            lifted_for: in_force.lifted_for,
            fell_back: in_force.fell_back,
        }
    }
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// The agent's worker.
    pub(crate) pid: u32,
    /// The request that it follows.
    pub(crate) in_force: Option<Request>,
    /// What that means.
    pub(crate) meant: Option<Meant>,
    pub(crate) refused: Option<Refused>,
}

/// A request that the agent could not follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) serial: u64,
    pub(crate) detail: String,
    pub(crate) help: Option<String>,
}

/// Why a policy did not reach the agent, or not in force.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// There is no agent, so nobody would answer.
    #[error("files and programs are watched by the agent here, and it does not run")]
    NoAgent,
    /// It could not put the policy in force.
    #[error("the agent could not put the policy in force: {detail}")]
    Refused {
        /// Why.
        detail: String,
        /// What to do.
        help: Option<String>,
    },
    /// It did not answer.
    #[error("the agent has not answered in {} s", PATIENCE.as_secs())]
    Silent,
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file is no record.
    #[error("{} is malformed", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Requests are numbered, and this one has the last number there is.
    #[error("{} has the last number that there is, so nothing can be asked for after it", path.display())]
    Exhausted {
        /// The file.
        path: PathBuf,
    },
    /// The text of the policy is not the one that was asked for.
    #[error("{} is not the policy of that digest", path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// The lock could not be used.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent holds it.
    #[error("another agent runs")]
    Runs,
}

impl HandoverError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoAgent => Some("start the agent: systemctl start aegisbpf".to_owned()),
            Self::Refused { help, .. } => help.clone(),
            Self::Silent => Some("look at the agent: journalctl -u aegisbpf".to_owned()),
            Self::Read(
                ReadError::TooLarge { path, .. }
                | ReadError::NotAFile { path, .. }
                | ReadError::Link { path },
            )
            | Self::Record { path, .. }
            | Self::Exhausted { path }
            | Self::Text { path } => Some(format!("remove {}, and apply the policy again", path.display())),
            Self::Read(error) => error.help(),
            Self::Write(error) => error.help(),
            Self::Lock { .. } => Some("run it as root".to_owned()),
            Self::Runs => Some("only one may: see `systemctl status aegisbpf`".to_owned()),
        }
    }
}

/// The files of one host.
#[derive(Debug, Clone)]
pub(crate) struct Handover {
    dir: PathBuf,
}

impl Handover {
    /// Below the directory of the host's state.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("fanotify") }
    }

    /// Whether there is an agent. It may be one whose worker is just being started anew.
    pub(crate) fn agent_runs(&self) -> bool {
        let options = OpenOptions::new().read(true).custom_flags(LOCK_FLAGS).open(self.lock_path());
        // Shared, so that two who look do not take each other for the agent.
        options.is_ok_and(|file| {
            flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
        })
    }

    /// The agent's lock, as long as the file is open.
    pub(crate) fn lock(&self) -> Result<File, HandoverError> {
        make_dir(&self.dir, 0o700)?;
        let path = self.lock_path();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(LOCK_FLAGS);
        let fault = |source| HandoverError::Lock { path: path.clone(), source };
        let file = options.open(&path).map_err(fault)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                // Somebody may only have a look whether there is an agent.
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(HandoverError::Runs),
                Err(error) => return Err(fault(error.into())),
            }
        }
    }

    /// What is to be in force, if anything ever was.
    pub(crate) fn request(&self) -> Result<Option<Request>, HandoverError> {
        self.record(REQUEST)
    }

    /// What the agent said last.
    pub(crate) fn state(&self) -> Result<Option<State>, HandoverError> {
        self.record(STATE)
    }

    /// The text that a request means.
    pub(crate) fn text(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, HandoverError> {
        let path = self.text_path(digest);
        match read_state(&path, limit)? {
            Some(text) if sha256(&text) == *digest => Ok(text),
            Some(_) | None => Err(HandoverError::Text { path }),
        }
    }

    /// Says what is in force.
    pub(crate) fn tell(&self, state: &State) -> Result<(), HandoverError> {
        self.write(STATE, state)
    }

    /// Has the agent put a policy in force, and waits until it is. The number of `wanted` is chosen here.
    pub(crate) fn ask(&self, text: &[u8], wanted: Request) -> Result<(), HandoverError> {
        if !self.agent_runs() {
            return Err(HandoverError::NoAgent);
        }
        let before = self.request()?;
        let request = self.leave(text, wanted)?;
        match self.answer_to(request.serial) {
            Ok(()) => {
                self.tidy(&request);
                Ok(())
            }
            Err(error) => {
                match before {
                    Some(before) => self.write(REQUEST, &before)?,
                    None => remove_synced(&self.dir.join(REQUEST))?,
                }
                Err(error)
            }
        }
    }

    /// Leaves a policy for an agent that is yet to come.
    pub(crate) fn leave(&self, text: &[u8], wanted: Request) -> Result<Request, HandoverError> {
        make_dir(&self.dir, 0o700)?;
        let exhausted = || HandoverError::Exhausted { path: self.dir.join(REQUEST) };
        let serial = self.last_serial()?.checked_add(1).ok_or_else(exhausted)?;
        write_atomic(&self.text_path(&wanted.policy_sha256), text, 0o600)?;
        let request = Request { serial, ..wanted };
        self.write(REQUEST, &request)?;
        Ok(request)
    }

    fn answer_to(&self, serial: u64) -> Result<(), HandoverError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(state) = self.state()? {
                if state.in_force.is_some_and(|in_force| in_force.serial == serial) {
                    return Ok(());
                }
                if let Some(Refused { detail, help, .. }) =
                    state.refused.filter(|refused| refused.serial == serial)
                {
                    return Err(HandoverError::Refused { detail, help });
                }
            }
            if !self.agent_runs() {
                return Err(HandoverError::NoAgent);
            }
            if Instant::now() >= deadline {
                return Err(HandoverError::Silent);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn last_serial(&self) -> Result<u64, HandoverError> {
        let asked = self.request()?.map_or(0, |request| request.serial);
        let said = self.state()?.map_or(0, |state| {
            let in_force = state.in_force.map_or(0, |request| request.serial);
            in_force.max(state.refused.map_or(0, |refused| refused.serial))
        });
        Ok(asked.max(said))
    }

    /// Removes texts that no request means any more. What stays is only room on the disk.
    fn tidy(&self, current: &Request) {
        let meant = std::iter::once(current).chain(current.before.as_deref());
        let keep: Vec<PathBuf> = meant.map(|request| self.text_path(&request.policy_sha256)).collect();
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let text = entry.file_name().as_encoded_bytes().starts_with(b"policy-");
            if text && !keep.contains(&entry.path()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("agent.lock")
    }

    fn text_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("policy-{digest}"))
    }

    fn record<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, HandoverError> {
        let path = self.dir.join(name);
        let bytes = read_state(&path, MAX_RECORD)?;
        let parsed = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        parsed.map_err(|source| HandoverError::Record { path, source })
    }

    fn write(&self, name: &str, record: &impl Serialize) -> Result<(), HandoverError> {
        let path = self.dir.join(name);
        let mut json = serde_json::to_vec(record)
            .map_err(|source| HandoverError::Record { path: path.clone(), source })?;
        json.push(b'\n');
        Ok(write_atomic(&path, &json, 0o600)?)
    }
}

#[cfg(test)]
mod tests;
