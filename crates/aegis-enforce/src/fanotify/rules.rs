//! What a policy says of files and programs, as questions are asked here.

use std::collections::HashMap;
use std::path::PathBuf;

use aegis_crypto::Digest;
use aegis_policy::{Cgroup, Entry, Policy, Section};

use super::questions::Use;
use crate::compile::Mode;
use crate::layout::FileId;

/// The line of a policy that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) section: Section,
    pub(super) line: u32,
}

/// No line of a policy has this number.
const CANARY: u32 = 0;

impl Origin {
    /// Whether it is in no policy, and denies to everybody.
    pub(super) fn is_canary(self) -> bool {
        self.line == CANARY
    }
}

/// Where programs and files known by number are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filesystems {
    /// On every file system that is mounted in the mount namespace of this process, or will be.
    All,
    /// On the file systems at these mount points alone: for tests, and for running one command under a policy.
    Of(Vec<PathBuf>),
}

/// How a policy is meant.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    /// Whether what is denied is refused.
    pub mode: Mode,
    /// Where to look.
    pub filesystems: Filesystems,
    /// Programs whose processes pass every rule: the agent's own. This process and its supervisor always do.
    pub exempt_programs: Vec<FileId>,
}

/// The rules of a policy for files and programs.
#[derive(Debug, Clone)]
pub struct FanotifyRules {
    pub(super) mode: Mode,
    pub(super) filesystems: Filesystems,
    pub(super) exempt_programs: Vec<FileId>,
    pub(super) paths: Vec<(String, Origin)>,
    pub(super) inodes: HashMap<FileId, Origin>,
    pub(super) scoped: HashMap<FileId, Vec<(GroupName, Origin)>>,
    pub(super) comms: HashMap<Vec<u8>, Origin>,
    pub(super) hashes: HashMap<Digest, Listed>,
    pub(super) denies_hashes: bool,
    pub(super) only_listed: Option<u32>,
    pub(super) only_trusted: Option<u32>,
    pub(super) fail_closed: Option<u32>,
    pub(super) allow_groups: Vec<GroupName>,
}

/// Which lists a hash is on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Listed {
    pub(super) denied: Option<u32>,
    pub(super) allowed: bool,
    pub(super) trusted: bool,
}

/// A control group as a policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GroupName {
    Path(String),
    Id(u64),
}

impl FanotifyRules {
    /// Takes what concerns files and programs out of a policy. What it cannot take, [`super::cannot`] lists.
    pub fn from_policy(policy: &Policy<'_>, options: RuleOptions) -> Self {
        let RuleOptions { mode, filesystems, exempt_programs } = options;
        let listed = |section| (policy.count(section) > 0).then(|| policy.first_line(section)).flatten();
        let mut rules = Self {
            mode,
            filesystems,
            exempt_programs,
            paths: Vec::new(),
            inodes: HashMap::new(),
            scoped: HashMap::new(),
            comms: HashMap::new(),
            hashes: HashMap::new(),
            denies_hashes: policy.count(Section::DenyBinaryHash) > 0,
            only_listed: listed(Section::AllowBinaryHash),
            only_trusted: listed(Section::TrustedExecHash),
            fail_closed: policy.first_line(Section::ImaFailClosed),
            allow_groups: Vec::new(),
        };
        for rule in policy.rules() {
            rules.take(Origin { section: rule.section, line: rule.line }, rule.entry());
        }
        rules
    }

    fn take(&mut self, origin: Origin, entry: Entry<'_>) {
        match entry {
            Entry::Path(path) if matches!(origin.section, Section::DenyPath | Section::ProtectPath) => {
                self.paths.push((path.into_owned(), origin));
            }
            Entry::Inode(inode) => {
                let file = FileId::of_stat(u64::from(inode.device), inode.number);
                self.inodes.entry(file).or_insert(origin);
            }
            Entry::CgroupInode(group, inode) => {
                let file = FileId::of_stat(u64::from(inode.device), inode.number);
                self.scoped.entry(file).or_default().push((GroupName::of(&group), origin));
            }
            Entry::Comm(name) => {
                self.comms.entry(name.as_bytes().to_vec()).or_insert(origin);
            }
            Entry::Sha256(digits) => {
                // The policy's parser has seen that these are 64 digits.
                let Ok(digest) = digits.parse::<Digest>() else { return };
                let listed = self.hashes.entry(digest).or_default();
                match origin.section {
                    Section::DenyBinaryHash => listed.denied = listed.denied.or(Some(origin.line)),
                    Section::TrustedExecHash => listed.trusted = true,
                    _ => listed.allowed = true,
                }
            }
            Entry::Cgroup(group) => self.allow_groups.push(GroupName::of(&group)),
            // Directories that need not be searched, since what is run is hashed; the network.
            Entry::Path(_)
            | Entry::Ip(_)
            | Entry::Network(_)
            | Entry::Port(_)
            | Entry::Endpoint(_)
            | Entry::CgroupIp(..)
            | Entry::CgroupPort(..) => {}
        }
    }

    /// Denies a file to everybody but this process, in every mode: what shows that denials come.
    #[must_use]
    pub fn with_canary(mut self, path: &str) -> Self {
        self.paths.push((path.to_owned(), Origin { section: Section::DenyPath, line: CANARY }));
        self
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.inodes.is_empty() && self.scoped.is_empty() && !self.watch_programs()
    }

    /// Whether starting a program is a question at all.
    pub(super) fn watch_programs(&self) -> bool {
        !self.comms.is_empty() || self.hash_programs()
    }

    /// Whether a program's hash may decide.
    pub(super) fn hash_programs(&self) -> bool {
        self.only_listed.is_some() || self.only_trusted.is_some() || self.denies_hashes
    }

    /// What the hash of a program says about starting it; none is given if it could not be read.
    pub(super) fn judge_program(&self, digest: Option<&Digest>, used: Use) -> Option<Origin> {
        let listed = digest.and_then(|digest| self.hashes.get(digest)).copied().unwrap_or_default();
        if let Some(line) = listed.denied {
            return Some(Origin { section: Section::DenyBinaryHash, line });
        }
        if used == Use::Interpreter {
            return None;
        }
        // Of what cannot be read nobody can say that it is listed.
        if let Some(line) = self.only_listed.filter(|_| !listed.allowed) {
            return Some(Origin { section: Section::AllowBinaryHash, line });
        }
        let line = self.only_trusted.filter(|_| !listed.trusted)?;
        if digest.is_some() {
            return Some(Origin { section: Section::TrustedExecHash, line });
        }
        self.fail_closed.map(|line| Origin { section: Section::ImaFailClosed, line })
    }

    /// Whether a program of that content may open what is protected.
    pub(super) fn verifies(&self, digest: &Digest) -> bool {
        let listed = self.hashes.get(digest).copied().unwrap_or_default();
        (listed.allowed || listed.trusted) && listed.denied.is_none()
    }

    /// Whether a rule stops anybody, or only tells.
    pub(super) fn enforced(&self, rule: Origin) -> bool {
        rule.is_canary()
            || (self.mode == Mode::Enforce
                && !super::cannot().iter().any(|(section, _)| *section == rule.section))
    }
}

impl GroupName {
    fn of(group: &Cgroup<'_>) -> Self {
        match group {
            Cgroup::Path(path) => Self::Path(path.to_string()),
            Cgroup::Id(id) => Self::Id(*id),
        }
    }
}
