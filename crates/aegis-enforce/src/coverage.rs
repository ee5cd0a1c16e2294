//! Which sections of a policy this kernel can enforce, by which backend, and why not.
//!
//! | backend | what for | what it takes |
//! |---|---|---|
//! | BPF-LSM | every section | a kernel that runs BPF programs as a security module |
//! | control groups | connecting and binding, where there is no BPF-LSM | control groups of version 2 |
//! | fanotify | opening files and running programs, where there is no BPF-LSM | permission events |
//!
//! The first that a section can have is the one that it gets, and what it does less than BPF-LSM is said with it. What
//! none can enforce refuses the policy: [`Coverage::refusal`].

mod limit;
mod need;

use std::fmt;

use aegis_policy::{Policy, Section, WarningKind};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::probe::Probe;

pub use self::limit::Limit;
pub use self::need::Lack;

use self::need::Need;

/// What enforces a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// BPF programs as a security module of the kernel.
    BpfLsm,
    /// BPF programs of the root control group.
    Cgroup,
    /// The agent answers before a file is opened.
    Fanotify,
}

impl Backend {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::BpfLsm, Self::Cgroup, Self::Fanotify];

    /// Whether it works at all on the kernel that was probed.
    pub fn is_available(self, probe: &Probe) -> bool {
        let needs = match self {
            Self::BpfLsm => LSM,
            Self::Cgroup => GROUPS,
            Self::Fanotify => FANOTIFY,
        };
        needs.iter().all(|need| need.lack(probe).is_none())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BpfLsm => "BPF-LSM",
            Self::Cgroup => "control group",
            Self::Fanotify => "fanotify",
        })
    }
}

/// How a section stands on this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// What it denies is refused.
    Enforced(Backend),
    /// There is nothing to refuse: it is a condition that holds here, or speaks of something not needed here.
    Holds,
    /// No backend can. All that is missing for any of them, each once; the first is what the best one lacks.
    Unenforced(Vec<Lack>),
}

/// One section, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionCoverage {
    /// The section.
    pub section: Section,
    /// Who enforces it.
    pub standing: Standing,
    /// What this backend does not see, which BPF-LSM would.
    pub limits: Vec<Limit>,
}

impl SectionCoverage {
    /// How `section` stands on the kernel that was probed.
    pub fn of(section: Section, probe: &Probe) -> Self {
        let mut lacks: Vec<Lack> = Vec::new();
        let routes = routes(section);
        for route in routes {
            let missing: Vec<Lack> = route.needs.iter().filter_map(|need| need.lack(probe)).collect();
            if missing.is_empty() {
                let standing = route.backend.map_or(Standing::Holds, Standing::Enforced);
                let mut limits = route.limits.to_vec();
                limits.extend(Limit::of_kernel(route.backend, probe));
                return Self { section, standing, limits };
            }
            let new = missing.into_iter().filter(|lack| !lacks.contains(lack)).collect::<Vec<_>>();
            lacks.extend(new);
        }
        Self { section, standing: Standing::Unenforced(lacks), limits: Vec::new() }
    }

    /// What enforces it, if anything does.
    pub fn backend(&self) -> Option<Backend> {
        match self.standing {
            Standing::Enforced(backend) => Some(backend),
            Standing::Holds | Standing::Unenforced(_) => None,
        }
    }

    /// What is missing; empty if nothing is.
    pub fn lacks(&self) -> &[Lack] {
        match &self.standing {
            Standing::Enforced(_) | Standing::Holds => &[],
            Standing::Unenforced(lacks) => lacks,
        }
    }

    /// True if what it denies would go through here.
    pub fn is_unenforced(&self) -> bool {
        matches!(self.standing, Standing::Unenforced(_))
    }
}

/// In JSON: `section`, `standing` (`enforced`, `holds`, `unenforced`), `backend` or null, `lacks`, `limits`.
impl Serialize for SectionCoverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { section, standing, limits } = self;
        let word = match standing {
            Standing::Enforced(_) => "enforced",
            Standing::Holds => "holds",
            Standing::Unenforced(_) => "unenforced",
        };
        let mut object = serializer.serialize_struct("SectionCoverage", 5)?;
        object.serialize_field("section", section)?;
        object.serialize_field("standing", word)?;
        object.serialize_field("backend", &self.backend())?;
        object.serialize_field("lacks", self.lacks())?;
        object.serialize_field("limits", limits)?;
        object.end()
    }
}

/// Whether a policy may be put in force although part of it cannot be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unenforced {
    /// It is refused.
    Refuse,
    /// The rest of it is enforced, and health says which sections are not.
    Accept,
}

/// How the sections of a policy stand on a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Coverage {
    /// Each section once, in the order of [`Section::ALL`].
    pub sections: Vec<SectionCoverage>,
}

impl Coverage {
    /// The sections of `policy` that say something: flags, and lists with entries.
    pub fn of(policy: &Policy<'_>, probe: &Probe) -> Self {
        Self::of_sections(policy.sections().filter(|section| policy.count(*section) > 0), probe)
    }

    /// Every section there is.
    pub fn of_all(probe: &Probe) -> Self {
        Self::of_sections(Section::ALL, probe)
    }

    fn of_sections(sections: impl IntoIterator<Item = Section>, probe: &Probe) -> Self {
        Self { sections: sections.into_iter().map(|section| SectionCoverage::of(section, probe)).collect() }
    }

    /// The sections that nothing enforces here.
    pub fn unenforced(&self) -> impl Iterator<Item = &SectionCoverage> {
        self.sections.iter().filter(|section| section.is_unenforced())
    }

    /// The backends in use, each once.
    pub fn backends(&self) -> Vec<Backend> {
        let used =
            |backend: &Backend| self.sections.iter().any(|section| section.backend() == Some(*backend));
        Backend::ALL.into_iter().filter(used).collect()
    }

    /// The same for lint: a warning on the header of each section that is not enforced here, or less well than elsewhere.
    pub fn warnings(&self, policy: &Policy<'_>) -> Vec<(u32, WarningKind)> {
        let of_section = |coverage: &SectionCoverage| {
            let section = coverage.section;
            let lacks = coverage.lacks();
            let unenforced = lacks.first().map(|best| WarningKind::NotEnforcedHere {
                section,
                why: listed(lacks),
                help: best.help().to_owned(),
            });
            let weak = coverage.backend().filter(|_| !coverage.limits.is_empty()).map(|backend| {
                let (backend, limit) = (backend.to_string(), listed(&coverage.limits));
                WarningKind::WeakHere { section, backend, limit }
            });
            let line = policy.first_line(section).unwrap_or(1);
            unenforced.or(weak).map(|kind| (line, kind))
        };
        self.sections.iter().filter_map(of_section).collect()
    }

    /// Why the policy may not be put in force here; none if it may.
    ///
    /// `require_ima_appraisal` refuses in any case: it says that nothing is to be in force on such a host.
    pub fn refusal(&self, unenforced: Unenforced) -> Option<Refusal> {
        let refused = |section: &&SectionCoverage| match unenforced {
            Unenforced::Refuse => true,
            Unenforced::Accept => section.section == Section::RequireImaAppraisal,
        };
        let sections: Vec<SectionCoverage> = self.unenforced().filter(refused).cloned().collect();
        (!sections.is_empty()).then_some(Refusal { sections })
    }
}

/// A policy has sections that nothing here can enforce.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing on this host enforces {}", list(.sections))]
pub struct Refusal {
    /// Which, and why; one at least.
    pub sections: Vec<SectionCoverage>,
}

impl Refusal {
    /// What to do.
    pub fn help(&self) -> Option<String> {
        let lack = self.sections.first()?.lacks().first()?;
        let otherwise = if self.sections.iter().any(|section| section.section == Section::RequireImaAppraisal)
        {
            "or take [require_ima_appraisal] out of the policy"
        } else {
            "or give --audit-unenforced to put the rest in force"
        };
        Some(format!("{}, {otherwise}", lack.help()))
    }
}

/// `[deny_ptrace]: this kernel does not run BPF programs as a security module; [deny_bpf]: …`
fn list(sections: &[SectionCoverage]) -> String {
    let one = |section: &SectionCoverage| format!("[{}]: {}", section.section, listed(section.lacks()));
    sections.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn listed(reasons: &[impl ToString]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A way to enforce a section.
struct Route {
    /// Who enforces it on this way; none if there is nothing to enforce.
    backend: Option<Backend>,
    needs: &'static [Need],
    limits: &'static [Limit],
}

impl Route {
    const fn new(backend: Backend, needs: &'static [Need], limits: &'static [Limit]) -> Self {
        Self { backend: Some(backend), needs, limits }
    }

    const fn condition(needs: &'static [Need]) -> Self {
        Self { backend: None, needs, limits: &[] }
    }
}

/// What programs of BPF-LSM take.
const LSM: &[Need] = &[Need::BpfLsm, Need::Btf, Need::ReadableKernel];
/// The same, with the hash of what is run.
const LSM_IMA: &[Need] = &[Need::BpfLsm, Need::Btf, Need::ReadableKernel, Need::ImaHashes];
/// The same, for rules that name a control group.
const LSM_GROUPS: &[Need] = &[Need::BpfLsm, Need::Btf, Need::ReadableKernel, Need::Cgroup2];
/// What programs of control groups take.
const GROUPS: &[Need] = &[Need::Cgroup2, Need::Btf, Need::ReadableKernel];

const FANOTIFY: &[Need] = &[Need::Fanotify];
const FANOTIFY_GROUPS: &[Need] = &[Need::Fanotify, Need::Cgroup2];

const NAMED_FILES: &[Limit] =
    &[Limit::OpensAlone, Limit::HeldDescriptors, Limit::LaterDirectories, Limit::AgentAnswers];
const NUMBERED_FILES: &[Limit] = &[Limit::OpensAlone, Limit::HeldDescriptors, Limit::AgentAnswers];
const PROGRAMS: &[Limit] = &[Limit::ProgramsAlone, Limit::AgentAnswers];

/// The ways to enforce a section, the best first.
fn routes(section: Section) -> &'static [Route] {
    const fn lsm(needs: &'static [Need]) -> Route {
        Route::new(Backend::BpfLsm, needs, &[])
    }
    const fn groups(limits: &'static [Limit]) -> Route {
        Route::new(Backend::Cgroup, GROUPS, limits)
    }
    const fn fanotify(limits: &'static [Limit]) -> Route {
        Route::new(Backend::Fanotify, FANOTIFY, limits)
    }
    match section {
        Section::DenyPath => const { &[lsm(LSM), fanotify(NAMED_FILES)] },
        Section::DenyInode => const { &[lsm(LSM), fanotify(NUMBERED_FILES)] },
        Section::CgroupDenyInode => {
            const { &[lsm(LSM_GROUPS), Route::new(Backend::Fanotify, FANOTIFY_GROUPS, NUMBERED_FILES)] }
        }
        Section::ProtectPath => const { &[lsm(LSM_IMA), fanotify(NAMED_FILES)] },
        Section::DenyComm => {
            const { &[lsm(LSM), fanotify(&[Limit::ProgramsAlone, Limit::FileNameAlone, Limit::AgentAnswers])] }
        }
        Section::DenyBinaryHash | Section::AllowBinaryHash => const { &[lsm(LSM_IMA), fanotify(PROGRAMS)] },
        Section::ProtectConnect
        | Section::ProtectRuntimeDeps
        | Section::TrustedExecHash
        | Section::ImaFailClosed => const { &[lsm(LSM_IMA)] },
        Section::DenyPtrace | Section::DenyModuleLoad | Section::DenyBpf => const { &[lsm(LSM)] },
        Section::DenyIp | Section::DenyCidr | Section::DenyIpPort => {
            const { &[lsm(LSM), groups(&[Limit::TcpAndUdpAlone])] }
        }
        Section::DenyPort => const { &[lsm(LSM), groups(&[Limit::TcpAndUdpAlone, Limit::ChosenPorts])] },
        Section::CgroupDenyIp => const { &[lsm(LSM_GROUPS), groups(&[Limit::TcpAndUdpAlone])] },
        Section::CgroupDenyPort => {
            const { &[lsm(LSM_GROUPS), groups(&[Limit::TcpAndUdpAlone, Limit::ChosenPorts])] }
        }
        // Whoever enforces the other sections lets the group pass.
        Section::AllowCgroup => {
            const { &[lsm(LSM_GROUPS), groups(&[]), Route::new(Backend::Fanotify, FANOTIFY_GROUPS, &[])] }
        }
        // Programs are hashed when they are run, wherever they are.
        Section::ScanPaths => const { &[Route::condition(&[])] },
        Section::RequireImaAppraisal => const { &[Route::condition(&[Need::ImaAppraisal])] },
    }
}

#[cfg(test)]
mod tests;
