//! Which rule decides a question, and why.
//!
//! The answer comes from the text of the policy alone. Where the host's state matters too (which file a path
//! names, in which control group a process runs, what its file hashes to), a note says so.

mod query;

use std::net::IpAddr;

use serde::Serialize;

use crate::entry::{Direction, Entry, PortRule, Protocol, canonical_path};
use crate::error::MAX_REPORTED;
use crate::policy::Policy;
use crate::section::Section;

pub use self::query::{Query, QueryError};

/// What a policy says about a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No rule applies, and what no rule denies is allowed.
    NoRule,
    /// An allow-list is in force, and it lists this.
    Allow,
    /// Denied to all but verified programs.
    DenyUnlessVerified,
    /// Denied.
    Deny,
}

/// A rule that has to do with the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchedRule {
    /// Its section.
    pub section: Section,
    /// The entry in canonical form; `None` for a flag.
    pub entry: Option<String>,
    /// Its line.
    pub line: u32,
    /// What it says; `None` if it looks as if it applied, and does not.
    pub verdict: Option<Verdict>,
    /// Why it says so.
    pub why: String,
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The question in canonical form.
    pub query: String,
    /// The answer.
    pub verdict: Verdict,
    /// The rule that decides, if one does.
    pub deciding: Option<MatchedRule>,
    /// Every rule that has to do with the question, the deciding one first.
    pub matches: Vec<MatchedRule>,
    /// What the policy's text cannot tell.
    pub notes: Vec<String>,
}

/// A match before it is ranked. A higher verdict wins, then a higher rank, then the earlier line.
struct Candidate {
    rank: u8,
    rule: MatchedRule,
}

/// Answers a question about a policy.
pub fn explain(policy: &Policy<'_>, query: &Query) -> Explanation {
    let mut notes = Vec::new();
    let mut candidates = match query {
        Query::Path(path) => about_path(policy, path, &mut notes),
        Query::Inode(inode) => {
            note_cgroup_rules(policy, Section::CgroupDenyInode, &mut notes);
            let wanted = Entry::Inode(*inode);
            about_each(policy, |section, entry| {
                (section == Section::DenyInode && *entry == wanted)
                    .then(|| (0, Some(Verdict::Deny), "denies this very file".to_owned()))
            })
        }
        Query::Network { address, port, protocol } => {
            about_network(policy, *address, *port, *protocol, &mut notes)
        }
        Query::Sha256(digits) => about_hash(policy, digits, &mut notes),
    };
    if policy.count(Section::AllowCgroup) > 0 {
        let groups = policy.count(Section::AllowCgroup);
        notes.push(format!("a process in one of the {groups} groups of [allow_cgroup] passes every rule"));
    }
    candidates.sort_by(|a, b| {
        b.rule.verdict.cmp(&a.rule.verdict).then(b.rank.cmp(&a.rank)).then(a.rule.line.cmp(&b.rule.line))
    });
    let mut matches: Vec<MatchedRule> = candidates.into_iter().map(|candidate| candidate.rule).collect();
    let deciding = matches.first().filter(|rule| rule.verdict.is_some()).cloned();
    let verdict = deciding.as_ref().and_then(|rule| rule.verdict).unwrap_or(Verdict::NoRule);
    if matches.len() > MAX_REPORTED {
        notes.push(format!("{} more rules match", matches.len() - MAX_REPORTED));
        matches.truncate(MAX_REPORTED);
    }
    Explanation { query: query.to_string(), verdict, deciding, matches, notes }
}

/// Asks `judge` about every entry: rank, verdict and reason of those that have to do with the question.
fn about_each(
    policy: &Policy<'_>,
    mut judge: impl FnMut(Section, &Entry<'_>) -> Option<(u8, Option<Verdict>, String)>,
) -> Vec<Candidate> {
    let judged = policy.rules().filter_map(|rule| {
        let entry = rule.entry();
        let (rank, verdict, why) = judge(rule.section, &entry)?;
        let (section, line) = (rule.section, rule.line);
        Some(Candidate {
            rank,
            rule: MatchedRule { section, entry: Some(entry.to_string()), line, verdict, why },
        })
    });
    judged.collect()
}

/// A flag of the policy as a candidate, if it is set.
fn about_flag(policy: &Policy<'_>, section: Section, verdict: Verdict, why: &str) -> Option<Candidate> {
    let line = policy.first_line(section)?;
    let rule = MatchedRule { section, entry: None, line, verdict: Some(verdict), why: why.to_owned() };
    Some(Candidate { rank: 0, rule })
}

fn about_path(policy: &Policy<'_>, path: &str, notes: &mut Vec<String>) -> Vec<Candidate> {
    let path = canonical_path(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    if path.split('/').any(|part| part == "..") {
        notes.push(
            "`..` is compared as it is written; ask again with the path that realpath prints".to_owned(),
        );
    }
    for (section, ask) in [
        (Section::DenyInode, "ask again with device:inode, as stat -c %d:%i prints them"),
        (Section::CgroupDenyInode, "those hold for one control group each"),
        (Section::DenyBinaryHash, "ask again with sha256: for running it"),
        (Section::AllowBinaryHash, "ask again with sha256: for running it"),
        (Section::TrustedExecHash, "ask again with sha256: for running it"),
    ] {
        let count = policy.count(section);
        if count > 0 {
            notes.push(format!("[{section}] has {count} rules that may concern this file; {ask}"));
        }
    }
    notes.push(
        "a rule holds for the file that its path names, also under its other names and links".to_owned(),
    );
    about_each(policy, |section, entry| match (section, entry) {
        (Section::DenyPath, Entry::Path(rule)) if *rule == path => {
            Some((2, Some(Verdict::Deny), "denies this very path".to_owned()))
        }
        (Section::ProtectPath, Entry::Path(rule)) if *rule == path => {
            let why = "denies this very path to all but verified programs".to_owned();
            Some((0, Some(Verdict::DenyUnlessVerified), why))
        }
        (Section::DenyPath | Section::ProtectPath, Entry::Path(rule)) if is_below(&path, rule) => {
            let why = "names a directory above; a rule for a directory does not hold for the files in it";
            Some((0, None, why.to_owned()))
        }
        (Section::DenyComm, Entry::Comm(rule)) if *rule == name => {
            Some((1, Some(Verdict::Deny), "denies running any program of this name".to_owned()))
        }
        _ => None,
    })
}

fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.strip_suffix('/').unwrap_or(directory);
    path.strip_prefix(directory).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

fn about_network(
    policy: &Policy<'_>,
    address: IpAddr,
    port: Option<u16>,
    protocol: Protocol,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    note_cgroup_rules(policy, Section::CgroupDenyIp, notes);
    note_cgroup_rules(policy, Section::CgroupDenyPort, notes);
    if port.is_none() && policy.count(Section::DenyPort) + policy.count(Section::DenyIpPort) > 0 {
        notes.push("the policy has rules for ports; ask again with address:port".to_owned());
    }
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        notes.push(format!("this is {v4} in IPv6 form; ask again with {v4} for the rules of IPv4"));
    }
    let mut candidates = about_each(policy, |section, entry| match entry {
        Entry::Endpoint(rule) if rule.address == address && Some(rule.port) == port => {
            Some(for_protocol(4, rule.protocol, protocol, "denies this very address and port"))
        }
        Entry::Ip(rule) if *rule == address => {
            Some((3, Some(Verdict::Deny), "denies this very address, on every port".to_owned()))
        }
        Entry::Network(rule) if section == Section::DenyCidr && rule.contains(address) => {
            let why = format!("denies every address with the same {} leading bits", rule.prefix_len());
            Some((2, Some(Verdict::Deny), why))
        }
        Entry::Port(rule) if Some(rule.port) == port => Some(for_port(*rule, protocol)),
        _ => None,
    });
    // Of several networks the one with the longest prefix decides: among equal ranks, more bits go first.
    longest_prefix_first(&mut candidates);
    let why = "denies every connection to all but verified programs";
    candidates.extend(about_flag(policy, Section::ProtectConnect, Verdict::DenyUnlessVerified, why));
    candidates
}

/// Keeps rank 2 for the longest network and lowers the others, which stay in the list as covered.
fn longest_prefix_first(candidates: &mut [Candidate]) {
    let bits = |candidate: &Candidate| {
        let entry = candidate.rule.entry.as_deref()?;
        entry.rsplit_once('/')?.1.parse::<u8>().ok()
    };
    let longest = candidates.iter().filter(|candidate| candidate.rank == 2).filter_map(bits).max();
    for candidate in candidates.iter_mut().filter(|candidate| candidate.rank == 2) {
        if bits(candidate) < longest {
            candidate.rank = 1;
            candidate.rule.why.push_str("; a longer prefix decides");
        }
    }
}

fn for_port(rule: PortRule, asked: Protocol) -> (u8, Option<Verdict>, String) {
    match rule.direction {
        Direction::Bind => {
            (0, None, "denies listening on this port here, not connecting to it elsewhere".to_owned())
        }
        Direction::Both | Direction::Egress => {
            for_protocol(0, rule.protocol, asked, "denies connecting to this port anywhere")
        }
    }
}

/// A rule for one protocol applies to a question about that one, or about any.
fn for_protocol(rank: u8, rule: Protocol, asked: Protocol, why: &str) -> (u8, Option<Verdict>, String) {
    match (rule, asked) {
        (Protocol::Any, _) => (rank, Some(Verdict::Deny), why.to_owned()),
        (rule, Protocol::Any) => (rank, Some(Verdict::Deny), format!("{why}, for {rule} alone")),
        (rule, asked) if rule == asked => (rank, Some(Verdict::Deny), format!("{why}, for {rule}")),
        (rule, asked) => (rank, None, format!("holds for {rule}, not for {asked}")),
    }
}

fn about_hash(policy: &Policy<'_>, digits: &str, notes: &mut Vec<String>) -> Vec<Candidate> {
    let mut candidates = about_each(policy, |section, entry| match (section, entry) {
        (Section::DenyBinaryHash, Entry::Sha256(rule)) if rule == digits => {
            Some((1, Some(Verdict::Deny), "denies running programs with this content".to_owned()))
        }
        (Section::AllowBinaryHash | Section::TrustedExecHash, Entry::Sha256(rule)) if rule == digits => {
            Some((0, Some(Verdict::Allow), "lists this content as allowed to run".to_owned()))
        }
        _ => None,
    });
    for section in [Section::AllowBinaryHash, Section::TrustedExecHash] {
        let listed = candidates.iter().any(|candidate| candidate.rule.section == section);
        if policy.count(section) > 0 && !listed {
            let why = "the list is in force and does not have this content";
            candidates.extend(about_flag(policy, section, Verdict::Deny, why));
        }
    }
    if policy.count(Section::DenyPath) + policy.count(Section::DenyComm) > 0 {
        notes.push("rules for paths and names may deny it as well; ask again with its path".to_owned());
    }
    candidates
}

fn note_cgroup_rules(policy: &Policy<'_>, section: Section, notes: &mut Vec<String>) {
    let count = policy.count(section);
    if count > 0 {
        notes.push(format!("[{section}] has {count} rules, each for one control group"));
    }
}
