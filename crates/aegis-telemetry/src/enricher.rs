//! What happens to an event on its way.

use aegis_pii::{EncryptError, Moment, PiiEncryptor, ScanFault};

/// Changes an event, or seals its personal fields. Each worker thread has its own.
pub trait Enricher: Send {
    /// Appends the event, changed, to `out`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; the event goes to no sink.
    fn enrich(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Enriched, Refusal>;

    /// What it does. The last enricher of a pipeline has to seal.
    fn effect(&self) -> Effect;

    /// Another one that does the same, for another thread.
    fn another(&self) -> Box<dyn Enricher>;
}

/// What an [`Enricher`] does to events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It adds, removes or changes something; personal fields may be in the clear afterwards.
    Changes,
    /// Every event that it returns is one JSON text (RFC 8259) with no personal field in the clear.
    Seals,
}

/// What was done to an event, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Enriched {
    /// Fields that were sealed now.
    pub fields: u64,
    /// Bytes of their values.
    pub field_bytes: u64,
    /// Sender contexts that were begun for it.
    pub contexts: u64,
}

/// Why an event was not enriched. It never holds anything of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This event cannot be sealed, now or later. It goes to the dead letters.
    #[error("{}{}", reason.text(), at(*offset))]
    Event {
        /// Why.
        reason: Reason,
        /// Where in the event, if there is a place.
        offset: Option<usize>,
    },
    /// Nothing can be sealed now, such as when the keyring does not answer. The event waits, and is tried again.
    #[error("{}", .reason.text())]
    Unavailable {
        /// Why.
        reason: Reason,
    },
}

/// Why an event was refused, as logs, metrics and dead letters have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is no JSON text.
    NotJson,
    /// A string in it is not UTF-8.
    NotUtf8,
    /// It is longer, deeper, or has more fields than the limits allow.
    OverLimit,
    /// It has no id to be bound to.
    NoEventId,
    /// There is no DEK to seal with.
    NoDek,
    /// The cryptography failed.
    SealFailed,
    /// The clock is out of range.
    Clock,
    /// An enricher of the program's own refused it.
    Enricher,
    /// A sink will not take it, however often it is asked.
    SinkRefused,
    /// A sink took some events of a batch, and did not say which.
    SinkTookSome,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::NotJson,
        Self::NotUtf8,
        Self::OverLimit,
        Self::NoEventId,
        Self::NoDek,
        Self::SealFailed,
        Self::Clock,
        Self::Enricher,
        Self::SinkRefused,
        Self::SinkTookSome,
    ];

    /// Its name in metrics and dead letters. It never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotUtf8 => "not_utf8",
            Self::OverLimit => "over_limit",
            Self::NoEventId => "no_event_id",
            Self::NoDek => "no_dek",
            Self::SealFailed => "seal_failed",
            Self::Clock => "clock",
            Self::Enricher => "enricher",
            Self::SinkRefused => "sink_refused",
            Self::SinkTookSome => "sink_took_some",
        }
    }

    /// The reason of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// A sentence for people.
    const fn text(self) -> &'static str {
        match self {
            Self::NotJson => "the event is no JSON text",
            Self::NotUtf8 => "a string in the event is not UTF-8",
            Self::OverLimit => "the event is over a limit",
            Self::NoEventId => "the event has no id to be bound to",
            Self::NoDek => "there is no DEK to seal with",
            Self::SealFailed => "the event was not sealed",
            Self::Clock => "the clock shows a time that no envelope can carry",
            Self::Enricher => "an enricher refused the event",
            Self::SinkRefused => "a sink refused the event",
            Self::SinkTookSome => "a sink took some events of a batch and did not say which",
        }
    }
}

fn at(offset: Option<usize>) -> String {
    offset.map(|offset| format!(", at byte {offset}")).unwrap_or_default()
}

/// `create_pii_enricher(public_key, "dek-v1-20260101")` gives one; `PiiEncryptor::new` one that follows a keyring.
impl Enricher for PiiEncryptor {
    fn enrich(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Enriched, Refusal> {
        let before = self.contexts_used();
        let done = self.encrypt_event(Moment::now(), event, out)?;
        Ok(Enriched {
            fields: done.sealed as u64,
            field_bytes: done.plaintext_bytes,
            contexts: self.contexts_used() - before,
        })
    }

    fn effect(&self) -> Effect {
        Effect::Seals
    }

    fn another(&self) -> Box<dyn Enricher> {
        Box::new(self.another())
    }
}

impl From<EncryptError> for Refusal {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::Event(error) => {
                let reason = match error.fault {
                    ScanFault::TooLong { .. }
                    | ScanFault::TooDeep { .. }
                    | ScanFault::TooManyFields { .. }
                    | ScanFault::PointerTooLong { .. } => Reason::OverLimit,
                    ScanFault::NotUtf8 => Reason::NotUtf8,
                    ScanFault::UnexpectedEnd
                    | ScanFault::UnexpectedByte
                    | ScanFault::BadEscape
                    | ScanFault::ControlCharacter
                    | ScanFault::TrailingBytes => Reason::NotJson,
                };
                Self::Event { reason, offset: Some(error.offset) }
            }
            EncryptError::EventId(_) => Self::Event { reason: Reason::NoEventId, offset: None },
            // A key, a generator or a clock that does not work is no fault of the event: it is not given up.
            EncryptError::Dek(_) => Self::Unavailable { reason: Reason::NoDek },
            EncryptError::Seal(_) => Self::Unavailable { reason: Reason::SealFailed },
            EncryptError::Clock(_) => Self::Unavailable { reason: Reason::Clock },
        }
    }
}
