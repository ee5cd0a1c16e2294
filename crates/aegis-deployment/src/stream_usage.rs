//! What a stream of events still holds under each DEK version, so that nobody destroys a DEK that is needed.
//!
//! The stream is JSON lines: an event a line, the member `_dek_version` at any depth of it. A line that cannot be read
//! could hold anything, so it is counted, and the count as a whole is then not to be relied on.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead};

use aegis_keyring::DekVersion;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The longest line that is looked into, in bytes.
pub const MAX_LINE_LEN: u64 = 16 << 20;
/// The most different versions that are told apart.
pub const MAX_VERSIONS: usize = 100_000;
/// The most different names that are no versions, and the most characters of one.
const MAX_FOREIGN: usize = 100;
const MAX_NAME_LEN: usize = 64;

/// How often a version occurs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occurrences {
    /// Lines that have it at least once.
    pub events: u64,
    /// Members that name it.
    pub fields: u64,
}

/// What was found in one or several streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamUsage {
    /// By version.
    pub versions: BTreeMap<DekVersion, Occurrences>,
    /// Values of `_dek_version` that no version can have, cut to 64 characters, the first 100 of them.
    pub foreign: BTreeMap<String, Occurrences>,
    /// Lines that were read; blank ones do not count.
    pub events: u64,
    /// Lines that are no JSON, too deep or too long.
    pub unreadable: u64,
    /// The number of the first of those, counted from 1, in the stream that had it.
    pub first_unreadable: Option<u64>,
}

/// Why counting came to an end.
#[derive(Debug, thiserror::Error)]
pub enum StreamUsageError {
    /// The stream failed.
    #[error("cannot read line {line}")]
    Read {
        /// The line, counted from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// More than any keyring could rightly have.
    #[error("line {line} has DEK version number {}, and no more are told apart", MAX_VERSIONS + 1)]
    TooManyVersions {
        /// The line, counted from 1.
        line: u64,
    },
}

impl StreamUsageError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::TooManyVersions { .. } => Some("check that these are events of this deployment".to_owned()),
        }
    }
}

impl StreamUsage {
    /// Whether every line could be read.
    pub fn is_complete(&self) -> bool {
        self.unreadable == 0
    }

    /// Counts a stream. The memory that it takes does not grow with it. `progress` hears of bytes done.
    ///
    /// # Errors
    ///
    /// [`StreamUsageError`]; what was counted before stays counted.
    pub fn count(
        &mut self,
        stream: &mut dyn BufRead,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StreamUsageError> {
        let (mut buffer, mut number, mut done) = (Vec::new(), 0_u64, 0_u64);
        loop {
            number += 1;
            let failed = |source| StreamUsageError::Read { line: number, source };
            buffer.clear();
            let mut bounded = io::Read::take(&mut *stream, MAX_LINE_LEN);
            let read = bounded.read_until(b'\n', &mut buffer).map_err(failed)?;
            if read == 0 {
                return Ok(());
            }
            done = done.saturating_add(read as u64);
            if buffer.last() != Some(&b'\n') && read as u64 == MAX_LINE_LEN {
                done = done.saturating_add(skip_line(stream).map_err(failed)?);
                self.events += 1;
                self.note_unreadable(number);
            } else if !buffer.trim_ascii().is_empty() {
                self.events += 1;
                self.line(&buffer, number)?;
            }
            progress(done);
        }
    }

    fn line(&mut self, line: &[u8], number: u64) -> Result<(), StreamUsageError> {
        let mut found = Found::default();
        let mut json = serde_json::Deserializer::from_slice(line);
        let read =
            Walk { found: &mut found, is_version: false }.deserialize(&mut json).and_then(|()| json.end());
        // What was found before a fault counts too: it is there.
        let Found { versions, foreign } = found;
        for (version, fields) in versions {
            let room = self.versions.len() < MAX_VERSIONS;
            let count = match self.versions.entry(version) {
                std::collections::btree_map::Entry::Vacant(_) if !room => {
                    return Err(StreamUsageError::TooManyVersions { line: number });
                }
                entry => entry.or_default(),
            };
            *count = Occurrences { events: count.events + 1, fields: count.fields + fields };
        }
        for (name, fields) in foreign {
            let room = self.foreign.len() < MAX_FOREIGN;
            if room || self.foreign.contains_key(&name) {
                let count = self.foreign.entry(name).or_default();
                *count = Occurrences { events: count.events + 1, fields: count.fields + fields };
            }
        }
        if read.is_err() {
            self.note_unreadable(number);
        }
        Ok(())
    }

    fn note_unreadable(&mut self, number: u64) {
        self.unreadable += 1;
        self.first_unreadable.get_or_insert(number);
    }
}

/// Passes over the rest of a line without keeping it.
fn skip_line(stream: &mut dyn BufRead) -> io::Result<u64> {
    let mut skipped = 0_u64;
    loop {
        let piece = stream.fill_buf()?;
        let (used, ends) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (piece.len(), piece.is_empty()),
        };
        stream.consume(used);
        skipped = skipped.saturating_add(used as u64);
        if ends {
            return Ok(skipped);
        }
    }
}

/// What one line holds.
#[derive(Default)]
struct Found {
    versions: BTreeMap<DekVersion, u64>,
    foreign: BTreeMap<String, u64>,
}

impl Found {
    fn note(&mut self, value: &str) {
        match value.parse() {
            Ok(version) => *self.versions.entry(version).or_default() += 1,
            Err(_) => self.note_foreign(value),
        }
    }

    fn note_foreign(&mut self, value: &str) {
        if self.foreign.len() < MAX_FOREIGN {
            *self.foreign.entry(value.chars().take(MAX_NAME_LEN).collect()).or_default() += 1;
        }
    }
}

/// Goes through a JSON value and keeps nothing but versions.
struct Walk<'a> {
    found: &'a mut Found,
    /// Whether this is the value of a member `_dek_version`.
    is_version: bool,
}

impl Walk<'_> {
    fn scalar(self, text: impl FnOnce() -> String) {
        if self.is_version {
            self.found.note_foreign(&text());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(|| value.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(|| value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(|| value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(|| value.to_string());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar(|| "null".to_owned());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if self.is_version {
            self.found.note(value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.is_version {
            self.found.note_foreign("[…]");
        }
        while items.next_element_seed(Walk { found: self.found, is_version: false })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if self.is_version {
            self.found.note_foreign("{…}");
        }
        while let Some(is_version) = members.next_key_seed(IsVersion)? {
            members.next_value_seed(Walk { found: self.found, is_version })?;
        }
        Ok(())
    }
}

/// Whether a member's name is `_dek_version`.
struct IsVersion;

impl<'de> DeserializeSeed<'de> for IsVersion {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsVersion {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == "_dek_version")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn count(text: &str) -> StreamUsage {
        let mut usage = StreamUsage::default();
        usage.count(&mut text.as_bytes(), &mut |_| {}).unwrap();
        usage
    }

    #[test]
    fn counts_events_and_fields_at_any_depth() {
        let found = count(
            "{\"a\":{\"_dek_version\":\"dek-v1-20260101\"},\"b\":[{\"_dek_version\":\"dek-v1-20260101\"}]}\n\
             \n\
             {\"_aegis\":{\"_dek_version\":\"dek-v1-20260101-2\"},\"\\u005fdek_version\":\"dek-v1-20260101\"}\n\
             {\"plain\":\"dek-v1-20260101\"}",
        );
        let of = |version: &str| found.versions[&version.parse().unwrap()];
        assert_eq!(of("dek-v1-20260101"), Occurrences { events: 2, fields: 3 });
        assert_eq!(of("dek-v1-20260101-2"), Occurrences { events: 1, fields: 1 });
        assert_eq!((found.events, found.unreadable), (3, 0));
        assert!(found.is_complete() && found.foreign.is_empty());
    }

    #[test]
    fn names_what_is_no_version() {
        let found =
            count("{\"_dek_version\":\"v9\",\"x\":{\"_dek_version\":7},\"y\":{\"_dek_version\":null}}\n");
        assert_eq!(found.foreign.keys().collect::<Vec<_>>(), ["7", "null", "v9"]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_counted_and_what_it_shows_is_too() {
        let deep = "[".repeat(1000);
        let found = count(&format!("{{\"_dek_version\":\"dek-v1-20260101\",\"cut\nnonsense\n{deep}\n{{}}\n"));
        assert_eq!((found.events, found.unreadable, found.first_unreadable), (4, 3, Some(1)));
        assert_eq!(found.versions.len(), 1);
        assert!(!found.is_complete());
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut long = io::repeat(b'1').take(MAX_LINE_LEN * 2 + 5).chain(&b"\n{}\n"[..]);
        let mut usage = StreamUsage::default();
        usage.count(&mut io::BufReader::new(&mut long), &mut |_| {}).unwrap();
        assert_eq!((usage.events, usage.unreadable, usage.first_unreadable), (2, 1, Some(1)));
    }

    #[test]
    fn foreign_names_are_bounded() {
        let text: String =
            (0..1000).map(|n| format!("{{\"_dek_version\":\"{n}{}\"}}\n", "x".repeat(500))).collect();
        let found = count(&text);
        assert_eq!(found.foreign.len(), MAX_FOREIGN);
        assert!(found.foreign.keys().all(|name| name.chars().count() <= MAX_NAME_LEN));
    }
}
