//! Syslog, RFC 5424: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [structured data] MSG`.
//!
//! | part | section |
//! |---|---|
//! | PRI: facility 13 (log audit) × 8 + severity | 6.2.1 |
//! | header fields, `-` for none | 6.2 |
//! | structured data: `"`, `\` and `]` are escaped | 6.3.3 |
//! | MSG is UTF-8 and says so with a byte order mark | 6.4 |
//!
//! The structured data's id is under 32473, the enterprise number that RFC 5612 sets aside for documentation.

use std::fmt::Write as _;

use crate::event::{Action, Entry, Outcome};
use crate::line::json;
use crate::stamp;

use super::text::{escape, is_detection, sentence};

/// "Log audit".
const FACILITY: u8 = 13;
const SD_ID: &str = "audit@32473";

pub(super) fn line(entry: &Entry, host: &str) -> Vec<u8> {
    let mut line = format!(
        "<{}>1 {} {} {} {} {} [{SD_ID}",
        FACILITY * 8 + severity(entry),
        timestamp(entry),
        header(host, 255),
        header(&entry.actor.program, 48),
        entry.actor.pid,
        header(entry.action.as_str(), 32),
    );
    parameter("seq", &entry.seq.to_string(), &mut line);
    parameter("action", entry.action.as_str(), &mut line);
    parameter("outcome", entry.outcome.as_str(), &mut line);
    parameter("object", &entry.object, &mut line);
    parameter("uid", &entry.actor.uid.to_string(), &mut line);
    for (name, value) in
        [("user", &entry.actor.user), ("reason", &entry.reason), ("transaction", &entry.transaction)]
    {
        if let Some(value) = value {
            parameter(name, value, &mut line);
        }
    }
    if !entry.detail.is_empty() {
        parameter("detail", &String::from_utf8_lossy(&json(&entry.detail)), &mut line);
    }
    line.push_str("] \u{feff}");
    escape(&sentence(entry), &[], &mut line);
    line.into_bytes()
}

/// RFC 5424, table 2.
fn severity(entry: &Entry) -> u8 {
    match entry.outcome {
        // What was denied no longer is, or not by the policy that somebody meant.
        Outcome::Accepted if matches!(entry.action, Action::EnforcementOff | Action::PolicyFallback) => 4,
        Outcome::Accepted => 5,
        Outcome::Refused if is_detection(entry) => 2,
        Outcome::Refused => 4,
        Outcome::Failed => 3,
    }
}

/// RFC 3339 has four digits for a year; a clock outside them gives no time.
fn timestamp(entry: &Entry) -> String {
    let text = stamp::print(entry.time);
    if text.len() == "2026-01-01T00:00:00.000Z".len() { text } else { "-".to_owned() }
}

/// A header field: printable ASCII without spaces.
fn header(text: &str, limit: usize) -> String {
    let field: String = text.chars().filter(char::is_ascii_graphic).take(limit).collect();
    if field.is_empty() { "-".to_owned() } else { field }
}

fn parameter(name: &str, value: &str, line: &mut String) {
    let _ = write!(line, " {name}=\"");
    escape(value, &['"', ']'], line);
    line.push('"');
}
