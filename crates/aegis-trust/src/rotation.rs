//! One key after another, in one operation that can be stopped and gone on with at any step:
//! add the new key → prove it with a canary → cut over → remove the old key.
//!
//! `rotation.json` says how far it has come. Each step is a change of its own, which the log has under its own name as
//! well, and what is found on the host counts for more than what the file says: a key that was added, or a policy that was
//! applied, by other commands need not be added or applied again.

use std::path::{Path, PathBuf};

use aegis_approval::Subject;
use aegis_audit::Event;
use aegis_crypto::{Digest, KeyId, KeyIdPrefix, PublicKeyFileError, Signature};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    HostPaths,
    apply::ApplyError,
    approval::ApprovalError,
    counter::CounterError,
    durable::{self, ReadError, WriteError},
    host::{Caller, ChangeError, Host},
    journal::Journal,
    key_dir::{FindKeyError, KeysError},
    keys::KeyChangeError,
    recover::RecoverError,
    sign::{PayloadSigner, SignError},
    verify::VerifyError,
};

mod steps;

const MAX_ROTATION_LEN: u64 = 64 * 1024;
const FORMAT: u32 = 1;

/// A rotation that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    format: u32,
    /// The key that goes.
    pub old: KeyId,
    /// The key that comes.
    pub new: KeyId,
    /// The same as SPKI PEM.
    new_pem: String,
    /// Under which name it is installed.
    name: Option<String>,
    /// When it was begun.
    pub started_at: Timestamp,
    /// The last step that was done.
    pub step: RotationStep,
    /// When it was done.
    pub updated_at: Timestamp,
    /// SHA-256 of the bundle that proved the new key.
    pub canary_sha256: Option<Digest>,
}

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationStep {
    /// It is known which key goes and which comes.
    Begun,
    /// The new key is trusted.
    Added,
    /// The new key has signed a bundle that this host would take.
    Proved,
    /// The policy in force does not need the old key.
    CutOver,
    /// The old key is not trusted any more.
    Done,
    /// It was given up. What was done stays.
    Abandoned,
}

/// What stops a rotation until somebody brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// An approval of `keys.add` for the new key.
    ApprovalToAdd,
    /// A bundle that the new key signed.
    Canary,
    /// A policy that is to be put in force and that the new key signed.
    Bundle,
    /// An approval of `keys.remove` for the old key.
    ApprovalToRemove,
}

/// A bundle to prove the new key by.
pub enum Canary<'a> {
    /// None, or the policy that is to be put in force.
    None,
    /// A file. It is not put in force.
    File(&'a Path),
    /// The signer, who signs one with the policy in force. It is not put in force either, nor kept.
    Signer(&'a dyn PayloadSigner),
}

/// What somebody brings to a rotation.
pub struct RotateRequest<'a> {
    /// The new key's file; it is needed to begin.
    pub new: Option<&'a Path>,
    /// The key that is to go; it is needed to begin, where more than one could be meant.
    pub old: Option<&'a KeyIdPrefix>,
    /// Install the new key under this name.
    pub name: Option<&'a str>,
    /// The new key's signature of the challenge.
    pub proof: Option<&'a Signature>,
    /// A bundle to prove the new key by.
    pub canary: Canary<'a>,
    /// The next policy, signed by the new key.
    pub bundle: Option<&'a Path>,
}

/// How a rotation stands.
#[derive(Debug, Clone, Serialize)]
pub struct RotationReport {
    /// The key that goes.
    pub old: KeyId,
    /// The key that comes.
    pub new: KeyId,
    /// When it was begun.
    pub started_at: Timestamp,
    /// The last step that was done.
    pub step: RotationStep,
    /// What is needed to go on; none if nothing is, or if it has ended.
    pub awaits: Option<Awaited>,
    /// The version of the signed policy in force.
    pub policy_version: Option<u64>,
    /// Whose signatures the policy in force carries.
    pub policy_signed_by: Vec<KeyId>,
}

/// A step as the journal holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationChange {
    /// The rotation from then on; none if it has ended.
    pub to: Option<Rotation>,
    /// The step.
    pub step: RotationStep,
    /// The key that goes.
    pub old: KeyId,
    /// The key that comes.
    pub new: KeyId,
    /// SHA-256 of the bundle that proved the new key.
    pub canary_sha256: Option<Digest>,
}

/// Why a rotation did not go on. Every step before stands.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// What is known of it cannot be read.
    #[error("cannot read how far the rotation has come")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// What is known of it is not what this program writes.
    #[error("{} does not say how far a rotation has come", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else could have changed it.
    #[error("{} {problem}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is none.
    #[error("no rotation is under way, and no new key was named")]
    NotBegun,
    /// There is another one.
    #[error("a rotation from key {} to key {} is under way", old.fingerprint(), new.fingerprint())]
    Other {
        /// The key that goes.
        old: KeyId,
        /// The key that comes.
        new: KeyId,
    },
    /// Another command took a step at the same time.
    #[error("another command has taken a step of this rotation meanwhile")]
    Raced,
    /// The new key's file cannot be read.
    #[error("the new key cannot be read")]
    NewKey {
        /// Why.
        source: ReadError,
    },
    /// The new key's file holds no key that can be trusted.
    #[error("{} is not a public key that can be trusted", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PublicKeyFileError,
    },
    /// Which key is to go is not clear.
    #[error("which key is to go is not clear: {found} could be meant")]
    WhichOld {
        /// How many.
        found: usize,
    },
    /// No one key was meant.
    #[error(transparent)]
    Find(FindKeyError),
    /// A key cannot follow itself.
    #[error("key {id} is the old key and the new one")]
    SameKey {
        /// The key.
        id: KeyId,
    },
    /// The keys cannot be told.
    #[error(transparent)]
    Keys(KeysError),
    /// An approval is for neither step, or cannot be read.
    #[error(transparent)]
    Approval(ApprovalError),
    /// An approval is for something else.
    #[error("an approval is for {} {subject}, which is no step of this rotation", subject.kind())]
    OtherApproval {
        /// What it is for.
        subject: Box<Subject>,
    },
    /// The new key was not added.
    #[error("the new key was not added")]
    Add {
        /// Why.
        source: Box<KeyChangeError>,
    },
    /// The canary, or the next policy, would be refused.
    #[error("{name} does not prove the new key")]
    Canary {
        /// What it is called.
        name: String,
        /// Why.
        source: Box<ApplyError>,
    },
    /// Not by the new key.
    #[error("{name} is not signed by the new key {new}")]
    NotByNewKey {
        /// What it is called.
        name: String,
        /// The key.
        new: KeyId,
    },
    /// The signer did not sign.
    #[error("the signer made no canary")]
    Sign {
        /// Why.
        source: Box<SignError>,
    },
    /// What the signer made would be refused.
    #[error("what the signer made does not prove the new key")]
    Signed {
        /// Why.
        source: Box<VerifyError>,
    },
    /// The version of a canary cannot be told.
    #[error("no canary can be made")]
    Counter {
        /// Why.
        source: CounterError,
    },
    /// The next policy was not put in force.
    #[error("the next policy was not put in force")]
    Apply {
        /// Why.
        source: Box<ApplyError>,
    },
    /// The old key was not removed.
    #[error("the old key was not removed")]
    Remove {
        /// Why.
        source: Box<KeyChangeError>,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl RotateError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let go_on = || "run `aegisbpf keys rotate --status` to see what is left".to_owned();
        match self {
            Self::Read { source } | Self::NewKey { source } => source.help(),
            Self::Malformed { path } => Some(format!(
                "move {} away and begin anew; what was added or removed stays so, as `aegisbpf keys list` says",
                path.display()
            )),
            Self::Permissions { path, .. } => Some(format!(
                "find out who could have changed it, then `chown root {0}` and `chmod 644 {0}`",
                path.display()
            )),
            Self::NotBegun => Some("begin with `aegisbpf keys rotate NEW.pub`".to_owned()),
            Self::Other { .. } => Some(
                "finish it with `aegisbpf keys rotate`, or give it up with `aegisbpf keys rotate --abandon`"
                    .to_owned(),
            ),
            Self::Raced => Some(go_on()),
            Self::NotAKey { source, .. } => source.help(),
            Self::WhichOld { .. } => {
                Some("name it with --old ID; `aegisbpf keys list` shows the ids".to_owned())
            }
            Self::Find(source) => source.help(),
            Self::SameKey { .. } => Some("make a new key with `aegisbpf keys generate`".to_owned()),
            Self::Keys(source) => source.help(),
            Self::Approval(source) => source.help(),
            Self::OtherApproval { .. } => {
                Some("give those that `aegisbpf keys rotate --status` asks for".to_owned())
            }
            Self::Add { source } | Self::Remove { source } => source.help(),
            Self::Canary { source, .. } | Self::Apply { source } => source.help(),
            Self::NotByNewKey { .. } => Some("sign it with the new key".to_owned()),
            Self::Sign { source } => source.help(),
            Self::Signed { source } => source.help(),
            Self::Counter { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

impl Rotation {
    /// The rotation of a host that is under way, if there is one.
    ///
    /// # Errors
    ///
    /// [`RotateError`] if it is there and cannot be told.
    pub fn load(paths: &HostPaths) -> Result<Option<Self>, RotateError> {
        let path = paths.rotation();
        let read =
            durable::read_state_of(&path, MAX_ROTATION_LEN).map_err(|source| RotateError::Read { source })?;
        let Some((bytes, metadata)) = read else { return Ok(None) };
        if let Some(problem) = durable::insecure(&metadata) {
            return Err(RotateError::Permissions { path, problem });
        }
        Self::parse(&bytes).map(Some).ok_or(RotateError::Malformed { path })
    }

    /// Reads the file in its one spelling.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rotation: Self = serde_json::from_slice(bytes).ok()?;
        let key = aegis_crypto::parse_public_key_file(rotation.new_pem.as_bytes()).ok()?.key;
        let is_sound = rotation.format == FORMAT
            && key.key_id() == rotation.new
            && rotation.old != rotation.new
            && rotation.step < RotationStep::Done
            && rotation.to_bytes() == bytes;
        is_sound.then_some(rotation)
    }

    /// The bytes of the file: one line of JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("names, numbers and times always serialise");
        json.push(b'\n');
        json
    }
}

impl RotationStep {
    /// The name in the log and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Added => "added",
            Self::Proved => "proved",
            Self::CutOver => "cut_over",
            Self::Done => "done",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Host {
    /// Writes or removes the file. Done again it does what is left.
    fn install_rotation(&self, change: &RotationChange) -> Result<(), WriteError> {
        let path = self.paths().rotation();
        match &change.to {
            Some(rotation) => durable::write_atomic(&path, &rotation.to_bytes(), 0o644),
            None => durable::remove_synced(&path),
        }
    }

    pub(crate) fn resume_rotation(
        &self,
        journal: &Journal,
        change: &RotationChange,
    ) -> Result<Event, RecoverError> {
        self.install_rotation(change).map_err(|source| RecoverError::Step { source })?;
        Ok(steps::rotation_event(&Caller::of_journal(journal), change))
    }
}
