//! What two people agreed to, asked for wherever it is needed, and used up by the change that it is for.
//!
//! `Host::consent` is the one place where a host judges an approval. What it gives goes into the journal of the change
//! and from there into the record, in one write with what the record says of the change: killed at any instant, a host
//! has made the change and used the approval, or has done neither.

use std::path::PathBuf;

use aegis_approval::{
    ApprovalRefused, Audience, CLOCK_TOLERANCE, Quorum, ReadSignedError, RequestId, SignedRequest, Subject,
    verify,
};
use aegis_audit::Event;
use jiff::Timestamp;

use crate::{
    custodians::{
        Custodians, CustodiansError,
        record::{KeyEdit, MAX_USED, Record, RecordChange, UsedApproval},
    },
    durable::{self, ReadError, WriteError},
    host::{Caller, Host},
    key_dir::KeysError,
    manifest::truncate_to_seconds,
};

/// An approval that a caller brings. It is read when it is needed, so that one which cannot be read is logged as any other
/// that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalFile {
    /// A file that somebody named.
    Path(PathBuf),
    /// Bytes that were read already, and what to call them.
    Bytes {
        /// The name in messages and in the log.
        name: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// Why there is no consent. Nothing was changed, and no approval was used.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// The custodians cannot be told.
    #[error(transparent)]
    Custodians(CustodiansError),
    /// The trusted keys, which are approved from then on, cannot be told.
    #[error(transparent)]
    Keys(KeysError),
    /// No approval came.
    #[error("{} {subject} needs an approval by {quorum} for {host}, and none came with it", subject.kind())]
    Needed {
        /// What has to be approved.
        subject: Box<Subject>,
        /// By whom.
        quorum: Quorum,
        /// For whom.
        host: Audience,
    },
    /// An approval came, and there is nobody to check it by.
    #[error("this host has no custodians, so no approval can be checked")]
    NoCustodians,
    /// It cannot be read.
    #[error("the approval cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// It is not an approval.
    #[error("{name} is not an approval")]
    File {
        /// What the caller called it.
        name: String,
        /// Why.
        source: Box<ReadSignedError>,
    },
    /// It does not hold for this, here, now.
    #[error("the approval {name} does not hold")]
    Refused {
        /// What the caller called it.
        name: String,
        /// Why.
        source: Box<ApprovalRefused>,
    },
    /// It was used before.
    #[error("the approval {id} was used at {used_at}, and each is used once")]
    Used {
        /// The request.
        id: RequestId,
        /// When.
        used_at: Timestamp,
    },
    /// By a clock that was set back, what is over would hold again.
    #[error(
        "the clock says {now}, which is before {logged}, a time in the audit log: no approval can be judged"
    )]
    Clock {
        /// The time here.
        now: Timestamp,
        /// The latest in the log.
        logged: Timestamp,
    },
    /// Too many are remembered, all of which could still be used.
    #[error("{MAX_USED} used approvals are remembered, and none is old enough to be forgotten")]
    Full,
}

impl ApprovalError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Custodians(source) => source.help(),
            Self::Keys(source) => source.help(),
            Self::Needed { .. } => Some(
                "have it requested and signed by custodians, and give the file with --approval FILE"
                    .to_owned(),
            ),
            Self::NoCustodians => Some(
                "leave --approval out, or name custodians first with `aegisbpf custodians init`".to_owned(),
            ),
            Self::Read { source } => source.help(),
            Self::File { source, .. } => source.help(),
            Self::Refused { source, .. } => source.help(),
            Self::Used { .. } => Some("make a new request".to_owned()),
            Self::Clock { .. } => Some("set the clock (`timedatectl`)".to_owned()),
            Self::Full => Some("wait until the oldest of them are a year old".to_owned()),
        }
    }

    /// The word under which the audit log files this.
    pub(crate) fn refusal(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Read { .. } => "malformed",
            Self::Refused { source, .. } => match source.as_ref() {
                ApprovalRefused::Expired { .. } | ApprovalRefused::UseOver { .. } => "expired",
                ApprovalRefused::NotEnough { .. } | ApprovalRefused::BelowRule { .. } => "bad_signature",
                _ => "other",
            },
            _ => "other",
        }
    }

    /// The request that it is about, as far as it is known.
    pub(crate) fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Used { id, .. } => Some(id),
            _ => None,
        }
    }
}

impl ApprovalFile {
    /// What it says that it is for. It may be refused all the same.
    pub(crate) fn subject(&self) -> Result<Subject, ApprovalError> {
        self.read().map(|(_, signed)| signed.request.subject().clone())
    }

    fn read(&self) -> Result<(String, SignedRequest), ApprovalError> {
        let limit = SignedRequest::MAX_LEN as u64;
        let (name, bytes) = match self {
            Self::Path(path) => {
                let bytes = durable::read_bounded(path, limit);
                (path.display().to_string(), bytes.map_err(|source| ApprovalError::Read { source })?)
            }
            Self::Bytes { name, bytes } => (name.clone(), bytes.clone()),
        };
        match SignedRequest::parse(&bytes) {
            Ok(signed) => Ok((name, signed)),
            Err(source) => Err(ApprovalError::File { name, source: Box::new(source) }),
        }
    }
}

impl Host {
    /// What goes into the record with a change that needs an approval for `subject`; `None` on a host without custodians.
    ///
    /// The caller holds the lock, and goes on with what this gives or not at all: nothing is used up here.
    pub(crate) fn consent(
        &self,
        caller: &Caller,
        subject: &Subject,
    ) -> Result<Option<RecordChange>, ApprovalError> {
        match self.custodians().map_err(ApprovalError::Custodians)? {
            Some(custodians) => self.consent_of(&custodians, caller, subject).map(Some),
            None => {
                self.require_no_forgotten_custodians().map_err(ApprovalError::Custodians)?;
                if caller.approvals.is_empty() { Ok(None) } else { Err(ApprovalError::NoCustodians) }
            }
        }
    }

    /// The same by custodians who are known.
    pub(crate) fn consent_of(
        &self,
        custodians: &Custodians,
        caller: &Caller,
        subject: &Subject,
    ) -> Result<RecordChange, ApprovalError> {
        let quorum = custodians.rule().quorum();
        let Some((name, signed)) = select(caller, subject)? else {
            return Err(ApprovalError::Needed {
                subject: Box::new(subject.clone()),
                quorum: quorum.clone(),
                host: custodians.host().clone(),
            });
        };
        self.check_clock(caller.now)?;
        let registry = custodians.rule().registry();
        let now = truncate_to_seconds(caller.now);
        let approval = verify(&signed, subject, &custodians.audiences(), registry, quorum, now)
            .map_err(|source| ApprovalError::Refused { name, source: Box::new(source) })?;
        let record = self.custodians_record().map_err(ApprovalError::Custodians)?.unwrap_or_default();
        if let Some(used) = record.use_of(approval.id()) {
            return Err(ApprovalError::Used { id: approval.id().clone(), used_at: used.used_at });
        }
        if !record.has_room(caller.now) {
            return Err(ApprovalError::Full);
        }
        let mut change = RecordChange {
            approval: Some(UsedApproval::of(
                &approval,
                subject.kind().to_string(),
                subject.to_string(),
                caller.now,
            )),
            ..RecordChange::default()
        };
        if !custodians.is_taken_up() {
            change.take_up = Some(custodians.record(caller.now));
            change.take_over =
                self.installed_keys().map_err(ApprovalError::Keys)?.by_id().into_keys().collect();
        }
        Ok(change)
    }

    /// Refuses to judge by a clock that runs behind what was logged: time limits would not hold.
    fn check_clock(&self, now: Timestamp) -> Result<(), ApprovalError> {
        match self.latest_logged_time() {
            Some(logged) if logged.duration_since(now) > CLOCK_TOLERANCE => Err(ApprovalError::Clock {
                now: truncate_to_seconds(now),
                logged: truncate_to_seconds(logged),
            }),
            _ => Ok(()),
        }
    }

    /// Writes into the record what goes with a change that is made. Done again it changes nothing.
    pub(crate) fn record_change(
        &self,
        change: Option<&RecordChange>,
        key: KeyEdit,
    ) -> Result<(), WriteError> {
        let path = self.paths().custodians_record();
        // It could be read when this was begun; whoever broke it meanwhile finds the change waiting.
        let unreadable = |error: crate::custodians::record::RecordError| WriteError {
            path: path.clone(),
            step: "read, before it is written,",
            source: std::io::Error::other(error),
        };
        let record = Record::load(self.paths()).map_err(unreadable)?;
        let (mut record, change) = match (record, change) {
            (None, None) => return Ok(()),
            (record, change) => (record.unwrap_or_default(), change.cloned().unwrap_or_default()),
        };
        // Without a rule no key is approved, because none has to be.
        let key = if record.rule.is_some() || change.take_up.is_some() { key } else { KeyEdit::None };
        record.make(&change, key);
        record.write(self.paths())
    }
}

/// The one approval that a caller brings, or the one of several that is for this subject.
fn select(caller: &Caller, subject: &Subject) -> Result<Option<(String, SignedRequest)>, ApprovalError> {
    let mut read = caller.approvals.iter().map(ApprovalFile::read).collect::<Result<Vec<_>, _>>()?;
    if let [_] = read.as_slice() {
        return Ok(read.pop());
    }
    Ok(read.into_iter().find(|(_, signed)| signed.request.subject() == subject))
}

/// Puts into an entry by whom a change was approved.
pub(crate) fn describe_consent(event: Event, change: Option<&RecordChange>) -> Event {
    let Some(RecordChange { take_up, take_over: _, approval }) = change else { return event };
    let event = match approval {
        None => event,
        Some(approval) => {
            let approved_by: Vec<String> =
                approval.approvals.iter().map(|(person, role)| format!("{person} as {role}")).collect();
            event
                .detail("approval", approval.id.clone())
                .detail("approval_hash", approval.hash.to_string())
                .detail("requested_by", approval.requester.clone())
                .detail("approved_by", approved_by)
        }
    };
    match take_up {
        Some(rule) => event.detail("custodians", rule.digest.to_string()),
        None => event,
    }
}
