//! What a backend takes of a kernel, and what is said where it is missing.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::probe::{Answer, Lockdown, Probe};

/// Something that a backend takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    BpfLsm,
    Btf,
    ReadableKernel,
    Cgroup2,
    Fanotify,
    ImaHashes,
    ImaAppraisal,
}

impl Need {
    /// What is missing; none if nothing is.
    pub(super) fn lack(self, probe: &Probe) -> Option<Lack> {
        let answer = |answer: Answer, no: Lack, unknown: Lack| match answer {
            Answer::Yes => None,
            Answer::No => Some(no),
            Answer::Unknown => Some(unknown),
        };
        match self {
            Self::BpfLsm => answer(probe.bpf_lsm, Lack::BpfLsm, Lack::BpfLsmUnknown),
            Self::Btf => (!probe.btf).then_some(Lack::Btf),
            Self::ReadableKernel => {
                (probe.lockdown == Some(Lockdown::Confidentiality)).then_some(Lack::ReadableKernel)
            }
            Self::Cgroup2 => probe.cgroup2.is_none().then_some(Lack::Cgroup2),
            Self::Fanotify => answer(probe.fanotify, Lack::Fanotify, Lack::FanotifyUnknown),
            Self::ImaHashes => answer(probe.ima_hashes, Lack::Ima, Lack::ImaUnknown),
            Self::ImaAppraisal => answer(probe.ima_appraisal, Lack::ImaAppraisal, Lack::ImaAppraisalUnknown),
        }
    }
}

/// What a kernel lacks. Serialised with its code, its message and its help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Lack {
    /// BPF is not among the security modules.
    #[error("this kernel runs no BPF programs as a security module")]
    BpfLsm,
    /// Nothing says.
    #[error("cannot tell whether this kernel runs BPF programs as a security module")]
    BpfLsmUnknown,
    /// Programs cannot be fitted to this kernel.
    #[error("this kernel does not describe its types (BTF)")]
    Btf,
    /// Programs may not read what they decide by.
    #[error("this kernel is locked down to confidentiality, and refuses BPF programs")]
    ReadableKernel,
    /// There are no control groups of version 2.
    #[error("no control groups of version 2 are mounted")]
    Cgroup2,
    /// Nobody can be asked before a file is opened.
    #[error("this kernel has no permission events of fanotify")]
    Fanotify,
    /// Nothing says.
    #[error("cannot tell whether this kernel has permission events of fanotify")]
    FanotifyUnknown,
    /// Nobody hashes what is run.
    #[error("this kernel does not hash files (IMA)")]
    Ima,
    /// Nothing says.
    #[error("cannot tell whether this kernel hashes files (IMA)")]
    ImaUnknown,
    /// IMA refuses no program.
    #[error("IMA appraisal of programs is not in force")]
    ImaAppraisal,
    /// IMA does not show its policy.
    #[error("cannot tell whether IMA appraisal of programs is in force")]
    ImaAppraisalUnknown,
}

impl Lack {
    /// A name for programs, which does not change with the wording.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BpfLsm => "no_bpf_lsm",
            Self::BpfLsmUnknown => "bpf_lsm_unknown",
            Self::Btf => "no_btf",
            Self::ReadableKernel => "locked_down",
            Self::Cgroup2 => "no_cgroup2",
            Self::Fanotify => "no_fanotify",
            Self::FanotifyUnknown => "fanotify_unknown",
            Self::Ima => "no_ima",
            Self::ImaUnknown => "ima_unknown",
            Self::ImaAppraisal => "no_ima_appraisal",
            Self::ImaAppraisalUnknown => "ima_appraisal_unknown",
        }
    }

    /// What to do about it.
    pub const fn help(self) -> &'static str {
        match self {
            Self::BpfLsm => "boot a kernel built with CONFIG_BPF_LSM, with bpf in its parameter lsm=",
            Self::BpfLsmUnknown => {
                "ask again as root, or mount securityfs: mount -t securityfs securityfs /sys/kernel/security"
            }
            Self::Btf => "boot a kernel built with CONFIG_DEBUG_INFO_BTF",
            Self::ReadableKernel => "boot with lockdown=integrity, or without lockdown",
            Self::Cgroup2 => "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            Self::Fanotify => "boot a kernel built with CONFIG_FANOTIFY_ACCESS_PERMISSIONS",
            Self::FanotifyUnknown => "ask again as root",
            Self::Ima => "boot a kernel built with CONFIG_IMA",
            Self::ImaUnknown => "mount securityfs: mount -t securityfs securityfs /sys/kernel/security",
            Self::ImaAppraisal => {
                "boot with ima_policy=appraise_tcb, or load a policy that appraises BPRM_CHECK"
            }
            Self::ImaAppraisalUnknown => "ask again as root, on a kernel built with CONFIG_IMA_READ_POLICY",
        }
    }
}

impl Serialize for Lack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Lack", 3)?;
        object.serialize_field("code", self.code())?;
        object.serialize_field("message", &self.to_string())?;
        object.serialize_field("help", self.help())?;
        object.end()
    }
}
