//! Turning the rule on, replacing it, and turning it off.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegis_approval::{Audience, Quorum, QuorumError, ReadRegistrationError, Registration, Role, Subject};
use aegis_audit::{Action, Event, Outcome};
use aegis_crypto::{Digest, KeyId};
use serde::{Deserialize, Serialize};

use super::{
    Custodians, CustodiansError, directory,
    record::{KeyEdit, RecordChange, RuleRecord},
    rule::CustodianFiles,
    system_name,
    threshold::Threshold,
};
use crate::{
    approval::{ApprovalError, describe_consent},
    durable::{self, ReadError, WriteError},
    guarded_dir::Guard,
    host::{Caller, ChangeError, Host},
    journal::{Change, Journal},
    key_dir::KeysError,
    manifest::truncate_to_seconds,
    recover::RecoverError,
};

/// What is done with the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustodiansAction {
    /// It is turned on.
    Init,
    /// It becomes another one.
    Set,
    /// It is turned off.
    Off,
}

/// A change of the rule as the journal holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodiansChange {
    /// What is done.
    pub action: CustodiansAction,
    /// The rule that was on before.
    pub from: Option<Digest>,
    /// The rule that is on from then on.
    pub to: Option<RuleRecord>,
    /// What goes into the record with it.
    pub consent: RecordChange,
}

/// Where the custodians of a host that has none come from.
#[derive(Debug)]
pub enum InitSource<'a> {
    /// From registrations.
    Files {
        /// How many people of which roles.
        quorum: Vec<(Role, i64)>,
        /// What the host is called: `host:NAME`; without, as the system calls it.
        host: Option<Audience>,
        /// The groups that the host is in: `group:NAME`.
        groups: BTreeSet<Audience>,
        /// The files.
        registrations: &'a [PathBuf],
    },
    /// From the directory of the host, where somebody has put them.
    InPlace,
}

/// What became of the rule.
#[derive(Debug, Clone, Serialize)]
pub struct CustodiansChanged {
    /// What was done.
    pub action: CustodiansAction,
    /// The rule that is on; none if it is off.
    pub digest: Option<Digest>,
    /// What this host is called in approvals; none if the rule is off.
    pub host: Option<String>,
    /// The rule that was on before.
    pub replaced: Option<Digest>,
    /// The keys that are trusted from then on; others in the key directory are not.
    pub approved_keys: Vec<KeyId>,
    /// The approval that was used.
    pub approval: Option<String>,
    /// Whether it was so before, so that nothing changed.
    pub already: bool,
}

/// Why the rule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CustodiansChangeError {
    /// The rule cannot be told, or the one that was offered cannot be one.
    #[error(transparent)]
    Custodians(CustodiansError),
    /// A registration cannot be read.
    #[error("a registration cannot be read")]
    Read {
        /// Why.
        source: ReadError,
    },
    /// A file registers nobody.
    #[error("{} does not register a custodian", path.display())]
    Registration {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ReadRegistrationError>,
    },
    /// Nobody can be asked like this.
    #[error(transparent)]
    Quorum {
        /// Why.
        source: QuorumError,
    },
    /// There is nothing to take up.
    #[error("there is no directory {}, and no registration was named", path.display())]
    NothingThere {
        /// The directory of the host.
        path: PathBuf,
    },
    /// There is nothing to set.
    #[error("there is no directory {}", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The rule is on.
    #[error("this host has custodians already, of digest {digest}")]
    On {
        /// Of their rule.
        digest: Digest,
    },
    /// The rule is off.
    #[error("this host has no custodians")]
    Off,
    /// The keys that are there, which are approved from then on, cannot be told.
    #[error(transparent)]
    Keys(KeysError),
    /// There is no approval for it.
    #[error(transparent)]
    Approval(ApprovalError),
    /// The new directory cannot be written. Nothing was changed.
    #[error("the new directory cannot be written, so nothing was changed")]
    Stage {
        /// Why.
        source: WriteError,
    },
    /// What is common to every change.
    #[error(transparent)]
    Change(ChangeError),
}

impl CustodiansChangeError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Custodians(source) => source.help(),
            Self::Read { source } => source.help(),
            Self::Registration { source, .. } => source.help(),
            Self::Quorum { source } => source.help(),
            Self::NoDirectory { .. } => {
                Some("name the directory that holds the file threshold and the registrations".to_owned())
            }
            Self::NothingThere { .. } => {
                Some("name the registrations and how many people decide: `aegisbpf custodians init FILE… --require N:ROLE`".to_owned())
            }
            Self::On { .. } => Some(
                "to change them, have the new ones approved and run `aegisbpf custodians set DIR --approval FILE`"
                    .to_owned(),
            ),
            Self::Off => Some("name them with `aegisbpf custodians init`".to_owned()),
            Self::Keys(source) => source.help(),
            Self::Approval(source) => source.help(),
            Self::Stage { source } => source.help(),
            Self::Change(source) => source.help(),
        }
    }
}

impl Host {
    /// Turns the rule on. The keys that are trusted now stay trusted; from then on others need an approval.
    ///
    /// With the rule that is on already, it changes nothing, and puts a directory back that was lost.
    ///
    /// # Errors
    ///
    /// [`CustodiansChangeError`]; nothing was changed.
    pub fn init_custodians(
        &self,
        caller: &Caller,
        source: InitSource<'_>,
    ) -> Result<CustodiansChanged, CustodiansChangeError> {
        self.logged_custodians(caller, Action::CustodiansInit, || self.init_locked(caller, source))
    }

    fn init_locked(
        &self,
        caller: &Caller,
        source: InitSource<'_>,
    ) -> Result<CustodiansChanged, CustodiansChangeError> {
        let broken = CustodiansChangeError::Custodians;
        let in_place = matches!(source, InitSource::InPlace);
        let files = match source {
            InitSource::Files { quorum, host, groups, registrations } => {
                let quorum =
                    Quorum::new(quorum).map_err(|source| CustodiansChangeError::Quorum { source })?;
                Some(offered(Threshold { quorum, host, groups }, registrations)?)
            }
            InitSource::InPlace => None,
        };
        let record = match self.custodians() {
            Ok(Some(there)) => {
                let same = files.is_none_or(|files| files.rule().digest() == there.digest());
                if there.is_taken_up() || !same {
                    return match same {
                        true => self.already(caller, &there),
                        false => Err(CustodiansChangeError::On { digest: there.digest() }),
                    };
                }
                there.record(caller.now)
            }
            Ok(None) => {
                self.require_no_forgotten_custodians().map_err(broken)?;
                let path = self.paths().custodians_dir.clone();
                let files = files.ok_or(CustodiansChangeError::NothingThere { path })?;
                let host = match files.rule().host() {
                    Some(host) => host.clone(),
                    None => system_name().map_err(broken)?,
                };
                self.stage_custodians(&files)?;
                RuleRecord {
                    digest: files.rule().digest(),
                    host: host.to_string(),
                    since: truncate_to_seconds(caller.now),
                }
            }
            Err(CustodiansError::Gone { path, digest }) if !in_place => {
                let files = files.ok_or(CustodiansChangeError::NothingThere { path })?;
                if files.rule().digest() != digest {
                    return Err(CustodiansChangeError::On { digest });
                }
                self.stage_custodians(&files)?;
                let record = self.custodians_record().map_err(broken)?;
                record.and_then(|record| record.rule).ok_or(CustodiansChangeError::Off)?
            }
            Err(error) => return Err(broken(error)),
        };
        let keys = self.installed_keys().map_err(CustodiansChangeError::Keys)?;
        let consent = RecordChange {
            take_up: Some(record.clone()),
            take_over: keys.by_id().into_keys().collect(),
            approval: None,
        };
        let change =
            CustodiansChange { action: CustodiansAction::Init, from: None, to: Some(record), consent };
        self.change_custodians(caller, change)
    }

    /// Replaces the whole rule by the one in a directory.
    ///
    /// # Errors
    ///
    /// [`CustodiansChangeError`]; nothing was changed, and no approval was used.
    pub fn set_custodians(
        &self,
        caller: &Caller,
        dir: &Path,
    ) -> Result<CustodiansChanged, CustodiansChangeError> {
        self.logged_custodians(caller, Action::CustodiansSet, || {
            let broken = CustodiansChangeError::Custodians;
            let there = self.custodians().map_err(broken)?.ok_or(CustodiansChangeError::Off)?;
            let files = CustodianFiles::load(dir, Guard::Offered)
                .map_err(broken)?
                .ok_or_else(|| CustodiansChangeError::NoDirectory { path: dir.to_owned() })?;
            let digest = files.rule().digest();
            if digest == there.digest() && there.is_taken_up() {
                return self.already(caller, &there);
            }
            let subject = Subject::CustodiansSet(digest);
            let consent =
                self.consent_of(&there, caller, &subject).map_err(CustodiansChangeError::Approval)?;
            self.stage_custodians(&files)?;
            let to = RuleRecord {
                digest,
                // A rule without a name of its own leaves the host the one that it has.
                host: files.rule().host().unwrap_or(there.host()).to_string(),
                since: truncate_to_seconds(caller.now),
            };
            let from = Some(there.digest());
            let change = CustodiansChange { action: CustodiansAction::Set, from, to: Some(to), consent };
            self.change_custodians(caller, change)
        })
    }

    /// Turns the rule off: from then on one person can change the keys. Used approvals stay used.
    ///
    /// # Errors
    ///
    /// [`CustodiansChangeError`]; nothing was changed, and no approval was used.
    pub fn custodians_off(&self, caller: &Caller) -> Result<CustodiansChanged, CustodiansChangeError> {
        self.logged_custodians(caller, Action::CustodiansOff, || {
            let there = self.custodians().map_err(CustodiansChangeError::Custodians)?;
            let there = there.ok_or(CustodiansChangeError::Off)?;
            let subject = Subject::CustodiansOff(there.digest());
            let consent =
                self.consent_of(&there, caller, &subject).map_err(CustodiansChangeError::Approval)?;
            let from = Some(there.digest());
            let change = CustodiansChange { action: CustodiansAction::Off, from, to: None, consent };
            self.change_custodians(caller, change)
        })
    }

    fn stage_custodians(&self, files: &CustodianFiles) -> Result<(), CustodiansChangeError> {
        directory::stage(self.paths(), files).map_err(|source| {
            let _ = directory::discard(self.paths());
            CustodiansChangeError::Stage { source }
        })
    }

    fn change_custodians(
        &self,
        caller: &Caller,
        change: CustodiansChange,
    ) -> Result<CustodiansChanged, CustodiansChangeError> {
        let step = |source| CustodiansChangeError::Change(ChangeError::Step { source });
        let journal = Journal::new(caller.now, &caller.actor, Change::Custodians(Box::new(change.clone())));
        if let Err(source) = journal.write(self.paths()) {
            self.give_up().map_err(CustodiansChangeError::Change)?;
            let _ = directory::discard(self.paths());
            return Err(CustodiansChangeError::Change(ChangeError::Journal { source }));
        }
        if !self.install_custodians(&change).map_err(step)? {
            // What was staged a moment ago is not there: somebody else writes beside us, and nothing was begun.
            self.give_up().map_err(CustodiansChangeError::Change)?;
            let path = self.paths().custodians_staging();
            return Err(CustodiansChangeError::NoDirectory { path });
        }
        self.finish_change(&journal, custodians_event(caller, &change))
            .map_err(CustodiansChangeError::Change)?;
        let record = self.custodians_record().map_err(CustodiansChangeError::Custodians)?.unwrap_or_default();
        let CustodiansChange { action, from, to, consent } = change;
        Ok(CustodiansChanged {
            action,
            digest: to.as_ref().map(|rule| rule.digest),
            host: to.map(|rule| rule.host),
            replaced: from,
            approved_keys: record.approved_keys.into_iter().collect(),
            approval: consent.approval.map(|approval| approval.id),
            already: false,
        })
    }

    /// Every step, in an order in which a crash between two of them leaves the rule on. Done again they do what is left;
    /// `false` if what was staged is gone, so that nothing was done.
    fn install_custodians(&self, change: &CustodiansChange) -> Result<bool, WriteError> {
        let CustodiansChange { action, from: _, to, consent } = change;
        let paths = self.paths();
        match to {
            Some(rule) => {
                if !directory::put_in_place(paths, &rule.digest)? {
                    return Ok(false);
                }
                self.record_rule(Some(rule), consent, *action)?;
                directory::discard(paths)?;
            }
            None => {
                self.record_rule(None, consent, *action)?;
                directory::take_away(paths)?;
            }
        }
        Ok(true)
    }

    fn record_rule(
        &self,
        rule: Option<&RuleRecord>,
        consent: &RecordChange,
        action: CustodiansAction,
    ) -> Result<(), WriteError> {
        let path = self.paths().custodians_record();
        let unreadable = |error| WriteError {
            path,
            step: "read, before it is written,",
            source: std::io::Error::other::<CustodiansError>(error),
        };
        let mut record = self.custodians_record().map_err(unreadable)?.unwrap_or_default();
        record.make(consent, KeyEdit::None);
        if action != CustodiansAction::Init {
            record.replace_rule(rule.cloned());
        }
        record.write(self.paths())
    }

    pub(crate) fn resume_custodians(
        &self,
        journal: &Journal,
        change: &CustodiansChange,
    ) -> Result<Option<Event>, RecoverError> {
        let done = self.install_custodians(change).map_err(|source| RecoverError::Step { source })?;
        let caller = Caller::of_journal(journal);
        Ok(done.then(|| custodians_event(&caller, change)))
    }

    /// Puts a directory back that was lost, for a rule that the record has.
    pub(crate) fn put_back_custodians(
        &self,
        files: &CustodianFiles,
        rule: &RuleRecord,
    ) -> Result<(), WriteError> {
        directory::stage(self.paths(), files)?;
        directory::put_in_place(self.paths(), &rule.digest)?;
        directory::discard(self.paths())
    }

    /// Removes a directory that was staged for a change which no journal names.
    pub(crate) fn discard_custodians(&self) -> Result<(), WriteError> {
        directory::discard(self.paths())
    }

    fn already(
        &self,
        caller: &Caller,
        there: &Custodians,
    ) -> Result<CustodiansChanged, CustodiansChangeError> {
        let digest = there.digest();
        let event = Event::new(caller.now, caller.actor.clone(), Action::CustodiansInit, "custodians")
            .detail("custodians", digest.to_string())
            .detail("already", true);
        self.audit().append(&event).map_err(|source| {
            CustodiansChangeError::Change(ChangeError::NotLogged { source: Box::new(source) })
        })?;
        let record = self.custodians_record().map_err(CustodiansChangeError::Custodians)?.unwrap_or_default();
        Ok(CustodiansChanged {
            action: CustodiansAction::Init,
            digest: Some(digest),
            host: Some(there.host().to_string()),
            replaced: None,
            approved_keys: record.approved_keys.into_iter().collect(),
            approval: None,
            already: true,
        })
    }

    /// Runs a change under the lock, and logs why it was refused.
    fn logged_custodians(
        &self,
        caller: &Caller,
        action: Action,
        change: impl FnOnce() -> Result<CustodiansChanged, CustodiansChangeError>,
    ) -> Result<CustodiansChanged, CustodiansChangeError> {
        let (_lock, begun) = self.begin_logged_change(caller);
        let begun = begun.and_then(|()| self.require_sound_log());
        let done = begun.map_err(CustodiansChangeError::Change).and_then(|()| change());
        let Err(error) = &done else { return done };
        let (outcome, refusal) = match error {
            // A change that was begun is finished by the next command, which logs it.
            CustodiansChangeError::Change(ChangeError::NotLogged { .. } | ChangeError::Step { .. }) => {
                return done;
            }
            CustodiansChangeError::Stage { .. } | CustodiansChangeError::Change(_) => {
                (Outcome::Failed, "other")
            }
            CustodiansChangeError::Registration { .. } | CustodiansChangeError::Read { .. } => {
                (Outcome::Refused, "malformed")
            }
            CustodiansChangeError::Approval(error) => (Outcome::Refused, error.refusal()),
            CustodiansChangeError::Custodians(_)
            | CustodiansChangeError::Quorum { .. }
            | CustodiansChangeError::NothingThere { .. }
            | CustodiansChangeError::NoDirectory { .. }
            | CustodiansChangeError::On { .. }
            | CustodiansChangeError::Off
            | CustodiansChangeError::Keys(_) => (Outcome::Refused, "other"),
        };
        let event = Event::new(caller.now, caller.actor.clone(), action, "custodians")
            .outcome(outcome)
            .reason(crate::health::cause_chain(error))
            .detail("refusal", refusal);
        self.log_refusal(&event);
        done
    }
}

/// Reads the registrations that somebody named.
fn offered(threshold: Threshold, registrations: &[PathBuf]) -> Result<CustodianFiles, CustodiansChangeError> {
    let mut read = Vec::new();
    for path in registrations {
        let bytes = durable::read_bounded(path, Registration::MAX_LEN as u64)
            .map_err(|source| CustodiansChangeError::Read { source })?;
        read.push(Registration::parse(&bytes).map_err(|source| CustodiansChangeError::Registration {
            path: path.clone(),
            source: Box::new(source),
        })?);
    }
    CustodianFiles::new(threshold, read).map_err(CustodiansChangeError::Custodians)
}

fn custodians_event(caller: &Caller, change: &CustodiansChange) -> Event {
    let CustodiansChange { action, from, to, consent } = change;
    let action = match action {
        CustodiansAction::Init => Action::CustodiansInit,
        CustodiansAction::Set => Action::CustodiansSet,
        CustodiansAction::Off => Action::CustodiansOff,
    };
    let event = Event::new(caller.now, caller.actor.clone(), action, "custodians");
    let event = describe_consent(event, Some(consent));
    let event = match to {
        Some(RuleRecord { digest, host, since: _ }) => {
            event.detail("custodians", digest.to_string()).detail("host", host.clone())
        }
        None => event,
    };
    match from {
        Some(digest) => event.detail("replaced", digest.to_string()),
        None => event,
    }
}
