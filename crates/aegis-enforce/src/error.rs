//! Why the kernel did not take something.

use std::io;
use std::path::PathBuf;

/// What went wrong. Unless it says otherwise, what was in force stays so.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The object with the programs could not be loaded.
    #[error("the kernel did not take the programs{}", log.as_deref().map(|log| format!(": {log}")).unwrap_or_default())]
    Load {
        /// The last lines of what the kernel says.
        log: Option<String>,
        /// Why.
        source: libbpf_rs::Error,
    },
    /// A program could not be put on its hook.
    #[error("the program {program} could not be attached")]
    Attach {
        /// Its name.
        program: String,
        /// Why.
        source: libbpf_rs::Error,
    },
    /// The programs lack a map. It is a build of something else.
    #[error("the programs have no map {name}")]
    NoMap {
        /// Its name.
        name: &'static str,
    },
    /// A map could not be made, read or written.
    #[error("cannot {action} the map {name}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// Its name.
        name: String,
        /// Why.
        source: libbpf_rs::Error,
    },
    /// What is in a map is not what was put into it. The policy was not made current.
    #[error("the map {name} has not what was put into it: {found} entries of {meant}")]
    Differs {
        /// Its name.
        name: &'static str,
        /// Entries that are there.
        found: u64,
        /// Entries that should be.
        meant: u64,
    },
    /// A pin could not be made, moved or removed.
    #[error("cannot {action} {}", path.display())]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The control group that programs are for is not one.
    #[error("{} is no control group of version 2", path.display())]
    NoGroup {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing is loaded.
    #[error("nothing is loaded under {}", path.display())]
    NotLoaded {
        /// The directory of the pins.
        path: PathBuf,
    },
    /// Names of the policy have come to mean other files so often that no more are kept.
    #[error("more than {most} files would stay denied that no name of the policy leads to any more")]
    TooManyKept {
        /// How many may.
        most: usize,
    },
    /// No policy is in force.
    #[error("no policy is in force")]
    NoPolicy,
    /// There is nothing to confirm.
    #[error("no policy waits for a confirmation")]
    NothingToConfirm,
    /// The time to confirm is over.
    #[error("the time to confirm is over, and the policy before it is in force again")]
    TooLate,
    /// No backend was asked for.
    #[error("neither BPF-LSM nor control groups were chosen")]
    NoBackend,
}

impl KernelError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Load { .. } | Self::Attach { .. } => Some(
                "`aegisbpf probe` says what this kernel has and lacks; Linux 6.1 or newer, CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN are needed"
                    .to_owned(),
            ),
            Self::NoMap { .. } => Some("build aegisbpf anew".to_owned()),
            Self::Map { source, .. } if source.kind() == libbpf_rs::ErrorKind::PermissionDenied => Some(
                "what is loaded belongs to another build of aegisbpf, or you are not root; run the aegisbpf that loaded it"
                    .to_owned(),
            ),
            Self::Map { .. } => Some("look at memory and at the limits of BPF, and try again".to_owned()),
            Self::Differs { .. } => Some("the policy before it is in force; apply again, and look at the kernel's log".to_owned()),
            Self::Pin { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root; if another build of aegisbpf loaded it, by that one".to_owned())
            }
            Self::Pin { path, .. } => Some(format!("mount a BPF file system above {}", path.display())),
            Self::NoGroup { .. } => Some("name a directory below the mount of control groups of version 2".to_owned()),
            Self::NotLoaded { .. } | Self::NoPolicy => Some("`aegisbpf policy apply` loads".to_owned()),
            Self::TooManyKept { .. } => Some(
                "what was in force stays so; find out who moves what is on the way to the names of the policy, then `aegisbpf policy apply`"
                    .to_owned(),
            ),
            Self::NothingToConfirm => None,
            Self::TooLate => Some("apply it again".to_owned()),
            Self::NoBackend => None,
        }
    }
}
