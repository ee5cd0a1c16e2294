//! A policy that was accepted.

use std::fmt;

use crate::entry::Entry;
use crate::line::Lines;
use crate::parse::fast;
use crate::section::Section;

/// A policy that [`parse`](crate::parse) accepted. Only it makes one.
///
/// It keeps no copy of its rules: they are read from the source each time they are walked, which costs
/// less than storing them. A million rules take as much memory as none.
#[derive(Debug, Clone)]
pub struct Policy<'a> {
    pub(crate) source: &'a [u8],
    pub(crate) version: u8,
    pub(crate) counts: [u32; Section::COUNT],
    /// The line of the first header of each section; 0 for a section that is not there.
    pub(crate) first_lines: [u32; Section::COUNT],
}

/// One entry of a list section, as it is spelled in the source.
///
/// Only [`Policy::rules`] makes one, so its text is known to be an entry of its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule<'a> {
    /// The section that it is in.
    pub section: Section,
    /// Its line, counted from 1.
    pub line: u32,
    /// The column where it begins, counted from 1 in bytes.
    pub column: u32,
    /// The entry without white space around it. Printable ASCII.
    pub text: &'a str,
}

impl<'a> Policy<'a> {
    /// The header's version, 1 to 6.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The bytes that were parsed: UTF-8, and ASCII outside comments.
    pub fn source(&self) -> &'a [u8] {
        self.source
    }

    /// How many entries there are in all list sections, duplicates included.
    pub fn rule_count(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// How many entries `section` has. For a flag: 1 if it is set, else 0.
    pub fn count(&self, section: Section) -> usize {
        if section.is_flag() {
            return usize::from(self.has(section));
        }
        self.counts.get(section.index()).map_or(0, |count| *count as usize)
    }

    /// True if the header of `section` is there, with or without entries.
    pub fn has(&self, section: Section) -> bool {
        self.first_line(section).is_some()
    }

    /// The line of the first header of `section`.
    pub fn first_line(&self, section: Section) -> Option<u32> {
        self.first_lines.get(section.index()).copied().filter(|line| *line > 0)
    }

    /// The sections that are there, flags included, each once.
    pub fn sections(&self) -> impl Iterator<Item = Section> + '_ {
        Section::ALL.into_iter().filter(|section| self.has(*section))
    }

    /// The entries in the order of the source. Flags have none.
    pub fn rules(&self) -> Rules<'a> {
        // Never fails: the policy was accepted.
        let text = std::str::from_utf8(self.source).unwrap_or_default();
        Rules { text, lines: Lines::significant(self.source), section: None }
    }
}

impl<'a> Rule<'a> {
    /// The entry, read, in its canonical form.
    pub fn entry(&self) -> Entry<'a> {
        if let Some(entry) = fast::entry(self.section, self.text) {
            return entry;
        }
        let entry = Entry::read(self.section, self.text);
        // Rules come from a policy that was accepted by the same function.
        entry.map(Entry::into_canonical).unwrap_or(Entry::Comm(self.text))
    }

    /// The entry as text in its canonical form.
    pub fn canonical(&self) -> String {
        self.entry().to_string()
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.section, self.text)
    }
}

/// The rules of a policy in the order of its source. See [`Policy::rules`].
#[derive(Debug, Clone)]
pub struct Rules<'a> {
    /// The whole source.
    text: &'a str,
    lines: Lines<'a>,
    section: Option<Section>,
}

impl<'a> Iterator for Rules<'a> {
    type Item = Rule<'a>;

    fn next(&mut self) -> Option<Rule<'a>> {
        loop {
            if let Some(section) = self.section
                && let Some((line, from, to)) = self.lines.next_plain(fast::length(section))
            {
                return Some(Rule { section, line, column: 1, text: self.text.get(from..to)? });
            }
            let line = self.lines.next()?;
            // Never fails: the policy was accepted.
            let text = std::str::from_utf8(line.text).ok()?;
            if let Some(header) = text.strip_prefix('[')
                && let Some(name) = header.strip_suffix(']')
            {
                self.section = Section::from_name(name);
                continue;
            }
            // Before the first section there is the version.
            if let Some(section) = self.section {
                let column = u32::try_from(line.indent + 1).unwrap_or(u32::MAX);
                return Some(Rule { section, line: line.number, column, text });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::parse::{Limits, parse};

    #[test]
    fn rules_are_found_between_whatever_else_a_policy_has() {
        let source = "# first\nversion=6\n\n[deny_ip]\n10.0.0.1\n  10.0.0.2\t\n# 10.0.0.9\n\n10.0.0.3 \n::1\n \n\
            [deny_path]\n/a\n# \u{e4}\u{f6}\n/b c\n[deny_ptrace]\n[deny_inode]\n# last\n[deny_ip_port]\n[::1]:1\n10.0.0.1:2\n[allow_binary_hash]\n\
            sha256:HASH\n# sha256:HASH of \u{e4} and many others\nsha256:HASH \n\nsha256:HASH\n[deny_bpf]\n";
        let hash = "0aBc".repeat(16);
        let source = source.replace("HASH", &hash);
        let entry = format!("sha256:{hash}");
        let policy = parse(source.as_bytes(), &Limits::default()).unwrap();
        let found: Vec<_> =
            policy.rules().map(|rule| (rule.section.name(), rule.line, rule.column, rule.text)).collect();
        assert_eq!(
            found,
            [
                ("deny_ip", 5, 1, "10.0.0.1"),
                ("deny_ip", 6, 3, "10.0.0.2"),
                ("deny_ip", 9, 1, "10.0.0.3"),
                ("deny_ip", 10, 1, "::1"),
                ("deny_path", 13, 1, "/a"),
                ("deny_path", 15, 1, "/b c"),
                ("deny_ip_port", 20, 1, "[::1]:1"),
                ("deny_ip_port", 21, 1, "10.0.0.1:2"),
                ("allow_binary_hash", 23, 1, &entry),
                ("allow_binary_hash", 25, 1, &entry),
                ("allow_binary_hash", 27, 1, &entry),
            ]
        );
        assert_eq!(policy.rule_count(), found.len());
    }
}
