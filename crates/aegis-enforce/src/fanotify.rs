//! Files and programs, where the kernel has no BPF-LSM: whoever opens what is marked waits until this process has answered.
//!
//! Weaker than BPF-LSM, and told so: [`cannot`] lists the sections of a policy that stay unenforced, [`blind_spots`] what
//! goes by unseen. And it ends with the last process that holds the group's descriptor: so a [supervisor](supervise) holds
//! it as well, and whoever opens something while the worker is started anew waits.
//!
//! | module | what it does |
//! |---|---|
//! | `rules` | what a policy says, as questions are asked here |
//! | `names` | files that are named by path, also those that come later |
//! | `marks`, `mounts` | what the kernel is to ask about |
//! | `group` | the descriptor: one event, one answer |
//! | `subject`, `opener` | the file and the process that a question is about |
//! | `interpreter` | the dynamic linker, told from programs |
//! | `measure`, `questions` | SHA-256 of programs, in threads of their own |
//! | `listener` | reads, decides, answers, tells |
//! | `tell` | a decision as an event |
//! | `supervisor`, `lifeline` | hold the descriptor while the worker is started anew |
//!
//! # What it costs
//!
//! An answer takes two switches between processes: tens of microseconds. They are paid by whoever opens a named file or
//! anything that is directly in the directory of one; with rules for programs by whoever starts one, and with rules for
//! files by number by whoever opens anything on their file system. Nobody else pays.
//!
//! # Which answer if none can be found
//!
//! What no rule concerns is allowed. If a program cannot be read, `allow_binary_hash` and `protect_path` deny, and
//! `deny_binary_hash` allows. The same holds if more than 512 questions wait for a program to be read. Events whose worker
//! was killed before it answered are denied in enforce mode.

mod error;
mod group;
mod interpreter;
mod lifeline;
mod listener;
mod marks;
mod measure;
mod message;
mod mounts;
mod names;
mod opener;
mod questions;
mod rules;
mod stop;
mod subject;
mod supervisor;
mod tell;

use std::path::PathBuf;

use aegis_crypto::Digest;
use aegis_policy::Section;

pub use self::error::{RunError, StartError, SuperviseError};
pub use self::lifeline::Lifeline;
pub use self::listener::{Fanotify, FanotifyCounters, OnDecision};
pub use self::rules::{FanotifyRules, Filesystems, RuleOptions};
pub use self::stop::Stop;
pub use self::supervisor::{Happened, supervise};
pub(crate) use self::tell::event;

/// What somebody tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To open a file.
    Open,
    /// To run a program.
    Exec,
}

/// Something that a rule denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was tried.
    pub operation: Operation,
    /// Whether it was refused, or only told.
    pub denied: bool,
    /// The rule's section.
    pub section: Section,
    /// Its line in the policy.
    pub line: u32,
    /// The process; 0 if it cannot be seen from here.
    pub pid: i32,
    /// The file.
    pub inode: u64,
    /// Its device, in the kernel's encoding, as in [`FileId`](crate::FileId).
    pub device: u32,
    /// How the process reached it.
    pub path: Option<PathBuf>,
    /// SHA-256 of the program that was to be run, or that opens a protected file, if it was read.
    pub sha256: Option<Digest>,
}

/// Sections about files and programs that fanotify cannot enforce, and why. A policy that has them is watched only, in these.
pub fn cannot() -> &'static [(Section, &'static str)] {
    &[
        (
            Section::TrustedExecHash,
            "it wants the kernel's own measurement, and fanotify's listener reads the program itself",
        ),
        (Section::ImaFailClosed, "it is about the kernel's own measurement"),
        (Section::RequireImaAppraisal, "it is about the kernel's own appraisal"),
        (Section::ProtectRuntimeDeps, "fanotify does not see what a process maps"),
    ]
}

/// What goes by unseen, and what is seen too late, in words for an operator.
pub fn blind_spots() -> &'static [&'static str] {
    &[
        "rename, unlink, link, chmod and truncate(2) of a denied file: only opening and running are seen",
        "O_PATH descriptors, and stat: nothing is read through them, and opening them anew is seen",
        "descriptors opened before the policy, or passed over a socket, and memory mapped from them",
        "for rules about programs: code that is mapped or read instead of run, as by ld.so or an interpreter",
        "programs in memory alone (memfd_create), and on file systems that only other mount namespaces have",
        "for rules about programs: FUSE and network file systems, whose server could stop every answer; see `unmarked`",
        "for deny_comm: the name of a symbolic link, since the program's own file is seen",
        "a program that its owner changes between the answer and its start; only what root alone can write is safe from that",
        "a denied path whose directory is made or mounted later, until the listener has seen the directory: some microseconds",
        "files on network file systems and below an overlay that change without this kernel's doing",
        "everything, once the worker and its supervisor are both dead: the kernel then allows",
    ]
}
