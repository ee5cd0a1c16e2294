//! RFC 4180, with one thing more: a spreadsheet takes a field that begins with `=`, `+`, `-`, `@`, a tab or a carriage
//! return for a formula, quoted or not, and runs it. Such a field begins with an apostrophe here.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use super::ReportHead;
use super::finding::{Finding, OtherSigner};
use crate::name::Role;
use crate::standing::Closed;
use crate::statement::Decision;

const COLUMNS: [&str; 20] = [
    "request",
    "kind",
    "subject",
    "audience",
    "requester",
    "usable_until",
    "person",
    "key_id",
    "decision",
    "role",
    "signed",
    "others",
    "then",
    "now",
    "ended_at",
    "ended_by",
    "used_for",
    "stands_without",
    "missing",
    "remedy",
];

pub(super) fn head(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}\r\n", COLUMNS.join(","))
}

/// Writes lines, and keeps the room in which it does.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: String,
    field: String,
}

impl Lines {
    pub(super) fn decision(
        &mut self,
        out: &mut dyn Write,
        head: &ReportHead,
        finding: &Finding,
    ) -> io::Result<()> {
        self.line.clear();
        let (ended_at, ended_by, used_for) = match &finding.closed {
            None => (None, None, None),
            Some(Closed::Rejected { at, by } | Closed::Revoked { at, by }) => (Some(at), Some(by), None),
            Some(Closed::Consumed { at, used_for }) => (Some(at), None, Some(used_for)),
        };
        let fields: [&dyn Display; COLUMNS.len()] = [
            &finding.request,
            &finding.subject.kind(),
            &finding.subject,
            &finding.audience,
            &finding.requester,
            &finding.usable_until,
            &head.person,
            &head.key,
            &finding.decision.as_str(),
            &finding.role,
            &finding.signed,
            &Others(&finding.others),
            &finding.then,
            &finding.now,
            &OrNothing(ended_at),
            &OrNothing(ended_by),
            &OrNothing(used_for),
            &if finding.stands_without { "yes" } else { "no" },
            &Missing(&finding.missing),
            &finding.remedy().as_str(),
        ];
        for (index, value) in fields.into_iter().enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            self.field.clear();
            let _ = write!(self.field, "{value}");
            put(&mut self.line, &self.field);
        }
        self.line.push_str("\r\n");
        out.write_all(self.line.as_bytes())
    }
}

struct OrNothing<T>(Option<T>);

impl<T: Display> Display for OrNothing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

struct Others<'a>(&'a [OtherSigner]);

impl Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, other) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let against = match other.decision {
                Decision::Approve => "",
                Decision::Reject => " (against)",
            };
            write!(f, "{separator}{} as {}{against}", other.person, other.role)?;
        }
        Ok(())
    }
}

struct Missing<'a>(&'a BTreeMap<Role, u8>);

impl Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (role, count)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{count} of {role}")?;
        }
        Ok(())
    }
}

/// Appends a field so that it is one, and no formula.
fn put(line: &mut String, text: &str) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if !is_formula && !text.contains(['"', ',', ';', '\'', '\r', '\n']) {
        line.push_str(text);
        return;
    }
    line.push('"');
    if is_formula {
        line.push('\'');
    }
    for (index, part) in text.split('"').enumerate() {
        if index > 0 {
            line.push_str("\"\"");
        }
        line.push_str(part);
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_is_taken_for_a_formula_or_for_two() {
        for (text, written) in [
            ("plain", "plain"),
            ("", ""),
            ("=1+1", "\"'=1+1\""),
            ("+cmd|' /C calc'!A0", "\"'+cmd|' /C calc'!A0\""),
            ("-2", "\"'-2\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=\"a\"", "\"'=\"\"a\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
        ] {
            let mut line = String::new();
            put(&mut line, text);
            assert_eq!(line, written, "{text:?}");
        }
    }
}
