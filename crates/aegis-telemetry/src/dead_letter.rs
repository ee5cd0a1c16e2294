//! Events that reached no sink, kept for people: why, and the event itself sealed whole, never in the clear.
//!
//! A letter about an event that was not sealed holds it in one box for the DEK that was active then, purpose `field`,
//! bound to the letter's id, time, reason and DEK. A letter about an event that a sink refused holds the sealed event as it is.

mod file;
mod record;

pub use file::{DeadLetterFile, DeadLetterFileError};
pub use record::{DeadLetterRecord, OpenLetterError, RecordError};

use std::sync::Arc;
use std::time::Instant;

use aegis_crypto::{ALGORITHM, AssociatedData, Purpose, Sealer};
use aegis_pii::{DekName, SealingDek, SealingDekSource};
use bytes::Bytes;
use jiff::Timestamp;

use crate::enricher::Reason;
use crate::event::EventId;

/// Keeps dead letters.
pub trait DeadLetters: Send {
    /// Keeps one; on return it stays, also if this process is killed.
    ///
    /// # Errors
    ///
    /// A [`DeadLetterError`]. The event is counted as lost then, and its refusal stays in the log.
    fn keep(&mut self, letter: &DeadLetter) -> Result<(), DeadLetterError>;
}

/// Why a dead letter was not kept.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no room for it.
    #[error("the dead letters hold {bytes} bytes, and their limit is {limit}")]
    Full {
        /// What they hold.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file did not take it.
    #[error("the dead letter was not written")]
    File(#[source] std::io::Error),
    /// A handler of the program's own refused it.
    #[error("the handler refused it: {reason}")]
    Handler {
        /// What it said.
        reason: String,
    },
}

/// About an event that reached no sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event's name.
    pub id: EventId,
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The sink that refused it, or none if it was not sealed.
    pub sink: Option<String>,
    /// Where in the event, if there is a place.
    pub offset: Option<usize>,
    /// Bytes of the event.
    pub len: usize,
    /// The event.
    pub content: Content,
}

/// The event in a dead letter. None of these can be read without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In one box.
    Boxed {
        /// For this DEK.
        dek: DekName,
        /// Encapsulation, nonce, ciphertext and tag.
        sealed: Vec<u8>,
    },
    /// As it was to be delivered, its personal fields sealed.
    SealedEvent(Bytes),
    /// Not here: it was longer than an event may be, and was never held as a whole.
    Withheld,
}

/// Boxes whole events.
pub(crate) struct LetterSealer {
    source: Arc<dyn SealingDekSource>,
    sealing: Option<(Arc<SealingDek>, Sealer)>,
}

impl LetterSealer {
    pub(crate) fn new(source: Arc<dyn SealingDekSource>) -> Self {
        Self { source, sealing: None }
    }

    /// `None` if there is no DEK now, or the provider failed: to be tried again.
    pub(crate) fn seal(
        &mut self,
        id: EventId,
        at: Timestamp,
        reason: Reason,
        event: &[u8],
    ) -> Option<Content> {
        let dek = self.source.active().ok()?;
        if !self.sealing.as_ref().is_some_and(|(known, _)| *known == dek) {
            let sealer = Sealer::new(dek.public_key.clone(), Purpose::Field, Instant::now()).ok()?;
            self.sealing = Some((Arc::clone(&dek), sealer));
        }
        let (dek, sealer) = self.sealing.as_mut()?;
        let bound = binding(&id.to_string(), &at.to_string(), reason, &dek.name);
        let sealed = sealer.seal(Instant::now(), &bound, event).ok()?;
        Some(Content::Boxed { dek: dek.name.clone(), sealed })
    }
}

/// To what a boxed event is bound.
fn binding(id: &str, at: &str, reason: Reason, dek: &DekName) -> AssociatedData {
    AssociatedData::new([
        b"aegis/dead-letter/v1",
        id.as_bytes(),
        at.as_bytes(),
        reason.name().as_bytes(),
        dek.as_str().as_bytes(),
        ALGORITHM.as_bytes(),
    ])
}
