//! How much of an event is looked at.

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
