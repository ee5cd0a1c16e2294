//! What a policy may say but surely does not mean.
//!
//! A policy with errors gets its errors; one without gets warnings. Everything here is told by the text alone,
//! so that what lint passes is not refused later for its size or shape.

mod coverage;
mod entry_checks;
mod file_checks;
mod warning;

use serde::Serialize;

use crate::entry::Entry;
use crate::error::{MAX_REPORTED, PolicyErrors};
use crate::line::Lines;
use crate::parse::{Limits, parse};
use crate::policy::{Policy, Rule};
use crate::render::{self, Finding, Severity};

pub use self::warning::{Warning, WarningKind};

/// What [`lint`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintReport {
    /// Why the policy is refused; empty if it is not. In JSON its members stand beside the warnings.
    #[serde(flatten)]
    pub errors: PolicyErrors,
    /// The first [`MAX_REPORTED`] things that look wrong, by line; empty while there are errors.
    pub warnings: Vec<Warning>,
    /// How many there are.
    pub warning_total: usize,
}

impl LintReport {
    /// True if there is nothing to say.
    pub fn is_clean(&self) -> bool {
        self.errors.total == 0 && self.warning_total == 0
    }

    /// Adds what somebody else knows of a line of the policy, such as what its host makes of it. A policy with errors keeps
    /// those alone, and of many warnings the first [`MAX_REPORTED`] by line.
    pub fn add(&mut self, source: &[u8], on: impl IntoIterator<Item = (u32, WarningKind)>) {
        if self.errors.total > 0 {
            return;
        }
        let mut on: Vec<_> = on.into_iter().collect();
        on.sort_by_key(|(line, _)| *line);
        self.warning_total = self.warning_total.saturating_add(on.len());
        let mut lines = Lines::significant(source).peekable();
        for (number, kind) in on {
            while lines.next_if(|line| line.number < number).is_some() {}
            let at = lines.peek().filter(|line| line.number == number);
            let column = at.map_or(1, |line| u32::try_from(line.indent + 1).unwrap_or(u32::MAX));
            let length = at.map_or(1, |line| u32::try_from(line.text.len()).unwrap_or(u32::MAX));
            let hint = kind.help();
            self.warnings.push(Warning { line: number, column, length, kind, hint });
        }
        self.warnings.sort_by_key(|warning| (warning.line, warning.column));
        self.warnings.truncate(MAX_REPORTED);
    }

    /// The report as an operator reads it. See [`PolicyErrors::render`].
    pub fn render(&self, file_name: &str, source: &[u8], color: bool) -> String {
        let mut out = self.errors.render(file_name, source, color);
        let findings = self.warnings.iter().map(|warning| Finding {
            severity: Severity::Warning,
            line: warning.line,
            column: warning.column,
            length: warning.length,
            message: warning.kind.to_string(),
            hint: warning.hint.as_deref(),
        });
        out.push_str(&render::render(findings, file_name, source, color));
        let more = self.warning_total.saturating_sub(self.warnings.len());
        if more > 0 {
            out.push_str(&format!("... and {more} more warnings\n"));
        }
        out
    }
}

/// Checks a policy and everything about it that looks wrong.
pub fn lint(source: &[u8], limits: &Limits) -> LintReport {
    let policy = match parse(source, limits) {
        Ok(policy) => policy,
        Err(errors) => return LintReport { errors, warnings: Vec::new(), warning_total: 0 },
    };
    let mut found = Found::default();
    file_checks::check(&policy, limits, &mut found);
    let rules = read(&policy);
    entry_checks::check(&rules, &mut found);
    coverage::check(rules, &mut found);
    found.warnings.sort_by_key(|warning| (warning.line, warning.column));
    LintReport { errors: PolicyErrors::default(), warnings: found.warnings, warning_total: found.total }
}

/// A rule and what it says.
struct ReadRule<'a> {
    entry: Entry<'a>,
    rule: Rule<'a>,
}

fn read<'a>(policy: &Policy<'a>) -> Vec<ReadRule<'a>> {
    policy.rules().map(|rule| ReadRule { entry: rule.entry(), rule }).collect()
}

/// The warnings so far. Beyond the first [`MAX_REPORTED`] they are counted.
#[derive(Default)]
struct Found {
    warnings: Vec<Warning>,
    total: usize,
}

impl Found {
    fn about(&mut self, rule: &Rule<'_>, kind: WarningKind) {
        let length = u32::try_from(rule.text.len()).unwrap_or(u32::MAX);
        self.at(rule.line, rule.column, length, kind);
    }

    fn at(&mut self, line: u32, column: u32, length: u32, kind: WarningKind) {
        self.total = self.total.saturating_add(1);
        if self.warnings.len() < MAX_REPORTED {
            let hint = kind.help();
            self.warnings.push(Warning { line, column, length, kind, hint });
        }
    }
}
