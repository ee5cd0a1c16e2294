//! The sections a policy can have, and the version that brought each.

use std::fmt;

use serde::{Serialize, Serializer};

/// A section of a policy. The order is the one in which [`normalise`](crate::normalise) writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Section {
    /// Files that nobody may open, by path.
    DenyPath,
    /// Files that nobody may open, by device and inode number.
    DenyInode,
    /// Files that only verified programs may open.
    ProtectPath,
    /// Program names that may not be run.
    DenyComm,
    /// Programs that may not be run, by SHA-256 of the file.
    DenyBinaryHash,
    /// Programs that may be run; with entries here, no others may.
    AllowBinaryHash,
    /// Programs that the kernel's own measurement must match; with entries here, no others may run.
    TrustedExecHash,
    /// Further directories to search for programs with a listed hash.
    ScanPaths,
    /// Addresses that nobody may connect to.
    DenyIp,
    /// Networks that nobody may connect to.
    DenyCidr,
    /// Ports that nobody may connect to or listen on.
    DenyPort,
    /// Address and port pairs that nobody may connect to.
    DenyIpPort,
    /// Control groups that every rule passes over.
    AllowCgroup,
    /// Files that one control group may not open.
    CgroupDenyInode,
    /// IPv4 addresses that one control group may not connect to.
    CgroupDenyIp,
    /// Ports that one control group may not connect to or listen on.
    CgroupDenyPort,
    /// Flag: only verified programs may connect.
    ProtectConnect,
    /// Flag: a verified program that maps unverified code is verified no longer.
    ProtectRuntimeDeps,
    /// Flag: refuse to enforce on a host without IMA appraisal.
    RequireImaAppraisal,
    /// Flag: a program that IMA cannot measure may not run.
    ImaFailClosed,
    /// Flag: nobody may trace another process.
    DenyPtrace,
    /// Flag: nobody may load a kernel module.
    DenyModuleLoad,
    /// Flag: nobody may load a BPF program.
    DenyBpf,
}

impl Section {
    /// How many sections there are.
    pub const COUNT: usize = 23;

    /// Every section, in the order in which a normalised policy has them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::DenyPath,
        Self::DenyInode,
        Self::ProtectPath,
        Self::DenyComm,
        Self::DenyBinaryHash,
        Self::AllowBinaryHash,
        Self::TrustedExecHash,
        Self::ScanPaths,
        Self::DenyIp,
        Self::DenyCidr,
        Self::DenyPort,
        Self::DenyIpPort,
        Self::AllowCgroup,
        Self::CgroupDenyInode,
        Self::CgroupDenyIp,
        Self::CgroupDenyPort,
        Self::ProtectConnect,
        Self::ProtectRuntimeDeps,
        Self::RequireImaAppraisal,
        Self::ImaFailClosed,
        Self::DenyPtrace,
        Self::DenyModuleLoad,
        Self::DenyBpf,
    ];

    /// The name between the brackets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DenyPath => "deny_path",
            Self::DenyInode => "deny_inode",
            Self::ProtectPath => "protect_path",
            Self::DenyComm => "deny_comm",
            Self::DenyBinaryHash => "deny_binary_hash",
            Self::AllowBinaryHash => "allow_binary_hash",
            Self::TrustedExecHash => "trusted_exec_hash",
            Self::ScanPaths => "scan_paths",
            Self::DenyIp => "deny_ip",
            Self::DenyCidr => "deny_cidr",
            Self::DenyPort => "deny_port",
            Self::DenyIpPort => "deny_ip_port",
            Self::AllowCgroup => "allow_cgroup",
            Self::CgroupDenyInode => "cgroup_deny_inode",
            Self::CgroupDenyIp => "cgroup_deny_ip",
            Self::CgroupDenyPort => "cgroup_deny_port",
            Self::ProtectConnect => "protect_connect",
            Self::ProtectRuntimeDeps => "protect_runtime_deps",
            Self::RequireImaAppraisal => "require_ima_appraisal",
            Self::ImaFailClosed => "ima_fail_closed",
            Self::DenyPtrace => "deny_ptrace",
            Self::DenyModuleLoad => "deny_module_load",
            Self::DenyBpf => "deny_bpf",
        }
    }

    /// The section of this name, spelled exactly.
    pub fn from_name(name: &str) -> Option<Self> {
        // The longest name has 21 bytes: a hostile name is not compared with all of them.
        if name.len() > 21 {
            return None;
        }
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    /// The lowest header version that may use the section, 1 to 6.
    ///
    /// Network sections are described as of version 2, yet every loader of version 1 has always taken
    /// them, so they count as version 1 here; lint says so.
    pub const fn since_version(self) -> u8 {
        match self {
            Self::DenyPath
            | Self::DenyInode
            | Self::AllowCgroup
            | Self::DenyIp
            | Self::DenyCidr
            | Self::DenyPort
            | Self::DenyIpPort
            | Self::DenyPtrace
            | Self::DenyModuleLoad
            | Self::DenyBpf
            | Self::DenyComm => 1,
            Self::DenyBinaryHash | Self::AllowBinaryHash | Self::ScanPaths => 3,
            Self::ProtectConnect | Self::ProtectPath | Self::ProtectRuntimeDeps => 4,
            Self::RequireImaAppraisal | Self::TrustedExecHash | Self::ImaFailClosed => 5,
            Self::CgroupDenyInode | Self::CgroupDenyIp | Self::CgroupDenyPort => 6,
        }
    }

    /// True for a section that is switched on by its header alone and takes no entries.
    pub const fn is_flag(self) -> bool {
        matches!(
            self,
            Self::ProtectConnect
                | Self::ProtectRuntimeDeps
                | Self::RequireImaAppraisal
                | Self::ImaFailClosed
                | Self::DenyPtrace
                | Self::DenyModuleLoad
                | Self::DenyBpf
        )
    }

    /// True for `deny_ip`, `deny_cidr`, `deny_port` and `deny_ip_port`.
    pub const fn is_network(self) -> bool {
        matches!(self, Self::DenyIp | Self::DenyCidr | Self::DenyPort | Self::DenyIpPort)
    }

    /// What an entry looks like, for messages. `None` for a flag.
    pub const fn entry_form(self) -> Option<&'static str> {
        match self {
            Self::DenyPath | Self::ProtectPath => Some("an absolute path, such as /etc/shadow"),
            Self::ScanPaths => Some("an absolute directory, such as /opt/tools/bin"),
            Self::DenyInode => Some("device:inode in decimal, such as 2049:123456"),
            Self::DenyComm => Some("a program's file name of at most 15 bytes, such as xmrig"),
            Self::DenyBinaryHash | Self::AllowBinaryHash | Self::TrustedExecHash => {
                Some("sha256: and 64 hex digits")
            }
            Self::DenyIp => Some("an address without a port, such as 192.0.2.1 or 2001:db8::1"),
            Self::DenyCidr => Some("a network, such as 10.0.0.0/8 or fd00::/8"),
            Self::DenyPort => Some("port[:tcp|udp|any[:egress|bind|both]], such as 22:tcp:bind"),
            Self::DenyIpPort => {
                Some("address:port[:tcp|udp|any], such as 192.0.2.1:443 or [2001:db8::1]:443:tcp")
            }
            Self::AllowCgroup => Some("an absolute control-group path or cgid:N"),
            Self::CgroupDenyInode => Some("a control group and device:inode, such as cgid:7 2049:123456"),
            Self::CgroupDenyIp => Some("a control group and an IPv4 address, such as cgid:7 192.0.2.1"),
            Self::CgroupDenyPort => Some("a control group and a port, such as cgid:7 443:tcp:egress"),
            Self::ProtectConnect
            | Self::ProtectRuntimeDeps
            | Self::RequireImaAppraisal
            | Self::ImaFailClosed
            | Self::DenyPtrace
            | Self::DenyModuleLoad
            | Self::DenyBpf => None,
        }
    }

    /// The section whose name is nearest to a misspelled one, if any is near.
    pub(crate) fn nearest(name: &str) -> Option<Self> {
        if name.len() > 32 {
            return None;
        }
        let name = name.trim().to_ascii_lowercase().replace('-', "_");
        Self::ALL
            .into_iter()
            .map(|section| (edit_distance(&name, section.name()), section))
            .filter(|(distance, _)| *distance <= 3)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, section)| section)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Levenshtein distance. Both names are at most 32 bytes.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.bytes().enumerate() {
        let mut diagonal = row;
        let mut last = row + 1;
        if let Some(first) = previous.first_mut() {
            *first = last;
        }
        for (cell, b) in previous.iter_mut().skip(1).zip(right.bytes()) {
            let value = (diagonal + usize::from(a != b)).min(*cell + 1).min(last + 1);
            diagonal = *cell;
            *cell = value;
            last = value;
        }
    }
    previous.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_listed_once_under_its_own_name() {
        for (index, section) in Section::ALL.into_iter().enumerate() {
            assert_eq!(section.index(), index);
            assert_eq!(Section::from_name(section.name()), Some(section));
            assert_eq!(section.is_flag(), section.entry_form().is_none());
        }
        assert_eq!(Section::from_name("deny_paths"), None);
        assert_eq!(Section::from_name(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn suggests_the_nearest_name_and_nothing_for_a_far_one() {
        assert_eq!(Section::nearest("deny_paths"), Some(Section::DenyPath));
        assert_eq!(Section::nearest(" Deny-CIDR "), Some(Section::DenyCidr));
        assert_eq!(Section::nearest("cgroup_deny_ips"), Some(Section::CgroupDenyIp));
        assert_eq!(Section::nearest("firewall"), None);
    }
}
