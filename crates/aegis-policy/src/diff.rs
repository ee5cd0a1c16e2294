//! Which rules one policy has and another has not.
//!
//! Rules are compared in canonical form and as sets: order, comments, duplicates and spelling do not count.
//! A flag counts as a rule without an entry.

use std::cmp::Ordering;

use serde::Serialize;

use crate::entry::Entry;
use crate::policy::Policy;
use crate::section::Section;

/// What must change to make one policy of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyDiff {
    /// The header's version, if it differs.
    pub version_change: Option<VersionChange>,
    /// Rules that only the second policy has, by section and entry.
    pub added: Vec<DiffRule>,
    /// Rules that only the first policy has, by section and entry.
    pub removed: Vec<DiffRule>,
}

/// The header's version before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VersionChange {
    /// In the first policy.
    pub from: u8,
    /// In the second.
    pub to: u8,
}

/// A rule on one side of a [`PolicyDiff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffRule {
    /// Its section.
    pub section: Section,
    /// The entry in canonical form; `None` for a flag.
    pub entry: Option<String>,
    /// Its line in the policy that has it.
    pub line: u32,
}

impl PolicyDiff {
    /// True if both policies mean the same.
    pub fn is_empty(&self) -> bool {
        let Self { version_change, added, removed } = self;
        version_change.is_none() && added.is_empty() && removed.is_empty()
    }
}

/// Compares two policies: `added` is what `after` has and `before` has not.
pub fn diff(before: &Policy<'_>, after: &Policy<'_>) -> PolicyDiff {
    let version_change = (before.version() != after.version())
        .then(|| VersionChange { from: before.version(), to: after.version() });
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut left = rule_set(before).into_iter().peekable();
    let mut right = rule_set(after).into_iter().peekable();
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => (a.0, &a.1).cmp(&(b.0, &b.1)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        if order.is_le() {
            removed.extend(left.next().filter(|_| order.is_lt()).map(DiffRule::from));
        }
        if order.is_ge() {
            added.extend(right.next().filter(|_| order.is_gt()).map(DiffRule::from));
        }
    }
    PolicyDiff { version_change, added, removed }
}

type Located<'a> = (Section, Option<Entry<'a>>, u32);

impl From<Located<'_>> for DiffRule {
    fn from((section, entry, line): Located<'_>) -> Self {
        Self { section, entry: entry.map(|entry| entry.to_string()), line }
    }
}

/// Every rule and flag once, sorted.
fn rule_set<'a>(policy: &Policy<'a>) -> Vec<Located<'a>> {
    let flags = policy.sections().filter(|section| section.is_flag());
    let mut rules: Vec<Located<'a>> =
        flags.filter_map(|flag| Some((flag, None, policy.first_line(flag)?))).collect();
    rules.extend(policy.rules().map(|rule| (rule.section, Some(rule.entry()), rule.line)));
    rules.sort();
    rules.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    rules
}
