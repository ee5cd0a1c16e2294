//! The hand-over from one host key to the next: an entry of the log whose detail carries a statement signed by the
//! old key. Following them from the first to the last proves which keys may sign for this log, and for how long.

use aegis_crypto::{KeyId, PublicKey, Signature, SigningKey};

use crate::event::{Action, Entry, Event};

/// Begins the statement. No checkpoint does: its first line is an origin.
const DOMAIN: &str = "aegis audit host key hand-over v1";

/// Why an entry that claims to be a hand-over is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// A field of the detail is missing or not a key or signature.
    #[error("its {field} is missing or malformed")]
    Field {
        /// The name in `detail`.
        field: &'static str,
    },
    /// The old key did not sign this hand-over, at this place in this log.
    #[error("key {} did not sign it", old.fingerprint())]
    NotSigned {
        /// The key that was to sign.
        old: KeyId,
    },
    /// The log is named after another first key.
    #[error("its first host key is {}, but the log is named {origin}", found.fingerprint())]
    WrongOrigin {
        /// The key that signed first.
        found: KeyId,
        /// The name of the log, which ends in the fingerprint of its first key.
        origin: String,
    },
    /// It hands over from a key that was not the host key at that time.
    #[error("it hands over from key {}, but the host key was {}", found.fingerprint(), expected.fingerprint())]
    WrongKey {
        /// The key that it names.
        found: KeyId,
        /// The key that the hand-over before it ended in.
        expected: KeyId,
    },
}

impl HandOverError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Field { .. }
            | Self::NotSigned { .. }
            | Self::WrongOrigin { .. }
            | Self::WrongKey { .. } => {
                Some("compare host.pub with the copy you kept when the log was begun".to_owned())
            }
        }
    }
}

/// A hand-over whose signature holds. Only [`HandOver::read`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// The entry's number: the old key signs checkpoints up to this size, the new key greater ones.
    pub(crate) seq: u64,
    pub(crate) old: PublicKey,
    pub(crate) new: PublicKey,
}

impl HandOver {
    /// Adds the signed statement to `event`.
    pub(crate) fn write(event: Event, origin: &str, seq: u64, old: &SigningKey, new: &PublicKey) -> Event {
        let signature = old.sign(statement(origin, seq, old.public_key(), new).as_bytes());
        Event { action: Action::AuditHandOver, ..event }
            .detail("old_key_id", old.public_key().key_id().to_string())
            .detail("old_public_key", old.public_key().to_hex())
            .detail("new_key_id", new.key_id().to_string())
            .detail("new_public_key", new.to_hex())
            .detail("signature", signature.to_string())
    }

    /// Reads and checks an entry; `None` if it is another action.
    pub(crate) fn read(entry: &Entry, origin: &str) -> Option<Result<Self, HandOverError>> {
        (entry.action == Action::AuditHandOver).then(|| {
            let old = public_key(entry, "old_public_key")?;
            let new = public_key(entry, "new_public_key")?;
            for (field, key) in [("old_key_id", &old), ("new_key_id", &new)] {
                if entry.detail_str(field) != Some(key.key_id().to_string().as_str()) {
                    return Err(HandOverError::Field { field });
                }
            }
            let signature = entry
                .detail_str("signature")
                .and_then(|text| Signature::from_hex(text).ok())
                .ok_or(HandOverError::Field { field: "signature" })?;
            old.verify(statement(origin, entry.seq, &old, &new).as_bytes(), &signature)
                .map_err(|_| HandOverError::NotSigned { old: old.key_id() })?;
            Ok(Self { seq: entry.seq, old, new })
        })
    }
}

fn statement(origin: &str, seq: u64, old: &PublicKey, new: &PublicKey) -> String {
    format!("{DOMAIN}\n{origin}\n{seq}\n{}\n{}\n", old.to_hex(), new.to_hex())
}

fn public_key(entry: &Entry, field: &'static str) -> Result<PublicKey, HandOverError> {
    let mut raw = [0; 32];
    let text = entry.detail_str(field).ok_or(HandOverError::Field { field })?;
    hex::decode_to_slice(text, &mut raw).map_err(|_| HandOverError::Field { field })?;
    PublicKey::from_bytes(&raw).map_err(|_| HandOverError::Field { field })
}

/// The name of a log: it is fixed by its first host key, and stays when the key is handed over.
pub(crate) fn origin_of(first: &PublicKey) -> String {
    format!("aegisbpf/{}", first.key_id().fingerprint())
}

/// The host keys of a log in the order of their reign.
#[derive(Debug)]
pub(crate) struct Reigns {
    origin: String,
    hand_overs: Vec<HandOver>,
}

impl Reigns {
    pub(crate) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), hand_overs: Vec::new() }
    }

    /// Takes an entry in, which may be a hand-over.
    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), HandOverError> {
        let Some(next) = HandOver::read(entry, &self.origin).transpose()? else {
            return Ok(());
        };
        match self.hand_overs.last() {
            None => self.check_first(&next.old)?,
            Some(last) if last.new == next.old => {}
            Some(last) => {
                let (found, expected) = (next.old.key_id(), last.new.key_id());
                return Err(HandOverError::WrongKey { found, expected });
            }
        }
        self.hand_overs.push(next);
        Ok(())
    }

    /// Checks that the hand-overs end in the key `current`.
    pub(crate) fn check_last(&self, current: &PublicKey) -> Result<(), HandOverError> {
        match self.hand_overs.last() {
            None => self.check_first(current),
            Some(last) if last.new == *current => Ok(()),
            Some(last) => {
                let (found, expected) = (current.key_id(), last.new.key_id());
                Err(HandOverError::WrongKey { found, expected })
            }
        }
    }

    fn check_first(&self, first: &PublicKey) -> Result<(), HandOverError> {
        if origin_of(first) == self.origin {
            return Ok(());
        }
        Err(HandOverError::WrongOrigin { found: first.key_id(), origin: self.origin.clone() })
    }

    /// The key that may sign a checkpoint of `size`; `current` if there was no hand-over after it.
    pub(crate) fn key_at(&self, size: u64, current: &PublicKey) -> PublicKey {
        self.hand_overs.iter().find(|hand_over| size <= hand_over.seq).map_or(*current, |next| next.old)
    }

    /// The keys before the last one, the latest first.
    pub(crate) fn earlier(&self) -> Vec<PublicKey> {
        self.hand_overs.iter().rev().map(|hand_over| hand_over.old).collect()
    }
}
