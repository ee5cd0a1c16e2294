//! What a process may do (`capabilities(7)`).

use std::fmt;
use std::path::Path;

use aegis_durable::read_bounded;
use serde::Serialize;

/// The most that is read of `/proc/self/status`; it grows with the number of groups and processors.
const MAX_STATUS: u64 = 1 << 20;

/// A capability that enforcing takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Privilege {
    /// To load programs and to make maps.
    CapBpf,
    /// To load programs that look at the kernel's memory.
    CapPerfmon,
    /// To pin them, to attach them to the whole host, and for fanotify.
    CapSysAdmin,
    /// To load and attach programs for the network.
    CapNetAdmin,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::CapBpf, Self::CapPerfmon, Self::CapSysAdmin, Self::CapNetAdmin];

    /// Its bit, `linux/capability.h`.
    const fn bit(self) -> u32 {
        match self {
            Self::CapNetAdmin => 12,
            Self::CapSysAdmin => 21,
            Self::CapPerfmon => 38,
            Self::CapBpf => 39,
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CapBpf => "CAP_BPF",
            Self::CapPerfmon => "CAP_PERFMON",
            Self::CapSysAdmin => "CAP_SYS_ADMIN",
            Self::CapNetAdmin => "CAP_NET_ADMIN",
        })
    }
}

/// Those in effect.
pub(super) fn read(root: &Path) -> Vec<Privilege> {
    let status = read_bounded(&root.join("proc/self/status"), MAX_STATUS).unwrap_or_default();
    let effective = in_effect(&status).unwrap_or(0);
    Privilege::ALL.into_iter().filter(|privilege| effective & (1 << privilege.bit()) != 0).collect()
}

fn in_effect(status: &[u8]) -> Option<u64> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"CapEff:"))?;
    u64::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok()
}
