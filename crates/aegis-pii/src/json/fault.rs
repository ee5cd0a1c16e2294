//! Why an event is refused, and where.

/// Why an event is refused before any of it is looked at more closely. It says where, and nothing of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event is refused at byte {offset}: {fault}")]
pub struct ScanError {
    /// Bytes before the place.
    pub offset: usize,
    /// What is wrong there.
    pub fault: ScanFault,
}

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanFault {
    /// More bytes than the limit.
    #[error("it has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Bytes of the event.
        found: usize,
        /// [`Limits::max_event_len`](crate::Limits::max_event_len).
        limit: usize,
    },
    /// More levels than the limit.
    #[error("more than {limit} objects and arrays inside one another")]
    TooDeep {
        /// [`Limits::max_depth`](crate::Limits::max_depth).
        limit: usize,
    },
    /// More fields than the limit.
    #[error("more than {limit} fields to seal or open")]
    TooManyFields {
        /// [`Limits::max_fields`](crate::Limits::max_fields).
        limit: usize,
    },
    /// A field whose JSON Pointer is longer than 2,048 bytes. The offset is that of the event's end.
    #[error("a field stands at a place whose JSON Pointer has more than {limit} bytes")]
    PointerTooLong {
        /// The limit.
        limit: usize,
    },
    /// It ends in the middle.
    #[error("it ends before its JSON does")]
    UnexpectedEnd,
    /// A byte that JSON does not have there.
    #[error("this byte cannot stand here in JSON")]
    UnexpectedByte,
    /// A backslash and something that no escape begins with.
    #[error("no escape of JSON")]
    BadEscape,
    /// A byte below 0x20 inside a string.
    #[error("a control character in a string has to be escaped")]
    ControlCharacter,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// More after the value.
    #[error("something follows the value")]
    TrailingBytes,
}

impl ScanError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self.fault {
            ScanFault::TooLong { .. } | ScanFault::TooDeep { .. } | ScanFault::TooManyFields { .. } => {
                "split the event, or raise the limit".to_owned()
            }
            ScanFault::PointerTooLong { .. } => "shorten the names around the field".to_owned(),
            ScanFault::TrailingBytes => "give one event a call, or one a line".to_owned(),
            ScanFault::NotUtf8 => "have the producer write UTF-8".to_owned(),
            _ => format!("look at byte {} of the event at its producer", self.offset),
        })
    }
}
