//! A dead letter as one line of JSON.

use aegis_crypto::{ALGORITHM, HybridPrivateKey, OpenError, Purpose, open};
use aegis_pii::DekName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{Content, DeadLetter, binding};
use crate::enricher::Reason;

#[derive(Serialize)]
struct Written<'a> {
    _dead_letter: u8,
    id: String,
    at: String,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<usize>,
    len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    _algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _dek_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _ciphertext: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
}

/// The line of a letter, with its line feed.
pub(super) fn line(letter: &DeadLetter) -> Result<Vec<u8>, serde_json::Error> {
    let DeadLetter { id, at, reason, sink, offset, len, content } = letter;
    let (boxed, event) = match content {
        Content::Boxed { dek, sealed } => (Some((dek, sealed)), None),
        // It is one JSON text; if it were not, it must not be lost for that.
        Content::SealedEvent(text) => (None, Some(serde_json::from_slice::<&RawValue>(text)?)),
        Content::Withheld => (None, None),
    };
    let mut line = serde_json::to_vec(&Written {
        _dead_letter: 1,
        id: id.to_string(),
        at: at.to_string(),
        reason: reason.name(),
        sink: sink.as_deref(),
        offset: *offset,
        len: *len,
        _algorithm: boxed.map(|_| ALGORITHM),
        _dek_version: boxed.map(|(dek, _)| dek.as_str()),
        _ciphertext: boxed.map(|(_, sealed)| STANDARD.encode(sealed)),
        event,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    _dead_letter: u8,
    id: String,
    at: String,
    reason: String,
    sink: Option<String>,
    offset: Option<usize>,
    len: usize,
    _algorithm: Option<String>,
    _dek_version: Option<String>,
    _ciphertext: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

/// A dead letter that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRecord {
    /// The event's name.
    pub id: String,
    /// When it was given up.
    pub at: String,
    /// Why.
    pub reason: Reason,
    /// The sink that refused it.
    pub sink: Option<String>,
    /// Where in the event.
    pub offset: Option<usize>,
    /// Bytes of the event.
    pub len: usize,
    boxed: Option<(DekName, Vec<u8>)>,
    event: Option<Vec<u8>>,
}

/// The most bytes of a time: nanoseconds and a zone.
const MAX_TIME: usize = 40;

/// The name of an event: 24 hex digits, `-`, a number.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(run, number)| {
        run.len() == 24
            && run.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && (1..=20).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_sink(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

impl DeadLetterRecord {
    /// The most bytes of a line: a boxed event of 4 MiB in base64 with room to spare, or a sealed one.
    pub const MAX_LINE: usize = 32 << 20;

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// A [`RecordError`].
    pub fn parse(line: &[u8]) -> Result<Self, RecordError> {
        if line.len() > Self::MAX_LINE {
            return Err(RecordError::TooLong { found: line.len(), limit: Self::MAX_LINE });
        }
        let read: Read<'_> = serde_json::from_slice(line)
            .map_err(|error| RecordError::Malformed { column: error.column() })?;
        let wrong = |member| RecordError::Member { member };
        if read._dead_letter != 1 {
            return Err(wrong("_dead_letter"));
        }
        let boxed = match (read._algorithm, read._dek_version, read._ciphertext) {
            (None, None, None) => None,
            (Some(algorithm), Some(dek), Some(sealed)) => {
                if algorithm != ALGORITHM {
                    return Err(wrong("_algorithm"));
                }
                let dek = dek.parse().map_err(|_| wrong("_dek_version"))?;
                Some((dek, STANDARD.decode(sealed).map_err(|_| wrong("_ciphertext"))?))
            }
            _ => return Err(wrong("_ciphertext")),
        };
        // Whoever prints them need not look at them again.
        if !is_id(&read.id) {
            return Err(wrong("id"));
        }
        if read.at.len() > MAX_TIME || read.at.parse::<Timestamp>().is_err() {
            return Err(wrong("at"));
        }
        if read.sink.as_deref().is_some_and(|sink| !is_sink(sink)) {
            return Err(wrong("sink"));
        }
        Ok(Self {
            id: read.id,
            at: read.at,
            reason: Reason::of_name(&read.reason).ok_or(wrong("reason"))?,
            sink: read.sink,
            offset: read.offset,
            len: read.len,
            boxed,
            event: read.event.map(|event| event.get().as_bytes().to_vec()),
        })
    }

    /// The DEK that opens it, if it holds a box.
    pub fn dek(&self) -> Option<&DekName> {
        self.boxed.as_ref().map(|(dek, _)| dek)
    }

    /// The sealed event, if a sink refused it.
    pub fn sealed_event(&self) -> Option<&[u8]> {
        self.event.as_deref()
    }

    /// The event as it was emitted. It is erased on drop.
    ///
    /// # Errors
    ///
    /// An [`OpenLetterError`].
    pub fn open(&self, key: &HybridPrivateKey) -> Result<Zeroizing<Vec<u8>>, OpenLetterError> {
        let (dek, sealed) = self.boxed.as_ref().ok_or(OpenLetterError::NoBox)?;
        open(key, Purpose::Field, &binding(&self.id, &self.at, self.reason, dek), sealed)
            .map_err(OpenLetterError::Open)
    }
}

/// Why a line is no dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than any.
    #[error("the line has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// No JSON object with these members.
    #[error("the line is no dead letter, at column {column}")]
    Malformed {
        /// Where.
        column: usize,
    },
    /// A member has a value that it cannot have.
    #[error("the dead letter's member {member:?} is missing or wrong")]
    Member {
        /// Which.
        member: &'static str,
    },
}

/// Why a dead letter does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenLetterError {
    /// There is no box in it: it holds a sealed event, or nothing.
    #[error("the dead letter holds no box")]
    NoBox,
    /// Another key, or a changed letter.
    #[error("the dead letter does not open")]
    Open(#[source] OpenError),
}
