//! One entry, one line, one spelling: what parses prints back as the same bytes.
//!
//! Compact JSON (RFC 8259), the fields of [`Entry`] in their order, absent ones as `null`. Control characters and
//! those that reorder text are always escaped, so that a line is safe to show on a terminal.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::bounds::LINE_LEN;
use crate::event::Entry;

/// Why a line is not an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Longer than any entry is.
    #[error("the line has {len} bytes, more than the {LINE_LEN} of the longest entry")]
    TooLong {
        /// Its length in bytes, or as many as were looked at.
        len: usize,
    },
    /// Not JSON, or a field is missing, unknown, repeated or out of range.
    #[error("the line is not an entry")]
    Malformed {
        /// What the parser says.
        source: serde_json::Error,
    },
    /// An entry, but not in the spelling that this program writes: somebody else wrote it.
    #[error("the line is an entry in another spelling than the one this log is written in")]
    NotCanonical,
}

impl EntryError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::TooLong { .. } | Self::Malformed { .. } | Self::NotCanonical => {
                Some("see what else is wrong with `aegisbpf audit verify`".to_owned())
            }
        }
    }
}

/// Reads one line of the log, without its newline. It believes nothing: length, syntax, fields and spelling are
/// checked.
///
/// # Errors
///
/// [`EntryError`] says which of them is wrong.
pub fn parse_entry(line: &[u8]) -> Result<Entry, EntryError> {
    if line.len() > LINE_LEN {
        return Err(EntryError::TooLong { len: line.len() });
    }
    let entry: Entry = serde_json::from_slice(line).map_err(|source| EntryError::Malformed { source })?;
    if print_entry(&entry) == line { Ok(entry) } else { Err(EntryError::NotCanonical) }
}

/// The entry as the line that is written and hashed, without a newline.
pub fn print_entry(entry: &Entry) -> Vec<u8> {
    json(entry)
}

/// The length of a value as this module writes it.
pub(crate) fn json_len(value: &impl Serialize) -> usize {
    json(value).len()
}

/// Any value as compact JSON that is safe to show.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, OneSafeLine))
        .expect("a vector takes every write, and each key of an entry is text");
    bytes
}

/// `serde_json`'s compact form, which escapes U+0000 to U+001F; this escapes the other dangerous characters too.
struct OneSafeLine;

impl Formatter for OneSafeLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| is_dangerous(*c)) {
            let (before, from) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            write!(out, "\\u{:04x}", u32::from(bad))?;
            rest = from.get(bad.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())
    }
}

/// Control characters, line separators and direction marks: U+009B starts a terminal sequence as ESC `[` does, and
/// U+202E shows a name backwards. All are below U+10000, so one `\u` escape spells each.
pub fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
