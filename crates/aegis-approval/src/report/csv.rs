//! RFC 4180, with one thing more: a spreadsheet takes a field that begins with `=`, `+`, `-`, `@`, a tab or a carriage
//! return for a formula, quoted or not, and runs it. Such a field begins with an apostrophe here.

use std::io::{self, Write};

use super::ReportHead;
use super::finding::Finding;
use crate::approvals::list_missing;
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

pub(super) fn decision(out: &mut dyn Write, head: &ReportHead, finding: &Finding) -> io::Result<()> {
    let others = finding.others.iter().map(|other| {
        let against = match other.decision {
            Decision::Approve => "",
            Decision::Reject => " (against)",
        };
        format!("{} as {}{against}", other.person, other.role)
    });
    let (ended_at, ended_by, used_for) = match &finding.closed {
        None => (String::new(), String::new(), String::new()),
        Some(Closed::Rejected { at, by } | Closed::Revoked { at, by }) => {
            (at.to_string(), by.to_string(), String::new())
        }
        Some(Closed::Consumed { at, used_for }) => (at.to_string(), String::new(), used_for.clone()),
    };
    let fields: [String; COLUMNS.len()] = [
        finding.request.to_string(),
        finding.subject.kind().to_string(),
        finding.subject.to_string(),
        finding.audience.to_string(),
        finding.requester.to_string(),
        finding.usable_until.to_string(),
        head.person.to_string(),
        head.key.to_string(),
        finding.decision.as_str().to_owned(),
        finding.role.to_string(),
        finding.signed.to_string(),
        others.collect::<Vec<_>>().join("; "),
        finding.then.to_string(),
        finding.now.to_string(),
        ended_at,
        ended_by,
        used_for,
        if finding.stands_without { "yes" } else { "no" }.to_owned(),
        list_missing(&finding.missing),
        finding.remedy().as_str().to_owned(),
    ];
    let line: Vec<_> = fields.iter().map(|text| field(text)).collect();
    write!(out, "{}\r\n", line.join(","))
}

fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let mark = if is_formula { "'" } else { "" };
    if is_formula || text.contains(['"', ',', ';', '\'', '\r', '\n']) {
        format!("\"{mark}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
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
            assert_eq!(field(text), written, "{text:?}");
        }
    }
}
