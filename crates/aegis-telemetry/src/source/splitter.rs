//! Lines out of blocks of bytes, none held that is longer than an event may be.

use memchr::memchr;

/// A line, or what is left of one that was too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line feed.
    Whole(Vec<u8>),
    /// So many bytes, which were not kept.
    TooLong(u64),
}

/// Splits a stream into lines.
#[derive(Debug)]
pub(super) struct Splitter {
    limit: usize,
    begun: Vec<u8>,
    /// Bytes of the line that were thrown away.
    skipped: u64,
}

impl Splitter {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, begun: Vec::new(), skipped: 0 }
    }

    /// Takes bytes up to and with the next line feed out of `block`. `None` if the line is not complete.
    pub(super) fn next(&mut self, block: &mut &[u8]) -> Option<Line> {
        let Some(end) = memchr(b'\n', block) else {
            self.add(block);
            *block = &[];
            return None;
        };
        let (line, rest) = block.split_at(end);
        self.add(line);
        *block = rest.get(1..).unwrap_or_default();
        Some(self.take())
    }

    /// Bytes that were taken since the last line.
    pub(super) fn begun_len(&self) -> u64 {
        self.begun.len() as u64 + self.skipped
    }

    /// What is left without a line feed.
    pub(super) fn end(&mut self) -> Option<Line> {
        (self.begun_len() > 0).then(|| self.take())
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.skipped > 0 || self.begun.len() + bytes.len() > self.limit {
            self.skipped += self.begun.len() as u64 + bytes.len() as u64;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn take(&mut self) -> Line {
        match std::mem::take(&mut self.skipped) {
            0 => Line::Whole(std::mem::take(&mut self.begun)),
            skipped => Line::TooLong(skipped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(blocks: &[&str], limit: usize) -> Vec<Line> {
        let mut splitter = Splitter::new(limit);
        let mut lines = Vec::new();
        for block in blocks {
            let mut rest = block.as_bytes();
            while let Some(line) = splitter.next(&mut rest) {
                lines.push(line);
            }
        }
        lines.extend(splitter.end());
        lines
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = "one\n\ntwo\r\nthree";
        let expected = ["one", "", "two\r", "three"].map(whole);
        assert_eq!(split(&[text], 10), expected);
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(split(&bytes.iter().map(String::as_str).collect::<Vec<_>>(), 10), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_not_kept() {
        let long = "x".repeat(1000);
        let mut splitter = Splitter::new(10);
        for _ in 0..1000 {
            assert_eq!(splitter.next(&mut long.as_bytes()), None);
            assert!(splitter.begun.capacity() <= 10);
        }
        assert_eq!(splitter.next(&mut &b"end\nnext"[..]), Some(Line::TooLong(1_000_003)));
        assert_eq!(
            split(&["0123456789\n0123456789a\nb"], 10),
            [whole("0123456789"), Line::TooLong(11), whole("b")]
        );
    }
}
