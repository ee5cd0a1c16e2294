//! What a program that holds keys asks of the kernel at its start, for the whole process.
//!
//! [`Secret`](crate::Secret) keeps long keys out of core files by itself. The library underneath keeps copies on the
//! heap while it works with them, and so do arguments, buffers and other people's code; only the process can be closed.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Sees to it that no core file of this process is written and that no other process of the same user may look into
/// it, and returns what could not be done. Call it first of all, and tell the operator what it returns.
///
/// | what | against | lasts |
/// |---|---|---|
/// | `PR_SET_DUMPABLE` 0 | core files, also where a program receives them; ptrace(2) and `/proc/PID/mem` by others | in this process and its forks, until execve(2) |
/// | `RLIMIT_CORE` 0, soft and hard | core files | in this process and all that it starts |
///
/// Whoever may trace any process (`CAP_SYS_PTRACE`, as root has) still can. Debuggers and profilers of the same user
/// cannot, so a library must not decide on this: only programs call it.
///
/// Sources: prctl(2), core(5), setrlimit(2).
#[must_use = "what could not be done, the operator has to know"]
pub fn protect() -> Vec<ProtectError> {
    let undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|source| ProtectError::Dumpable { source: source.into() });
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, no_core)
        .map_err(|source| ProtectError::CoreLimit { source: source.into() });
    [undumpable, limited].into_iter().filter_map(Result::err).collect()
}

/// What [`protect`] could not do. The process runs on without it.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// Other processes of this user may look into this one.
    #[error("this process cannot be closed to debuggers of the same user")]
    Dumpable {
        /// What the kernel answered.
        source: io::Error,
    },
    /// Core files are as large as the limit allows, if the process is dumped at all.
    #[error("the size of core files of this process cannot be limited to 0")]
    CoreLimit {
        /// What the kernel answered.
        source: io::Error,
    },
}

impl ProtectError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Dumpable { .. } => {
                "allow prctl(PR_SET_DUMPABLE) in the sandbox that this runs in (seccomp)".to_owned()
            }
            Self::CoreLimit { .. } => {
                "start it with `ulimit -c 0`, or LimitCORE=0 in the unit of systemd".to_owned()
            }
        })
    }
}
