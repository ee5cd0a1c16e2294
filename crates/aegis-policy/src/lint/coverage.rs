//! Warnings about rules that another rule makes pointless, or that contradict each other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::{Found, ReadRule, WarningKind};
use crate::entry::{Cgroup, Direction, Endpoint, Entry, Network, PortRule, Protocol};
use crate::section::Section;

pub(super) fn check(mut rules: Vec<ReadRule<'_>>, found: &mut Found) {
    // A stable sort: of two equal entries the first in the file stays first.
    rules.sort_by(|a, b| (a.rule.section, &a.entry).cmp(&(b.rule.section, &b.entry)));
    let sorted = Sorted { networks: Networks::of(&rules), rules: &rules };
    let mut first: Option<&ReadRule<'_>> = None;
    for current in &rules {
        match first {
            Some(first) if first.rule.section == current.rule.section && first.entry == current.entry => {
                found.about(&current.rule, WarningKind::Duplicate { first_line: first.rule.line });
            }
            Some(_) | None => {
                first = Some(current);
                if let Some(kind) = sorted.covered(current) {
                    found.about(&current.rule, kind);
                }
            }
        }
    }
}

/// Every rule by section and entry, and the denied networks by length.
struct Sorted<'a, 'b> {
    rules: &'b [ReadRule<'a>],
    networks: Networks,
}

impl<'a> Sorted<'a, '_> {
    /// The line of an entry, if the section has it.
    fn line_of(&self, section: Section, entry: &Entry<'a>) -> Option<u32> {
        let at = self.rules.partition_point(|other| (other.rule.section, &other.entry) < (section, entry));
        let rule = self.rules.get(at)?;
        (rule.rule.section == section && rule.entry == *entry).then_some(rule.rule.line)
    }

    fn covered(&self, ReadRule { entry, rule }: &ReadRule<'a>) -> Option<WarningKind> {
        match (rule.section, entry) {
            (Section::AllowBinaryHash | Section::TrustedExecHash, entry) => {
                let line = self.line_of(Section::DenyBinaryHash, entry)?;
                Some(WarningKind::ListedAndDenied { line })
            }
            (Section::ProtectPath, entry) => {
                let line = self.line_of(Section::DenyPath, entry)?;
                Some(WarningKind::ProtectedAndDenied { line })
            }
            (_, Entry::Ip(address)) => self.networks.around(*address, None),
            (_, Entry::Network(network)) => {
                self.networks.around(network.address(), Some(network.prefix_len()))
            }
            (_, Entry::Endpoint(endpoint)) => self.covered_endpoint(*endpoint),
            (_, Entry::Port(port)) => self.covered_port(*port, false),
            (_, Entry::CgroupInode(group, inode)) => self
                .allowed_group(group)
                .or_else(|| self.denied_to_all(Section::DenyInode, &Entry::Inode(*inode))),
            (_, Entry::CgroupIp(group, address)) => self.allowed_group(group).or_else(|| {
                let address = IpAddr::V4(*address);
                self.denied_to_all(Section::DenyIp, &Entry::Ip(address))
                    .or_else(|| self.networks.around(address, None))
            }),
            (_, Entry::CgroupPort(group, port)) => {
                self.allowed_group(group).or_else(|| self.covered_port(*port, true))
            }
            (_, Entry::Path(_) | Entry::Inode(_) | Entry::Cgroup(_) | Entry::Sha256(_) | Entry::Comm(_)) => {
                None
            }
        }
    }

    fn allowed_group(&self, group: &Cgroup<'a>) -> Option<WarningKind> {
        let line = self.line_of(Section::AllowCgroup, &Entry::Cgroup(group.clone()))?;
        Some(WarningKind::CgroupIsAllowed { line })
    }

    fn denied_to_all(&self, section: Section, entry: &Entry<'a>) -> Option<WarningKind> {
        let line = self.line_of(section, entry)?;
        Some(WarningKind::CoveredByRule { rule: format!("[{section}] {entry}"), line })
    }

    fn covered_endpoint(&self, endpoint: Endpoint) -> Option<WarningKind> {
        let Endpoint { address, port, protocol } = endpoint;
        if let Some(line) = self.line_of(Section::DenyIp, &Entry::Ip(address)) {
            return Some(WarningKind::CoveredByAddress { line });
        }
        let any = Endpoint { protocol: Protocol::Any, ..endpoint };
        if protocol != Protocol::Any
            && let Some(line) = self.line_of(Section::DenyIpPort, &Entry::Endpoint(any))
        {
            return Some(WarningKind::CoveredByRule { rule: any.to_string(), line });
        }
        self.networks
            .around(address, None)
            .or_else(|| self.covered_port(PortRule { port, protocol, direction: Direction::Egress }, true))
    }

    /// A wider rule in `deny_port`; with `equal` also the same one.
    fn covered_port(&self, rule: PortRule, equal: bool) -> Option<WarningKind> {
        for protocol in [Protocol::Any, Protocol::Tcp, Protocol::Udp] {
            for direction in [Direction::Both, Direction::Egress, Direction::Bind] {
                let wider = PortRule { protocol, direction, ..rule };
                if (!equal && wider == rule)
                    || !protocol.covers(rule.protocol)
                    || !direction.covers(rule.direction)
                {
                    continue;
                }
                if let Some(line) = self.line_of(Section::DenyPort, &Entry::Port(wider)) {
                    return Some(WarningKind::CoveredByRule { rule: wider.to_string(), line });
                }
            }
        }
        None
    }
}

/// The denied networks, so that the one around an address is found in one look for each length in use.
#[derive(Default)]
struct Networks {
    v4: BTreeMap<u8, HashMap<Network, u32>>,
    v6: BTreeMap<u8, HashMap<Network, u32>>,
}

impl Networks {
    fn of(rules: &[ReadRule<'_>]) -> Self {
        let mut networks = Self::default();
        for ReadRule { entry, rule } in rules {
            if let Entry::Network(network) = entry {
                let family = if network.address().is_ipv4() { &mut networks.v4 } else { &mut networks.v6 };
                family.entry(network.prefix_len()).or_default().entry(*network).or_insert(rule.line);
            }
        }
        networks
    }

    /// The widest network around `address` with a prefix shorter than `below`.
    fn around(&self, address: IpAddr, below: Option<u8>) -> Option<WarningKind> {
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let shorter = family.range(..below.unwrap_or(u8::MAX));
        shorter.into_iter().find_map(|(prefix_len, networks)| {
            let network = Network::containing(address, *prefix_len);
            let line = *networks.get(&network)?;
            Some(WarningKind::CoveredByNetwork { network: network.to_string(), line })
        })
    }
}
