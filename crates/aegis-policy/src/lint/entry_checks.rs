//! Warnings about one entry on its own, and about its neighbour.

use std::net::IpAddr;

use super::{Found, ReadRule, WarningKind};
use crate::entry::{Cgroup, Entry, Network};
use crate::policy::Rule;
use crate::section::Section;

/// Files that a host needs to start, to run anything, or to let an operator in.
const NEEDED_FILES: &[&str] = &[
    "/sbin/init",
    "/usr/sbin/init",
    "/bin/sh",
    "/bin/bash",
    "/usr/bin/sh",
    "/usr/bin/bash",
    "/usr/bin/dash",
    "/usr/sbin/sshd",
    "/usr/bin/login",
    "/bin/login",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/fstab",
    "/dev/null",
    "/dev/console",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/usr/lib64/ld-linux-x86-64.so.2",
];

/// Directories that a host needs, and whose contents it needs too where the name ends in a slash.
const NEEDED_DIRECTORIES: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/etc",
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/tmp",
    "/var",
    "/var/lib",
    "/root",
    "/home",
    "/boot",
    "/usr/lib/systemd/",
    "/lib/systemd/",
];

/// Program names with which a host starts, or lets an operator in.
const NEEDED_PROGRAMS: &[&str] =
    &["init", "systemd", "sh", "bash", "dash", "sshd", "login", "agetty", "sudo"];

/// Where the agent's program and state are.
const AGENT: &[&str] = &["/usr/bin/aegisbpf", "/usr/sbin/aegisbpf", "/etc/aegisbpf", "/var/lib/aegisbpf"];

/// The longest path that a record of the kernel's holds.
const RECORD_LEN: usize = 255;

pub(super) fn check(rules: &[ReadRule<'_>], found: &mut Found) {
    let mut last: [Option<&Entry<'_>>; Section::COUNT] = [None; Section::COUNT];
    let mut unsorted = [false; Section::COUNT];
    for ReadRule { entry, rule } in rules {
        let index = rule.section.index();
        if let (Some(last), Some(unsorted)) = (last.get_mut(index), unsorted.get_mut(index))
            && last.replace(entry).is_some_and(|last| last > entry)
            && !std::mem::replace(unsorted, true)
        {
            found.about(rule, WarningKind::Unsorted { section: rule.section });
        }
        let canonical = entry.to_string();
        if canonical != rule.text {
            found.about(rule, WarningKind::NotCanonical { canonical });
        }
        match entry {
            Entry::Path(path) => check_path(rule, path, found),
            Entry::Comm(name) => check_program(rule, name, found),
            Entry::Ip(address) => check_address(rule, *address, found),
            Entry::Endpoint(endpoint) => check_mapped(rule, endpoint.address, found),
            Entry::Network(network) => check_network(rule, *network, found),
            Entry::Cgroup(group) => check_cgroup(rule, group, found),
            Entry::Inode(_)
            | Entry::Port(_)
            | Entry::Sha256(_)
            | Entry::CgroupInode(..)
            | Entry::CgroupIp(..)
            | Entry::CgroupPort(..) => {}
        }
    }
}

fn check_path(rule: &Rule<'_>, path: &str, found: &mut Found) {
    if path.split('/').any(|part| part == "..") {
        found.about(rule, WarningKind::GoesUp);
    }
    if let Some(character) = path.chars().find(|character| matches!(character, '*' | '?' | '{' | '$')) {
        found.about(rule, WarningKind::Pattern { character });
    }
    if path.len() > RECORD_LEN && rule.section != Section::ScanPaths {
        found.about(rule, WarningKind::LongPath { bytes: path.len() });
    }
    if rule.section != Section::DenyPath {
        return;
    }
    if path == "/" {
        found.about(rule, WarningKind::RootDirectory);
    } else if AGENT.iter().any(|own| is_at_or_below(path, own)) {
        found.about(rule, WarningKind::Agent);
    } else if is_needed(path) {
        found.about(rule, WarningKind::HostNeedsThis);
    }
}

fn is_needed(path: &str) -> bool {
    NEEDED_FILES.contains(&path)
        || NEEDED_DIRECTORIES.iter().any(|needed| match needed.strip_suffix('/') {
            Some(directory) => is_at_or_below(path, directory),
            None => path == *needed,
        })
}

fn is_at_or_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn check_program(rule: &Rule<'_>, name: &str, found: &mut Found) {
    if name == "aegisbpf" {
        found.about(rule, WarningKind::Agent);
    } else if NEEDED_PROGRAMS.contains(&name) {
        found.about(rule, WarningKind::HostNeedsThis);
    }
}

fn check_address(rule: &Rule<'_>, address: IpAddr, found: &mut Found) {
    if address.is_loopback() {
        found.about(rule, WarningKind::Loopback);
    }
    check_mapped(rule, address, found);
}

fn check_mapped(rule: &Rule<'_>, address: IpAddr, found: &mut Found) {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        found.about(rule, WarningKind::MappedAddress { address: v4.to_string() });
    }
}

fn check_network(rule: &Rule<'_>, network: Network, found: &mut Found) {
    if network.prefix_len() == 0 {
        found.about(rule, WarningKind::EveryAddress);
    } else if network.contains(std::net::Ipv4Addr::LOCALHOST.into())
        || network.contains(std::net::Ipv6Addr::LOCALHOST.into())
    {
        found.about(rule, WarningKind::Loopback);
    }
}

fn check_cgroup(rule: &Rule<'_>, group: &Cgroup<'_>, found: &mut Found) {
    if group.is_root() {
        found.about(rule, WarningKind::EveryCgroup);
    }
}
