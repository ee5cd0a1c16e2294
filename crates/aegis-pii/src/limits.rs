//! How much of an event is looked at.

/// Gives back what a buffer has beyond what usual events need.
///
/// It becomes smaller and is not freed: what of a large piece is cut off goes to the system, and what is freed, the C library
/// may keep for this thread.
pub(crate) fn shrink(buffer: &mut Vec<u8>) {
    buffer.truncate(KEPT_LEN);
    buffer.shrink_to(KEPT_LEN);
}

/// See [`shrink`].
const KEPT_LEN: usize = 16 << 10;

/// What is refused for its size. Each is checked before anything is sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one event.
    pub max_event_len: usize,
    /// Most objects and arrays inside one another. An envelope counts as one.
    pub max_depth: usize,
    /// Most fields that are sealed, or were, in one event.
    pub max_fields: usize,
}

impl Limits {
    /// For events that are to be sealed: 4 MiB, 1,000 levels, 1,024 fields.
    pub const fn for_encryption() -> Self {
        Self { max_event_len: 4 << 20, max_depth: 1000, max_fields: 1024 }
    }

    /// For sealed events: 8 MiB, which is more than any event becomes that
    /// [`for_encryption`](Self::for_encryption) admits; else the same.
    pub const fn for_decryption() -> Self {
        Self { max_event_len: 8 << 20, ..Self::for_encryption() }
    }
}
