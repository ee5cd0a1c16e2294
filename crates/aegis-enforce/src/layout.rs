//! Keys and values of the maps, as `bpf/layout.h` has them. A test compares the sizes with the object's own types.

use std::net::IpAddr;

/// `struct policy.flags`
pub(crate) mod policy_flag {
    pub(crate) const ENFORCE: u32 = 1 << 0;
    pub(crate) const FILES: u32 = 1 << 1;
    pub(crate) const NAMES: u32 = 1 << 2;
    pub(crate) const SCOPED_FILES: u32 = 1 << 3;
    pub(crate) const NET: u32 = 1 << 4;
    pub(crate) const CIDR: u32 = 1 << 5;
    pub(crate) const SCOPED_NET: u32 = 1 << 6;
    pub(crate) const COMMS: u32 = 1 << 7;
    pub(crate) const HASHES: u32 = 1 << 8;
    pub(crate) const ALLOW_GROUPS: u32 = 1 << 9;
    pub(crate) const ONLY_LISTED: u32 = 1 << 10;
    pub(crate) const ONLY_TRUSTED: u32 = 1 << 11;
    pub(crate) const FAIL_CLOSED: u32 = 1 << 12;
    pub(crate) const PROTECT_CONNECT: u32 = 1 << 13;
    pub(crate) const RUNTIME_DEPS: u32 = 1 << 14;
    pub(crate) const DENY_PTRACE: u32 = 1 << 15;
    pub(crate) const DENY_MODULE: u32 = 1 << 16;
    pub(crate) const DENY_BPF: u32 = 1 << 17;
    pub(crate) const DENY_HASHES: u32 = 1 << 18;
    pub(crate) const ADDRESSES: u32 = 1 << 19;
    pub(crate) const PORTS: u32 = 1 << 20;
}

/// `struct rule.flags`
pub(crate) mod rule_flag {
    pub(crate) const PROTECT: u16 = 1 << 0;
    pub(crate) const ALWAYS: u16 = 1 << 1;
    pub(crate) const STATIC: u16 = 1 << 2;
    pub(crate) const LISTED: u16 = 1 << 3;
    pub(crate) const TRUSTED: u16 = 1 << 4;
    pub(crate) const DENIED: u16 = 1 << 5;
    pub(crate) const GONE: u16 = 1 << 6;
}

/// `struct rule.protocols`
pub(crate) mod protocol {
    pub(crate) const TCP: u8 = 1;
    pub(crate) const UDP: u8 = 2;
    pub(crate) const OTHER: u8 = 4;
    /// By how much the bits for binding are shifted.
    pub(crate) const BIND: u8 = 3;
}

/// `struct net_key.kind`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetKind {
    Endpoint = 1,
    Address = 2,
    Port = 3,
}

/// `struct self_key.kind`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SelfKind {
    Program = 1,
    Directory = 2,
    FileSystem = 3,
}

/// In place of a group: the directory is a node of the tree of names.
pub(crate) const GROUP_DIRECTORY: u32 = u32::MAX;
/// Control groups nested deeper are not told apart.
pub(crate) const GROUP_LEVELS: u32 = 16;
/// Bytes of a name that are compared as they are.
pub(crate) const NAME_LENGTH: usize = 32;
/// Words of 64 bits in the filter.
pub(crate) const FILTER_WORDS: usize = 1 << 17;

pub(crate) const FILE_KEY: usize = 16;
pub(crate) const RULE: usize = 8;
pub(crate) const NAME_KEY: usize = 40;
pub(crate) const NAME_RULE: usize = 16;
pub(crate) const HASH_KEY: usize = 32;
pub(crate) const COMM_KEY: usize = 16;
pub(crate) const GROUP_KEY: usize = 8;
pub(crate) const GROUP: usize = 8;
pub(crate) const NET_KEY: usize = 24;
pub(crate) const CIDR_KEY: usize = 24;
pub(crate) const SELF_KEY: usize = 16;
pub(crate) const POLICY: usize = 224;

/// An entry of the map for files.
pub(crate) type FileEntry = ([u8; FILE_KEY], [u8; RULE]);

/// A file as the kernel's own structures have it, which is not always how `stat` spells the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Number of the inode.
    pub inode: u64,
    /// Number of the device, in the kernel's encoding: 12 bits major, 20 bits minor.
    pub device: u32,
}

impl FileId {
    /// From what `stat` tells.
    pub fn of_stat(device: u64, inode: u64) -> Self {
        Self::of_numbers(rustix::fs::major(device), rustix::fs::minor(device), inode)
    }

    pub(crate) fn of_numbers(major: u32, minor: u32, inode: u64) -> Self {
        Self { inode, device: (major << 20) | (minor & 0xf_ffff) }
    }
}

/// Joins fixed parts into an array; what is left stays zero.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut rest: &mut [u8] = &mut bytes;
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len().min(rest.len()));
        head.copy_from_slice(part.get(..head.len()).unwrap_or(part));
        rest = tail;
    }
    bytes
}

/// `struct rule`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) line: u32,
    pub(crate) section: u8,
    pub(crate) protocols: u8,
    pub(crate) flags: u16,
}

impl Rule {
    pub(crate) fn to_bytes(self) -> [u8; RULE] {
        let ([a, b, c, d], [e, f]) = (self.line.to_ne_bytes(), self.flags.to_ne_bytes());
        [a, b, c, d, self.section, self.protocols, e, f]
    }

    pub(crate) fn from_bytes(bytes: [u8; RULE]) -> Self {
        let [a, b, c, d, section, protocols, e, f] = bytes;
        Self { line: u32::from_ne_bytes([a, b, c, d]), section, protocols, flags: u16::from_ne_bytes([e, f]) }
    }
}

pub(crate) fn file_key(file: FileId, group: u32) -> [u8; FILE_KEY] {
    let mut key = [0; FILE_KEY];
    let (inode, rest) = key.split_at_mut(8);
    let (device, of_group) = rest.split_at_mut(4);
    inode.copy_from_slice(&file.inode.to_ne_bytes());
    device.copy_from_slice(&file.device.to_ne_bytes());
    of_group.copy_from_slice(&group.to_ne_bytes());
    key
}

pub(crate) fn self_key(file: FileId, kind: SelfKind) -> [u8; SELF_KEY] {
    joined(&[&file.inode.to_ne_bytes(), &file.device.to_ne_bytes(), &(kind as u32).to_ne_bytes()])
}

/// A longer name becomes its beginning and a hash, as `read_name` in the programs has it.
pub(crate) fn name_key(node: u32, name: &[u8]) -> [u8; NAME_KEY] {
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let (node, length) = (node.to_ne_bytes(), length.to_ne_bytes());
    if name.len() <= NAME_LENGTH {
        return joined(&[&node, &length, name]);
    }
    let (mut first, mut second) = (0_u64, 0_u64);
    for part in name.chunks(NAME_LENGTH) {
        let chunk: [u8; NAME_LENGTH] = joined(&[part]);
        let mut words = chunk.chunks_exact(8).map(|word| u64::from_ne_bytes(joined(&[word])));
        let mut word = || words.next().unwrap_or(0);
        let (a, b, c, d) = (word(), word(), word(), word());
        first = mix(mix(first.wrapping_add(a), b), mix(c, d));
        second = mix(second ^ first, a.wrapping_add(d));
    }
    let begin = name.get(..16).unwrap_or(name);
    joined(&[&node, &length, begin, &first.to_ne_bytes(), &second.to_ne_bytes()])
}

/// What a name of a directory says: a rule for it, and what it is in the tree.
pub(crate) fn name_rule(rule: Option<Rule>, node: u32) -> [u8; NAME_RULE] {
    let bytes = rule.map_or([0; RULE], Rule::to_bytes);
    joined(&[&bytes, &node.to_ne_bytes(), &u32::from(rule.is_some()).to_ne_bytes()])
}

/// An address as rules and decisions have it: IPv4 mapped, and what reaches this host by another name by its own.
pub(crate) fn address_bytes(address: IpAddr) -> [u8; 16] {
    let canonical = address.to_canonical();
    let canonical = match canonical {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        other => other,
    };
    match canonical {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

pub(crate) fn net_key(address: Option<IpAddr>, port: u16, group: u32, kind: NetKind) -> [u8; NET_KEY] {
    let ([a, b, c, d], [e, f]) = (group.to_ne_bytes(), port.to_ne_bytes());
    let mut key = [0; NET_KEY];
    let (of_address, rest) = key.split_at_mut(16);
    of_address.copy_from_slice(&address.map_or([0; 16], address_bytes));
    rest.copy_from_slice(&[a, b, c, d, e, f, kind as u8, 0]);
    key
}

pub(crate) fn cidr_key(address: IpAddr, prefix: u8) -> [u8; CIDR_KEY] {
    let (family, octets): (u8, [u8; 16]) = match address {
        IpAddr::V4(v4) => (4, joined(&[&v4.octets()])),
        IpAddr::V6(v6) => (6, v6.octets()),
    };
    joined(&[&(8 + u32::from(prefix)).to_ne_bytes(), &[family], &octets])
}

pub(crate) fn comm_key(name: &str) -> [u8; COMM_KEY] {
    joined(&[name.as_bytes()])
}

pub(crate) fn group_value(number: u32, allow: bool) -> [u8; GROUP] {
    joined(&[&number.to_ne_bytes(), &u32::from(allow).to_ne_bytes()])
}

/// `mix` of the programs.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let h = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let h = (h ^ (h >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
    h ^ (h >> 29)
}

/// Multiplier of the filter's hashes.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash under which the filter has a key of the map for files, the same for every control group. That of a directory of
/// the tree is the same on every device.
pub(crate) fn file_hash(key: &[u8; FILE_KEY]) -> u64 {
    let inode = u64_at(key, 0);
    let word = match u32_at(key, 12) {
        GROUP_DIRECTORY => !inode,
        _ => inode ^ (u64::from(u32_at(key, 8)) << 32),
    };
    word.wrapping_mul(GOLDEN)
}

/// The hash under which the filter has a key of the map for names: the same for every directory.
pub(crate) fn name_hash(key: &[u8; NAME_KEY]) -> u64 {
    let length = u32_at(key, 4);
    let words = match length {
        0..=8 => 1,
        9..=16 => 2,
        _ => 4,
    };
    let name = key.get(8..).unwrap_or_default();
    let mixed = name.chunks(8).take(words).fold(u64::from(length), |h, word| {
        let h = (h ^ u64_at(word, 0)).wrapping_mul(GOLDEN);
        h ^ (h >> 32)
    });
    mixed.wrapping_mul(GOLDEN)
}

/// The hash under which the filter has a key of the map for the network: its address, or its port if it has none. The same
/// for every control group.
pub(crate) fn net_hash(key: &[u8; NET_KEY]) -> u64 {
    if key.get(22) == Some(&(NetKind::Port as u8)) {
        let port = u16::from_ne_bytes(joined(&[key.get(20..22).unwrap_or_default()]));
        return (!u64::from(port)).wrapping_mul(GOLDEN);
    }
    (u64_at(key, 8) ^ u64_at(key, 0).wrapping_mul(GOLDEN)).wrapping_mul(GOLDEN)
}

/// Where the filter has a hash: the word, and the bits in it.
pub(crate) fn filter_place(hash: u64) -> (usize, u64) {
    let word = usize::try_from(hash >> (64 - FILTER_WORDS.ilog2())).unwrap_or(0);
    (word, (1 << ((hash >> 40) & 63)) | (1 << ((hash >> 34) & 63)))
}

/// `aegis_now`: what counts.
pub(crate) fn now_word(generation: u64, flags: u32) -> u64 {
    (generation & NOW_GENERATION) | (u64::from(flags) << 40) | ((generation & 1) << 62)
}

/// In `aegis_now`: only the maps know what counts.
pub(crate) const NOW_ASK: u64 = 1 << 63;

/// The part of `aegis_now` that is the generation.
pub(crate) const NOW_GENERATION: u64 = (1 << 40) - 1;

/// In `aegis_resolved`, while it is written: it is not what was counted, whatever its other bytes are.
pub(crate) const RESOLVED_UNKNOWN: u64 = 1 << 63;

/// Bytes of `struct stir`: what the ring buffer has beside events.
pub(crate) const STIR: usize = 8;

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(joined(&[bytes.get(at..at.saturating_add(8)).unwrap_or_default()]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(joined(&[bytes.get(at..at.saturating_add(4)).unwrap_or_default()]))
}

/// How many entries each map of a policy has, in the order of [`Tables`](crate::compile::Tables).
pub(crate) const TABLES: usize = 7;

/// `struct policy`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyValue {
    pub(crate) deadline: u64,
    pub(crate) version: u64,
    pub(crate) rules: u64,
    pub(crate) applied_at: u64,
    pub(crate) flags: u32,
    pub(crate) group_levels: u32,
    pub(crate) signed: bool,
    pub(crate) lines: [u32; 8],
    pub(crate) sha256: [u8; 32],
    pub(crate) digest: [u8; 32],
    pub(crate) entries: [u64; 8],
    pub(crate) lifted: u64,
    pub(crate) resolution: u64,
}

impl PolicyValue {
    pub(crate) fn to_bytes(&self) -> [u8; POLICY] {
        let mut bytes = Vec::with_capacity(POLICY);
        for word in [self.deadline, self.version, self.rules, self.applied_at] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [self.flags, self.group_levels, 0, u32::from(self.signed)] {
            bytes.extend(word.to_ne_bytes());
        }
        self.lines.iter().for_each(|line| bytes.extend(line.to_ne_bytes()));
        bytes.extend(self.sha256);
        bytes.extend(self.digest);
        self.entries.iter().for_each(|count| bytes.extend(count.to_ne_bytes()));
        bytes.extend(self.lifted.to_ne_bytes());
        bytes.extend(self.resolution.to_ne_bytes());
        joined(&[&bytes])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let array32 = |at: usize| joined(&[bytes.get(at..at + 32).unwrap_or_default()]);
        Self {
            deadline: u64_at(bytes, 0),
            version: u64_at(bytes, 8),
            rules: u64_at(bytes, 16),
            applied_at: u64_at(bytes, 24),
            flags: u32_at(bytes, 32),
            group_levels: u32_at(bytes, 36),
            signed: u32_at(bytes, 44) != 0,
            lines: std::array::from_fn(|index| u32_at(bytes, 48 + 4 * index)),
            sha256: array32(80),
            digest: array32(112),
            entries: std::array::from_fn(|index| u64_at(bytes, 144 + 8 * index)),
            lifted: u64_at(bytes, 208),
            resolution: u64_at(bytes, 216),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The benchmark attaches it to each hook of ours, and would not run.
    #[test]
    fn the_empty_program_is_on_the_hooks_of_ours() {
        let hooks = |text: &str, before: &str| {
            let after =
                text.split(before).skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned));
            let mut hooks: Vec<String> = after.filter(|hook| hook.starts_with("lsm")).collect();
            hooks.sort_unstable();
            hooks
        };
        let ours = hooks(include_str!("../bpf/lsm.h"), "SEC(\"");
        assert!(ours.len() > 20);
        assert_eq!(ours, hooks(include_str!("../bpf/empty.bpf.c"), "EMPTY(\""));
    }

    #[test]
    fn a_policy_comes_back_from_its_bytes() {
        let policy = PolicyValue {
            deadline: 1,
            version: 2,
            rules: 3,
            applied_at: 4,
            flags: 5,
            group_levels: 6,
            signed: true,
            lines: [8, 9, 10, 11, 12, 13, 14, 15],
            sha256: [16; 32],
            digest: [17; 32],
            entries: [18, 19, 20, 21, 22, 23, 24, 25],
            lifted: 26,
            resolution: 27,
        };
        assert_eq!(PolicyValue::from_bytes(&policy.to_bytes()), policy);
    }

    #[test]
    fn an_address_has_one_form() {
        let of = |text: &str| address_bytes(text.parse().expect("an address"));
        assert_eq!(of("10.1.2.3"), of("::ffff:10.1.2.3"));
        assert_eq!(of("0.0.0.0"), of("127.0.0.1"));
        assert_eq!(of("::"), of("::1"));
        assert_ne!(of("::1"), of("127.0.0.1"));
    }

    #[test]
    fn a_device_is_in_the_encoding_of_the_kernel() {
        let device = rustix::fs::makedev(259, 0x1_2345);
        assert_eq!(FileId::of_stat(device, 1).device, (259 << 20) | 0x1_2345);
    }

    #[test]
    fn long_names_differ_by_what_is_behind_their_beginning() {
        let (a, b) = ("x".repeat(40) + "a", "x".repeat(40) + "b");
        assert_ne!(name_key(1, a.as_bytes()), name_key(1, b.as_bytes()));
        assert_eq!(name_key(1, a.as_bytes()), name_key(1, a.as_bytes()));
    }
}
