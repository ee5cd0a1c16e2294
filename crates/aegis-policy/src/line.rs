//! Cuts a policy into lines that say something.

use memchr::{memchr, memchr2};

use crate::cost;

/// A line, trimmed, that is neither blank nor ordinary comment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Counted from 1.
    pub(crate) number: u32,
    /// White space before `text`, in bytes.
    pub(crate) indent: usize,
    /// The line without white space around it and without its LF. Not empty unless `raw` alone is of interest.
    pub(crate) text: &'a [u8],
    /// The whole line without its LF.
    pub(crate) raw: &'a [u8],
    /// Where in `text` a `#` follows white space, if it does.
    pub(crate) comment_at: Option<usize>,
}

impl Line<'_> {
    pub(crate) fn is_comment(&self) -> bool {
        self.text.first() == Some(&b'#')
    }
}

/// Walks the lines. Blank lines are passed over; comments are passed over unless asked for.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    position: usize,
    number: u32,
    every_line: bool,
}

impl<'a> Lines<'a> {
    /// Entries, section headers and header lines only.
    pub(crate) fn significant(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, number: 0, every_line: false }
    }

    /// Every line that is not empty, also comments and white space alone, from an offset on line 1.
    pub(crate) fn all(bytes: &'a [u8], from: usize) -> Self {
        Self { bytes, position: from, number: 0, every_line: true }
    }
}

impl<'a> Lines<'a> {
    /// Where the next line begins.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Walks over lines as long as `accept` gives the length of one that ends in LF, at most `most` and none
    /// that ends at or after offset `until`. Returns how many.
    #[inline]
    pub(crate) fn take_entries(
        &mut self,
        until: usize,
        most: usize,
        accept: impl Fn(&[u8]) -> Option<usize>,
    ) -> usize {
        // Some bytes more, so that the last entry before `until` can be read in words of up to sixteen.
        let window = self.bytes.get(..until.saturating_add(16)).unwrap_or(self.bytes);
        let mut rest = window.get(self.position..).unwrap_or_default();
        let mut taken = 0;
        while taken < most
            && let Some(len) = accept(rest)
            && self.position + len < until
            && let Some(after) = rest.get(len + 1..)
        {
            rest = after;
            self.position += len + 1;
            cost::looked_at(len + 1);
            taken += 1;
        }
        self.number = self.number.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        taken
    }
}

impl Lines<'_> {
    /// The next line, if it is one without white space around it, that is no comment and looks like no header: its number,
    /// where it begins and where it ends. `None` means that [`Iterator::next`] has to look at it.
    ///
    /// No entry where it is has fewer bytes than `shortest`, so a line feed right after as many is the first one.
    #[inline]
    pub(crate) fn next_plain(&mut self, shortest: Option<usize>) -> Option<(u32, usize, usize)> {
        let rest = self.bytes.get(self.position..)?;
        let first = *rest.first()?;
        if first <= b' ' || first == b'#' || first == b'[' {
            return None;
        }
        let len = match shortest {
            Some(len) if rest.get(len) == Some(&b'\n') => len,
            _ => line_len(rest)?,
        };
        if is_space(*rest.get(len.checked_sub(1)?)?) {
            return None;
        }
        cost::looked_at(len + 1);
        let from = self.position;
        self.position += len + 1;
        self.number = self.number.saturating_add(1);
        Some((self.number, from, from + len))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            let rest = self.bytes.get(self.position..)?;
            let first = *rest.first()?;
            self.number = self.number.saturating_add(1);
            if first == b'\n' {
                cost::looked_at(1);
                self.position += 1;
                continue;
            }
            // A comment can be long, and has no `#` to look for.
            let hash = if first == b'#' { Some(0) } else { None };
            let (len, hash) = match hash {
                Some(at) => (memchr(b'\n', rest).unwrap_or(rest.len()), Some(at)),
                None => match memchr2(b'\n', b'#', rest) {
                    Some(at) if rest.get(at) == Some(&b'#') => {
                        let tail = rest.get(at..).unwrap_or_default();
                        (at + memchr(b'\n', tail).unwrap_or(tail.len()), Some(at))
                    }
                    Some(at) => (at, None),
                    None => (rest.len(), None),
                },
            };
            self.position += len + 1;
            cost::looked_at(len + 1);
            if first == b'#' && !self.every_line {
                continue;
            }
            let raw = rest.get(..len).unwrap_or_default();
            let indented = if is_space(first) { trim_start(raw) } else { raw };
            let indent = raw.len() - indented.len();
            let text = match indented.last() {
                Some(last) if is_space(*last) => trim_end(indented),
                Some(_) | None => indented,
            };
            if !self.every_line && text.first().is_none_or(|first| *first == b'#') {
                continue;
            }
            let comment_at = hash.and_then(|at| comment_in(raw, at)).map(|at| at.saturating_sub(indent));
            return Some(Line { number: self.number, indent, text, raw, comment_at });
        }
    }
}

/// Finds the LF, eight bytes at a time: most paths are too short for a call to pay.
#[inline]
pub(crate) fn line_len(rest: &[u8]) -> Option<usize> {
    const LINE_FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let (words, _) = rest.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // Adding 0x7f to ASCII sets the top bit of each byte but those that are zero. Another byte, which
        // can only come after the last line that counts, may look like LF; so what was found is compared.
        let other = (u64::from_le_bytes(*word) ^ LINE_FEEDS).wrapping_add(LOW);
        let found = !other & !LOW;
        if found != 0 {
            let offset = usize::try_from(found.trailing_zeros() / 8).ok()?;
            let at = index * 8 + offset;
            return (*rest.get(at)? == b'\n').then_some(at);
        }
    }
    None
}

/// Where a `#` follows white space, at or after the first `#` of the line.
#[cold]
fn comment_in(raw: &[u8], first_hash: usize) -> Option<usize> {
    let before = first_hash.checked_sub(1)?;
    let tail = raw.get(before..)?;
    cost::looked_at(tail.len());
    let pair = tail.windows(2).position(|pair| matches!(pair, [b' ' | b'\t', b'#']))?;
    Some(before + pair + 1)
}

const fn is_space(byte: u8) -> bool {
    // CR is white space here so that the rest of a CR LF line is still read; it is refused all the same.
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn trim_end(text: &[u8]) -> &[u8] {
    cost::looked_at(text.len());
    let kept = text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    text.get(..kept).unwrap_or_default()
}

fn trim_start(text: &[u8]) -> &[u8] {
    cost::looked_at(text.len());
    let from = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}
