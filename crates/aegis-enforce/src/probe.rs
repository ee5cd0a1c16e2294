//! What this kernel has, as far as it tells.
//!
//! Files alone are read, below a directory that a test or a support engineer may choose, and none of them whole unless
//! it is small. What no file tells is [`Answer::Unknown`], never a guess; [`Probe::settled`] takes what a trial found.
//!
//! | fact | where from |
//! |---|---|
//! | release | `/proc/sys/kernel/osrelease` |
//! | BPF-LSM | `/sys/kernel/security/lsm`; without securityfs, that the kernel was built without it |
//! | types of the kernel (BTF) | `/sys/kernel/btf/vmlinux` |
//! | lockdown | `/sys/kernel/security/lockdown` |
//! | mounts | `/proc/self/mountinfo` |
//! | IMA | `/sys/kernel/security/ima`, its `policy`, `/proc/cmdline` |
//! | fanotify | a mark on a file that nobody else has; for another tree, how the kernel was built |
//! | privileges | `/proc/self/status` |
//!
//! How it was built is in `/boot/config-RELEASE` or `/lib/modules/RELEASE/config`, if anywhere.

mod boot;
mod ima;
mod mounts;
mod privilege;
mod trial;

use std::fmt;
use std::path::{Path, PathBuf};

use aegis_durable::read_bounded;
use serde::Serialize;

pub use self::privilege::Privilege;
pub(crate) use self::trial::bpf_lsm as try_bpf_lsm;

use self::boot::{BuildConfig, CommandLine};

/// The most that is read of a file of one line.
const MAX_LINE: u64 = 64 << 10;
/// The most that is read of `/proc/self/mountinfo`.
const MAX_MOUNTINFO: u64 = 16 << 20;

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nothing that was read says.
    Unknown,
}

impl Answer {
    fn of(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }

    fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::Unknown { other() } else { self }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "cannot tell",
        })
    }
}

/// How far the kernel is closed to root (lockdown, `kernel_lockdown(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lockdown {
    /// Not at all.
    None,
    /// Root may not change the kernel. BPF programs load.
    Integrity,
    /// Root may not read the kernel's memory either, and BPF programs that do are refused.
    Confidentiality,
}

impl fmt::Display for Lockdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        })
    }
}

/// How it is known whether BPF programs are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// By the list of security modules.
    Modules,
    /// By the options that the kernel was built with.
    Built,
    /// A program was to deny something.
    Tried,
}

/// What was found out by trying, where no file told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Whether the programs of this crate load and attach to BPF-LSM.
    pub bpf_lsm: Answer,
    /// Whether they can have the hash of a file.
    pub ima_hashes: Answer,
}

/// What a kernel has. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Its release, as `uname -r` prints it.
    pub release: Option<String>,
    /// Its security modules, in the order in which they are asked.
    pub lsms: Option<Vec<String>>,
    /// Whether BPF programs are among them.
    pub bpf_lsm: Answer,
    /// How that is known; none if it is not.
    pub bpf_lsm_by: Option<Evidence>,
    /// Whether it describes its own types, without which programs cannot be fitted to it.
    pub btf: bool,
    /// How far it is closed to root; none where it does not say.
    pub lockdown: Option<Lockdown>,
    /// Where control groups of version 2 are mounted.
    pub cgroup2: Option<PathBuf>,
    /// Where a file system for pins is mounted.
    pub bpffs: Option<PathBuf>,
    /// Whether it hashes files, by IMA.
    pub ima_hashes: Answer,
    /// Whether it refuses programs whose signature or hash is not as IMA has it.
    pub ima_appraisal: Answer,
    /// Whether fanotify asks before a file is opened.
    pub fanotify: Answer,
    /// `kernel.unprivileged_bpf_disabled`: 0 is open to all, 1 closed for good, 2 closed.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// What this process may do of all that enforcing takes.
    pub privileges: Vec<Privilege>,
}

impl Probe {
    /// This host's kernel. Opens no file of anybody else's, and leaves nothing behind.
    pub fn of_host() -> Self {
        let probe = Self::read(Path::new("/"));
        // Some kernels call themselves tainted from the first such group on, so none is made that is not needed.
        match probe.bpf_lsm {
            Answer::Yes => probe,
            Answer::No | Answer::Unknown => {
                Self { fanotify: trial::fanotify().or(|| probe.fanotify), ..probe }
            }
        }
    }

    /// The same, with a trial of BPF-LSM where no file tells: for who may load programs.
    pub fn of_host_tried() -> Self {
        Self::of_host().settled(try_bpf_lsm)
    }

    /// The kernel that the files below `root` describe. Never fails: what cannot be read is not known.
    pub fn read(root: &Path) -> Self {
        let release = line(root, "proc/sys/kernel/osrelease");
        let config = BuildConfig::read(root, release.as_deref());
        let command_line = CommandLine::read(root);
        let lsms = line(root, "sys/kernel/security/lsm")
            .map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
        let (bpf_lsm, by) = match &lsms {
            Some(lsms) => (Answer::of(lsms.iter().any(|name| name == "bpf")), Evidence::Modules),
            None => (config.lacks("CONFIG_BPF_LSM"), Evidence::Built),
        };
        let securityfs = lsms.is_some();
        let mountinfo = read_bounded(&root.join("proc/self/mountinfo"), MAX_MOUNTINFO).unwrap_or_default();
        let ima_hashes = ima::hashes(root, securityfs, &config);
        Self {
            bpf_lsm,
            bpf_lsm_by: (bpf_lsm != Answer::Unknown).then_some(by),
            lsms,
            btf: root.join("sys/kernel/btf/vmlinux").is_file(),
            lockdown: line(root, "sys/kernel/security/lockdown").and_then(|text| lockdown(&text)),
            cgroup2: mounts::first(&mountinfo, "cgroup2"),
            bpffs: mounts::first(&mountinfo, "bpf"),
            ima_appraisal: ima::appraisal(root, ima_hashes, &config, &command_line),
            ima_hashes,
            fanotify: config.has("CONFIG_FANOTIFY_ACCESS_PERMISSIONS"),
            unprivileged_bpf_disabled: line(root, "proc/sys/kernel/unprivileged_bpf_disabled")
                .and_then(|text| text.parse().ok()),
            privileges: privilege::read(root),
            release,
        }
    }

    /// Lets a trial say what no file did. It is made only if there is such a thing.
    pub fn settled(self, attempt: impl FnOnce() -> Attempt) -> Self {
        if self.bpf_lsm != Answer::Unknown
            && (self.ima_hashes != Answer::Unknown || self.bpf_lsm == Answer::No)
        {
            return self;
        }
        let Attempt { bpf_lsm, ima_hashes } = attempt();
        let tried = (bpf_lsm != Answer::Unknown).then_some(Evidence::Tried);
        Self {
            bpf_lsm: self.bpf_lsm.or(|| bpf_lsm),
            bpf_lsm_by: self.bpf_lsm_by.or(tried),
            ima_hashes: self.ima_hashes.or(|| ima_hashes),
            ..self
        }
    }

    /// Major and minor number of the release.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.release.as_deref()?.split(|byte: char| !byte.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// What this process lacks for enforcing here.
    pub fn missing_privileges(&self) -> Vec<Privilege> {
        Privilege::ALL.into_iter().filter(|wanted| !self.privileges.contains(wanted)).collect()
    }
}

/// A file of one line, without white space around it; none if it is not there, or holds nothing that can be shown.
fn line(root: &Path, path: &str) -> Option<String> {
    let bytes = read_bounded(&root.join(path), MAX_LINE).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim();
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// `none [integrity] confidentiality`: the one in brackets counts.
fn lockdown(text: &str) -> Option<Lockdown> {
    let (_, rest) = text.split_once('[')?;
    let (chosen, _) = rest.split_once(']')?;
    match chosen {
        "none" => Some(Lockdown::None),
        "integrity" => Some(Lockdown::Integrity),
        "confidentiality" => Some(Lockdown::Confidentiality),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
