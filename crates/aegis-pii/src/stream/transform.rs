//! What is done to an event.

use std::error::Error;

use crate::{DecryptError, EncryptError, Moment, PiiDecryptor, PiiEncryptor};

/// Does something to events. Each thread has its own.
pub trait Transform: Send + 'static {
    /// Why an event is refused.
    type Error: Error + Send + 'static;

    /// Appends what becomes of `event`, with the white space around it, to `out`.
    ///
    /// # Errors
    ///
    /// The event is refused as a whole, and `out` is as it was.
    fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, Self::Error>;

    /// The same. `room` hears how many bytes are needed at most, what is appended among them, before there is memory for
    /// them; with several threads it waits until there may be.
    ///
    /// Whatever makes events longer has its own; this one says that an event becomes no longer.
    ///
    /// # Errors
    ///
    /// As [`transform`](Self::transform).
    fn transform_in(
        &mut self,
        event: &[u8],
        out: &mut Vec<u8>,
        room: &mut dyn FnMut(usize),
    ) -> Result<Counts, Self::Error> {
        room(event.len());
        self.transform(event, out)
    }

    /// Called before the events of a chunk, which have arrived together: for what need not be asked for each.
    fn begin_chunk(&mut self) {}

    /// Called after the events of a chunk, before what became of them is written: for what is better done once for many.
    fn end_chunk(&mut self) {}

    /// Called after an unusually large event: whatever was needed for it alone is to be given back.
    fn release_memory(&mut self) {}
}

/// What was done, of one event or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events that were transformed. Whoever transforms leaves it at 0.
    pub events: u64,
    /// Fields that were sealed.
    pub sealed: u64,
    /// Fields that were sealed before, and copied.
    pub already_sealed: u64,
    /// Fields that were opened.
    pub opened: u64,
    /// Fields that stay sealed because the reader may not have them.
    pub not_permitted: u64,
    /// Fields that stay sealed because they do not open.
    pub unopenable: u64,
    /// Objects that say they are encrypted and are no envelope.
    pub malformed: u64,
}

impl Counts {
    /// Adds what was done to others.
    pub fn add(&mut self, other: &Self) {
        let Self { events, sealed, already_sealed, opened, not_permitted, unopenable, malformed } = other;
        self.events += events;
        self.sealed += sealed;
        self.already_sealed += already_sealed;
        self.opened += opened;
        self.not_permitted += not_permitted;
        self.unopenable += unopenable;
        self.malformed += malformed;
    }
}

impl Transform for PiiEncryptor {
    type Error = EncryptError;

    fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, EncryptError> {
        self.encrypt_event(Moment::now(), event, out).map(|done| Counts::from(&done))
    }

    fn transform_in(
        &mut self,
        event: &[u8],
        out: &mut Vec<u8>,
        room: &mut dyn FnMut(usize),
    ) -> Result<Counts, EncryptError> {
        self.encrypt_event_in(Moment::now(), event, out, room).map(|done| Counts::from(&done))
    }

    fn release_memory(&mut self) {
        Self::release_memory(self);
    }
}

impl Transform for PiiDecryptor {
    type Error = DecryptError;

    fn transform(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Counts, DecryptError> {
        self.decrypt_event(event, out).map(|done| Counts::from(&done))
    }

    fn release_memory(&mut self) {
        Self::release_memory(self);
    }
}

impl From<&crate::Encrypted> for Counts {
    fn from(done: &crate::Encrypted) -> Self {
        let crate::Encrypted { sealed, already_sealed, plaintext_bytes: _, dek: _ } = done;
        Self { sealed: *sealed as u64, already_sealed: *already_sealed as u64, ..Self::default() }
    }
}

impl From<&crate::Decrypted> for Counts {
    fn from(done: &crate::Decrypted) -> Self {
        let crate::Decrypted { opened, not_permitted, unopenable, malformed } = done;
        Self {
            opened: *opened as u64,
            not_permitted: *not_permitted as u64,
            unopenable: *unopenable as u64,
            malformed: *malformed as u64,
            ..Self::default()
        }
    }
}
