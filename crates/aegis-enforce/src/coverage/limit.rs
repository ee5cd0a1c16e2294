//! What a backend does not see, or what is not known of it.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::Backend;
use crate::probe::Probe;

/// The oldest kernel on which enforcement is tested.
const TESTED: (u32, u32) = (6, 1);

/// What a section's backend does less than the section says. Serialised with its code and its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Limit {
    /// Fanotify tells of files that are opened, and of nothing else.
    #[error("fanotify sees opening and running alone: rename, unlink, truncate(2) and O_PATH pass")]
    OpensAlone,
    /// Nothing is opened by them.
    #[error("fanotify does not see a descriptor that was opened before, or is passed over a socket")]
    HeldDescriptors,
    /// Where a name is looked at, the directory has to be marked.
    #[error("a named file whose directory is made or mounted later is open until the agent has seen that")]
    LaterDirectories,
    /// Fanotify asks a process.
    #[error("fanotify lets everything through once neither the agent nor its supervisor runs")]
    AgentAnswers,
    /// Fanotify tells of programs, not of code that they map.
    #[error("fanotify sees programs that are run, not code that a program maps or reads")]
    ProgramsAlone,
    /// Fanotify tells the file, not the name by which it was run.
    #[error("fanotify shows the name of the file, not of a link by which it is run")]
    FileNameAlone,
    /// The kernel asks programs of control groups for no other protocol.
    #[error("control groups see TCP and UDP alone: raw, packet and SCTP sockets pass")]
    TcpAndUdpAlone,
    /// The kernel does not ask them about listening.
    #[error("control groups do not see listening on a port that the kernel chose")]
    ChosenPorts,
    /// An old kernel.
    #[error("this kernel is older than 6.1, the oldest that is tested")]
    KernelNotTested,
}

impl Limit {
    /// A name for programs, which does not change with the wording.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OpensAlone => "opens_alone",
            Self::HeldDescriptors => "held_descriptors",
            Self::LaterDirectories => "later_directories",
            Self::AgentAnswers => "agent_answers",
            Self::ProgramsAlone => "programs_alone",
            Self::FileNameAlone => "file_name_alone",
            Self::TcpAndUdpAlone => "tcp_and_udp_alone",
            Self::ChosenPorts => "chosen_ports",
            Self::KernelNotTested => "kernel_not_tested",
        }
    }

    /// What is true of a kernel as a whole. Fanotify is old, and the same everywhere.
    pub(super) fn of_kernel(backend: Option<Backend>, probe: &Probe) -> Option<Self> {
        let is_bpf = matches!(backend, Some(Backend::BpfLsm | Backend::Cgroup));
        (is_bpf && probe.version().is_some_and(|version| version < TESTED)).then_some(Self::KernelNotTested)
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Limit", 2)?;
        object.serialize_field("code", self.code())?;
        object.serialize_field("message", &self.to_string())?;
        object.end()
    }
}
