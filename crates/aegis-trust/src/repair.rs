//! An honest repair of the version counter: never below what the host can prove it accepted.

use aegis_audit::{Action, Event, Outcome};
use serde::Serialize;

use crate::{
    bundle::SignedBundle,
    counter::{Counter, MAX_COUNTER_LEN},
    durable::{self, ReadError, WriteError},
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    recover::RecoverError,
    revoked::{MAX_REASON_LEN, is_reason},
};

/// What a repair did.
#[derive(Debug, Clone, Serialize)]
pub struct CounterRepaired {
    /// The new counter.
    pub counter: Counter,
    /// What it was taken from.
    pub evidence: Vec<CounterEvidence>,
}

/// One place that says which policy was accepted.
#[derive(Debug, Clone, Serialize)]
pub struct CounterEvidence {
    /// The place.
    pub found_in: String,
    /// What it says.
    pub counter: Counter,
}

/// Why the counter was not repaired. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It is sound, and nothing higher was asked for.
    #[error("the version counter is sound, at version {}", counter.policy_version)]
    Sound {
        /// The counter.
        counter: Counter,
    },
    /// Nothing says which version was accepted.
    #[error("nothing on this host says which policy version it has accepted")]
    NoEvidence,
    /// The reason cannot go into the log.
    #[error("the reason must be 1 to {MAX_REASON_LEN} printable ASCII characters")]
    Reason,
    /// A place that may say cannot be read.
    #[error("what this host has accepted cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// The counter cannot be written.
    #[error("the version counter cannot be written")]
    Write {
        /// Why.
        source: WriteError,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl RepairError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Sound { .. } => Some("to raise it, give --at-least N; nothing lowers it".to_owned()),
            Self::NoEvidence => {
                Some("ask the signers for the last version, and give it with --at-least N".to_owned())
            }
            Self::Reason => Some("say in a few words why, for the log".to_owned()),
            Self::Read { source } => source.help(),
            Self::Write { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

impl Host {
    /// Writes the counter anew from everything that proves what was accepted: the counter itself as far as it can be
    /// read, the applied bundles, the audit log, and `at_least`, whichever is highest. Never lower than any of them.
    ///
    /// A version that only `at_least` or a damaged counter names has no known content; its digest is then zero, which no
    /// policy has, so the next policy must be higher.
    ///
    /// # Errors
    ///
    /// [`RepairError`].
    pub fn repair_counter(
        &self,
        caller: &Caller,
        at_least: Option<u64>,
        reason: &str,
    ) -> Result<CounterRepaired, RepairError> {
        if !is_reason(reason) {
            return Err(RepairError::Reason);
        }
        let (_lock, begun) = self.begin_logged_change(caller);
        let repaired =
            begun.map_err(RepairError::Change).and_then(|()| self.repair_locked(caller, at_least, reason));
        if let Err(error) = &repaired
            && !matches!(error, RepairError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. }))
        {
            let outcome = match error {
                RepairError::Sound { .. } | RepairError::NoEvidence | RepairError::Reason => Outcome::Refused,
                RepairError::Read { .. } | RepairError::Write { .. } | RepairError::Change(_) => {
                    Outcome::Failed
                }
            };
            let event =
                Event::new(caller.now, caller.actor.clone(), Action::CounterRepair, "version counter");
            self.log_refusal(
                &event.outcome(outcome).reason(crate::health::cause_chain(error)).detail("refusal", "other"),
            );
        }
        repaired
    }

    fn repair_locked(
        &self,
        caller: &Caller,
        at_least: Option<u64>,
        reason: &str,
    ) -> Result<CounterRepaired, RepairError> {
        self.require_sound_log().map_err(RepairError::Change)?;
        let sound = self.counter().ok().flatten();
        let evidence = self.counter_evidence(at_least)?;
        let highest = evidence
            .iter()
            .map(|evidence| evidence.counter)
            .max_by_key(|counter| (counter.order(), counter.knows_content()));
        let counter = highest.ok_or(RepairError::NoEvidence)?;
        if sound == Some(counter) {
            return Err(RepairError::Sound { counter });
        }
        let change = Change::RepairCounter { counter: counter.to_string(), reason: reason.to_owned() };
        let journal = Journal::new(caller.now, &caller.actor, change);
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(RepairError::Change)?;
            return Err(RepairError::Change(ChangeError::Journal { source }));
        }
        if let Err(source) = self.advance_counter(&counter) {
            if source.is_in_place() {
                return Err(RepairError::Change(ChangeError::Step { source }));
            }
            self.give_up().map_err(RepairError::Change)?;
            return Err(RepairError::Write { source });
        }
        self.finish_change(&journal, repair_event(caller, &counter, reason)).map_err(RepairError::Change)?;
        Ok(CounterRepaired { counter, evidence })
    }

    fn counter_evidence(&self, at_least: Option<u64>) -> Result<Vec<CounterEvidence>, RepairError> {
        let paths = self.paths();
        let mut evidence = Vec::new();
        let mut found = |found_in: String, counter| evidence.push(CounterEvidence { found_in, counter });
        // A malformed counter may still begin with its version; one that is a directory or unreadable says nothing.
        if let Ok(Some(bytes)) = durable::read_state(&paths.version_counter, MAX_COUNTER_LEN)
            && let Some(counter) = Counter::salvage(&bytes)
        {
            found(paths.version_counter.display().to_string(), counter);
        }
        for path in [paths.applied(), paths.previous(), paths.rolled_back()] {
            let file = durable::read_state(&path, self.max_file_len())
                .map_err(|source| RepairError::Read { source })?;
            let bundle = file.and_then(|file| SignedBundle::parse(file).ok());
            if let Some(manifest) = bundle.as_ref().map(SignedBundle::manifest) {
                let counter = Counter {
                    policy_version: manifest.policy_version,
                    policy_sha256: manifest.policy_sha256,
                    epoch: manifest.epoch,
                };
                found(path.display().to_string(), counter);
            }
        }
        if let Some(counter) = self.highest_in_audit_log() {
            found("the audit log".to_owned(), counter);
        }
        if let Some(policy_version) = at_least.filter(|&version| version != 0) {
            let epoch = evidence.iter().map(|evidence| evidence.counter.epoch).max().unwrap_or(0);
            evidence.push(CounterEvidence {
                found_in: "--at-least".to_owned(),
                counter: Counter { policy_version, policy_sha256: Counter::UNKNOWN_CONTENT, epoch },
            });
        }
        Ok(evidence)
    }

    pub(crate) fn resume_repair(
        &self,
        journal: &Journal,
        counter: &str,
        reason: &str,
    ) -> Result<Option<Event>, RecoverError> {
        let Ok(counter) = Counter::parse(counter.as_bytes()) else { return Ok(None) };
        // Something may have raised it since.
        if self.counter().ok().flatten().is_none_or(|current| current.order() < counter.order()) {
            self.advance_counter(&counter).map_err(|source| RecoverError::Step { source })?;
        }
        let caller = Caller::of_journal(journal);
        Ok(Some(repair_event(&caller, &counter, reason)))
    }
}

fn repair_event(caller: &Caller, counter: &Counter, reason: &str) -> Event {
    Event::new(caller.now, caller.actor.clone(), Action::CounterRepair, "version counter")
        .reason(reason)
        .detail("policy_version", counter.policy_version)
        .detail("policy_sha256", counter.policy_sha256.to_string())
        .detail("epoch", counter.epoch)
}
