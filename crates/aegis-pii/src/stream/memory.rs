//! Memory that is read into, again and again.

/// Bytes that were read, at the beginning of memory that need not be erased before the next read.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes: Vec<u8>,
    len: usize,
}

/// Memory that is used again, unless an unusual event has made it large.
const KEPT_LEN: usize = 2 << 20;

impl Memory {
    /// What was read.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes that it holds on to.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
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

    /// The same memory, or none if it is large.
    pub(super) fn worth_keeping(self) -> Self {
        if self.capacity() > KEPT_LEN { Self::default() } else { self }
    }
}

/// The same memory, or none if it is large.
pub(super) fn worth_keeping(memory: Vec<u8>) -> Vec<u8> {
    if memory.capacity() > KEPT_LEN { Vec::new() } else { memory }
}
