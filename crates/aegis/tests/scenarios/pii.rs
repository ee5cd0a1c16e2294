//! `aegis pii`: what goes in comes out, sealed; what is sealed comes back to the byte; and what goes wrong, goes wrong
//! without a word of plaintext.
//!
//! | module | what it shows |
//! |---|---|
//! | [`round_trip`] | every form, order, framing and compression, there and back |
//! | [`streams`] | what may stand in a stream, and what is refused in it |
//! | [`keys`] | who can read what: rights, KEKs, retired and destroyed DEKs; rotation in the middle |
//! | [`attacks`] | hostile events, and sealed events that somebody changed |
//! | [`faults`] | killed, full, cut off, left by its reader |
//! | [`filter`] | the program between two pipes |

mod attacks;
mod faults;
pub(crate) mod filter;
mod keys;
mod round_trip;
mod streams;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use filter::{Filtered, filter};

use crate::machine::Machine;

/// The sample events that everybody gets.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/events/governance.jsonl")
}

fn sample_text() -> Vec<u8> {
    std::fs::read(samples()).unwrap()
}

const FIELDS: [&str; 12] = [
    "actor_assignments",
    "override_justification",
    "risk_lead_signature",
    "security_lead_signature",
    "decision_actor",
    "decision_rationale",
    "workflow_id",
    "author_id",
    "actor_id",
    "combined_hash",
    "requested_by",
    "signer_id",
];

/// Encrypts, and expects that it succeeds.
#[track_caller]
fn encrypt(machine: &Machine, options: &[&str], input: &[u8]) -> Vec<u8> {
    filter(machine, &[&["pii", "encrypt"], options].concat(), input).done()
}

/// Decrypts, and expects that it succeeds. Forged envelopes in the data may be remarked upon.
#[track_caller]
fn decrypt(machine: &Machine, options: &[&str], input: &[u8]) -> Vec<u8> {
    let Filtered { code, stdout, stderr } = filter(machine, &[&["pii", "decrypt"], options].concat(), input);
    let is_quiet = stderr.lines().all(|line| line.starts_with("warning: ") && line.contains("no envelope"));
    assert!(code == Some(0) && is_quiet, "{stderr}");
    stdout
}

#[track_caller]
fn same(left: &[u8], right: &[u8], what: &str) {
    if left != right {
        let at = left.iter().zip(right).take_while(|(left, right)| left == right).count();
        let part = |bytes: &[u8]| {
            let end = bytes.len().min(at + 60);
            String::from_utf8_lossy(&bytes[at.saturating_sub(60).min(end)..end]).into_owned()
        };
        panic!("{what}: differs at byte {at}:\n{}\n{}", part(left), part(right));
    }
}

/// Every string, number and key of at least four characters inside the personal values of an event.
fn personal_texts(value: &Value, is_personal: bool, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is_field = FIELDS.contains(&name.as_str());
                if is_personal && !is_field {
                    // Inside of other names it says nothing.
                    keep(name, found, "\"");
                }
                personal_texts(value, is_personal || is_field, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|value| personal_texts(value, is_personal, found)),
        Value::String(text) if is_personal => keep(text, found, ""),
        Value::Number(number) if is_personal => keep(&number.to_string(), found, ""),
        _ => {}
    }
}

fn keep(text: &str, found: &mut Vec<String>, quote: &str) {
    if text.chars().count() >= 4 {
        // As it stands in JSON.
        let quoted = serde_json::to_string(text).unwrap();
        found.push(format!("{quote}{}{quote}", quoted.trim_matches('"')));
    }
}

/// No personal text of `events` is in `output`.
#[track_caller]
fn nothing_personal(events: &[u8], output: &[u8], what: &str) {
    let mut texts = Vec::new();
    for line in events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Ok(event) = serde_json::from_slice(line) {
            personal_texts(&event, false, &mut texts);
        }
    }
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 10, "{what}: there is nothing to look for");
    // What stands in the clear elsewhere, on purpose or by chance, says nothing.
    let mut clear = String::new();
    for line in events.split(|byte| *byte == b'\n') {
        if let Ok(event) = serde_json::from_slice(line) {
            let _ = write!(clear, "{}", without_personal(event));
        }
    }
    for text in texts {
        let is_there = memchr_find(output, text.as_bytes());
        assert!(!is_there || clear.contains(&text), "{what}: {text:?} is in the output");
    }
}

fn without_personal(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(name, _)| !FIELDS.contains(&name.as_str()))
                .map(|(name, value)| (name, without_personal(value)))
                .collect(),
        ),
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_personal).collect()),
        value => value,
    }
}

fn memchr_find(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window[0] == wanted[0] && window == wanted)
}

/// How many fields are sealed under each DEK, as `inspect` says.
fn sealed_by_dek(machine: &Machine, events: &[u8]) -> BTreeMap<String, u64> {
    let Filtered { stdout, .. } = filter(machine, &["pii", "inspect", "--json"], events);
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    serde_json::from_value(report["sealed_by_dek"].clone()).unwrap()
}

/// Events of many shapes. The same numbers give the same events.
fn generated(count: u64) -> Vec<u8> {
    let mut events = Vec::new();
    let mut numbers = Numbers(count.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for number in 0..count {
        let mut event = String::new();
        let _ = write!(event, "{{\"event_id\":\"evt-{number:08}\"");
        for field in FIELDS {
            if numbers.below(3) == 0 {
                let name = match numbers.below(8) {
                    // Spelt otherwise, and the same name.
                    0 => field.replacen('_', "\\u005f", 1),
                    _ => field.to_owned(),
                };
                let space = [" ", "", "", "\t"][numbers.index(4)];
                let _ = write!(event, ",{space}\"{name}\"{space}:{space}");
                numbers.value(&mut event, 0);
            }
            if numbers.below(2) == 0 {
                let _ = write!(event, ",\"other_{}\":", numbers.below(9));
                numbers.value(&mut event, 0);
            }
        }
        event.push('}');
        match numbers.below(50) {
            0 => event.push_str("\r\n\n"),
            1 => event.push_str("  \n"),
            _ => event.push('\n'),
        }
        events.extend_from_slice(event.as_bytes());
    }
    events
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn index(&mut self, end: u64) -> usize {
        usize::try_from(self.below(end)).unwrap()
    }

    /// A JSON value, spelt in ways that a parser would not keep.
    fn value(&mut self, event: &mut String, depth: u32) {
        match self.below(if depth > 2 { 8 } else { 11 }) {
            0 => event.push_str("null"),
            1 => event.push_str(["true", "false"][self.index(2)]),
            2 => event
                .push_str(["0.10", "-0", "1e400", "1E+2", "12345678901234567890", "0.5e-3"][self.index(6)]),
            3 => event.push_str(["\"\"", "\"\\ud800\"", "\"\\u00e9\\/\"", "\"\\\"}],\""][self.index(4)]),
            4..=7 => {
                let _ = write!(event, "\"person-{:016x}@example.org\"", self.below(u64::MAX));
            }
            8 => {
                event.push('[');
                for n in 0..self.below(4) {
                    event.push_str(if n == 0 { "" } else { " ,\t" });
                    self.value(event, depth + 1);
                }
                event.push(']');
            }
            _ => {
                event.push('{');
                for n in 0..self.below(4) {
                    event.push_str(if n == 0 { "" } else { "," });
                    let name = match self.below(3) {
                        0 => FIELDS[self.index(12)],
                        // Twice, now and then.
                        _ => ["k", "name", "_encrypted"][self.index(3)],
                    };
                    let _ = write!(event, "\"{name}\":");
                    self.value(event, depth + 1);
                }
                event.push('}');
            }
        }
    }
}
