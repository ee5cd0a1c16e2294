//! What a host remembers of its custodians, in its state: that the rule is on, which keys were approved, and which
//! approvals were used. Taking `/etc/aegisbpf/custodians` away changes none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use aegis_approval::{Audience, RequestId, VerifiedApproval};
use aegis_crypto::{Digest, KeyId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    HostPaths,
    durable::{self, ReadError, WriteError},
    manifest::truncate_to_seconds,
};

/// The most bytes of the record.
pub const MAX_RECORD_LEN: u64 = 32 << 20;
/// The most approvals that are remembered. Beyond, those whose time ended first are forgotten.
pub const MAX_USED: usize = 4_000;

const FORMAT: u32 = 1;

/// The record. [`Record::default`] is that of a host without custodians.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The rule that is on, if it is.
    pub rule: Option<RuleRecord>,
    /// The keys that were approved. Others in the key directory are not trusted.
    pub approved_keys: BTreeSet<KeyId>,
    used: BTreeMap<RequestId, UsedApproval>,
}

/// The rule that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRecord {
    /// Of the whole rule, as [`CustodianRule::digest`](super::rule::CustodianRule::digest) gives it.
    pub digest: Digest,
    /// What this host was called when it took the rule up: `host:NAME`.
    pub host: String,
    /// Since when.
    pub since: Timestamp,
}

/// An approval that was used here. It is never used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedApproval {
    /// The request.
    pub id: String,
    /// Its hash.
    pub hash: Digest,
    /// What kind of request.
    pub kind: String,
    /// The key id, epoch or digest that was approved.
    pub subject: String,
    /// Who asked.
    pub requester: String,
    /// Who agreed, and in which role.
    pub approvals: BTreeMap<String, String>,
    /// When it was used.
    pub used_at: Timestamp,
    /// Until when it could have been used.
    pub use_until: Timestamp,
}

/// A change of the record that goes with a change of the host. Done again it changes nothing more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordChange {
    /// The rule that this host takes up, unless it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_up: Option<RuleRecord>,
    /// The keys that are approved because they are trusted when the rule is taken up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub take_over: Vec<KeyId>,
    /// The approval that is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<UsedApproval>,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyEdit {
    /// It is approved.
    Approve(KeyId),
    /// It is approved no longer.
    Withdraw(KeyId),
    /// No key changes.
    None,
}

/// Why the record cannot be used. No key is trusted until it can.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("cannot read the record of approvals {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// Somebody else could have changed it.
    #[error("the record of approvals {} {problem}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It is not JSON of a record.
    #[error("the record of approvals {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RecordParseError,
    },
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordParseError {
    /// Not its JSON.
    #[error("it is not the JSON of a record")]
    Json {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// It means a record, but is not as this program writes it.
    #[error("it is not in the one spelling of format {FORMAT}")]
    Spelling,
}

impl RecordError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } => source.help(),
            Self::Permissions { path, .. } => Some(format!(
                "find out who could have changed it, compare it with a backup, then `chown root {0}` and `chmod 644 {0}`",
                path.display()
            )),
            Self::Malformed { path, .. } => Some(format!(
                "restore {} from a backup; deleting it would let used approvals be used again",
                path.display()
            )),
        }
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    format: u32,
    rule: Option<RuleRecord>,
    approved_keys: Vec<KeyId>,
    used: Vec<UsedApproval>,
}

impl RuleRecord {
    /// What this host is called. It was checked when the record was read or made.
    pub fn audience(&self) -> Option<Audience> {
        self.host.parse().ok()
    }
}

impl UsedApproval {
    pub(crate) fn of(approval: &VerifiedApproval, kind: String, subject: String, now: Timestamp) -> Self {
        let approvals = approval.approvals().iter();
        Self {
            id: approval.id().to_string(),
            hash: approval.hash(),
            kind,
            subject,
            requester: approval.requester().to_string(),
            approvals: approvals.map(|(person, role)| (person.to_string(), role.to_string())).collect(),
            used_at: truncate_to_seconds(now),
            use_until: approval.use_until(),
        }
    }
}

impl Record {
    /// Reads the record of a host; `None` if it never had custodians.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if it is there and cannot be used.
    pub fn load(paths: &HostPaths) -> Result<Option<Self>, RecordError> {
        let path = paths.custodians_record();
        let read = durable::read_state_of(&path, MAX_RECORD_LEN)
            .map_err(|source| RecordError::Read { path: path.clone(), source })?;
        let Some((bytes, metadata)) = read else { return Ok(None) };
        if let Some(problem) = durable::insecure(&metadata) {
            return Err(RecordError::Permissions { path, problem });
        }
        Self::parse(&bytes).map(Some).map_err(|source| RecordError::Malformed { path, source })
    }

    /// Reads a record in its one spelling.
    ///
    /// # Errors
    ///
    /// A [`RecordParseError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordParseError> {
        let raw: RawRecord =
            serde_json::from_slice(bytes).map_err(|source| RecordParseError::Json { source })?;
        let RawRecord { format, rule, approved_keys, used } = raw;
        let names_host =
            |rule: &RuleRecord| rule.audience().is_some_and(|host| host.as_str().starts_with("host:"));
        if format != FORMAT || !rule.as_ref().is_none_or(names_host) {
            return Err(RecordParseError::Spelling);
        }
        let used = used.into_iter().map(|used| Some((used.id.parse().ok()?, used)));
        let used = used.collect::<Option<_>>().ok_or(RecordParseError::Spelling)?;
        let record = Self { rule, approved_keys: approved_keys.into_iter().collect(), used };
        // No key twice, no other order, no white space: what was changed by hand is found.
        if record.to_bytes() != bytes {
            return Err(RecordParseError::Spelling);
        }
        Ok(record)
    }

    /// The bytes of the file: one line of JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { rule, approved_keys, used } = self;
        let raw = RawRecord {
            format: FORMAT,
            rule: rule.clone(),
            approved_keys: approved_keys.iter().copied().collect(),
            used: used.values().cloned().collect(),
        };
        let mut json = serde_json::to_vec(&raw).expect("names, numbers and times always serialise");
        json.push(b'\n');
        json
    }

    /// The use of a request here, if it was used.
    pub fn use_of(&self, id: &RequestId) -> Option<&UsedApproval> {
        self.used.get(id)
    }

    /// All uses, by request.
    pub fn uses(&self) -> impl Iterator<Item = &UsedApproval> {
        self.used.values()
    }

    /// Whether one more use can be remembered at that time.
    pub(crate) fn has_room(&self, now: Timestamp) -> bool {
        self.used.len() < MAX_USED || self.uses().any(|used| is_over(used, now))
    }

    /// The keys that are trusted if they are installed; `None` if all are.
    pub fn trusted_only(&self) -> Option<&BTreeSet<KeyId>> {
        self.rule.is_some().then_some(&self.approved_keys)
    }

    /// Remembers a use. The first word on a request stands.
    fn remember(&mut self, approval: &UsedApproval) {
        let Ok(id) = approval.id.parse() else { return };
        while self.used.len() >= MAX_USED {
            // Only what nobody could use any more makes room.
            let over = self.used.iter().filter(|(_, used)| is_over(used, approval.used_at));
            let Some(first) = over.min_by_key(|(_, used)| used.use_until).map(|(id, _)| id.clone()) else {
                break;
            };
            self.used.remove(&first);
        }
        self.used.entry(id).or_insert_with(|| approval.clone());
    }

    /// Takes in what another record, of a backup, says was used.
    pub(crate) fn merge_uses(&mut self, other: &Self) -> usize {
        let before = self.used.len();
        other.uses().for_each(|used| self.remember(used));
        self.used.len().saturating_sub(before)
    }

    /// Makes a change. Made again, it changes nothing more.
    pub(crate) fn make(&mut self, change: &RecordChange, key: KeyEdit) {
        let RecordChange { take_up, take_over, approval } = change;
        if let Some(rule) = take_up
            && self.rule.is_none()
        {
            self.rule = Some(rule.clone());
            self.approved_keys = take_over.iter().copied().collect();
        }
        if let Some(approval) = approval {
            self.remember(approval);
        }
        match key {
            KeyEdit::Approve(id) => drop(self.approved_keys.insert(id)),
            KeyEdit::Withdraw(id) => drop(self.approved_keys.remove(&id)),
            KeyEdit::None => {}
        }
    }

    /// The rule becomes another one, or none; then no key is approved, because none has to be.
    pub(crate) fn replace_rule(&mut self, rule: Option<RuleRecord>) {
        if rule.is_none() {
            self.approved_keys.clear();
        }
        self.rule = rule;
    }

    /// Writes it, unless it is what is there.
    pub(crate) fn write(&self, paths: &HostPaths) -> Result<(), WriteError> {
        let (path, bytes) = (paths.custodians_record(), self.to_bytes());
        if matches!(durable::read_state(&path, MAX_RECORD_LEN), Ok(Some(here)) if here == bytes) {
            // The crash that this is done again for may have come before the new name was on the disk.
            return durable::sync_parent(&path);
        }
        durable::write_atomic(&path, &bytes, 0o644)
    }
}

/// Whether a request can be used no more by any clock that is at most a year behind.
fn is_over(used: &UsedApproval, now: Timestamp) -> bool {
    now.duration_since(used.use_until) > jiff::SignedDuration::from_hours(366 * 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn used(number: u32, use_until: &str) -> UsedApproval {
        UsedApproval {
            id: format!("req-{number:032x}"),
            hash: aegis_crypto::sha256(b""),
            kind: "keys.add".to_owned(),
            subject: "a".repeat(64),
            requester: "mallory".to_owned(),
            approvals: BTreeMap::new(),
            used_at: time("2026-01-01T00:00:00Z"),
            use_until: time(use_until),
        }
    }

    fn record() -> Record {
        let change = RecordChange {
            take_up: Some(RuleRecord {
                digest: aegis_crypto::sha256(b"rule"),
                host: "host:web-1".to_owned(),
                since: time("2026-01-01T00:00:00Z"),
            }),
            take_over: vec![KeyId::of(&[1; 32])],
            approval: Some(used(1, "2026-01-02T00:00:00Z")),
        };
        let mut record = Record::default();
        record.make(&change, KeyEdit::Approve(KeyId::of(&[2; 32])));
        let once = record.clone();
        record.make(&change, KeyEdit::Approve(KeyId::of(&[2; 32])));
        assert_eq!(record, once, "a change that is made again changes nothing");
        record
    }

    #[test]
    fn reads_back_and_refuses_every_other_spelling() {
        let record = record();
        let bytes = record.to_bytes();
        assert_eq!(Record::parse(&bytes).unwrap(), record);
        assert_eq!(record.approved_keys.len(), 2);
        let text = String::from_utf8(bytes.clone()).unwrap();
        for other in [
            text.trim_end().to_owned(),
            format!(" {text}"),
            text.replace("\"format\":1", "\"format\":2"),
            text.replace("host:web-1", "group:web-1"),
            text.replace("host:web-1", "host:Web"),
            text.replace("req-", "REQ-"),
            text.replace("\"used\":[", "\"more\":1,\"used\":["),
            String::new(),
        ] {
            assert!(Record::parse(other.as_bytes()).is_err(), "{other}");
        }
        assert_eq!(Record::parse(&Record::default().to_bytes()).unwrap(), Record::default());
    }

    #[test]
    fn a_full_record_forgets_only_what_nobody_could_use_any_more() {
        let mut record = Record::default();
        for number in 0..u32::try_from(MAX_USED).unwrap() {
            let until = if number == 7 { "2024-12-01T00:00:00Z" } else { "2025-12-31T00:00:00Z" };
            record.remember(&used(number, until));
        }
        let now = time("2026-01-01T00:00:00Z");
        assert!(record.has_room(now));
        record.remember(&used(20_000, "2026-01-02T00:00:00Z"));
        assert_eq!(record.uses().count(), MAX_USED);
        assert!(record.use_of(&used(7, "2024-12-01T00:00:00Z").id.parse().unwrap()).is_none());
        assert!(!record.has_room(now), "nothing is forgotten that a clock set back could bring back");
        assert!(u64::try_from(record.to_bytes().len()).unwrap() < MAX_RECORD_LEN);
    }
}
