//! A DEK or KEK is erased because several people approved it: the approval is used, and the key is erased, or neither.
//!
//! | step | what a kill after it leaves |
//! |---|---|
//! | 1. noted, with the approval | nothing was used, nothing erased: the next command removes the note |
//! | 2. everything is checked as without an approval; then the approval is used for the note's transaction | the next command finds it used for that, and erases |
//! | 3. erased, in one transaction of the keyring | the next command logs what is not logged yet |
//!
//! An approval that was used and could not be followed by the erasure, because a database failed, stays bound to its note:
//! the next command, or the same one again, goes on with it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_approval::{
    Act, Approvals, ApprovalsReader, Closed, Ended, Kind, Line, LookupError, Observer as ApprovalObserver,
    RequestId, Subject, UseError,
};
use aegis_audit::{Action, Outcome};
use aegis_crypto::KeyId;
use aegis_keyring::{
    ChangeDekError, DekVersion, KekRecord, KekState, KeyEvent, KeyObject, Keyring, Observer as KeyObserver,
    StoreError,
};
use jiff::Timestamp;

use super::log::log_ended;
use super::{ApprovalsError, RulesFileError};
use crate::change_log::{ChangeLog, Held, Intent, chain, is_failure};
use crate::deployment::{Deployment, SetupError};

/// What is to be erased, and by which approval.
#[derive(Debug)]
pub(crate) struct Erasure {
    id: RequestId,
    subject: Subject,
    reader: ApprovalsReader,
    log: Arc<ChangeLog>,
    /// For which the approval is used, once it is noted.
    transaction: Mutex<Option<String>>,
    refusal: Mutex<Option<UseError>>,
}

/// Whether something may be erased as it was asked for.
#[derive(Debug)]
pub(crate) enum Insisted {
    /// Nobody insists on an approval, and none was named.
    No,
    /// By this approval.
    Approved(Arc<Erasure>),
}

impl Deployment {
    /// What stands between an operator and an erasure: the approval that they name, and the rules that insist on one.
    pub(crate) fn insisted(
        &self,
        subject: Subject,
        approval: Option<&RequestId>,
    ) -> Result<Insisted, ErasureError> {
        let Some(id) = approval else {
            let rules = self.approval_rules().map_err(ErasureError::Rules)?;
            if !rules.insists_on(subject.kind()) {
                return Ok(Insisted::No);
            }
            let action = match subject.kind() {
                Kind::KekRetire => Action::KekRetire,
                _ => Action::DekDestroy,
            };
            let refused = self.change_log().event(action, subject.to_string()).outcome(Outcome::Refused);
            let error = ErasureError::Needed { subject: Box::new(subject) };
            self.change_log().append(&refused.reason(error.to_string()));
            return Err(error);
        };
        let reader = self.open_reader().map_err(ErasureError::Approvals)?;
        Ok(Insisted::Approved(Arc::new(Erasure {
            id: id.clone(),
            subject,
            reader,
            log: Arc::clone(self.change_log()),
            transaction: Mutex::default(),
            refusal: Mutex::default(),
        })))
    }

    /// Goes on with an erasure whose approval was used before it was interrupted. Returns whether it is done with: erased,
    /// or refused for good.
    pub(crate) fn resume_erasure(
        &self,
        keyring: &Keyring,
        held: &Held,
        approval: &str,
    ) -> Result<Resumed, ApprovalsError> {
        let Ok(id) = approval.parse::<RequestId>() else { return Ok(Resumed::NotUsed) };
        let reader = self.open_reader()?;
        let now = Timestamp::now();
        let shown = match reader.show(&id, now) {
            Ok(shown) => shown,
            Err(LookupError::NoSuchRequest { .. }) => return Ok(Resumed::NotUsed),
            Err(LookupError::Store(error)) => return Err(ApprovalsError::Store(error)),
        };
        let transaction = &held.note.transaction;
        let at = match &shown.record.closed {
            Some(Closed::Consumed { at, used_for }) if used_for == transaction => *at,
            _ => return Ok(Resumed::NotUsed),
        };
        let act = Act::of_use(&shown, at, transaction);
        let entries = super::log::entries(&act);
        self.change_log().log_missing(held, &entries).map_err(ApprovalsError::Recover)?;
        // Nobody is told: the change is logged as that of the interrupted command.
        let unobserved =
            Keyring::new(Arc::clone(keyring.store()), Arc::new(aegis_keyring::clock::SystemClock));
        Ok(match held.note.intent.erased() {
            Some(KeyObject::Dek(version)) => match unobserved.destroy(version) {
                Ok(_) => Resumed::Erased,
                Err(ChangeDekError::Destroyed { .. }) => Resumed::Erased,
                Err(error) if is_failure(&error) => Resumed::Later,
                Err(error) => Resumed::Settled { why: chain(&error) },
            },
            Some(KeyObject::Kek(wanted)) => match keyring.store().retire_kek(wanted, now) {
                Ok(()) => Resumed::Erased,
                Err(error @ StoreError::Conflict { .. }) => {
                    let keks = keyring.store().keks();
                    let record = |kek: &&KekRecord| kek.key_id() == wanted;
                    match keks.map(|keks| keks.iter().find(record).map(|kek| kek.state)) {
                        Ok(Some(KekState::Retired)) => Resumed::Erased,
                        Ok(_) => Resumed::Settled { why: chain(&error) },
                        Err(_) => Resumed::Later,
                    }
                }
                // Such as that not every DEK is proven to open without it: that takes the KEK, and the command again.
                Err(_) => Resumed::Later,
            },
            _ => Resumed::NotUsed,
        })
    }
}

impl Deployment {
    /// Writes down what is about to be erased; or takes up the note of it, if its approval was used for that before.
    pub(crate) fn begin_erasure(&self, intent: Intent, insisted: &Insisted) -> Result<Held, SetupError> {
        let Insisted::Approved(erasure) = insisted else { return self.begin(intent) };
        let is_same = |held: &Held| {
            held.note.intent.approval() == Some(erasure.id.as_str())
                && held.note.intent.erased() == intent.erased()
        };
        let earlier = self.change_log().orphans().map_err(SetupError::Note)?.into_iter().find(is_same);
        let held = match earlier {
            Some(held) => {
                self.change_log().resume(&held);
                held
            }
            None => self.begin(intent)?,
        };
        erasure.noted(&held);
        Ok(held)
    }

    /// Ends an erasure. Its note stays if the approval was used and the key is not erased. Returns why the approval was not
    /// used, if that was it.
    pub(crate) fn end_erasure(&self, held: Held, insisted: &Insisted, erased: bool) -> Option<ErasureError> {
        let erasure = match insisted {
            Insisted::Approved(erasure) => Some(erasure),
            Insisted::No => None,
        };
        match erasure {
            Some(erasure) if !erased && erasure.is_used() => self.change_log().leave(held),
            _ => self.change_log().finish(&held),
        }
        erasure.and_then(|erasure| erasure.take_refusal()).map(ErasureError::Use)
    }
}

impl Insisted {
    /// The approval.
    pub(crate) fn id(&self) -> Option<String> {
        match self {
            Self::No => None,
            Self::Approved(erasure) => Some(erasure.id.to_string()),
        }
    }

    /// The keyring, which erases by the approval alone, if one is named.
    pub(crate) fn guard(&self, keyring: &Keyring) -> Keyring {
        match self {
            Self::No => keyring.clone(),
            Self::Approved(erasure) => keyring.clone().observed_by(Arc::clone(erasure) as _),
        }
    }
}

/// What became of an interrupted erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// The approval was not used, so nothing was erased.
    NotUsed,
    /// It is erased.
    Erased,
    /// The keyring has changed since, and refuses it.
    Settled {
        /// Why.
        why: String,
    },
    /// It could not be done now. The note stays.
    Later,
}

impl Erasure {
    /// Says for which transaction it is used, from the note that was written.
    fn noted(&self, held: &Held) {
        *self.transaction.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(held.note.transaction.clone());
    }

    /// Why the approval was not used, if that was it.
    fn take_refusal(&self) -> Option<UseError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether it is used for this transaction.
    fn is_used(&self) -> bool {
        let transaction = self.transaction.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = self.reader.show(&self.id, Timestamp::now());
        match shown.map(|shown| shown.record.closed) {
            Ok(Some(Closed::Consumed { used_for, .. })) => Some(used_for) == transaction,
            Ok(_) | Err(LookupError::NoSuchRequest { .. }) => false,
            // It cannot be told, so it is taken for used.
            Err(LookupError::Store(_)) => true,
        }
    }

    fn use_it(&self) -> Result<(), UseError> {
        let transaction = self.transaction.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let used_for = transaction.unwrap_or_default();
        let approvals = Approvals::new(self.reader.clone());
        let approvals = approvals.observed_by(Arc::new(InTransaction {
            log: Arc::clone(&self.log),
            transaction: used_for.clone(),
        }));
        // A transaction is hex digits and hyphens, far below the length of a line.
        let Ok(line) = used_for.parse::<Line>() else {
            return Err(UseError::NoSuchRequest { id: self.id.clone() });
        };
        match approvals.use_approval(&self.id, &self.subject, &line, Timestamp::now()) {
            Ok(_) => Ok(()),
            // By this very command, before it tried again or was interrupted.
            Err(UseError::Closed { closed: Closed::Consumed { used_for, .. }, .. })
                if used_for == line.as_str() =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl KeyObserver for Erasure {
    fn observe(&self, event: &KeyEvent<'_>) {
        self.log.observe(event);
    }

    fn before_dek(&self, key: KeyId) -> io::Result<()> {
        self.log.before_dek(key)
    }

    fn before_erasure(&self, object: &KeyObject) -> io::Result<()> {
        if subject_of(object).as_ref() != Some(&self.subject) {
            return Err(io::Error::other(NotApproved("the approval is for another key".to_owned())));
        }
        self.use_it().map_err(|error| {
            let text = io::Error::other(NotApproved(chain(&error)));
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            text
        })
    }
}

/// What has to be approved before a key is erased.
fn subject_of(object: &KeyObject) -> Option<Subject> {
    match object {
        KeyObject::Dek(version) => Some(dek_subject(*version)),
        KeyObject::Kek(kek) => Some(Subject::KekRetire(*kek)),
        KeyObject::Scope(_) | KeyObject::Keyring => None,
    }
}

/// The destruction of a DEK.
pub(crate) fn dek_subject(version: DekVersion) -> Subject {
    Subject::parse(Kind::DekDestroy, &version.to_string())
        .expect("a version is spelled as a request spells it: dek-vN-YYYYMMDD, and perhaps -N")
}

/// Why a key must not be erased, in the words of the approvals. No device failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotApproved(String);

/// Logs the use of an approval as part of a change that has its note.
struct InTransaction {
    log: Arc<ChangeLog>,
    transaction: String,
}

impl ApprovalObserver for InTransaction {
    fn before(&self, _act: &Act) -> io::Result<()> {
        Ok(())
    }

    fn observe(&self, act: &Act, ended: Ended<'_>) {
        // By this very command, as above.
        if let Ended::Refused(error) = ended
            && let Some(UseError::Closed { closed: Closed::Consumed { used_for, .. }, .. }) =
                error.downcast_ref::<UseError>()
            && *used_for == self.transaction
        {
            return;
        }
        log_ended(&self.log, act, ended, Some(&self.transaction));
    }
}

/// Why nothing was erased, as far as approvals are concerned.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The rules insist on an approval.
    #[error("the rules of this deployment insist on an approval of {} {subject}", subject.kind())]
    Needed {
        /// What has to be approved.
        subject: Box<Subject>,
    },
    /// The rules cannot be read, so it cannot be told whether they insist.
    #[error("the rules of approvals cannot be used")]
    Rules(#[source] RulesFileError),
    /// There are no approvals to work with.
    #[error(transparent)]
    Approvals(ApprovalsError),
    /// The approval does not hold.
    #[error("the approval cannot be used")]
    Use(#[source] UseError),
}

impl ErasureError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Needed { subject } => Some(format!(
                "ask for it (`aegis approval request {} {subject}`), and name the request once it is approved",
                subject.kind()
            )),
            Self::Rules(error) => error.help(),
            Self::Approvals(error) => error.help(),
            Self::Use(error) => error.help(),
        }
    }
}
