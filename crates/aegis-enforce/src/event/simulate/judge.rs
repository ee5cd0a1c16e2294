//! What a policy says about one event.

use std::net::IpAddr;

use aegis_policy::{Query, Section};

use super::super::{Event, FileRef, NetworkRef, Operation, RuleSection, Transport, printable};
use super::index::{CgroupOf, InGroup, Index, Matter, RuleAt, Way};

/// What the kernel adds to the path of a file that has lost its name.
const DELETED: &str = " (deleted)";

/// The answer. Of two the later variant wins: a denial over what is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement<'a> {
    /// Let through; by a rule, if one exempts the process.
    Pass(Option<RuleAt<'a>>),
    Unknown(Unknown),
    UnlessVerified(RuleAt<'a>),
    Deny(RuleAt<'a>),
    /// What protects the agent decided, and always will.
    Agent,
}

/// What an event lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Unknown {
    /// The path of its control group, or the numbers of those above it.
    Group,
    /// The digest of the program.
    Hash,
    /// Path or address.
    Object,
}

impl Unknown {
    pub(super) const ALL: [Self; 3] = [Self::Group, Self::Hash, Self::Object];

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Group => {
                "the control group, or the numbers of those above it, are not recorded, and the policy has rules for groups"
            }
            Self::Hash => "the digest of the program is not recorded, and the policy has rules for digests",
            Self::Object => "neither path nor address is recorded, and the policy has rules for them",
        }
    }
}

impl Judgement<'_> {
    fn rank(&self) -> u8 {
        match self {
            Self::Pass(_) => 0,
            Self::Unknown(_) => 1,
            Self::UnlessVerified(_) => 2,
            Self::Deny(_) => 3,
            Self::Agent => 4,
        }
    }

    /// The stronger of two, the first of equals.
    fn or(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }
}

pub(super) fn judge<'a>(index: &Index<'a>, event: &Event) -> Judgement<'a> {
    if event.rule.section == RuleSection::Agent {
        return Judgement::Agent;
    }
    let group =
        CgroupOf { id: event.cgroup.id, path: event.cgroup.path.as_deref(), above: &event.cgroup.above };
    let exempt = index.exempts(group);
    if let InGroup::Yes(rule) = exempt {
        return Judgement::Pass(Some(rule));
    }
    let judgement = match event.operation {
        Operation::Open | Operation::Create | Operation::Receive | Operation::Truncate => {
            about_file(index, event, group)
        }
        Operation::Exec => about_file(index, event, group).or(about_program(index, event)),
        Operation::Map => about_file(index, event, group).or(about_mapped(index, event)),
        Operation::Connect | Operation::Send => about_connection(index, event, group),
        Operation::Bind | Operation::Listen => about_listening(index, event, group),
        Operation::Ptrace => about_flag(index, Section::DenyPtrace),
        Operation::Module => about_flag(index, Section::DenyModuleLoad),
        Operation::Bpf => about_flag(index, Section::DenyBpf),
        Operation::Tamper => Judgement::Agent,
    };
    match judgement {
        Judgement::Deny(_) | Judgement::UnlessVerified(_) if exempt == InGroup::Unknown => {
            Judgement::Unknown(Unknown::Group)
        }
        judgement => judgement,
    }
}

fn about_flag<'a>(index: &Index<'a>, section: Section) -> Judgement<'a> {
    index.header(section).map_or(Judgement::Pass(None), Judgement::Deny)
}

/// A denial to all but verified programs is one to all if no program can be verified.
fn unless_verified<'a>(index: &Index<'a>, rule: RuleAt<'a>) -> Judgement<'a> {
    if index.verifies() { Judgement::UnlessVerified(rule) } else { Judgement::Deny(rule) }
}

/// Rules for paths and inodes.
fn about_file<'a>(index: &Index<'a>, event: &Event, group: CgroupOf<'_>) -> Judgement<'a> {
    let absent = FileRef::default();
    let file = event.file.as_ref().unwrap_or(&absent);
    // The rule that was recorded knew the file by its own path, whatever name it was opened by.
    let known_as = match (event.rule.section, &event.rule.entry) {
        (RuleSection::Policy(Section::DenyPath | Section::ProtectPath), Some(entry)) => {
            match Query::parse(entry) {
                Ok(Query::Path(path)) => Some(printable(path.as_bytes())),
                _ => None,
            }
        }
        _ => None,
    };
    let path = file.path.as_deref();
    let alive = path.and_then(|path| path.strip_suffix(DELETED));
    let names = || [path, alive, known_as.as_deref()].into_iter().flatten();
    let number = file.device.zip(file.inode);

    let denied = names().find_map(|name| index.denied_path(name));
    if let Some(rule) = denied.or_else(|| number.and_then(|number| index.denied_inode(number))) {
        return Judgement::Deny(rule);
    }
    let scoped = number.map_or(InGroup::No, |number| {
        index.denied_in_group(group, Matter::File(number), Transport::Tcp, Way::Out)
    });
    if let InGroup::Yes(rule) = scoped {
        return Judgement::Deny(rule);
    }
    if let Some(rule) = names().find_map(|name| index.protected_path(name)) {
        return unless_verified(index, rule);
    }
    if scoped == InGroup::Unknown {
        return Judgement::Unknown(Unknown::Group);
    }
    let policy = index.policy();
    let by_path = policy.count(Section::DenyPath) + policy.count(Section::ProtectPath) > 0;
    if names().next().is_none() && by_path {
        return Judgement::Unknown(Unknown::Object);
    }
    Judgement::Pass(None)
}

/// Rules for what is run: names and contents.
fn about_program<'a>(index: &Index<'a>, event: &Event) -> Judgement<'a> {
    let file = event.file.as_ref();
    let path = file.and_then(|file| file.path.as_deref());
    let by_file = path.and_then(|path| path.rsplit('/').next());
    let by_rule = match (event.rule.section, &event.rule.entry) {
        (RuleSection::Policy(Section::DenyComm), Some(entry)) => Some(printable(entry.as_bytes())),
        _ => None,
    };
    let names = [by_file, by_rule.as_deref()].into_iter().flatten();
    if let Some(rule) = names.into_iter().find_map(|name| index.denied_comm(name)) {
        return Judgement::Deny(rule);
    }
    let policy = index.policy();
    match file.and_then(|file| file.sha256.as_ref()) {
        Some(digest) => {
            let rule = index.denied_hash(digest).or_else(|| index.unlisted_hash(digest));
            rule.map_or(Judgement::Pass(None), Judgement::Deny)
        }
        // It had none, which is why it was denied.
        None if event.rule.section == RuleSection::Policy(Section::ImaFailClosed) => {
            index.unmeasured().map_or(Judgement::Pass(None), Judgement::Deny)
        }
        None if index.verifies() || policy.count(Section::DenyBinaryHash) > 0 => {
            Judgement::Unknown(Unknown::Hash)
        }
        None if by_file.is_none() && policy.count(Section::DenyComm) > 0 => {
            Judgement::Unknown(Unknown::Object)
        }
        None => Judgement::Pass(None),
    }
}

/// Rules for code that is mapped: only a denied content matters.
fn about_mapped<'a>(index: &Index<'a>, event: &Event) -> Judgement<'a> {
    match event.file.as_ref().and_then(|file| file.sha256.as_ref()) {
        Some(digest) => index.denied_hash(digest).map_or(Judgement::Pass(None), Judgement::Deny),
        None if index.policy().count(Section::DenyBinaryHash) > 0 => Judgement::Unknown(Unknown::Hash),
        None => Judgement::Pass(None),
    }
}

fn about_connection<'a>(index: &Index<'a>, event: &Event, group: CgroupOf<'_>) -> Judgement<'a> {
    let Some(NetworkRef { address: Some(address), port, protocol }) = event.network else {
        return Judgement::Unknown(Unknown::Object);
    };
    if let Some(rule) = index.denied_connection(address, port, protocol) {
        return Judgement::Deny(rule);
    }
    let by_address = match address.to_canonical() {
        IpAddr::V4(address) => index.denied_in_group(group, Matter::Address(address), protocol, Way::Out),
        IpAddr::V6(_) => InGroup::No,
    };
    let by_port = index.denied_in_group(group, Matter::Port(port), protocol, Way::Out);
    if let InGroup::Yes(rule) = by_address {
        return Judgement::Deny(rule);
    }
    if let InGroup::Yes(rule) = by_port {
        return Judgement::Deny(rule);
    }
    if let Some(rule) = index.header(Section::ProtectConnect) {
        return unless_verified(index, rule);
    }
    if by_address == InGroup::Unknown || by_port == InGroup::Unknown {
        return Judgement::Unknown(Unknown::Group);
    }
    Judgement::Pass(None)
}

fn about_listening<'a>(index: &Index<'a>, event: &Event, group: CgroupOf<'_>) -> Judgement<'a> {
    let Some(NetworkRef { address: _, port, protocol }) = event.network else {
        return Judgement::Unknown(Unknown::Object);
    };
    if let Some(rule) = index.denied_port(port, protocol, Way::In) {
        return Judgement::Deny(rule);
    }
    match index.denied_in_group(group, Matter::Port(port), protocol, Way::In) {
        InGroup::Yes(rule) => Judgement::Deny(rule),
        InGroup::Unknown => Judgement::Unknown(Unknown::Group),
        InGroup::No => Judgement::Pass(None),
    }
}
