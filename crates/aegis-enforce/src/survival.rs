//! What a policy may not take from a host: to start, to run its agent, and to let root in at the console.
//!
//! The programs in the kernel let the first process and the agent pass whatever a policy says. That alone helps nobody: the
//! shell is neither. So a policy that locks out one of these is refused before it is in force, unless it is forced:
//!
//! | role | files |
//! |---|---|
//! | init | `/sbin/init`, what process 1 runs, and what systemd starts others by |
//! | agent | the program that runs this |
//! | shell | `/bin/sh`, and the shells of root in `/etc/passwd` |
//! | login | `agetty`, `login`, `sulogin` and what starts it in an emergency |
//! | loader, library | what those need to run: the ELF interpreter, and libraries |
//! | file | `/etc/passwd`, `/dev/console`, `/dev/null` |
//!
//! `/etc/shadow` is not among them, though `login` and `sulogin` ask it for root's password: to deny it is what many
//! policies are for. The way back from that is to start the host without its agent (`init=/bin/sh`, or the emergency
//! target): a policy does not outlive a restart on its own, and without one `/etc/shadow` is open.

mod elf;
mod lock_out;
mod vital;

use std::collections::HashMap;
use std::io;

use aegis_crypto::Digest;
use aegis_policy::{Cgroup, Entry, Policy, Rule, Section};

use crate::layout::FileId;

pub use self::lock_out::{LockOut, Reason};
pub use self::vital::{LiveHost, Role, VitalFile};

/// At most so many are told; one is enough to refuse.
pub const MAX_LOCK_OUTS: usize = 100;

/// Names that are the way in on some host, whether this one has a file of that name or not.
const NAMES: &[(&str, Role)] = &[
    ("init", Role::Init),
    ("systemd", Role::Init),
    ("aegisbpf", Role::Agent),
    ("sh", Role::Shell),
    ("bash", Role::Shell),
    ("agetty", Role::Login),
    ("login", Role::Login),
    ("sulogin", Role::Login),
];

/// What has to be asked of a host. [`LiveHost`] is this one, or a tree of files.
pub trait Host {
    /// What it cannot do without.
    fn vital(&self) -> Vec<VitalFile>;
    /// The file that a path names, links followed; none if there is none.
    fn file(&self, path: &str) -> Option<FileId>;
    /// The number of a control group; none if there is no such group.
    fn group(&self, group: &Cgroup<'_>) -> Option<u64>;
    /// The control groups in which a console is, from the root down.
    fn console_groups(&self) -> Vec<u64>;
    /// SHA-256 of a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read whole.
    fn sha256(&self, file: &VitalFile) -> io::Result<Digest>;
}

/// Which of the host's vital files `policy` would lock out, and by which rule; the first [`MAX_LOCK_OUTS`].
pub fn check(policy: &Policy<'_>, host: &dyn Host) -> Vec<LockOut> {
    let vital = host.vital();
    let mut check = Check::new(policy, host, &vital);
    for rule in policy.rules() {
        if check.found.len() >= MAX_LOCK_OUTS {
            return check.found;
        }
        check.rule(&rule);
    }
    check.lists();
    check.found.truncate(MAX_LOCK_OUTS);
    check.found
}

struct Check<'a> {
    policy: &'a Policy<'a>,
    host: &'a dyn Host,
    by_id: HashMap<FileId, &'a VitalFile>,
    by_name: HashMap<&'a str, &'a VitalFile>,
    /// Of a policy with hashes: each file's, and whether a list has it.
    hashed: Vec<Hashed<'a>>,
    console_groups: Vec<u64>,
    found: Vec<LockOut>,
}

struct Hashed<'a> {
    file: &'a VitalFile,
    sha256: Option<String>,
    allowed: bool,
    trusted: bool,
}

impl<'a> Check<'a> {
    fn new(policy: &'a Policy<'a>, host: &'a dyn Host, vital: &'a [VitalFile]) -> Self {
        let has = |section| policy.count(section) > 0;
        let wants_hashes =
            has(Section::DenyBinaryHash) || has(Section::AllowBinaryHash) || has(Section::TrustedExecHash);
        let hashed = |file| Hashed {
            file,
            sha256: host.sha256(file).ok().map(|digest| digest.to_string()),
            allowed: false,
            trusted: false,
        };
        let mut by_id = HashMap::new();
        let mut by_name = HashMap::new();
        for file in vital {
            by_id.entry(file.id).or_insert(file);
            by_id.entry(file.hook_id).or_insert(file);
            for name in file.names.iter().filter(|_| file.role.is_program()) {
                by_name.entry(name.as_str()).or_insert(file);
            }
        }
        Self {
            policy,
            host,
            by_id,
            by_name,
            hashed: if wants_hashes {
                vital.iter().filter(|file| file.role.is_code()).map(hashed).collect()
            } else {
                Vec::new()
            },
            console_groups: if has(Section::CgroupDenyInode) { host.console_groups() } else { Vec::new() },
            found: Vec::new(),
        }
    }

    fn rule(&mut self, rule: &Rule<'a>) {
        match rule.entry() {
            Entry::Path(path) => match rule.section {
                Section::DenyPath => self.file(rule, self.host.file(&path), Reason::Denied),
                Section::ProtectPath if self.verifies_nobody() => {
                    self.file(rule, self.host.file(&path), Reason::NobodyVerified);
                }
                _ => {}
            },
            Entry::Inode(inode) => {
                let id = FileId::of_stat(u64::from(inode.device), inode.number);
                self.file(rule, Some(id), Reason::Denied);
            }
            Entry::CgroupInode(group, inode) => {
                let group = self.host.group(&group);
                if group.is_some_and(|group| self.console_groups.contains(&group)) {
                    let id = FileId::of_stat(u64::from(inode.device), inode.number);
                    self.file(rule, Some(id), Reason::Denied);
                }
            }
            Entry::Comm(name) => self.name(rule, name),
            Entry::Sha256(digits) => self.hash(rule, &digits),
            Entry::Cgroup(_)
            | Entry::Ip(_)
            | Entry::Network(_)
            | Entry::Port(_)
            | Entry::Endpoint(_)
            | Entry::CgroupIp(..)
            | Entry::CgroupPort(..) => {}
        }
    }

    /// No list says which programs are verified, so none is.
    fn verifies_nobody(&self) -> bool {
        self.policy.count(Section::AllowBinaryHash) == 0 && self.policy.count(Section::TrustedExecHash) == 0
    }

    fn file(&mut self, rule: &Rule<'_>, id: Option<FileId>, reason: Reason) {
        if let Some(file) = id.and_then(|id| self.by_id.get(&id)) {
            self.found.push(LockOut::by_rule(rule, file.role, Some(&file.path), reason));
        }
    }

    fn name(&mut self, rule: &Rule<'_>, name: &str) {
        if let Some(file) = self.by_name.get(name) {
            self.found.push(LockOut::by_rule(rule, file.role, Some(&file.path), Reason::Denied));
        } else if let Some((_, role)) = NAMES.iter().find(|(known, _)| *known == name) {
            self.found.push(LockOut::by_rule(rule, *role, None, Reason::Denied));
        }
    }

    fn hash(&mut self, rule: &Rule<'_>, digits: &str) {
        for hashed in &mut self.hashed {
            if hashed.sha256.as_deref() != Some(digits) {
                continue;
            }
            match rule.section {
                Section::AllowBinaryHash => hashed.allowed = true,
                Section::TrustedExecHash => hashed.trusted = true,
                _ => {
                    let file = hashed.file;
                    self.found.push(LockOut::by_rule(rule, file.role, Some(&file.path), Reason::Denied));
                }
            }
        }
    }

    /// A list that has entries denies all that is not on it.
    fn lists(&mut self) {
        for section in [Section::AllowBinaryHash, Section::TrustedExecHash] {
            if self.policy.count(section) == 0 {
                continue;
            }
            let line = self.policy.first_line(section).unwrap_or(0);
            for hashed in self.hashed.iter().filter(|hashed| hashed.file.role.is_program()) {
                let listed =
                    if section == Section::AllowBinaryHash { hashed.allowed } else { hashed.trusted };
                let reason = match &hashed.sha256 {
                    Some(_) if listed => continue,
                    Some(sha256) => Reason::NotListed { sha256: sha256.clone() },
                    None => Reason::NotReadable,
                };
                self.found.push(LockOut::by_list(section, line, hashed.file, reason));
            }
        }
    }
}

#[cfg(test)]
mod tests;
