//! Memory that is read into and written from, again and again.

/// Bytes that were read, at the beginning of memory that need not be erased before the next read.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: Vec<u8>,
    len: usize,
}

/// The least that is kept.
const SMALL: usize = 4 << 10;

/// What a chunk is read into, and what becomes of it is written to.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) bytes: Memory,
    pub(super) out: Vec<u8>,
}

impl Memory {
    /// What was read.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets what stands from there on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn append(&mut self, more: &[u8]) {
        if let Some(room) = self.room(more.len()).get_mut(..more.len()) {
            room.copy_from_slice(more);
            self.len += more.len();
        }
    }

    /// At least so many bytes to read into. What is in them has no meaning.
    pub(super) fn room(&mut self, wanted: usize) -> &mut [u8] {
        let end = self.len.saturating_add(wanted);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(self.len..end).unwrap_or_default()
    }

    /// So many bytes of the room were read into.
    pub(super) fn grow(&mut self, read: usize) {
        self.len = self.len.saturating_add(read).min(self.bytes.len());
    }

    /// Bytes that were ever read into.
    pub(super) const fn used(&self) -> usize {
        self.bytes.len()
    }

    /// Gives back what is not needed for what was read, and says how much is left.
    pub(super) fn shrink(&mut self) -> usize {
        let len = self.len.max(SMALL);
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
