//! `approval-rules.toml`: how many people at least, for which deployment this is, and what is not done without approval.
//!
//! ```toml
//! deployment = "production"            # requests are for deployment:production; "default" if it is not said
//! insist = ["dek.destroy", "kek.retire"]  # only with an approval; none if it is not said
//!
//! [quorum]                             # of each kind that is not named below
//! risk_lead = 1
//! security_lead = 1
//!
//! [quorum_of."dek.destroy"]
//! security_lead = 2
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegis_approval::{
    ApprovalRules, Audience, Kind, NameError, Quorum, QuorumError, RulesError, UnknownKind,
};
use aegis_durable::ReadError;
use serde::Deserialize;

/// The rules of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRules {
    rules: ApprovalRules,
    insist: BTreeSet<Kind>,
}

/// What can be insisted on: changes of a deployment's keys that cannot be undone.
const ERASURES: [Kind; 2] = [Kind::DekDestroy, Kind::KekRetire];
/// The name of a deployment that has no name.
const DEFAULT_NAME: &str = "default";

impl DeploymentRules {
    /// The most bytes of a file.
    pub const MAX_LEN: u64 = 64 * 1024;

    /// Reads a file; if there is none, these are the defaults: one risk lead and one security lead for every kind, and
    /// nothing is insisted on.
    ///
    /// # Errors
    ///
    /// A [`RulesFileError`].
    pub fn read(path: &Path) -> Result<Self, RulesFileError> {
        let refused = |fault| RulesFileError::Fault { path: path.to_owned(), fault };
        let Some(bytes) = aegis_durable::read_state(path, Self::MAX_LEN).map_err(RulesFileError::Read)?
        else {
            return Self::parse("").map_err(refused);
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| refused(RulesFault::NotUtf8))?;
        Self::parse(text).map_err(refused)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    ///
    /// A [`RulesFault`].
    pub fn parse(text: &str) -> Result<Self, RulesFault> {
        let raw: RawRules = toml::from_str(text).map_err(|error| RulesFault::Toml {
            line: error.span().map(|span| line_of(text, span.start)),
            message: error.message().lines().next().unwrap_or_default().to_owned(),
        })?;
        let RawRules { deployment, insist, quorum, quorum_of } = raw;
        let name = deployment.as_deref().unwrap_or(DEFAULT_NAME);
        let deployment: Audience = format!("deployment:{name}").parse().map_err(RulesFault::Name)?;
        let otherwise = match quorum {
            None => Quorum::classic(),
            Some(groups) => quorum_from(groups, "quorum")?,
        };
        let mut least = BTreeMap::new();
        for (kind, groups) in quorum_of {
            let found: Kind = kind.parse().map_err(RulesFault::Kind)?;
            least.insert(found, quorum_from(groups, &format!("quorum_of.{kind:?}"))?);
        }
        let mut insisted = BTreeSet::new();
        for kind in insist {
            let found: Kind = kind.parse().map_err(RulesFault::Kind)?;
            if !ERASURES.contains(&found) {
                return Err(RulesFault::NotInsisted { kind: found });
            }
            insisted.insert(found);
        }
        let rules = ApprovalRules::new(deployment, otherwise, least).map_err(RulesFault::Rules)?;
        Ok(Self { rules, insist: insisted })
    }

    /// The least quorum of each kind, and the name of this deployment.
    pub const fn rules(&self) -> &ApprovalRules {
        &self.rules
    }

    /// The same, without what is insisted on.
    pub(crate) fn into_rules(self) -> ApprovalRules {
        self.rules
    }

    /// Whether that is not done without an approval.
    pub fn insists_on(&self, kind: Kind) -> bool {
        self.insist.contains(&kind)
    }
}

fn quorum_from(groups: BTreeMap<String, i64>, section: &str) -> Result<Quorum, RulesFault> {
    let groups = groups.into_iter().map(|(role, needed)| Ok((role.parse()?, needed)));
    let groups: Vec<_> = groups.collect::<Result<_, _>>().map_err(RulesFault::Name)?;
    Quorum::new(groups).map_err(|source| RulesFault::Quorum { section: section.to_owned(), source })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    deployment: Option<String>,
    #[serde(default)]
    insist: Vec<String>,
    quorum: Option<BTreeMap<String, i64>>,
    #[serde(default)]
    quorum_of: BTreeMap<String, BTreeMap<String, i64>>,
}

/// Why there are no rules, and therefore no approvals.
#[derive(Debug, thiserror::Error)]
pub enum RulesFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(ReadError),
    /// The file says what cannot be.
    #[error("{} cannot be used", path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        fault: RulesFault,
    },
}

impl RulesFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.help(),
            Self::Fault { fault, .. } => fault.help(),
        }
    }
}

/// What is wrong with rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesFault {
    /// Not text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Not TOML, or with a key that means nothing.
    #[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Toml {
        /// The line, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A name that breaks its rule.
    #[error(transparent)]
    Name(NameError),
    /// A kind that does not exist.
    #[error(transparent)]
    Kind(UnknownKind),
    /// A quorum that cannot be.
    #[error("the section [{section}] is no quorum")]
    Quorum {
        /// Which section.
        section: String,
        /// Why.
        source: QuorumError,
    },
    /// What no command of this deployment does.
    #[error("{kind} cannot be insisted on here, only {}", ERASURES.map(Kind::as_str).join(" and "))]
    NotInsisted {
        /// The kind.
        kind: Kind,
    },
    /// They contradict themselves.
    #[error(transparent)]
    Rules(RulesError),
}

impl RulesFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Quorum { source, .. } => source.help(),
            Self::NotInsisted { .. } => Some("hosts insist on approvals by rules of their own".to_owned()),
            Self::NotUtf8 | Self::Toml { .. } | Self::Name(_) | Self::Kind(_) | Self::Rules(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_a_risk_lead_and_a_security_lead_decide_and_nothing_is_insisted_on() {
        let dir = test_services::scratch::dir();
        let rules = DeploymentRules::read(&dir.path().join("approval-rules.toml")).unwrap();
        assert_eq!(rules.rules().deployment().as_str(), "deployment:default");
        for kind in Kind::ALL {
            assert_eq!(rules.rules().least(kind), &Quorum::classic(), "{kind}");
            assert!(!rules.insists_on(kind), "{kind}");
        }
    }

    #[test]
    fn reads_what_the_documentation_shows() {
        let rules = DeploymentRules::parse(
            "deployment = \"production\"\ninsist = [\"dek.destroy\", \"kek.retire\"]\n\
             [quorum]\nrisk_lead = 2\n[quorum_of.\"dek.destroy\"]\nsecurity_lead = 2\nrisk_lead = 1\n",
        )
        .unwrap();
        assert_eq!(rules.rules().deployment().as_str(), "deployment:production");
        assert!(rules.insists_on(Kind::DekDestroy) && rules.insists_on(Kind::KekRetire));
        assert_eq!(rules.rules().least(Kind::Override).to_string(), "2 of risk_lead");
        let destroy = rules.rules().least(Kind::DekDestroy).to_string();
        assert_eq!(destroy, "1 of risk_lead and 2 of security_lead");
    }

    #[test]
    fn refuses_rules_under_which_one_person_could_decide_or_that_mean_nothing() {
        for (text, message) in [
            ("[quorum]\nrisk_lead = 1", "the section [quorum] is no quorum"),
            ("[quorum]\nrisk_lead = 0\nsecurity_lead = 1", "the section [quorum] is no quorum"),
            ("[quorum]\nrisk_lead = -1\nsecurity_lead = 3", "the section [quorum] is no quorum"),
            ("[quorum_of.\"dek.destroy\"]", "the section [quorum_of.\"dek.destroy\"] is no quorum"),
            ("[quorum_of.\"dek.destory\"]\nrisk_lead = 2", "there is no request of the kind \"dek.destory\""),
            ("insist = [\"override\"]", "override cannot be insisted on here"),
            ("insist = [\"dek.destory\"]", "there is no request of the kind \"dek.destory\""),
            ("insits = []", "line 1: unknown field `insits`"),
            ("deployment = \"Pro duction\"", "\"deployment:Pro duction\" is no name"),
            ("deployment = ", "line 1: "),
            ("[quorum]\nRisk = 2", "\"Risk\" is no name"),
            ("[quorum]\nrisk_lead = 2.5", "line 2: "),
        ] {
            let fault = DeploymentRules::parse(text).unwrap_err();
            assert!(fault.to_string().starts_with(message), "{text:?}: {fault}");
        }
        let dir = test_services::scratch::dir();
        let path = dir.path().join("approval-rules.toml");
        std::fs::write(&path, b"deployment = \"\xff\"").unwrap();
        assert!(DeploymentRules::read(&path).is_err());
        std::fs::write(&path, vec![b'#'; 70_000]).unwrap();
        assert!(DeploymentRules::read(&path).is_err());
    }
}
