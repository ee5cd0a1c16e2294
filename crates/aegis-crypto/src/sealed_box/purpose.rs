//! What a box is for.

/// What a box is for. Its keys depend on it: a box made for one purpose does not open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A field of an event, under a DEK.
    Field,
    /// The private half of a DEK, under a KEK.
    DekWrap,
    /// A backup of a keyring.
    Backup,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Field, Self::DekWrap, Self::Backup];

    /// The name from which the keys are derived. It never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::DekWrap => "dek-wrap",
            Self::Backup => "backup",
        }
    }
}
