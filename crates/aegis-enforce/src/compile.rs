//! A policy as the contents of maps.

mod paths;
mod table;
mod tree;

use std::collections::{HashMap, HashSet};

use aegis_policy::{Cgroup, Direction, Entry, Policy, PortRule, Protocol, Rule as PolicyRule, Section};
use serde::Serialize;

use crate::layout::{
    self, CIDR_KEY, COMM_KEY, FILE_KEY, FILTER_WORDS, FileId, GROUP, GROUP_DIRECTORY, GROUP_KEY,
    GROUP_LEVELS, HASH_KEY, NAME_KEY, NAME_RULE, NET_KEY, NetKind, RULE, Rule, TABLES, file_key, mix,
    policy_flag, protocol, rule_flag,
};
use crate::resolve::Resolver;

pub(crate) use self::table::{Sum, Table};

/// At most so many names that are nothing on this host are listed; all are counted.
const MAX_LISTED: usize = 1000;
/// Free places for files that come under a name of the policy later.
const SPARE_FILES: usize = 4096;
/// At most so many files stay denied that a policy's names do not lead to any more.
pub(crate) const MAX_KEPT: usize = 65_536;

/// Whether what a policy denies is refused, or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refused, and told.
    Enforce,
    /// Told.
    Audit,
}

/// A name of the policy that is nothing on this host now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unresolved {
    /// The section.
    pub section: Section,
    /// The line.
    pub line: u32,
    /// What it says.
    pub entry: String,
    /// Whether the kernel will know it when it comes; a control group has to be looked for again.
    pub watched: bool,
}

/// Where the policy's own proof is: a file and an address that are always denied, to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// The file.
    pub file: Option<FileId>,
}

/// The maps of one policy.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) files: Table<FILE_KEY, RULE>,
    pub(crate) names: Table<NAME_KEY, NAME_RULE>,
    pub(crate) hashes: Table<HASH_KEY, RULE>,
    pub(crate) comms: Table<COMM_KEY, RULE>,
    pub(crate) groups: Table<GROUP_KEY, GROUP>,
    pub(crate) net: Table<NET_KEY, RULE>,
    pub(crate) cidrs: Table<CIDR_KEY, RULE>,
}

/// A policy, ready to be put into the kernel.
#[derive(Debug)]
pub struct Compiled {
    pub(crate) tables: Tables,
    pub(crate) flags: u32,
    pub(crate) group_levels: u32,
    pub(crate) lines: [u32; 8],
    pub(crate) rules: u64,
    pub(crate) filter: Vec<u8>,
    /// What its names were found to be, if it holds more files than those.
    pub(crate) names_alone: Option<u64>,
    unresolved: Vec<Unresolved>,
    unresolved_count: usize,
}

impl Compiled {
    /// Names that are nothing on this host now, the first thousand.
    pub fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// How many there are.
    pub fn unresolved_count(&self) -> usize {
        self.unresolved_count
    }

    /// What names of the policy are on this host now, as one number: when it changes, the policy has to be loaded again.
    pub fn resolution(&self) -> u64 {
        let tables = &self.tables;
        let summed = || resolution_of([&tables.files.sum(), &tables.names.sum(), &tables.groups.sum()]);
        self.names_alone.unwrap_or_else(summed)
    }

    /// Adds files that the same policy denied until now, of which its names say nothing any more. Their rules stay theirs.
    /// False if they are too many.
    pub(crate) fn keep(&mut self, files: &[layout::FileEntry]) -> bool {
        self.names_alone = Some(self.resolution());
        let (words, _) = self.filter.as_chunks_mut::<8>();
        let mut kept = 0;
        for (key, rule) in files.iter().filter(|(key, _)| layout::u32_at(key, 12) == 0) {
            let has_ended = Rule::from_bytes(*rule).flags & (rule_flag::ALWAYS | rule_flag::GONE) != 0;
            if has_ended || self.tables.files.get(key).is_some() {
                continue;
            }
            kept += 1;
            self.tables.files.insert(*key, *rule);
            let (index, bits) = layout::filter_place(layout::file_hash(key));
            if let Some(word) = words.get_mut(index) {
                *word = (u64::from_ne_bytes(*word) | bits).to_ne_bytes();
            }
        }
        kept <= MAX_KEPT
    }

    /// How many entries the maps will have, table by table.
    pub(crate) fn entries(&self) -> [u64; 8] {
        let t = &self.tables;
        let counts: [usize; TABLES] = [
            t.files.len(),
            t.names.len(),
            t.hashes.len(),
            t.comms.len(),
            t.groups.len(),
            t.net.len(),
            t.cidrs.len(),
        ];
        let mut entries = [0; 8];
        entries.iter_mut().zip(counts).for_each(|(entry, count)| *entry = count as u64);
        entries
    }

    /// Room for the map of files: it grows while the policy is in force.
    pub(crate) fn file_room(&self) -> usize {
        self.tables.files.len() + if self.tables.names.is_empty() { 1 } else { SPARE_FILES }
    }
}

/// Of the tables for files, names and groups.
pub(crate) fn resolution_of(sums: [&Sum; 3]) -> u64 {
    sums.into_iter().fold(0, |state, sum| mix(mix(state, sum.first), sum.second))
}

/// Compiles `policy` for this host.
pub fn compile(policy: &Policy<'_>, resolver: &dyn Resolver, mode: Mode, canary: &Canary) -> Compiled {
    compile_sparing(policy, resolver, mode, canary, &HashSet::new())
}

/// The same, but paths that lead to one of `spared` deny nothing for now.
pub(crate) fn compile_sparing(
    policy: &Policy<'_>,
    resolver: &dyn Resolver,
    mode: Mode,
    canary: &Canary,
    spared: &HashSet<FileId>,
) -> Compiled {
    let mut compiler = Compiler::new(policy, resolver, spared);
    for rule in policy.rules() {
        compiler.rule(&rule);
    }
    compiler.put_waiting();
    compiler.put_peers();
    compiler.canary(canary);
    compiler.finish(mode)
}

struct Compiler<'a> {
    policy: &'a Policy<'a>,
    resolver: &'a dyn Resolver,
    spared: &'a HashSet<FileId>,
    tables: Tables,
    tree: tree::Tree,
    paths: paths::Paths,
    /// Addresses and ports that are in no table yet, as with those.
    peers: Vec<table::Entry<NET_KEY, RULE>>,
    /// Number of a control group that rules are for, and how far below the root it is.
    groups: HashMap<u64, u32>,
    flags: u32,
    levels: u32,
    unresolved: Vec<Unresolved>,
    unresolved_count: usize,
}

impl<'a> Compiler<'a> {
    fn new(policy: &'a Policy<'a>, resolver: &'a dyn Resolver, spared: &'a HashSet<FileId>) -> Self {
        let mut tables = Tables::default();
        let count = |sections: &[Section]| sections.iter().map(|section| policy.count(*section)).sum();
        tables.net.reserve(count(&[Section::DenyIp, Section::DenyPort, Section::DenyIpPort]));
        tables.files.reserve(count(&[Section::DenyInode, Section::DenyPath, Section::ProtectPath]));
        tables.names.reserve(count(&[Section::DenyPath, Section::ProtectPath]));
        tables.cidrs.reserve(count(&[Section::DenyCidr]));
        tables.comms.reserve(count(&[Section::DenyComm]));
        tables.hashes.reserve(count(&[
            Section::DenyBinaryHash,
            Section::AllowBinaryHash,
            Section::TrustedExecHash,
        ]));
        Self {
            policy,
            resolver,
            spared,
            tables,
            tree: tree::Tree::new(policy.rule_count()),
            paths: paths::Paths::default(),
            peers: Vec::new(),
            groups: HashMap::new(),
            flags: 0,
            levels: 0,
            unresolved: Vec::new(),
            unresolved_count: 0,
        }
    }

    fn rule(&mut self, rule: &PolicyRule<'_>) {
        let value = |flags| Rule { line: rule.line, section: rule.section as u8, protocols: 0, flags };
        match rule.entry() {
            Entry::Path(path) => match rule.section {
                Section::DenyPath => self.path(rule, &path, value(0)),
                Section::ProtectPath => self.path(rule, &path, value(rule_flag::PROTECT)),
                // Where the kernel hashes what is run, no directory has to be searched.
                _ => {}
            },
            Entry::Inode(inode) => {
                self.flags |= policy_flag::FILES;
                let file = FileId::of_stat(u64::from(inode.device), inode.number);
                self.file(file, 0, value(rule_flag::STATIC));
            }
            Entry::Comm(name) => {
                self.flags |= policy_flag::COMMS;
                self.tables.comms.put(layout::comm_key(name), value(0).to_bytes(), |_| {});
            }
            Entry::Sha256(digits) => self.hash(rule, &digits),
            Entry::Ip(address) => {
                self.flags |= policy_flag::NET;
                let key = layout::net_key(Some(address), 0, 0, NetKind::Address);
                self.net(key, Rule { protocols: u8::MAX, ..value(0) });
            }
            Entry::Endpoint(endpoint) => {
                self.flags |= policy_flag::NET;
                let key = layout::net_key(Some(endpoint.address), endpoint.port, 0, NetKind::Endpoint);
                self.net(key, Rule { protocols: protocols(endpoint.protocol), ..value(0) });
            }
            Entry::Port(port) => {
                self.flags |= policy_flag::NET;
                self.port(port, 0, value(0));
            }
            Entry::Network(network) => {
                self.flags |= policy_flag::CIDR;
                let key = cidr_of(network.address(), network.prefix_len());
                self.tables.cidrs.put(key, value(0).to_bytes(), |_| {});
            }
            Entry::Cgroup(group) => {
                if let Some(id) = self.group(rule, &group) {
                    self.flags |= policy_flag::ALLOW_GROUPS;
                    let number = self.groups.get(&id).copied().unwrap_or(0);
                    self.tables.groups.insert(id.to_ne_bytes(), layout::group_value(number, true));
                }
            }
            Entry::CgroupInode(group, inode) => {
                if let Some(number) = self.numbered_group(rule, &group) {
                    self.flags |= policy_flag::SCOPED_FILES | policy_flag::FILES;
                    let file = FileId::of_stat(u64::from(inode.device), inode.number);
                    self.file(file, number, value(rule_flag::STATIC));
                }
            }
            Entry::CgroupIp(group, address) => {
                if let Some(number) = self.numbered_group(rule, &group) {
                    self.flags |= policy_flag::SCOPED_NET;
                    let key = layout::net_key(Some(address.into()), 0, number, NetKind::Address);
                    self.net(key, Rule { protocols: u8::MAX, ..value(0) });
                }
            }
            Entry::CgroupPort(group, port) => {
                if let Some(number) = self.numbered_group(rule, &group) {
                    self.flags |= policy_flag::SCOPED_NET;
                    self.port(port, number, value(0));
                }
            }
        }
    }

    fn hash(&mut self, rule: &PolicyRule<'_>, digits: &str) {
        let mut key = [0; HASH_KEY];
        let digits = digits.as_bytes().as_chunks().0;
        key.as_chunks_mut().0.iter_mut().zip(digits).for_each(|(four, digits)| *four = bytes_of_hex(*digits));
        let (flag, lists) = match rule.section {
            Section::DenyBinaryHash => (rule_flag::DENIED, policy_flag::DENY_HASHES),
            Section::AllowBinaryHash => (rule_flag::LISTED, policy_flag::ONLY_LISTED),
            _ => (rule_flag::TRUSTED, policy_flag::ONLY_TRUSTED),
        };
        self.flags |= policy_flag::HASHES | lists;
        let new = Rule { line: rule.line, section: rule.section as u8, protocols: 0, flags: flag };
        self.tables.hashes.put(key, new.to_bytes(), |entry| {
            let known = Rule::from_bytes(*entry);
            // The line that an event cites is the denial's, if there is one.
            let base =
                if flag == rule_flag::DENIED && known.flags & rule_flag::DENIED == 0 { new } else { known };
            *entry = Rule { flags: known.flags | flag, ..base }.to_bytes();
        });
    }

    fn port(&mut self, port: PortRule, group: u32, value: Rule) {
        let bits = protocols(port.protocol);
        let mask = match port.direction {
            Direction::Egress => bits,
            Direction::Bind => bits << protocol::BIND,
            Direction::Both => bits | (bits << protocol::BIND),
        };
        let key = layout::net_key(None, port.port, group, NetKind::Port);
        self.net(key, Rule { protocols: mask, ..value });
    }

    fn net(&mut self, key: [u8; NET_KEY], value: Rule) {
        // The kind of the key.
        let port = key.get(22) == Some(&(NetKind::Port as u8));
        self.flags |= if port { policy_flag::PORTS } else { policy_flag::ADDRESSES };
        self.peers.push((key, value.to_bytes()));
        if self.peers.len() >= paths::MOST_WAITING {
            self.put_peers();
        }
    }

    fn put_peers(&mut self) {
        self.tables.net.put_all(&self.peers, |entry, new| {
            let (known, new) = (Rule::from_bytes(*entry), Rule::from_bytes(*new));
            *entry = Rule { protocols: known.protocols | new.protocols, ..known }.to_bytes();
        });
        self.peers.clear();
    }

    fn group(&mut self, rule: &PolicyRule<'_>, group: &Cgroup<'_>) -> Option<u64> {
        let Some(found) = self.resolver.group(group).filter(|found| found.level < GROUP_LEVELS) else {
            self.note(rule, false);
            return None;
        };
        self.levels |= 1 << found.level;
        Some(found.id)
    }

    fn numbered_group(&mut self, rule: &PolicyRule<'_>, group: &Cgroup<'_>) -> Option<u32> {
        let id = self.group(rule, group)?;
        let next = u32::try_from(self.groups.len() + 1).ok().filter(|number| *number < GROUP_DIRECTORY)?;
        let number = *self.groups.entry(id).or_insert(next);
        let allowed =
            self.tables.groups.get(&id.to_ne_bytes()).is_some_and(|value| layout::u32_at(value, 4) != 0);
        self.tables.groups.insert(id.to_ne_bytes(), layout::group_value(number, allowed));
        Some(number)
    }

    fn note(&mut self, rule: &PolicyRule<'_>, watched: bool) {
        self.unresolved_count += 1;
        if self.unresolved.len() < MAX_LISTED {
            self.unresolved.push(Unresolved {
                section: rule.section,
                line: rule.line,
                entry: rule.canonical(),
                watched,
            });
        }
    }

    fn canary(&mut self, canary: &Canary) {
        let value = Rule { line: 0, section: u8::MAX, protocols: u8::MAX, flags: rule_flag::ALWAYS };
        if let Some(file) = canary.file {
            self.flags |= policy_flag::FILES;
            self.tables.files.insert(file_key(file, 0), value.to_bytes());
        }
        self.flags |= policy_flag::NET;
        let (address, port) = crate::canary::ADDRESS;
        let key = layout::net_key(Some(address), port, 0, NetKind::Endpoint);
        self.tables.net.insert(key, value.to_bytes());
    }

    fn finish(mut self, mode: Mode) -> Compiled {
        let policy = self.policy;
        for (section, flag) in [
            (Section::ProtectConnect, policy_flag::PROTECT_CONNECT),
            (Section::ProtectRuntimeDeps, policy_flag::RUNTIME_DEPS),
            (Section::ImaFailClosed, policy_flag::FAIL_CLOSED),
            (Section::DenyPtrace, policy_flag::DENY_PTRACE),
            (Section::DenyModuleLoad, policy_flag::DENY_MODULE),
            (Section::DenyBpf, policy_flag::DENY_BPF),
        ] {
            if policy.has(section) {
                self.flags |= flag;
            }
        }
        if mode == Mode::Enforce {
            self.flags |= policy_flag::ENFORCE;
        }
        // What is verified is what hashes to an entry of a list, so it has to be hashed.
        if policy.has(Section::ProtectConnect) || policy.count(Section::ProtectPath) > 0 {
            self.flags |= policy_flag::HASHES;
        }
        let line = |section| policy.first_line(section).unwrap_or(0);
        let lines = [
            line(Section::ProtectConnect),
            line(Section::DenyPtrace),
            line(Section::DenyModuleLoad),
            line(Section::DenyBpf),
            line(Section::ImaFailClosed),
            line(Section::AllowBinaryHash),
            line(Section::TrustedExecHash),
            0,
        ];
        let filter = self.filter();
        Compiled {
            tables: self.tables,
            flags: self.flags,
            group_levels: self.levels,
            lines,
            rules: policy.rule_count() as u64,
            filter,
            names_alone: None,
            unresolved: self.unresolved,
            unresolved_count: self.unresolved_count,
        }
    }

    /// As the kernel takes it: words, byte by byte, since there are many and few of them are not 0.
    fn filter(&self) -> Vec<u8> {
        let mut filter = vec![0_u8; 8 * FILTER_WORDS];
        let (words, _) = filter.as_chunks_mut::<8>();
        let hashes = self.tables.files.keys().iter().map(layout::file_hash);
        let hashes = hashes.chain(self.tables.names.keys().iter().map(layout::name_hash));
        for hash in hashes.chain(self.tables.net.keys().iter().map(layout::net_hash)) {
            let (index, bits) = layout::filter_place(hash);
            if let Some(word) = words.get_mut(index) {
                *word = (u64::from_ne_bytes(*word) | bits).to_ne_bytes();
            }
        }
        filter
    }
}

/// Four bytes of eight hex digits, which the policy is known to have.
fn bytes_of_hex(digits: [u8; 8]) -> [u8; 4] {
    let text = u64::from_be_bytes(digits);
    // A digit is its low four bits; a letter, which bit 6 tells, is 9 more than those.
    let nibbles = (text & 0x0f0f_0f0f_0f0f_0f0f) + ((text >> 6) & 0x0101_0101_0101_0101) * 9;
    let pairs = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let halves = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    let [.., a, b, c, d] = (halves | (halves >> 16)).to_be_bytes();
    [a, b, c, d]
}

fn protocols(of: Protocol) -> u8 {
    match of {
        Protocol::Any => protocol::TCP | protocol::UDP | protocol::OTHER,
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    }
}

/// A network of IPv4 written as one of IPv6 is one of IPv4.
fn cidr_of(address: std::net::IpAddr, prefix: u8) -> [u8; CIDR_KEY] {
    match address {
        std::net::IpAddr::V6(v6) if prefix >= 96 => match v6.to_ipv4_mapped() {
            Some(v4) => layout::cidr_key(v4.into(), prefix - 96),
            None => layout::cidr_key(address, prefix),
        },
        _ => layout::cidr_key(address, prefix),
    }
}

#[cfg(test)]
mod tests;
