//! Custodians of a host: the people without two of whom nobody changes which keys it trusts.
//!
//! `/etc/aegisbpf/custodians/` with its file `threshold` turns the rule on. Once the host has taken it up, its state
//! remembers that: a directory that is gone, was changed or cannot be trusted is an error, and never "no rule".
//!
//! | module | what it holds |
//! |---|---|
//! | [`threshold`], [`rule`] | how many people; who they are; one digest over all of it |
//! | [`record`] | what the state remembers: the rule, approved keys, used approvals |
//! | `directory` | how a directory of files takes the place of another one, whole |
//! | [`change`], [`listing`] | init, set, off; what there is to say of it |

use std::{collections::BTreeMap, path::PathBuf};

use aegis_approval::{Audience, NameError, PersonId, Quorum, ReadRegistrationError, RegistryError, Role};
use aegis_audit::{Action, Outcome};
use aegis_crypto::Digest;

use crate::{
    guarded_dir::{Guard, GuardedDirError},
    host::Host,
};

pub mod change;
mod directory;
pub mod listing;
pub mod record;
pub mod rule;
pub mod threshold;

use record::{Record, RecordError, RuleRecord};
use rule::{CustodianFiles, CustodianRule, MAX_REGISTRATIONS};
use threshold::ThresholdError;

/// The rule that is on, on this host.
#[derive(Debug, Clone)]
pub struct Custodians {
    files: CustodianFiles,
    digest: Digest,
    host: Audience,
    taken_up: Option<RuleRecord>,
}

impl Custodians {
    /// The rule.
    pub fn rule(&self) -> &CustodianRule {
        self.files.rule()
    }

    /// The digest of the rule.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What this host is called: as its rule says, or as the system did when the rule was taken up.
    pub fn host(&self) -> &Audience {
        &self.host
    }

    /// Whether the state of this host remembers the rule, so that nobody turns it off by taking its directory away.
    pub fn is_taken_up(&self) -> bool {
        self.taken_up.is_some()
    }

    /// Whatever an approval may be for, to be one for this host.
    pub fn audiences(&self) -> Vec<Audience> {
        std::iter::once(&self.host).chain(self.rule().groups()).cloned().collect()
    }

    pub(crate) fn files(&self) -> &CustodianFiles {
        &self.files
    }

    /// What the record has to say of the rule, as it is or as it is taken up now.
    pub(crate) fn record(&self, since: jiff::Timestamp) -> RuleRecord {
        self.taken_up.clone().unwrap_or_else(|| RuleRecord {
            digest: self.digest,
            host: self.host.to_string(),
            since: crate::manifest::truncate_to_seconds(since),
        })
    }
}

/// Why the custodians cannot be told. Nothing that needs them is done until they can.
#[derive(Debug, thiserror::Error)]
pub enum CustodiansError {
    /// The directory, or a file in it, cannot be read or trusted.
    #[error("the custodians cannot be read")]
    Directory {
        /// Why.
        source: GuardedDirError,
    },
    /// A directory without the file that says how many people.
    #[error("{} is missing, while its directory is there", path.display())]
    NoThreshold {
        /// The file.
        path: PathBuf,
    },
    /// The file that says how many people cannot be used.
    #[error("{} is not a threshold", path.display())]
    Threshold {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ThresholdError,
    },
    /// A file registers nobody.
    #[error("{} does not register a custodian", path.display())]
    Registration {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ReadRegistrationError>,
    },
    /// Two registrations of one person disagree.
    #[error("{person} is registered with different roles")]
    OtherRoles {
        /// Who.
        person: PersonId,
    },
    /// They cannot be custodians together.
    #[error("these custodians cannot be together")]
    Registry {
        /// Why.
        source: RegistryError,
    },
    /// They could never agree.
    #[error("these custodians cannot be {quorum}: {} missing", list_missing(missing))]
    TooFew {
        /// Who is asked for.
        quorum: Quorum,
        /// Of which roles how many are missing.
        missing: BTreeMap<Role, u8>,
    },
    /// More keys than there can be.
    #[error("a host has at most {MAX_REGISTRATIONS} keys of custodians, not {found}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The rule does not name the host, and what the system is called cannot be such a name.
    #[error("this host needs a name")]
    HostName {
        /// Why the system's own cannot be used.
        source: NameError,
    },
    /// The state says that the rule is on, and its directory is gone.
    #[error("the rule of two is on, but {} is gone", path.display())]
    Gone {
        /// The directory.
        path: PathBuf,
        /// The digest of what was in it.
        digest: Digest,
    },
    /// The directory is not the one that was approved.
    #[error("{} was changed without an approval: its digest is {found}, and {accepted} was taken up", path.display())]
    Changed {
        /// The directory.
        path: PathBuf,
        /// The digest of what is in it.
        found: Digest,
        /// The digest of what should be.
        accepted: Digest,
    },
    /// What the state remembers cannot be used.
    #[error("what this host remembers of its custodians cannot be used")]
    Record {
        /// Why.
        source: RecordError,
    },
    /// The log says that the rule was taken up, and the state has forgotten it.
    #[error("{} is missing, but the audit log says that this host has taken the rule up", path.display())]
    Forgotten {
        /// The record.
        path: PathBuf,
    },
}

impl CustodiansError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Directory { source } => return source.help(),
            Self::NoThreshold { path } => format!(
                "put {} back from a backup; taking the whole directory away does not turn the rule off either",
                path.display()
            ),
            Self::Threshold { source, .. } => return source.help(),
            Self::Registration { source, .. } => return source.help(),
            Self::OtherRoles { .. } => "give a person the same roles in each registration".to_owned(),
            Self::Registry { source } => return source.help(),
            Self::TooFew { .. } => "register those who are missing, or ask for fewer".to_owned(),
            Self::TooMany { .. } => "leave out the keys that are no longer in use".to_owned(),
            Self::HostName { .. } => {
                "name it: `--host NAME` of `custodians init`, or a line `host:NAME` in the file threshold"
                    .to_owned()
            }
            Self::Gone { path, .. } => format!(
                "put {} back: `aegisbpf backup restore FILE`, or `aegisbpf custodians init` with the same registrations \
                 and numbers",
                path.display()
            ),
            Self::Changed { .. } => {
                "find out who changed it, and put the approved files back from a backup; to change \
                 them, `aegisbpf custodians set DIR --approval FILE`"
                    .to_owned()
            }
            Self::Record { source } => return source.help(),
            Self::Forgotten { .. } => {
                "find out who removed it, and bring it back with `aegisbpf backup restore FILE`; without a backup, set the host up anew"
                    .to_owned()
            }
        })
    }
}

fn list_missing(missing: &BTreeMap<Role, u8>) -> String {
    missing.iter().map(|(role, count)| format!("{count} of {role}")).collect::<Vec<_>>().join(", ")
}

impl Host {
    /// The rule that is on; `None` on a host without custodians, on which one person can change the keys.
    ///
    /// # Errors
    ///
    /// [`CustodiansError`] if it is or was on and cannot be told. That is never "no rule".
    pub fn custodians(&self) -> Result<Option<Custodians>, CustodiansError> {
        let dir = &self.paths().custodians_dir;
        let record = self.custodians_record()?;
        let taken_up = record.as_ref().and_then(|record| record.rule.clone());
        let Some(files) = CustodianFiles::load(dir, Guard::Own)? else {
            return match taken_up {
                Some(RuleRecord { digest, .. }) => Err(CustodiansError::Gone { path: dir.clone(), digest }),
                None => Ok(None),
            };
        };
        let digest = files.rule().digest();
        if let Some(rule) = &taken_up
            && rule.digest != digest
        {
            return Err(CustodiansError::Changed { path: dir.clone(), found: digest, accepted: rule.digest });
        }
        if record.is_none() && self.log_says_taken_up() {
            return Err(CustodiansError::Forgotten { path: self.paths().custodians_record() });
        }
        let known = taken_up.as_ref().and_then(RuleRecord::audience);
        let host = match known.or_else(|| files.rule().host().cloned()) {
            Some(host) => host,
            None => system_name()?,
        };
        Ok(Some(Custodians { files, digest, host, taken_up }))
    }

    pub(crate) fn custodians_record(&self) -> Result<Option<Record>, CustodiansError> {
        Record::load(self.paths()).map_err(|source| CustodiansError::Record { source })
    }

    /// Refuses to go on as a host without custodians if the log says that there were some. The whole log is read for it,
    /// which is why only changes ask: with neither directory nor record, somebody has taken both away, or neither was there.
    pub(crate) fn require_no_forgotten_custodians(&self) -> Result<(), CustodiansError> {
        match self.custodians_record()? {
            None if self.log_says_taken_up() => {
                Err(CustodiansError::Forgotten { path: self.paths().custodians_record() })
            }
            _ => Ok(()),
        }
    }

    fn log_says_taken_up(&self) -> bool {
        let Ok(entries) = self.audit().entries() else { return false };
        let accepted = entries.flatten().filter(|entry| entry.outcome == Outcome::Accepted);
        accepted.fold(false, |taken_up, entry| match entry.action {
            Action::CustodiansOff => false,
            _ => taken_up || entry.detail.contains_key("custodians"),
        })
    }
}

/// What the system is called, as the name of a host.
fn system_name() -> Result<Audience, CustodiansError> {
    // A name that cannot be read is none, and says so below.
    let name = crate::durable::read_bounded("/proc/sys/kernel/hostname".as_ref(), 256).unwrap_or_default();
    let name = String::from_utf8_lossy(&name).trim().to_ascii_lowercase();
    format!("host:{name}").parse().map_err(|source| CustodiansError::HostName { source })
}
