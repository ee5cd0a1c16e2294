//! One spelling for a policy: sections in a fixed order, entries sorted, no duplicates.
//!
//! Nothing is lost. Every section stays, also an empty one; every rule stays in its canonical spelling; every
//! comment stays with what it stands above:
//!
//! - comments before the version: at the top;
//! - comments above a section header or an entry, with or without blank lines between: with it;
//! - comments above a duplicate: with the entry that is kept, unless it has the same comment already;
//! - comments after the last entry: at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::Entry;
use crate::line::Lines;
use crate::policy::Policy;
use crate::section::Section;

/// A section as it will be written.
#[derive(Default)]
struct Body<'a> {
    comments: Vec<Vec<&'a str>>,
    entries: BTreeMap<Entry<'a>, Vec<Vec<&'a str>>>,
}

/// Writes a policy in its one normal form. Doing it twice changes nothing more.
pub fn normalise(policy: &Policy<'_>) -> Vec<u8> {
    let mut sections: BTreeMap<Section, Body<'_>> = BTreeMap::new();
    let mut top = Vec::new();
    let mut pending = Vec::new();
    let mut section = None;
    for line in Lines::all(policy.source(), 0) {
        let text = std::str::from_utf8(line.text).unwrap_or_default();
        if line.is_comment() {
            pending.push(text);
        } else if let Some(found) = header(text) {
            section = Some(found);
            keep(&mut sections.entry(found).or_default().comments, &mut pending);
        } else if text.is_empty() {
            // White space alone.
        } else if let Some(section) = section {
            // The policy was accepted, so every entry reads.
            if let Ok(entry) = Entry::read(section, text) {
                let body = sections.entry(section).or_default();
                keep(body.entries.entry(entry.into_canonical()).or_default(), &mut pending);
            }
        } else {
            keep(&mut top, &mut pending);
        }
    }
    write(policy.version(), &top, &sections, &pending)
}

fn header(text: &str) -> Option<Section> {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).and_then(Section::from_name)
}

/// Moves `pending` to what it stands above.
fn keep<'a>(blocks: &mut Vec<Vec<&'a str>>, pending: &mut Vec<&'a str>) {
    if !pending.is_empty() {
        blocks.push(std::mem::take(pending));
    }
}

/// The lines of comment blocks; a block that came twice, above two duplicates, comes once.
fn comment_lines<'b>(blocks: &'b [Vec<&'b str>]) -> impl Iterator<Item = &'b str> {
    let mut seen = BTreeSet::new();
    blocks.iter().filter(move |block| seen.insert(*block)).flatten().copied()
}

fn write(version: u8, top: &[Vec<&str>], sections: &BTreeMap<Section, Body<'_>>, end: &[&str]) -> Vec<u8> {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    comment_lines(top).for_each(&mut line);
    line(&format!("version={version}"));
    for (section, body) in sections {
        line("");
        comment_lines(&body.comments).for_each(&mut line);
        line(&format!("[{section}]"));
        for (entry, comments) in &body.entries {
            comment_lines(comments).for_each(&mut line);
            line(&entry.to_string());
        }
    }
    if !end.is_empty() {
        line("");
        end.iter().for_each(|comment| line(comment));
    }
    out.into_bytes()
}
