//! A policy, indexed by what its rules are about.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aegis_crypto::Digest;
use aegis_policy::{Cgroup, Direction, Entry, Network, Policy, PortRule, Protocol, Section};

use super::super::{RuleRef, RuleSection, Transport, printable};

/// Control groups nested deeper than this are not told apart by the kernel's programs either.
const GROUP_LEVELS: usize = 16;
/// Where control groups are mounted, which a policy may write or leave out.
const GROUP_MOUNT: &str = "/sys/fs/cgroup";

/// A rule of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RuleAt<'a> {
    pub(super) section: Section,
    pub(super) line: u32,
    /// The entry as it is spelled; `None` for a flag, or for a list as a whole.
    pub(super) text: Option<&'a str>,
}

impl RuleAt<'_> {
    pub(super) fn to_ref(self) -> RuleRef {
        RuleRef {
            section: RuleSection::Policy(self.section),
            line: Some(self.line),
            entry: self.text.map(str::to_owned),
        }
    }
}

/// A file by the numbers that `stat` shows.
pub(super) type FileNumber = (u32, u64);

/// A control group as a rule names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Group<'a> {
    /// Its path below the mount, escaped.
    Path(Cow<'a, str>),
    Number(u64),
}

impl<'a> Group<'a> {
    fn of(group: Cgroup<'a>) -> Self {
        match group {
            Cgroup::Path(path) => Self::Path(escaped(below_mount(path))),
            Cgroup::Id(id) => Self::Number(id),
        }
    }
}

/// What a rule for one control group is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Matter {
    File(FileNumber),
    Address(Ipv4Addr),
    Port(u16),
}

/// Rules that hold for some transports, and for connecting or binding.
#[derive(Debug, Default)]
struct ByTransport<'a>(Vec<(Mask, RuleAt<'a>)>);

/// For which transports a rule holds, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mask(u8);

impl Mask {
    fn of(protocol: Protocol, direction: Direction) -> Self {
        let transports = match protocol {
            Protocol::Any => 0b111,
            Protocol::Tcp => 0b001,
            Protocol::Udp => 0b010,
        };
        Self(match direction {
            Direction::Egress => transports,
            Direction::Bind => transports << 3,
            Direction::Both => transports | (transports << 3),
        })
    }

    fn of_event(transport: Transport, way: Way) -> Self {
        let transport = match transport {
            Transport::Tcp => 0b001,
            Transport::Udp => 0b010,
            Transport::Other => 0b100,
        };
        Self(match way {
            Way::Out => transport,
            Way::In => transport << 3,
        })
    }
}

/// Connecting and sending, or binding and listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

impl<'a> ByTransport<'a> {
    /// A rule that adds nothing to those before it is never the one that decides.
    fn add(&mut self, mask: Mask, rule: RuleAt<'a>) {
        let known = self.0.iter().fold(0, |known, (mask, _)| known | mask.0);
        if mask.0 & !known != 0 {
            self.0.push((mask, rule));
        }
    }

    fn find(&self, transport: Transport, way: Way) -> Option<RuleAt<'a>> {
        let wanted = Mask::of_event(transport, way);
        self.0.iter().find(|(mask, _)| mask.0 & wanted.0 != 0).map(|(_, rule)| *rule)
    }
}

/// Whether a process is in a group that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InGroup<'a> {
    Yes(RuleAt<'a>),
    No,
    /// There are such rules, and the event does not say enough of its group.
    Unknown,
}

/// What an event says of a control group.
#[derive(Debug, Clone, Copy)]
pub(super) struct CgroupOf<'e> {
    pub(super) id: u64,
    pub(super) path: Option<&'e str>,
    /// The numbers of those above it, the root's first.
    pub(super) above: &'e [u64],
}

impl CgroupOf<'_> {
    /// Whether the numbers of all that are above it were recorded, as many as matter.
    fn knows_numbers(&self) -> bool {
        let Some(path) = self.path else { return false };
        let depth = path.split('/').filter(|part| !part.is_empty()).count();
        self.id != 0 && self.above.len() >= depth.min(GROUP_LEVELS)
    }
}

/// The rules of a policy by what they are about. Of two rules for the same the first stands.
#[derive(Debug)]
pub(super) struct Index<'a> {
    policy: &'a Policy<'a>,
    denied_paths: HashMap<Cow<'a, str>, RuleAt<'a>>,
    protected_paths: HashMap<Cow<'a, str>, RuleAt<'a>>,
    inodes: HashMap<FileNumber, RuleAt<'a>>,
    comms: HashMap<Cow<'a, str>, RuleAt<'a>>,
    denied_hashes: HashMap<Digest, RuleAt<'a>>,
    allowed_hashes: HashSet<Digest>,
    trusted_hashes: HashSet<Digest>,
    addresses: HashMap<IpAddr, RuleAt<'a>>,
    endpoints: HashMap<(IpAddr, u16), ByTransport<'a>>,
    ports: HashMap<u16, ByTransport<'a>>,
    /// By family and length of the prefix, then by address.
    networks: BTreeMap<(bool, u8), HashMap<IpAddr, RuleAt<'a>>>,
    scoped: HashMap<(Matter, Group<'a>), ByTransport<'a>>,
    /// What rules for control groups are about, for events whose group is not known.
    scoped_matters: HashSet<Matter>,
    /// The same for those that go by the number of a group.
    numbered_matters: HashSet<Matter>,
    exempt: HashMap<Group<'a>, RuleAt<'a>>,
    exempts_by_number: bool,
}

impl<'a> Index<'a> {
    /// Looks at every rule once.
    pub(super) fn new(policy: &'a Policy<'a>) -> Self {
        let mut index = Self {
            policy,
            denied_paths: HashMap::with_capacity(policy.count(Section::DenyPath)),
            protected_paths: HashMap::with_capacity(policy.count(Section::ProtectPath)),
            inodes: HashMap::with_capacity(policy.count(Section::DenyInode)),
            comms: HashMap::new(),
            denied_hashes: HashMap::with_capacity(policy.count(Section::DenyBinaryHash)),
            allowed_hashes: HashSet::with_capacity(policy.count(Section::AllowBinaryHash)),
            trusted_hashes: HashSet::with_capacity(policy.count(Section::TrustedExecHash)),
            addresses: HashMap::with_capacity(policy.count(Section::DenyIp)),
            endpoints: HashMap::with_capacity(policy.count(Section::DenyIpPort)),
            ports: HashMap::new(),
            networks: BTreeMap::new(),
            scoped: HashMap::new(),
            scoped_matters: HashSet::new(),
            numbered_matters: HashSet::new(),
            exempt: HashMap::new(),
            exempts_by_number: false,
        };
        for rule in policy.rules() {
            let at = RuleAt { section: rule.section, line: rule.line, text: Some(rule.text) };
            index.add(at, rule.entry());
        }
        index
    }

    fn add(&mut self, rule: RuleAt<'a>, entry: Entry<'a>) {
        match entry {
            Entry::Path(path) => {
                let paths = match rule.section {
                    Section::DenyPath => &mut self.denied_paths,
                    Section::ProtectPath => &mut self.protected_paths,
                    _ => return,
                };
                paths.entry(escaped(path)).or_insert(rule);
            }
            Entry::Inode(inode) => {
                self.inodes.entry((inode.device, inode.number)).or_insert(rule);
            }
            Entry::Comm(name) => {
                self.comms.entry(escaped(Cow::Borrowed(name))).or_insert(rule);
            }
            Entry::Sha256(digits) => {
                let Ok(digest) = digits.parse::<Digest>() else { return };
                match rule.section {
                    Section::DenyBinaryHash => {
                        self.denied_hashes.entry(digest).or_insert(rule);
                    }
                    Section::AllowBinaryHash => {
                        self.allowed_hashes.insert(digest);
                    }
                    _ => {
                        self.trusted_hashes.insert(digest);
                    }
                }
            }
            Entry::Ip(address) => {
                self.addresses.entry(reached(address)).or_insert(rule);
            }
            Entry::Endpoint(endpoint) => {
                let key = (reached(endpoint.address), endpoint.port);
                let mask = Mask::of(endpoint.protocol, Direction::Egress);
                self.endpoints.entry(key).or_default().add(mask, rule);
            }
            Entry::Port(port) => {
                let PortRule { port, protocol, direction } = port;
                self.ports.entry(port).or_default().add(Mask::of(protocol, direction), rule);
            }
            Entry::Network(network) => {
                let (address, prefix) = canonical_network(network);
                let key = (address.is_ipv4(), prefix);
                self.networks.entry(key).or_default().entry(address).or_insert(rule);
            }
            Entry::Cgroup(group) => {
                let group = Group::of(group);
                self.exempts_by_number |= matches!(group, Group::Number(_));
                self.exempt.entry(group).or_insert(rule);
            }
            Entry::CgroupInode(group, inode) => {
                let matter = Matter::File((inode.device, inode.number));
                self.add_scoped(group, matter, Mask(u8::MAX), rule);
            }
            Entry::CgroupIp(group, address) => {
                let IpAddr::V4(address) = reached(IpAddr::V4(address)) else { return };
                let mask = Mask::of(Protocol::Any, Direction::Egress);
                self.add_scoped(group, Matter::Address(address), mask, rule);
            }
            Entry::CgroupPort(group, port) => {
                let PortRule { port, protocol, direction } = port;
                self.add_scoped(group, Matter::Port(port), Mask::of(protocol, direction), rule);
            }
        }
    }

    fn add_scoped(&mut self, group: Cgroup<'a>, matter: Matter, mask: Mask, rule: RuleAt<'a>) {
        let group = Group::of(group);
        if matches!(group, Group::Number(_)) {
            self.numbered_matters.insert(matter);
        }
        self.scoped.entry((matter, group)).or_default().add(mask, rule);
        self.scoped_matters.insert(matter);
    }

    pub(super) fn policy(&self) -> &'a Policy<'a> {
        self.policy
    }

    pub(super) fn denied_path(&self, path: &str) -> Option<RuleAt<'a>> {
        self.denied_paths.get(path).copied()
    }

    pub(super) fn protected_path(&self, path: &str) -> Option<RuleAt<'a>> {
        self.protected_paths.get(path).copied()
    }

    pub(super) fn denied_inode(&self, file: FileNumber) -> Option<RuleAt<'a>> {
        self.inodes.get(&file).copied()
    }

    pub(super) fn denied_comm(&self, name: &str) -> Option<RuleAt<'a>> {
        self.comms.get(name).copied()
    }

    pub(super) fn denied_hash(&self, digest: &Digest) -> Option<RuleAt<'a>> {
        self.denied_hashes.get(digest).copied()
    }

    /// The list that is in force and does not have this content.
    pub(super) fn unlisted_hash(&self, digest: &Digest) -> Option<RuleAt<'a>> {
        if !self.allowed_hashes.is_empty() && !self.allowed_hashes.contains(digest) {
            return self.header(Section::AllowBinaryHash);
        }
        if !self.trusted_hashes.is_empty() && !self.trusted_hashes.contains(digest) {
            return self.header(Section::TrustedExecHash);
        }
        None
    }

    /// What denies a program that could not be measured.
    pub(super) fn unmeasured(&self) -> Option<RuleAt<'a>> {
        if !self.allowed_hashes.is_empty() {
            return self.header(Section::AllowBinaryHash);
        }
        self.header(Section::ImaFailClosed)
    }

    /// Whether any program can be a verified one.
    pub(super) fn verifies(&self) -> bool {
        !self.allowed_hashes.is_empty() || !self.trusted_hashes.is_empty()
    }

    /// A section as a whole, if it is there.
    pub(super) fn header(&self, section: Section) -> Option<RuleAt<'a>> {
        self.policy.first_line(section).map(|line| RuleAt { section, line, text: None })
    }

    /// The rule that denies connecting; of several the one that `explain` names.
    pub(super) fn denied_connection(
        &self,
        address: IpAddr,
        port: u16,
        transport: Transport,
    ) -> Option<RuleAt<'a>> {
        let address = reached(address);
        let endpoint = self.endpoints.get(&(address, port));
        endpoint
            .and_then(|rules| rules.find(transport, Way::Out))
            .or_else(|| self.addresses.get(&address).copied())
            .or_else(|| self.denied_network(address))
            .or_else(|| self.denied_port(port, transport, Way::Out))
    }

    pub(super) fn denied_port(&self, port: u16, transport: Transport, way: Way) -> Option<RuleAt<'a>> {
        self.ports.get(&port)?.find(transport, way)
    }

    /// The longest network that an address lies in.
    fn denied_network(&self, address: IpAddr) -> Option<RuleAt<'a>> {
        let family = address.is_ipv4();
        self.networks.range((family, 0)..=(family, u8::MAX)).rev().find_map(|((_, prefix), networks)| {
            networks.get(&Network::containing(address, *prefix).address()).copied()
        })
    }

    /// The rule for the event's group, or one above it, about a file, an address or a port.
    pub(super) fn denied_in_group(
        &self,
        group: CgroupOf<'_>,
        matter: Matter,
        transport: Transport,
        way: Way,
    ) -> InGroup<'a> {
        if !self.scoped_matters.contains(&matter) {
            return InGroup::No;
        }
        let find = |group| self.scoped.get(&(matter, group))?.find(transport, way);
        in_group(group, self.numbered_matters.contains(&matter), find)
    }

    /// The rule that lets the event's group pass everything.
    pub(super) fn exempts(&self, group: CgroupOf<'_>) -> InGroup<'a> {
        if self.exempt.is_empty() {
            return InGroup::No;
        }
        in_group(group, self.exempts_by_number, |group| self.exempt.get(&group).copied())
    }
}

/// Asks about a group and those above it. `by_number`: what is looked for has rules that go by a number.
fn in_group<'a, 'e>(
    group: CgroupOf<'e>,
    by_number: bool,
    find: impl Fn(Group<'e>) -> Option<RuleAt<'a>>,
) -> InGroup<'a> {
    let numbers = [group.id].into_iter().chain(group.above.iter().copied().take(GROUP_LEVELS));
    if let Some(rule) = numbers.into_iter().find_map(|id| find(Group::Number(id))) {
        return InGroup::Yes(rule);
    }
    let Some(path) = group.path else { return InGroup::Unknown };
    let path = path.strip_suffix('/').unwrap_or(path);
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    let above =
        ["/"].into_iter().chain(ends.filter_map(|end| path.get(..end)).filter(|path| !path.is_empty()));
    let found = above.take(GROUP_LEVELS).find_map(|path| find(Group::Path(Cow::Borrowed(path))));
    match found {
        Some(rule) => InGroup::Yes(rule),
        None if by_number && !group.knows_numbers() => InGroup::Unknown,
        None => InGroup::No,
    }
}

/// As [`printable`] has it; without a copy for the paths that most policies have.
fn escaped(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\\') { Cow::Owned(printable(text.as_bytes())) } else { text }
}

/// The path of a control group from its mount on.
fn below_mount(path: Cow<'_, str>) -> Cow<'_, str> {
    let below = |path: &str| match path.strip_prefix(GROUP_MOUNT) {
        Some("") => Some("/".len()),
        Some(rest) if rest.starts_with('/') => Some(rest.len()),
        _ => None,
    };
    match (below(&path), path) {
        (None, path) => path,
        (Some(_), path) if path.len() == GROUP_MOUNT.len() => Cow::Borrowed("/"),
        (Some(len), Cow::Borrowed(path)) => Cow::Borrowed(path.get(path.len() - len..).unwrap_or(path)),
        (Some(len), Cow::Owned(path)) => Cow::Owned(path.get(path.len() - len..).unwrap_or(&path).to_owned()),
    }
}

/// The address that is reached: IPv4 in its IPv6 form is IPv4, and the unspecified address is this host.
fn reached(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// A network of IPv4 that is written as one of IPv6 is one of IPv4.
fn canonical_network(network: Network) -> (IpAddr, u8) {
    match (network.address(), network.prefix_len()) {
        (IpAddr::V6(address), prefix @ 96..) => match address.to_ipv4_mapped() {
            Some(address) => (address.into(), prefix - 96),
            None => (address.into(), prefix),
        },
        (address, prefix) => (address, prefix),
    }
}
