//! What the text formats share: how an entry reads as a sentence, and characters that would break a line.

use std::fmt::Write as _;

use crate::event::{Entry, Outcome};
use crate::line::is_dangerous;

/// `policy.apply of v6.signed refused: policy version 6 is older than 7`.
pub(super) fn sentence(entry: &Entry) -> String {
    let mut text = format!("{} of {} {}", entry.action, entry.object, entry.outcome);
    if let Some(reason) = &entry.reason {
        let _ = write!(text, ": {reason}");
    }
    text
}

/// The program whose log it is; a product of Aegis.
pub(super) fn program(entry: &Entry) -> &str {
    Some(entry.actor.program.as_str()).filter(|name| !name.is_empty()).unwrap_or("aegis")
}

/// Whether the entry tells of an attack: an old bundle, or one that is not signed by a trusted key.
pub(super) fn is_detection(entry: &Entry) -> bool {
    entry.outcome == Outcome::Refused
        && matches!(entry.detail_str("refusal"), Some("rollback" | "bad_signature"))
}

/// Copies `text` with a backslash before each of `special` and before backslashes; other characters that would
/// break a line or steer a terminal become `\\u001b`, an escaped backslash and their code.
pub(super) fn escape(text: &str, special: &[char], out: &mut String) {
    for c in text.chars() {
        if c == '\\' || special.contains(&c) {
            out.push('\\');
            out.push(c);
        } else if is_dangerous(c) {
            let _ = write!(out, "\\\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}
