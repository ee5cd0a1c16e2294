//! A `dict` as JSON text.

use std::io::Write as _;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use zeroize::Zeroizing;

use super::utf8::utf8;
use crate::failure::Raised;

/// Most objects and arrays inside one another, as for events that are texts.
pub(super) const MAX_DEPTH: usize = 1000;

/// Why an object is no event. It names types, and nothing of the content.
#[derive(Debug)]
pub(super) enum WriteError {
    /// A key of an object that is no string: JSON has no other.
    Key { found: String },
    /// An object that JSON cannot express.
    Type { found: String },
    /// NaN or an infinity.
    NotFinite,
    /// An integer of more digits than Python writes.
    Digits,
    /// More levels than the limit; perhaps an object that contains itself.
    TooDeep,
    /// More bytes than the limit.
    TooLong { limit: usize },
    /// Python said so.
    Python(PyErr),
}

impl WriteError {
    pub(super) fn into_exception(self, py: Python<'_>) -> PyErr {
        let (kind, message, help) = match self {
            Self::Python(error) => return error,
            Self::Key { found } => {
                ("Key", format!("an event has a key that is {found}, not str"), "make every key a str")
            }
            Self::Type { found } => (
                "Type",
                format!("an event holds an object of type {found}, which JSON cannot express"),
                "make it a str, int, float, bool, None, list or dict",
            ),
            Self::NotFinite => (
                "NotFinite",
                "an event holds a number that is not finite, which JSON cannot express".to_owned(),
                "leave it out, or write it as a str",
            ),
            Self::Digits => (
                "Digits",
                "an event holds an integer with more digits than Python writes".to_owned(),
                "write it as a str",
            ),
            Self::TooDeep => (
                "TooDeep",
                format!("more than {MAX_DEPTH} objects and arrays inside one another"),
                "split the event; or it contains itself",
            ),
            Self::TooLong { limit } => {
                ("TooLong", format!("the event has more than {limit} bytes"), "split the event")
            }
        };
        Raised::new("EventError", kind, message, help).into_exception(py)
    }
}

impl From<PyErr> for WriteError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Writes an event of at most `limit` bytes, or not many more.
pub(super) fn write(dict: &Bound<'_, PyDict>, limit: usize) -> Result<Zeroizing<Vec<u8>>, WriteError> {
    // Most events fit. One that grows leaves copies of itself behind: they are for the pages of this process alone.
    let mut writer = Writer::new(limit, 2048);
    writer.object(dict, 0)?;
    Ok(writer.out)
}

/// Writes values, one behind the other.
pub(super) struct Writer {
    out: Zeroizing<Vec<u8>>,
    limit: usize,
    /// Where a long text without escapes begins.
    plain_text: Option<usize>,
}

impl Writer {
    /// With room for so many bytes before it has to grow.
    pub(super) fn new(limit: usize, room: usize) -> Self {
        Self { out: Zeroizing::new(Vec::with_capacity(room)), limit, plain_text: None }
    }

    pub(super) fn into_text(self) -> Zeroizing<Vec<u8>> {
        self.out
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// Text that is JSON already.
    pub(super) fn plain(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn object(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Result<(), WriteError> {
        self.enter(depth)?;
        self.out.push(b'{');
        let mut is_first = true;
        for (key, value) in dict {
            if !std::mem::replace(&mut is_first, false) {
                self.out.push(b',');
            }
            let Ok(key) = key.cast::<PyString>() else {
                return Err(WriteError::Key { found: type_name(&key) });
            };
            self.string(key)?;
            self.out.push(b':');
            self.value(&value, depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array<'py>(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Result<(), WriteError> {
        self.enter(depth)?;
        self.out.push(b'[');
        for (number, item) in items.enumerate() {
            if number > 0 {
                self.out.push(b',');
            }
            self.value(&item, depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes a value with so many objects and arrays around it.
    pub(super) fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), WriteError> {
        if let Ok(text) = value.cast::<PyString>() {
            self.string(text)?;
        } else if value.is_none() {
            self.out.extend_from_slice(b"null");
        } else if let Ok(flag) = value.cast_exact::<PyBool>() {
            // Before integers, of which it is one.
            self.out.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.integer(number)?;
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.float(number.value())?;
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.object(dict, depth)?;
        } else if let Ok(list) = value.cast::<PyList>() {
            self.array(list.iter(), depth)?;
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.array(tuple.iter(), depth)?;
        } else {
            return Err(WriteError::Type { found: type_name(value) });
        }
        if self.out.len() > self.limit {
            return Err(WriteError::TooLong { limit: self.limit });
        }
        Ok(())
    }

    fn enter(&self, depth: usize) -> Result<(), WriteError> {
        if depth >= MAX_DEPTH { Err(WriteError::TooDeep) } else { Ok(()) }
    }

    fn integer(&mut self, number: &Bound<'_, PyInt>) -> Result<(), WriteError> {
        if let Ok(small) = number.extract::<i64>() {
            let _ = write!(self.out, "{small}");
            return Ok(());
        }
        // Of `int` itself: a subclass may print otherwise.
        let text = number.py().get_type::<PyInt>().call_method1("__repr__", (number,));
        let text = text.map_err(|_| WriteError::Digits)?;
        self.out.extend_from_slice(text.cast::<PyString>().map_err(PyErr::from)?.to_cow()?.as_bytes());
        Ok(())
    }

    /// The shortest text that reads back as the same number, and that shows it to be no integer.
    fn float(&mut self, number: f64) -> Result<(), WriteError> {
        if !number.is_finite() {
            return Err(WriteError::NotFinite);
        }
        let _ = write!(self.out, "{number:?}");
        Ok(())
    }

    pub(super) fn string(&mut self, text: &Bound<'_, PyString>) -> Result<(), WriteError> {
        self.out.push(b'"');
        match utf8(text) {
            Some(text) => self.characters(text),
            None => {
                // A surrogate without its partner. It has a form in UTF-8 that no reader takes; here, to be escaped.
                let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
                self.generalised(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes());
            }
        }
        self.out.push(b'"');
        Ok(())
    }

    /// Writes a text that may begin as an earlier one did. Boxes do, for 1,492 characters, which are then compared instead
    /// of searched for something to escape: that is three times as fast.
    pub(super) fn similar_string(&mut self, text: &Bound<'_, PyString>) -> Result<(), WriteError> {
        const LONG: usize = 1024;
        let Some((beginning, rest)) = utf8(text).and_then(|text| text.split_at_checked(LONG)) else {
            return self.string(text);
        };
        self.out.push(b'"');
        let known = self.plain_text.and_then(|start| self.out.get(start..start + LONG));
        if known == Some(beginning) {
            self.out.extend_from_slice(beginning);
        } else {
            let start = self.out.len();
            self.characters(beginning);
            self.plain_text = (self.out.len() == start + LONG).then_some(start);
        }
        self.characters(rest);
        self.out.push(b'"');
        Ok(())
    }

    /// Copies what needs no escape, in pieces as long as possible.
    fn characters(&mut self, text: &[u8]) {
        let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        // Most texts need no escape. Not stopping at the first one lets the processor look at many bytes at once.
        if !text.iter().fold(false, |found, byte| found | is_special(*byte)) {
            self.out.extend_from_slice(text);
            return;
        }
        let mut rest = text;
        while let Some(at) = rest.iter().position(|byte| is_special(*byte)) {
            let (plain, more) = rest.split_at(at);
            self.out.extend_from_slice(plain);
            let Some((byte, more)) = more.split_first() else { return };
            match byte {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                other => {
                    let _ = write!(self.out, "\\u{other:04x}");
                }
            }
            rest = more;
        }
        self.out.extend_from_slice(rest);
    }

    /// Text with surrogates in it: ED, A0 to BF, 80 to BF.
    fn generalised(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(at) = rest.windows(2).position(|pair| matches!(pair, [0xED, 0xA0..=0xBF])) {
            let (plain, more) = rest.split_at(at);
            self.characters(plain);
            let Some(([_, second, third], more)) = more.split_first_chunk::<3>() else { break };
            let unit = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
            let _ = write!(self.out, "\\u{unit:04x}");
            rest = more;
        }
        self.characters(rest);
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    let name = object.get_type().qualname();
    let name = name.ok().and_then(|name| Some(name.to_cow().ok()?.chars().take(64).collect()));
    name.unwrap_or_else(|| "unknown".to_owned())
}
