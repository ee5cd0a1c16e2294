//! Why files and programs cannot be watched.

use std::io;
use std::path::PathBuf;

use aegis_policy::Section;

/// Why a policy was not put in force by fanotify. What was in force stays so.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel gave no group for permission events.
    #[error("the kernel gives no fanotify group that may deny")]
    Group {
        /// Why.
        source: io::Error,
    },
    /// Something that the policy names could not be marked.
    #[error("cannot mark {}", path.display())]
    Mark {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory could not be watched for files that come later.
    #[error("cannot watch {} for files that come later", path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mounts of this process could not be read.
    #[error("cannot read /proc/self/mountinfo")]
    Mounts {
        /// Why.
        source: io::Error,
    },
    /// The kernel has fewer marks than were made.
    #[error("the kernel has {found} marks of {meant}")]
    Unmarked {
        /// Marks that it tells of.
        found: usize,
        /// Marks that were made.
        meant: usize,
    },
    /// A rule for a file by its number, and no file system has that device.
    #[error("line {line}: no mounted file system has the device of the rule in [{section}]")]
    NoDevice {
        /// The section.
        section: Section,
        /// The line.
        line: u32,
    },
}

impl StartError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Group { source } if source.raw_os_error() == Some(24) => {
                Some("raise /proc/sys/fs/fanotify/max_user_groups, and the limit on open files".to_owned())
            }
            Self::Group { .. } => Some(
                "run as root (CAP_SYS_ADMIN) on a kernel built with CONFIG_FANOTIFY_ACCESS_PERMISSIONS"
                    .to_owned(),
            ),
            Self::Mark { .. } => {
                Some("some file systems, such as /proc, take no marks; name another path".to_owned())
            }
            Self::Watch { source, .. } if source.raw_os_error() == Some(28) => {
                Some("raise /proc/sys/fs/inotify/max_user_watches".to_owned())
            }
            Self::Watch { source, .. } if source.raw_os_error() == Some(24) => {
                Some("raise /proc/sys/fs/inotify/max_user_instances, and the limit on open files".to_owned())
            }
            Self::Watch { .. } => None,
            Self::Mounts { .. } => Some("mount /proc".to_owned()),
            Self::Unmarked { .. } => {
                Some("files were removed meanwhile, or memory is short; try again".to_owned())
            }
            Self::NoDevice { .. } => {
                Some("`stat -c %d:%i FILE` prints device and inode; mount the file system first".to_owned())
            }
        }
    }
}

/// Why events are answered no longer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Waiting for events failed.
    #[error("cannot wait for events of fanotify")]
    Wait {
        /// Why.
        source: io::Error,
    },
    /// The group cannot be read at all.
    #[error("cannot read events of fanotify")]
    Read {
        /// Why.
        source: io::Error,
    },
}

impl RunError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Wait { .. } | Self::Read { .. } => Some(
                "restart the agent; under its supervisor, who opens what is denied waits until then"
                    .to_owned(),
            ),
        }
    }
}

/// Why a worker cannot be kept running.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The socket between supervisor and worker.
    #[error("cannot speak with {} over its socket", peer)]
    Socket {
        /// With whom.
        peer: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Something else was said than the protocol has.
    #[error("{} said something unexpected over the socket", peer)]
    Unexpected {
        /// Who.
        peer: &'static str,
    },
    /// The program cannot be run.
    #[error("cannot run {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SuperviseError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Socket { .. } => None,
            Self::Unexpected { .. } => {
                Some("supervisor and worker have to be of one build; restart both".to_owned())
            }
            Self::Spawn { .. } => Some("look whether the program is there and may be run".to_owned()),
        }
    }
}
