//! Cutting bytes into lines, without ever holding a line that is too long.

/// A line, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// White space alone, which is no event.
    Blank,
    /// As it came.
    Whole(Vec<u8>),
    /// Longer than an event may be: so many bytes.
    TooLong(u64),
}

/// Lines out of blocks of any size.
#[derive(Debug)]
pub(super) struct Lines {
    max_len: usize,
    begun: Vec<u8>,
    /// Bytes of the line that was begun, also those that are not held.
    begun_len: u64,
}

impl Lines {
    pub(super) const fn new(max_len: usize) -> Self {
        Self { max_len, begun: Vec::new(), begun_len: 0 }
    }

    /// Takes the next line out of `block`, and what of `block` is behind it; `None` if no line ends in it, and all of it
    /// was taken in.
    pub(super) fn next<'b>(&mut self, block: &'b [u8]) -> Option<(Line, &'b [u8])> {
        let Some(end) = memchr::memchr(b'\n', block) else {
            self.take_in(block);
            return None;
        };
        let (line, rest) = block.split_at(end);
        self.take_in(line);
        Some((self.end(), rest.get(1..).unwrap_or_default()))
    }

    /// Bytes of the line that has no end yet.
    pub(super) const fn begun_len(&self) -> u64 {
        self.begun_len
    }

    /// The line that was begun, as it is.
    pub(super) fn end(&mut self) -> Line {
        let (line, len) = (std::mem::take(&mut self.begun), std::mem::take(&mut self.begun_len));
        if len > self.max_len as u64 {
            return Line::TooLong(len);
        }
        if line.trim_ascii().is_empty() { Line::Blank } else { Line::Whole(line) }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.begun_len += bytes.len() as u64;
        if self.begun_len > self.max_len as u64 {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8], block: usize) -> (Vec<Line>, u64) {
        let mut lines = Lines::new(5);
        let mut found = Vec::new();
        for mut block in text.chunks(block) {
            while let Some((line, rest)) = lines.next(block) {
                found.push(line);
                block = rest;
            }
        }
        (found, lines.begun_len())
    }

    #[test]
    fn lines_are_the_same_wherever_blocks_are_cut() {
        let text = b"12345\n\n \r\nabc\r\n123456\n1234567890\nx\nrest";
        let whole = |text: &[u8]| Line::Whole(text.to_vec());
        for block in 1..text.len() {
            let (found, begun) = cut(text, block);
            let wanted = [
                whole(b"12345"),
                Line::Blank,
                Line::Blank,
                whole(b"abc\r"),
                Line::TooLong(6),
                Line::TooLong(10),
                whole(b"x"),
            ];
            assert_eq!(found, wanted, "{block}");
            assert_eq!(begun, 4);
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_held() {
        let mut lines = Lines::new(1000);
        for _ in 0..1000 {
            assert_eq!(lines.next(&[b'x'; 4096]), None);
            assert!(lines.begun.capacity() <= 1000);
        }
        assert_eq!(lines.end(), Line::TooLong(4_096_000));
    }
}
