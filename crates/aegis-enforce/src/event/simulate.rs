//! What a candidate policy would have said about recorded events.
//!
//! The policy is indexed once, so a day of events is held against a million rules in the time that it takes to read them.
//! The rules mean what [`aegis_policy::explain`] says they mean, with what an event knows beside: the control group, the
//! inode, the name under which another policy knew the file. What an event does not know is counted as unknown, never
//! guessed.

mod index;
mod judge;

use std::collections::HashMap;

use aegis_policy::{Policy, Section};
use jiff::Timestamp;
use serde::Serialize;

use self::index::{Index, RuleAt};
use self::judge::{Judgement, Unknown};
use super::{Event, Line, Operation, Outcome, RuleRef, RuleSection, stamp};

/// Groups of events that are told apart; events of others are counted only.
const MAX_GROUPS: usize = 10_000;
/// Bytes of text that such a group may have. What the kernel records has far less, but events may come from anywhere.
const MAX_TEXT: usize = 16 << 10;
/// Groups that are listed.
const MAX_LISTED: usize = 1_000;
/// Rules that are listed.
const MAX_RULES: usize = 1_000;

/// What a policy would do about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Simulated {
    /// Let it through.
    Pass,
    /// The event does not say enough.
    Unknown,
    /// Deny it, unless the program is a verified one.
    DenyUnlessVerified,
    /// Deny it.
    Deny,
    /// Whatever protects the agent denies it under every policy.
    Agent,
}

/// Events that are alike: how they were recorded, and what the candidate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventGroup {
    /// What was to be done.
    pub operation: Operation,
    /// To what. Escaped.
    pub object: Option<String>,
    /// By whom. Escaped.
    pub comm: String,
    /// How it was recorded.
    pub recorded: Outcome,
    /// By which rule.
    pub recorded_rule: RuleRef,
    /// What the candidate would do.
    pub verdict: Simulated,
    /// By which rule of the candidate; for what passes, the one that exempts it.
    pub rule: Option<RuleRef>,
    /// Why that cannot be told.
    pub unknown_because: Option<&'static str>,
    /// How many there are.
    pub events: u64,
    /// When the first happened.
    #[serde(with = "stamp")]
    pub first: Timestamp,
    /// When the last happened.
    #[serde(with = "stamp")]
    pub last: Timestamp,
}

/// A rule of the candidate, and how much it would have denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleTotal {
    /// The rule.
    pub rule: RuleRef,
    /// Events that it would deny, verified programs or not.
    pub events: u64,
    /// Of these, such as were let through when they were recorded.
    pub newly_denied: u64,
}

/// What a candidate policy would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Simulation {
    /// Events that were looked at.
    pub events: u64,
    /// Events that were counted and not recorded.
    pub lost: u64,
    /// Events that it would deny.
    pub deny: u64,
    /// Events that it would deny unless the program is a verified one.
    pub deny_unless_verified: u64,
    /// Events that it would let through.
    pub pass: u64,
    /// Events about which it cannot be told.
    pub unknown: u64,
    /// Attempts on the agent itself, which every policy denies.
    pub agent: u64,
    /// Events that it would deny, and that were let through: recorded in audit mode.
    pub newly_denied: u64,
    /// Events that were denied, and that it would let through.
    pub no_longer_denied: u64,
    /// Its rules that would have denied something, the busiest first; at most a thousand.
    pub rules: Vec<RuleTotal>,
    /// The events, alike ones together: first what is denied no longer, then what is newly denied, then the rest; at most
    /// a thousand.
    pub groups: Vec<EventGroup>,
    /// How many groups there are that are not listed.
    pub groups_left_out: u64,
    /// What this cannot tell.
    pub notes: Vec<String>,
}

/// Holds events against a candidate policy.
pub fn simulate(events: impl IntoIterator<Item = Line>, policy: &Policy<'_>) -> Simulation {
    let mut simulator = Simulator::new(policy);
    events.into_iter().for_each(|line| simulator.add(&line));
    simulator.finish()
}

/// The same, for events that come one by one.
#[derive(Debug)]
pub struct Simulator<'a> {
    policy: &'a Policy<'a>,
    index: Index<'a>,
    result: Simulation,
    rules: HashMap<(Section, u32), (RuleAt<'a>, u64, u64)>,
    groups: HashMap<Key, EventGroup>,
    ungrouped: u64,
    unknown: HashMap<Unknown, u64>,
}

/// What makes events alike.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    operation: Operation,
    object: Option<String>,
    comm: String,
    recorded: (Outcome, RuleSection, Option<u32>),
    verdict: Simulated,
    rule: Option<(Section, u32)>,
}

impl<'a> Simulator<'a> {
    /// Indexes the policy.
    pub fn new(policy: &'a Policy<'a>) -> Self {
        Self {
            policy,
            index: Index::new(policy),
            result: Simulation {
                events: 0,
                lost: 0,
                deny: 0,
                deny_unless_verified: 0,
                pass: 0,
                unknown: 0,
                agent: 0,
                newly_denied: 0,
                no_longer_denied: 0,
                rules: Vec::new(),
                groups: Vec::new(),
                groups_left_out: 0,
                notes: Vec::new(),
            },
            rules: HashMap::new(),
            groups: HashMap::new(),
            ungrouped: 0,
            unknown: HashMap::new(),
        }
    }

    /// Looks at a line of a log.
    pub fn add(&mut self, line: &Line) {
        match line {
            Line::Event(event) => self.add_event(event),
            Line::Lost(lost) => self.result.lost = self.result.lost.saturating_add(lost.lost),
        }
    }

    /// Looks at an event.
    pub fn add_event(&mut self, event: &Event) {
        let result = &mut self.result;
        result.events += 1;
        let judgement = judge::judge(&self.index, event);
        let was_denied = event.outcome == Outcome::Denied;
        let (verdict, rule, because) = match judgement {
            Judgement::Agent => (Simulated::Agent, None, None),
            Judgement::Pass(rule) => (Simulated::Pass, rule, None),
            Judgement::Unknown(why) => (Simulated::Unknown, None, Some(why)),
            Judgement::UnlessVerified(rule) => (Simulated::DenyUnlessVerified, Some(rule), None),
            Judgement::Deny(rule) => (Simulated::Deny, Some(rule), None),
        };
        match verdict {
            Simulated::Agent => result.agent += 1,
            Simulated::Pass => {
                result.pass += 1;
                result.no_longer_denied += u64::from(was_denied);
            }
            Simulated::Unknown => result.unknown += 1,
            Simulated::DenyUnlessVerified => result.deny_unless_verified += 1,
            Simulated::Deny => {
                result.deny += 1;
                result.newly_denied += u64::from(!was_denied);
            }
        }
        if let Some(why) = because {
            *self.unknown.entry(why).or_default() += 1;
        }
        if let Some(rule) = rule.filter(|_| verdict != Simulated::Pass) {
            let (_, events, newly) = self.rules.entry((rule.section, rule.line)).or_insert((rule, 0, 0));
            *events += 1;
            *newly += u64::from(!was_denied && verdict == Simulated::Deny);
        }
        self.group(event, verdict, rule, because);
    }

    fn group(
        &mut self,
        event: &Event,
        verdict: Simulated,
        rule: Option<RuleAt<'a>>,
        because: Option<Unknown>,
    ) {
        let key = Key {
            operation: event.operation,
            object: event.object(),
            comm: event.process.comm.clone(),
            recorded: (event.outcome, event.rule.section, event.rule.line),
            verdict,
            rule: rule.map(|rule| (rule.section, rule.line)),
        };
        if let Some(group) = self.groups.get_mut(&key) {
            group.events += 1;
            group.first = group.first.min(event.time);
            group.last = group.last.max(event.time);
            return;
        }
        let texts = [key.object.as_deref(), Some(key.comm.as_str()), event.rule.entry.as_deref()];
        let text: usize = texts.into_iter().flatten().map(str::len).sum();
        if self.groups.len() >= MAX_GROUPS || text > MAX_TEXT {
            self.ungrouped += 1;
            return;
        }
        let group = EventGroup {
            operation: event.operation,
            object: key.object.clone(),
            comm: key.comm.clone(),
            recorded: event.outcome,
            recorded_rule: event.rule.clone(),
            verdict,
            rule: rule.map(RuleAt::to_ref),
            unknown_because: because.map(Unknown::reason),
            events: 1,
            first: event.time,
            last: event.time,
        };
        self.groups.insert(key, group);
    }

    /// The result.
    pub fn finish(self) -> Simulation {
        let mut rules: Vec<RuleTotal> = self
            .rules
            .values()
            .map(|(rule, events, newly_denied)| RuleTotal {
                rule: rule.to_ref(),
                events: *events,
                newly_denied: *newly_denied,
            })
            .collect();
        rules.sort_by(|a, b| b.events.cmp(&a.events).then(a.rule.line.cmp(&b.rule.line)));
        let rules_left_out = rules.len().saturating_sub(MAX_RULES);
        rules.truncate(MAX_RULES);

        let mut groups: Vec<EventGroup> = self.groups.into_values().collect();
        groups.sort_by(|a, b| {
            rank(a).cmp(&rank(b)).then(b.events.cmp(&a.events)).then(a.first.cmp(&b.first)).then_with(|| {
                (a.operation, &a.object, &a.comm, a.recorded_rule.line).cmp(&(
                    b.operation,
                    &b.object,
                    &b.comm,
                    b.recorded_rule.line,
                ))
            })
        });
        let groups_left_out = groups.len().saturating_sub(MAX_LISTED);
        groups.truncate(MAX_LISTED);

        let mut notes = notes(self.policy, &self.result, &self.unknown);
        if self.ungrouped > 0 {
            notes.push(format!(
                "{} events are counted and in no group: there are more than {MAX_GROUPS} groups, or their texts are too long",
                self.ungrouped
            ));
        }
        if rules_left_out > 0 {
            notes.push(format!("{rules_left_out} more rules would deny something"));
        }
        let groups_left_out = u64::try_from(groups_left_out).unwrap_or(u64::MAX);
        Simulation { rules, groups, groups_left_out, notes, ..self.result }
    }
}

/// What a reader looks for comes first.
fn rank(group: &EventGroup) -> u8 {
    match (group.verdict, group.recorded) {
        (Simulated::Pass, Outcome::Denied) => 0,
        (Simulated::Deny, Outcome::Audited) => 1,
        (Simulated::DenyUnlessVerified, Outcome::Audited) => 2,
        (Simulated::Unknown, _) => 3,
        (Simulated::DenyUnlessVerified, Outcome::Denied) => 4,
        (Simulated::Deny, Outcome::Denied) => 5,
        (Simulated::Pass, Outcome::Audited) => 6,
        (Simulated::Agent, _) => 7,
    }
}

/// What the numbers do not say.
fn notes(policy: &Policy<'_>, result: &Simulation, unknown: &HashMap<Unknown, u64>) -> Vec<String> {
    let mut notes = vec![
        "only what a policy denied or watched is recorded: what else the candidate would deny is not to be seen here"
            .to_owned(),
    ];
    if result.lost > 0 {
        notes.push(format!("{} events were lost when they were recorded", result.lost));
    }
    for why in Unknown::ALL {
        if let Some(count) = unknown.get(&why) {
            notes.push(format!("{count} events cannot be judged: {}", why.reason()));
        }
    }
    if policy.count(Section::DenyPath) + policy.count(Section::ProtectPath) > 0 {
        notes.push(
            "a rule for a path holds for the file under all its names; here only recorded names are compared"
                .to_owned(),
        );
    }
    if policy.count(Section::DenyComm) > 0 {
        notes.push(
            "programs are compared by the name of their file; by which link they were run is not recorded"
                .to_owned(),
        );
    }
    if result.deny_unless_verified > 0 {
        notes.push("which programs are verified is not recorded".to_owned());
    }
    if policy.has(Section::RequireImaAppraisal) {
        notes.push("a host without IMA appraisal would not enforce this policy at all".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
