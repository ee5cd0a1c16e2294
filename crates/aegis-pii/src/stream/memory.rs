//! Memory that is read into and written from, again and again.

/// Bytes that were read, in memory that need not be erased before the next read.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: Vec<u8>,
    /// Where they begin, and where they end.
    start: usize,
    end: usize,
}

/// The least that is kept.
const SMALL: usize = 4 << 10;
const PAGE: usize = 4 << 10;

/// What a chunk is read into, and what becomes of it is written to.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) bytes: Memory,
    pub(super) out: Vec<u8>,
}

impl Memory {
    /// What was read.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Forgets what was read. So many bytes that stand at `offset` of a file are read next, and leave at least `head` bytes
    /// before them to [`prepend`](Self::prepend).
    ///
    /// They come to lie half a page off from where they are in theirs. A processor takes a byte that it reads for one that
    /// it has just written if their addresses have the same last twelve bits, and waits. Sixteen bytes off, where the
    /// allocator would have them, a copy takes a third more time.
    pub(super) fn clear_behind(&mut self, head: usize, wanted: usize, offset: u64) {
        let most = head.saturating_add(PAGE).saturating_add(wanted);
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        let in_page = usize::try_from(offset % PAGE as u64).unwrap_or(0);
        let at = self.bytes.as_ptr().addr().wrapping_add(head);
        let start = head + (in_page + PAGE / 2).wrapping_sub(at) % PAGE;
        (self.start, self.end) = (start, start);
    }

    /// Forgets what stands from there on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }

    pub(super) fn append(&mut self, more: &[u8]) {
        if let Some(room) = self.room(more.len()).get_mut(..more.len()) {
            room.copy_from_slice(more);
            self.end += more.len();
        }
    }

    /// Puts bytes before those that were read. Unless there is room for them, these move.
    pub(super) fn prepend(&mut self, before: &[u8]) {
        if let Some(lacking) = before.len().checked_sub(self.start).filter(|lacking| *lacking > 0) {
            self.room(lacking);
            let to = self.start + lacking;
            self.bytes.copy_within(self.start..self.end, to);
            (self.start, self.end) = (to, self.end + lacking);
        }
        let start = self.start.saturating_sub(before.len());
        if let Some(room) = self.bytes.get_mut(start..self.start) {
            room.copy_from_slice(before);
            self.start = start;
        }
    }

    /// At least so many bytes to read into. What is in them has no meaning.
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let end = self.end.saturating_add(wanted);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(self.end..end).unwrap_or_default()
    }

    /// So many bytes of the room were read into.
    pub(super) fn grow(&mut self, read: usize) {
        self.end = self.end.saturating_add(read).min(self.bytes.len());
    }

    /// Bytes that were ever read into.
    pub(super) const fn used(&self) -> usize {
        self.bytes.len()
    }

    /// Gives back what is not needed for what was read, and says how much is left.
    pub(super) fn shrink(&mut self) -> usize {
        let len = self.end.max(SMALL);
        self.bytes.truncate(len);
        self.bytes.shrink_to(len);
        self.used()
    }
}

impl Buffers {
    /// Gives back almost all of it, and says how much is left.
    ///
    /// They become small and are not freed: of a large piece that becomes small, the C library returns the rest to the
    /// system at once (mremap(2)). What is freed it keeps, up to 64 MiB for each thread, and keeps more for the next
    /// piece that large.
    pub(super) fn shrink(&mut self) -> usize {
        self.bytes.clear();
        self.out.clear();
        self.bytes.shrink().saturating_add(shrink(&mut self.out))
    }
}

/// Gives back what is not needed for what was written, and says how much is left.
pub(super) fn shrink(out: &mut Vec<u8>) -> usize {
    out.shrink_to(SMALL);
    out.capacity()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_bytes_before_those_that_were_read_with_room_for_them_or_without() {
        for (head, before) in [(8, "abc"), (3, "abc"), (2, "abc"), (0, "abc"), (0, ""), (4, "")] {
            let mut memory = Memory::default();
            memory.append(b"what was there");
            memory.clear_behind(head, 4, 77);
            assert!((head..head + PAGE).contains(&memory.start));
            assert_eq!((memory.bytes.as_ptr().addr() + memory.start) % PAGE, PAGE / 2 + 77);
            memory.room(4)[..4].copy_from_slice(b"defg");
            memory.grow(4);
            memory.prepend(before.as_bytes());
            assert_eq!(memory.as_slice(), [before, "defg"].concat().as_bytes(), "{head}");
            memory.append(b"hi");
            memory.truncate(before.len() + 5);
            assert_eq!(memory.as_slice(), [before, "defgh"].concat().as_bytes(), "{head}");
            memory.shrink();
            assert_eq!(memory.len(), before.len() + 5);
        }
    }

    #[test]
    fn gives_back_what_was_read_into_before() {
        let mut memory = Memory::default();
        memory.append(&[1; 3 * SMALL]);
        memory.clear();
        assert_eq!(memory.shrink(), SMALL);
        memory.clear_behind(2 * SMALL, 1, 0);
        memory.append(b"x");
        memory.prepend(b"y");
        memory.shrink();
        assert_eq!(memory.as_slice(), b"yx");
    }
}
