//! The text of a policy in force, asked for by line.

use std::sync::Arc;

/// One line in so many is remembered by its place.
const EVERY: usize = 64;
/// The longest entry that is shown: a control group, a path and what is between.
const MAX_ENTRY: usize = 4096;

/// The text of a policy. Of its lines every sixty-fourth is known by its place, so that a policy of a million rules is
/// asked in an instant and costs an eighth of a byte a line more than its text.
#[derive(Debug, Clone)]
pub struct PolicyText {
    text: Arc<[u8]>,
    /// Where lines 1, 65, 129 … begin.
    places: Vec<usize>,
}

impl PolicyText {
    /// Remembers a text.
    pub fn new(text: impl Into<Arc<[u8]>>) -> Self {
        let text = text.into();
        let begins = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        let places = std::iter::once(0).chain(begins).step_by(EVERY).collect();
        Self { text, places }
    }

    /// The entry on a line, counted from 1. `None` for the header of a section, a comment, and what is not there.
    pub fn entry(&self, line: u32) -> Option<&str> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let place = *self.places.get(index / EVERY)?;
        let line = self.text.get(place..)?.split(|byte| *byte == b'\n').nth(index % EVERY)?;
        let text = std::str::from_utf8(line).ok()?.trim_matches([' ', '\t']);
        let is_entry = !text.is_empty()
            && text.len() <= MAX_ENTRY
            && !(text.starts_with('[') && text.ends_with(']'))
            && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
            && !text.starts_with('#');
        is_entry.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_line_and_shows_entries_only() {
        let mut text = String::from("version=1\n[deny_path]\n");
        for number in 3..1000 {
            text.push_str(&format!("/file/{number}\n"));
        }
        text.push_str("  /with space \t\n# comment\n[deny_ptrace]\n\n/bad\u{1b}\n/last");
        let policy = PolicyText::new(text.into_bytes());
        for number in 3..1000 {
            assert_eq!(policy.entry(number), Some(format!("/file/{number}").as_str()));
        }
        assert_eq!(policy.entry(1000), Some("/with space"));
        for nothing in [0, 2, 1001, 1002, 1003, 1004, 1006, 1_000_000, u32::MAX] {
            assert_eq!(policy.entry(nothing), None, "{nothing}");
        }
        assert_eq!(policy.entry(1005), Some("/last"));
        assert_eq!(PolicyText::new(Vec::new()).entry(1), None);
    }
}
