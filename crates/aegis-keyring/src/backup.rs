//! A keyring in one encrypted file, and back. Layout: `docs/formats.md`.
//!
//! | module | what |
//! |---|---|
//! | `records` | the plaintext: lines, each with one spelling, in one order |
//! | `kek_box` | the file for a KEK: a header, then sealed boxes that are numbered, the last one marked |
//! | `age_box` | the file for an age recipient, as any age program reads it |
//! | `create`, `read` | the two directions; both hold one record in memory, however large the keyring |
//!
//! No private key is in the plaintext: DEKs are in it as they are in the store, wrapped. So a backup is read with the key
//! that it is for, and used with a KEK that its DEKs are wrapped under: one without the other is worth nothing.
//!
//! Anyone who knows the public key that a backup is for can make one. Whether a file is the one that was made here, its
//! SHA-256 says, which is in the audit log.

mod age_box;
mod create;
mod hashing;
mod kek_box;
mod read;
mod records;

use aegis_crypto::{Digest, KeyId};
use aegis_kek::Kek;
use jiff::Timestamp;

use crate::record::{DekRecord, DekState, NewWrapping};

pub use age_box::{AgeIdentities, AgeKeyError, AgeRecipient};
pub use create::BackupError;
pub use read::{ReadBackupError, verify_backup};
pub use records::{RecordFault, check_plaintext};

/// What a backup is encrypted for.
#[derive(Debug, Clone)]
pub enum BackupRecipient {
    /// An age recipient, `age1…`: read where no KEK is configured, and by age itself.
    Age(AgeRecipient),
    /// The active KEK.
    ActiveKek,
}

/// What opens a backup.
#[derive(Debug, Clone, Copy)]
pub enum BackupKey<'a> {
    /// Age identities, one of which is the recipient's.
    Age(&'a AgeIdentities),
    /// The KEK that was active when it was made.
    Kek(&'a Kek),
}

/// What a backup needs to be opened, as far as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupLock {
    /// An age identity. Whose, the file does not say.
    Age,
    /// This KEK.
    Kek(KeyId),
}

impl BackupLock {
    /// As many first bytes of a file as are looked at.
    pub const LOOK_LEN: usize = kek_box::HEADER_LEN;

    /// Looks at the first bytes of a file; `None` if it is no backup.
    pub fn of(first_bytes: &[u8]) -> Option<Self> {
        if first_bytes.starts_with(age_box::MAGIC) {
            return Some(Self::Age);
        }
        let header = first_bytes.first_chunk().and_then(kek_box::Header::parse)?;
        Some(Self::Kek(header.kek))
    }
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    /// When it was made.
    pub made_at: Timestamp,
    /// KEKs, retired ones too.
    pub keks: u64,
    /// DEKs, destroyed ones too.
    pub deks: u64,
    /// DEKs that are destroyed.
    pub destroyed: u64,
    /// Wrappings.
    pub wrappings: u64,
    /// DEKs that are not destroyed and have no wrapping under the active KEK: 0 in a sound keyring.
    pub unwrapped: u64,
    /// Wrappings that were opened with the KEK at hand.
    pub opened: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

/// What was written or read so far.
struct Counts {
    active_kek: KeyId,
    keks: u64,
    deks: u64,
    destroyed: u64,
    wrappings: u64,
    unwrapped: u64,
    opened: u64,
}

impl Counts {
    const fn new(keks: u64, active_kek: KeyId) -> Self {
        Self { active_kek, keks, deks: 0, destroyed: 0, wrappings: 0, unwrapped: 0, opened: 0 }
    }

    fn add(&mut self, dek: &DekRecord, wrappings: &[NewWrapping]) {
        self.deks = self.deks.saturating_add(1);
        self.wrappings = self.wrappings.saturating_add(wrappings.len() as u64);
        if dek.state == DekState::Destroyed {
            self.destroyed = self.destroyed.saturating_add(1);
        } else if !wrappings.iter().any(|wrapping| wrapping.kek == self.active_kek) {
            self.unwrapped = self.unwrapped.saturating_add(1);
        }
    }

    const fn summary(self, made_at: Timestamp, (bytes, sha256): (u64, Digest)) -> BackupSummary {
        let Self { active_kek: _, keks, deks, destroyed, wrappings, unwrapped, opened } = self;
        BackupSummary { made_at, keks, deks, destroyed, wrappings, unwrapped, opened, bytes, sha256 }
    }
}
