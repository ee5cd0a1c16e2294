//! Members of the outermost object that mean something to us: the header of compact fields, and the event's id.

use std::ops::Range;

use crate::envelope::HEADER_NAME;
use crate::json::{Frame, unescape};

/// Where the header is.
#[derive(Debug, Clone)]
pub(crate) struct HeaderPlace {
    /// Its name, from the quote on.
    pub(crate) key_start: usize,
    pub(crate) value: Range<usize>,
}

/// What was found of them in an event.
#[derive(Debug, Default)]
pub(crate) struct Outermost {
    event_id_member: Vec<u8>,
    headers: usize,
    header: Option<HeaderPlace>,
    ids: usize,
    id: Vec<u8>,
    id_is_scalar: bool,
}

/// The event has no id, two, or one that is no string or number, and is configured to have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventIdError {
    /// No member of that name.
    #[error("the event has no id to bind its fields to")]
    Missing,
    /// More than one: readers would disagree on which counts.
    #[error("the event has its id twice")]
    Twice,
    /// Not a string or number, or empty.
    #[error("the event's id is no string or number")]
    NotScalar,
}

impl Outermost {
    /// Looks for the event's id in this member; in none if it is empty.
    pub(crate) fn new(event_id_member: &str) -> Self {
        Self { event_id_member: event_id_member.as_bytes().to_vec(), ..Self::default() }
    }

    pub(crate) fn clear(&mut self) {
        (self.headers, self.header, self.ids) = (0, None, 0);
        self.id.clear();
    }

    /// Whether a member of the outermost object has to be marked.
    #[inline]
    pub(crate) fn wants(&self, name: &[u8]) -> bool {
        (name.first() == Some(&b'_') && name == HEADER_NAME)
            || (!self.event_id_member.is_empty() && name == self.event_id_member)
    }

    pub(crate) fn marked(&mut self, event: &[u8], frame: &Frame, start: usize, end: usize) {
        let raw = event.get(frame.key_start..frame.key_end).unwrap_or_default();
        let mut unescaped = Vec::new();
        let name = if frame.key_is_escaped {
            unescape(raw, &mut unescaped);
            unescaped.as_slice()
        } else {
            raw
        };
        if name == HEADER_NAME {
            self.headers += 1;
            self.header = Some(HeaderPlace { key_start: frame.key_start - 1, value: start..end });
        }
        if name == self.event_id_member {
            self.ids += 1;
            self.id.clear();
            let value = event.get(start..end).unwrap_or_default();
            self.id_is_scalar = match value {
                [b'"', text @ .., b'"'] => {
                    unescape(text, &mut self.id);
                    !text.is_empty()
                }
                [b'-' | b'0'..=b'9', ..] => {
                    self.id.extend_from_slice(value);
                    true
                }
                _ => false,
            };
        }
    }

    /// Whether there is a member called as the header is, whatever it holds.
    pub(crate) const fn has_header_member(&self) -> bool {
        self.headers > 0
    }

    /// The header's place, if there is one only.
    pub(crate) fn header(&self) -> Option<HeaderPlace> {
        self.header.clone().filter(|_| self.headers == 1)
    }

    /// The event's id, empty if none is configured.
    pub(crate) fn event_id(&self) -> Result<&[u8], EventIdError> {
        match self.ids {
            _ if self.event_id_member.is_empty() => Ok(&[]),
            0 => Err(EventIdError::Missing),
            1 if self.id_is_scalar => Ok(&self.id),
            1 => Err(EventIdError::NotScalar),
            _ => Err(EventIdError::Twice),
        }
    }
}
