//! What is logged: who did what to which object, when, and how it ended.

use std::collections::BTreeMap;
use std::env;
use std::process;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds;
use crate::stamp;

/// One thing that happened, as its author reports it. [`AuditLog::append`](crate::AuditLog::append)
/// gives it a sequence number and makes it an [`Entry`].
///
/// Whatever is put in is cut to what an entry may hold, never refused: an event that is too long must still be
/// logged. The bounds are in [`Entry`].
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it happened; kept to the millisecond.
    pub time: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// What it was done to: a path, a key id, a bundle.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in words; for a refusal, the rule that refused.
    pub reason: Option<String>,
    /// Further facts by name, such as `key_id`, `policy_version` or `refusal`.
    pub detail: BTreeMap<String, Value>,
    /// The transaction that this event belongs to, so that an interrupted one is logged exactly once.
    pub transaction: Option<String>,
}

impl Event {
    /// An accepted action; the other methods add the rest.
    pub fn new(time: Timestamp, actor: Actor, action: Action, object: impl Into<String>) -> Self {
        Self {
            time: stamp::to_millisecond(time),
            actor,
            action,
            object: object.into(),
            outcome: Outcome::Accepted,
            reason: None,
            detail: BTreeMap::new(),
            transaction: None,
        }
    }

    /// Says how it ended.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Says why.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds one fact.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.detail.insert(name.into(), value.into());
        self
    }

    /// Names the transaction.
    #[must_use]
    pub fn transaction(mut self, id: impl Into<String>) -> Self {
        self.transaction = Some(id.into());
        self
    }
}

/// Who acted: the user id that the kernel knows, the name that the environment claims, and the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The real user id of the process.
    pub uid: u32,
    /// `SUDO_USER`, else `USER`: a claim of the environment, not a proof. Printable ASCII, at most 64 characters.
    pub user: Option<String>,
    /// The program. Printable ASCII, at most 64 characters.
    pub program: String,
    /// The process id.
    pub pid: u32,
}

impl Actor {
    /// The running process.
    pub fn current(program: &str) -> Self {
        let claimed = ["SUDO_USER", "USER"]
            .into_iter()
            .filter_map(env::var_os)
            .map(|name| bounds::printable(&name.to_string_lossy()))
            .find(|name| !name.is_empty());
        Self {
            uid: rustix::process::getuid().as_raw(),
            user: claimed,
            program: bounds::printable(program),
            pid: process::id(),
        }
    }
}

/// What was done. Exhaustive on purpose: a new action breaks each exporter that must choose a class for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// A policy was put in force, or refused.
    #[serde(rename = "policy.apply")]
    PolicyApply,
    /// The previous verified bundle was re-activated.
    #[serde(rename = "policy.rollback")]
    PolicyRollback,
    /// The version counter was repaired by hand.
    #[serde(rename = "policy.counter_repair")]
    CounterRepair,
    /// A key became trusted.
    #[serde(rename = "keys.add")]
    KeyAdd,
    /// A key is no longer trusted and may return.
    #[serde(rename = "keys.remove")]
    KeyRemove,
    /// A key is refused for ever.
    #[serde(rename = "keys.revoke")]
    KeyRevoke,
    /// Rotation, revocation and rollback refusal were rehearsed.
    #[serde(rename = "keys.drill")]
    KeyDrill,
    /// A backup was written.
    #[serde(rename = "backup.create")]
    BackupCreate,
    /// A backup was restored.
    #[serde(rename = "backup.restore")]
    BackupRestore,
    /// The log itself was read or exported.
    #[serde(rename = "audit.read")]
    AuditRead,
    /// The host key that signs this log's checkpoints was replaced.
    #[serde(rename = "audit.hand_over")]
    AuditHandOver,
    /// What an interrupted command left behind was finished or undone.
    #[serde(rename = "host.recovery")]
    Recovery,
    /// A KEK was made or imported, and wrapped.
    #[serde(rename = "kek.provision")]
    KekProvision,
    /// A KEK became the first one of a keyring.
    #[serde(rename = "kek.enrol")]
    KekEnrol,
    /// A KEK was unwrapped by its provider, or was not given out.
    #[serde(rename = "kek.load")]
    KekLoad,
    /// DEKs were rewrapped under a new KEK; the detail says how far.
    #[serde(rename = "kek.rotate")]
    KekRotate,
    /// A KEK was retired, and the wrappings under it erased.
    #[serde(rename = "kek.retire")]
    KekRetire,
    /// The first DEK of a scope was made.
    #[serde(rename = "dek.create")]
    DekCreate,
    /// A new DEK became the active one of its scope.
    #[serde(rename = "dek.rotate")]
    DekRotate,
    /// A DEK was retired, or brought back.
    #[serde(rename = "dek.retire")]
    DekRetire,
    /// A DEK was marked for destruction, unmarked, or erased.
    #[serde(rename = "dek.destroy")]
    DekDestroy,
    /// A backup of a keyring was written.
    #[serde(rename = "keyring.backup")]
    KeyringBackup,
    /// A backup of a keyring was restored.
    #[serde(rename = "keyring.restore")]
    KeyringRestore,
    /// A host's key was exchanged for another one, step by step; the detail says how far.
    #[serde(rename = "keys.rotate")]
    KeyRotate,
    /// A host was given custodians, who have to approve changes of its keys from then on.
    #[serde(rename = "custodians.init")]
    CustodiansInit,
    /// A host was given other custodians, or another quorum.
    #[serde(rename = "custodians.set")]
    CustodiansSet,
    /// A host was to do without custodians.
    #[serde(rename = "custodians.off")]
    CustodiansOff,
    /// A custodian's key was registered.
    #[serde(rename = "custodian.register")]
    CustodianRegister,
    /// A custodian's key was revoked.
    #[serde(rename = "custodian.revoke")]
    CustodianRevoke,
    /// A custodian signs with another key from then on.
    #[serde(rename = "custodian.replace")]
    CustodianReplace,
    /// A custodian was given other roles.
    #[serde(rename = "custodian.roles")]
    CustodianRoles,
    /// Something was asked for that takes several people.
    #[serde(rename = "approval.request")]
    ApprovalRequest,
    /// A custodian approved a request.
    #[serde(rename = "approval.sign")]
    ApprovalSign,
    /// A custodian said no to a request, or took an approval back.
    #[serde(rename = "approval.reject")]
    ApprovalReject,
    /// A request was approved: the signature was made that was still needed.
    #[serde(rename = "approval.decide")]
    ApprovalDecide,
    /// An approval was used; that happens once.
    #[serde(rename = "approval.use")]
    ApprovalUse,
    /// A custodian's key may be in the wrong hands, and is exchanged; the detail says how far.
    #[serde(rename = "emergency.rotate")]
    EmergencyRotate,
    /// For a time, what the policy in force denies was only to be told.
    #[serde(rename = "enforcement.off")]
    EnforcementOff,
    /// What the policy in force denies was to be refused again.
    #[serde(rename = "enforcement.on")]
    EnforcementOn,
    /// A policy that was put in force with a time limit was kept.
    #[serde(rename = "policy.confirm")]
    PolicyConfirm,
    /// A policy was not confirmed in time, so the one before it counts again.
    #[serde(rename = "policy.fallback")]
    PolicyFallback,
}

impl Action {
    /// Every action, in the order of their declaration.
    pub const ALL: [Self; 41] = [
        Self::PolicyApply,
        Self::PolicyRollback,
        Self::CounterRepair,
        Self::KeyAdd,
        Self::KeyRemove,
        Self::KeyRevoke,
        Self::KeyDrill,
        Self::BackupCreate,
        Self::BackupRestore,
        Self::AuditRead,
        Self::AuditHandOver,
        Self::Recovery,
        Self::KekProvision,
        Self::KekEnrol,
        Self::KekLoad,
        Self::KekRotate,
        Self::KekRetire,
        Self::DekCreate,
        Self::DekRotate,
        Self::DekRetire,
        Self::DekDestroy,
        Self::KeyringBackup,
        Self::KeyringRestore,
        Self::KeyRotate,
        Self::CustodiansInit,
        Self::CustodiansSet,
        Self::CustodiansOff,
        Self::CustodianRegister,
        Self::CustodianRevoke,
        Self::CustodianReplace,
        Self::CustodianRoles,
        Self::ApprovalRequest,
        Self::ApprovalSign,
        Self::ApprovalReject,
        Self::ApprovalDecide,
        Self::ApprovalUse,
        Self::EmergencyRotate,
        Self::EnforcementOff,
        Self::EnforcementOn,
        Self::PolicyConfirm,
        Self::PolicyFallback,
    ];

    /// The name in the log, in queries and in exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PolicyApply => "policy.apply",
            Self::PolicyRollback => "policy.rollback",
            Self::CounterRepair => "policy.counter_repair",
            Self::KeyAdd => "keys.add",
            Self::KeyRemove => "keys.remove",
            Self::KeyRevoke => "keys.revoke",
            Self::KeyDrill => "keys.drill",
            Self::BackupCreate => "backup.create",
            Self::BackupRestore => "backup.restore",
            Self::AuditRead => "audit.read",
            Self::AuditHandOver => "audit.hand_over",
            Self::Recovery => "host.recovery",
            Self::KekProvision => "kek.provision",
            Self::KekEnrol => "kek.enrol",
            Self::KekLoad => "kek.load",
            Self::KekRotate => "kek.rotate",
            Self::KekRetire => "kek.retire",
            Self::DekCreate => "dek.create",
            Self::DekRotate => "dek.rotate",
            Self::DekRetire => "dek.retire",
            Self::DekDestroy => "dek.destroy",
            Self::KeyringBackup => "keyring.backup",
            Self::KeyringRestore => "keyring.restore",
            Self::KeyRotate => "keys.rotate",
            Self::CustodiansInit => "custodians.init",
            Self::CustodiansSet => "custodians.set",
            Self::CustodiansOff => "custodians.off",
            Self::CustodianRegister => "custodian.register",
            Self::CustodianRevoke => "custodian.revoke",
            Self::CustodianReplace => "custodian.replace",
            Self::CustodianRoles => "custodian.roles",
            Self::ApprovalRequest => "approval.request",
            Self::ApprovalSign => "approval.sign",
            Self::ApprovalReject => "approval.reject",
            Self::ApprovalDecide => "approval.decide",
            Self::ApprovalUse => "approval.use",
            Self::EmergencyRotate => "emergency.rotate",
            Self::EnforcementOff => "enforcement.off",
            Self::EnforcementOn => "enforcement.on",
            Self::PolicyConfirm => "policy.confirm",
            Self::PolicyFallback => "policy.fallback",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Action {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|action| action.as_str() == name).ok_or_else(|| UnknownName {
            kind: "action",
            name: bounds::printable(name),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Accepted,
    /// A rule said no; nothing changed.
    Refused,
    /// A device, a file or the system failed.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Failed];

    /// The name in the log, in queries and in exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Outcome {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name).ok_or_else(|| UnknownName {
            kind: "outcome",
            name: bounds::printable(name),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// A name that no action, outcome or format has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} \"{name}\", only {known}")]
pub struct UnknownName {
    /// What was looked for: "action", "outcome", "format".
    pub kind: &'static str,
    /// The name that was given, in printable ASCII.
    pub name: String,
    /// The names there are.
    pub known: String,
}

/// One line of the log.
///
/// | field | bound |
/// |---|---|
/// | `object`, `reason` | 4,096 bytes each, a longer text ends in `…[cut]` |
/// | `transaction` | 128 bytes, cut like them |
/// | `actor.user`, `actor.program` | 64 printable ASCII characters |
/// | `detail` | 12 KiB as JSON, 8 levels; strings 1,024 bytes; what does not fit is counted in `detail_cut` |
/// | the line | 65,536 bytes without its newline |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place in the log, from 0.
    pub seq: u64,
    /// When it happened, to the millisecond.
    #[serde(with = "stamp")]
    pub time: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// What it was done to.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: Option<String>,
    /// Further facts by name.
    pub detail: BTreeMap<String, Value>,
    /// The transaction that it belongs to.
    pub transaction: Option<String>,
}

impl Entry {
    /// The event as entry `seq`, cut to the bounds above. This is what [`AuditLog::append`](crate::AuditLog::append)
    /// writes.
    pub fn of(seq: u64, event: &Event) -> Self {
        let Event { time, actor, action, object, outcome, reason, detail, transaction } = event;
        Self {
            seq,
            time: stamp::to_millisecond(*time),
            actor: Actor {
                uid: actor.uid,
                user: actor.user.as_deref().map(bounds::printable),
                program: bounds::printable(&actor.program),
                pid: actor.pid,
            },
            action: *action,
            object: bounds::cut(object, bounds::TEXT_LEN),
            outcome: *outcome,
            reason: reason.as_deref().map(|text| bounds::cut(text, bounds::TEXT_LEN)),
            detail: bounds::detail(detail),
            transaction: transaction.as_deref().map(|id| bounds::cut(id, bounds::TRANSACTION_LEN)),
        }
    }

    /// A text value of `detail`.
    pub fn detail_str(&self, name: &str) -> Option<&str> {
        self.detail.get(name).and_then(Value::as_str)
    }
}
