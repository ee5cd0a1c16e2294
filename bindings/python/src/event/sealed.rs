//! Envelopes as `dict`: the fields of a stream differ in two members, so the rest is made once.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::reader::read_at;

/// Up to the ciphertext.
const CIPHERTEXT: &[u8] = b",\"_ciphertext\":\"";
/// Between the ciphertext and its digest.
const HASH: &[u8] = b"\",\"_plaintext_hash\":\"";

/// The envelope that was read last. One that is written as it was, but for ciphertext and digest, is a copy of its `dict`.
pub(crate) enum LastEnvelope {
    /// Nothing is kept: for readers of what was opened.
    Never,
    Kept(Option<Known>),
}

/// An envelope, and what stands around the ciphertext and around the digest in its text.
pub(crate) struct Known {
    envelope: Py<PyDict>,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl LastEnvelope {
    /// Reads the value that begins at a place, and says where it ends. `None` if it is no JSON.
    pub(super) fn read<'py>(
        &mut self,
        py: Python<'py>,
        text: &[u8],
        at: usize,
        depth: usize,
    ) -> Option<(Bound<'py, PyAny>, usize)> {
        if let Self::Kept(Some(known)) = self
            && let Some((envelope, len)) = known.read(py, text.get(at..)?)
        {
            return Some((envelope, at + len));
        }
        let (value, end) = read_at(py, text, at, depth).ok()?;
        if let (Self::Kept(kept), Ok(envelope)) = (self, value.cast_exact::<PyDict>()) {
            *kept = Known::of(envelope, text.get(at..end)?);
        }
        Some((value, end))
    }
}

impl Known {
    /// Learns from an envelope and its text. `None` if it is none, or is written in another order.
    ///
    /// The parts are found by quotes that are not escaped, so they are not in any string: what stands around the two
    /// texts says the same, whatever they are.
    fn of(envelope: &Bound<'_, PyDict>, text: &[u8]) -> Option<Self> {
        let start = memchr::memmem::find(text, CIPHERTEXT)? + CIPHERTEXT.len();
        let (before, rest) = text.split_at_checked(start)?;
        let (_, rest) = plain_text(rest)?;
        let (_, after) = plain_text(rest.strip_prefix(HASH)?)?;
        Some(Self {
            envelope: envelope.copy().ok()?.unbind(),
            before: before.to_vec(),
            after: after.to_vec(),
        })
    }

    /// The envelope with which a text begins, and how long it is; `None` if it differs in more than two members.
    fn read<'py>(&self, py: Python<'py>, text: &[u8]) -> Option<(Bound<'py, PyAny>, usize)> {
        let rest = text.strip_prefix(self.before.as_slice())?;
        let (ciphertext, rest) = plain_text(rest)?;
        let (hash, rest) = plain_text(rest.strip_prefix(HASH)?)?;
        let rest = rest.strip_prefix(self.after.as_slice())?;
        let envelope = self.envelope.bind(py).copy().ok()?;
        let ciphertext = PyString::from_bytes(py, ciphertext).ok()?;
        envelope.set_item(intern!(py, "_ciphertext"), ciphertext).ok()?;
        envelope.set_item(intern!(py, "_plaintext_hash"), PyString::from_bytes(py, hash).ok()?).ok()?;
        Some((envelope.into_any(), text.len() - rest.len()))
    }
}

/// What of a string's text is before its quote, and the rest from the quote on. `None` if anything in it is escaped.
fn plain_text(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', text)?;
    text.split_at_checked(end).filter(|(_, rest)| rest.first() == Some(&b'"'))
}
