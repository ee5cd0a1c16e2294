//! Events as Python has them, and as JSON text.
//!
//! An event goes back in the form in which it came. `bytes` and `str` are JSON texts, and stay as they are but for the
//! fields that are sealed or opened. A `dict` is written as JSON, and what comes back is read: exactly, so that numbers
//! of any size and strings with lone surrogates survive. Of most, only an excerpt is written.

mod excerpt;
mod reader;
mod sealed;
mod utf8;
mod writer;

pub(crate) use excerpt::{Excerpt, Rules};
pub(crate) use reader::read;
pub(crate) use sealed::LastEnvelope;

use aegis_pii::Limits;
use pyo3::exceptions::{PyTypeError, PyUnicodeDecodeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString};
use zeroize::Zeroizing;

use crate::bytes::BytesLike;
use crate::failure::Raised;

/// In which form an event came, and is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bytes,
    Str,
    Dict,
}

impl Form {
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "bytes" => Some(Self::Bytes),
            "str" => Some(Self::Str),
            "dict" => Some(Self::Dict),
            _ => None,
        }
    }

    /// A JSON text in this form.
    pub(crate) fn give<'py>(self, py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Bytes => Ok(PyBytes::new(py, text).into_any()),
            Self::Str => match PyString::from_bytes(py, text) {
                Ok(text) => Ok(text.into_any()),
                Err(error) if error.is_instance_of::<PyUnicodeDecodeError>(py) => Err(not_utf8(py)),
                Err(error) => Err(error),
            },
            Self::Dict => read(py, text).map_err(|error| error.into_exception(py)),
        }
    }
}

/// An event as JSON text, borrowed where that is possible.
pub(crate) enum Text {
    Bytes(BytesLike),
    Str(PyBackedStr),
    /// What a `dict` holds, with its fields in the clear: erased.
    Written(Zeroizing<Vec<u8>>),
}

impl Text {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_slice(),
            Self::Str(text) => text.as_bytes(),
            Self::Written(text) => text,
        }
    }

    /// A copy that is the caller's.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Written(mut text) => std::mem::take(&mut *text),
            Self::Bytes(_) | Self::Str(_) => self.as_slice().to_vec(),
        }
    }
}

/// Takes an event of any form. `most` bounds what a `dict` may become; texts are judged by who reads them.
///
/// # Errors
///
/// An `EventError`, or a `TypeError` for what is no event at all.
pub(crate) fn take(event: &Bound<'_, PyAny>, most: usize) -> PyResult<(Form, Text)> {
    let py = event.py();
    if let Ok(dict) = event.cast::<PyDict>() {
        let text = writer::write(dict, most).map_err(|error| error.into_exception(py))?;
        return Ok((Form::Dict, Text::Written(text)));
    }
    if let Ok(text) = event.cast::<PyString>() {
        // A lone surrogate, which no encoder of UTF-8 takes.
        let text = PyBackedStr::try_from(text.clone()).map_err(|_| not_utf8(py))?;
        return Ok((Form::Str, Text::Str(text)));
    }
    let is_bytes = event.cast::<PyBytes>().is_ok()
        || event.cast::<PyByteArray>().is_ok()
        || event.cast::<PyMemoryView>().is_ok();
    if is_bytes {
        return Ok((Form::Bytes, Text::Bytes(event.extract()?)));
    }
    let found = event.get_type().name()?;
    Err(PyTypeError::new_err(format!("an event is a dict, a str or bytes, not {found}")))
}

/// A value as JSON, as it is written in events; erased, for it may be one of those that are sealed.
///
/// # Errors
///
/// An `EventError` for what JSON cannot express.
pub(crate) fn write_value(value: &Bound<'_, PyAny>) -> PyResult<Zeroizing<Vec<u8>>> {
    let limit = Limits::for_encryption().max_event_len;
    let mut writer = writer::Writer::new(limit, 256);
    writer.value(value, 0).map_err(|error| error.into_exception(value.py()))?;
    Ok(writer.into_text())
}

fn not_utf8(py: Python<'_>) -> PyErr {
    Raised::new("EventError", "NotUtf8", "the event is not UTF-8", "have the producer write UTF-8")
        .into_exception(py)
}
