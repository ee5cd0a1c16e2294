//! One line of a file of dead letters.

use aegis_pii::{Catalogue, DekName, Field, Inspector, Limits, Priority, Selector};
use aegis_telemetry::{DeadLetterRecord, RecordError};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The member of a stream's letter that holds the event.
pub(super) const EVENT: &str = "event_base64";
/// The most bytes of a stream's reasons, and of the name of its input.
const MAX_TEXT: usize = 16 << 10;

/// About an event that is in no output. What is in it can be shown to anybody: the event is sealed, or not there.
#[derive(Debug)]
pub struct Letter {
    /// When the event was given up. Letters of a stream do not say.
    pub at: Option<String>,
    /// Why, in a word or in sentences.
    pub because: Vec<String>,
    /// Bytes of the event.
    pub len: u64,
    /// Whose letter it is.
    pub origin: LetterOrigin,
    /// What it holds of the event.
    pub holds: Holds,
    pub(super) body: Body,
}

/// Whose letter it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterOrigin {
    /// A pipeline's.
    Pipeline {
        /// The event's name.
        id: String,
        /// The sink that refused it.
        sink: Option<String>,
        /// Where in the event.
        offset: Option<usize>,
    },
    /// That of a stream through `aegis pii`.
    Stream {
        /// The input.
        file: String,
        /// `line` or `element`.
        unit: &'static str,
        /// Its number, from 1.
        number: u64,
        /// Bytes before it in the input.
        offset: u64,
    },
}

/// What a letter holds of its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// The event as it came, sealed whole for a DEK.
    Boxed(DekName),
    /// The event as a sink was to have it, its personal fields sealed.
    SealedEvent,
    /// The SHA-256 of it.
    Digest(String),
    /// Nothing: it was longer than an event may be.
    Nothing,
}

/// What is opened.
#[derive(Debug)]
pub(super) enum Body {
    Record(DeadLetterRecord),
    /// A stream's letter as it stands.
    Line(Vec<u8>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamLine<'a> {
    file: String,
    line: Option<u64>,
    element: Option<u64>,
    offset: u64,
    length: u64,
    sha256: Option<String>,
    #[serde(borrow)]
    because: &'a RawValue,
    #[serde(borrow)]
    event_base64: Option<&'a RawValue>,
}

impl Letter {
    /// Reads a line of either kind.
    ///
    /// # Errors
    ///
    /// A [`RecordError`]. A letter whose event is in the clear is none.
    pub fn parse(line: &[u8]) -> Result<Self, RecordError> {
        match DeadLetterRecord::parse(line) {
            Ok(record) => Ok(Self::of_pipeline(record)),
            Err(RecordError::Malformed { column }) => match serde_json::from_slice(line) {
                Ok(read) => Self::of_stream(line, read),
                // The kind that it comes nearer to says where it went wrong.
                Err(error) => Err(RecordError::Malformed { column: column.max(error.column()) }),
            },
            Err(error) => Err(error),
        }
    }

    fn of_pipeline(record: DeadLetterRecord) -> Self {
        let holds = match (record.dek(), record.sealed_event()) {
            (Some(dek), _) => Holds::Boxed(dek.clone()),
            (None, Some(_)) => Holds::SealedEvent,
            (None, None) => Holds::Nothing,
        };
        Self {
            at: Some(record.at.clone()),
            because: vec![record.reason.name().to_owned()],
            len: record.len as u64,
            origin: LetterOrigin::Pipeline {
                id: record.id.clone(),
                sink: record.sink.clone(),
                offset: record.offset,
            },
            holds,
            body: Body::Record(record),
        }
    }

    fn of_stream(line: &[u8], read: StreamLine<'_>) -> Result<Self, RecordError> {
        let StreamLine { file, line: of_line, element, offset, length, sha256, because, event_base64 } = read;
        let wrong = |member| RecordError::Member { member };
        if file.len() > MAX_TEXT {
            return Err(wrong("file"));
        }
        // Looked at before it is taken apart: a list of a million nothings is as long as it is in memory many times over.
        let because: Vec<String> = Some(because.get())
            .filter(|text| text.len() <= MAX_TEXT)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(wrong("because"))?;
        let (unit, number) = match (of_line, element) {
            (Some(number), None) => ("line", number),
            (None, Some(number)) => ("element", number),
            _ => return Err(wrong("line")),
        };
        let holds = match (event_base64, sha256) {
            (Some(_), None) => Holds::Boxed(sealed_under(line).ok_or(wrong(EVENT))?),
            (None, Some(digest)) if is_digest(&digest) => Holds::Digest(digest),
            _ => return Err(wrong("sha256")),
        };
        let origin = LetterOrigin::Stream { file, unit, number, offset };
        Ok(Self { at: None, because, len: length, origin, holds, body: Body::Line(line.to_vec()) })
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The DEK of the sealed field that holds the event; `None` if it is in the clear, or something else is sealed.
fn sealed_under(line: &[u8]) -> Option<DekName> {
    let selector = Selector::Pointer(format!("/{EVENT}"));
    let field = Field { selector, description: String::new(), priority: Priority::Critical };
    let catalogue = Catalogue::new(vec![field]).ok()?;
    let inspection = Inspector::new(catalogue, Limits::for_decryption()).inspect(line).ok()?;
    match inspection.sealed.as_slice() {
        [field] if inspection.clear.is_empty() && inspection.malformed == 0 => Some(field.dek.clone()),
        _ => None,
    }
}
