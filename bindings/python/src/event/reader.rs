//! JSON text as Python objects: RFC 8259, strict, bounded in depth.
//!
//! What it is given has passed the scanner of `aegis-pii`, or came out of it. It relies on none of that.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

use crate::failure::Raised;

/// Most objects and arrays inside one another: one more than events may have, since an envelope is one.
const MAX_DEPTH: usize = 1001;

/// The names of an envelope's members as JSON, in the order in which they are written.
pub(super) const ENVELOPE_NAMES: [&[u8]; 6] = [
    b"\"_encrypted\"",
    b"\"_algorithm\"",
    b"\"_dek_version\"",
    b"\"_ciphertext\"",
    b"\"_plaintext_hash\"",
    b"\"_encrypted_at\"",
];

/// The same as objects, one of each for the whole process.
pub(super) fn envelope_name(py: Python<'_>, number: usize) -> &Bound<'_, PyString> {
    match number {
        0 => intern!(py, "_encrypted"),
        1 => intern!(py, "_algorithm"),
        2 => intern!(py, "_dek_version"),
        3 => intern!(py, "_ciphertext"),
        4 => intern!(py, "_plaintext_hash"),
        _ => intern!(py, "_encrypted_at"),
    }
}

/// Why a text is not read. It says where, and nothing of the content.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Not JSON from this byte on.
    NotJson { offset: usize },
    /// More levels than the limit.
    TooDeep { offset: usize },
    /// An integer of more digits than Python reads.
    Digits { offset: usize },
    /// Python said so.
    Python(PyErr),
}

impl ReadError {
    /// Where it is, if it is about the text.
    pub(crate) const fn offset(&self) -> Option<usize> {
        match self {
            Self::NotJson { offset } | Self::TooDeep { offset } | Self::Digits { offset } => Some(*offset),
            Self::Python(_) => None,
        }
    }

    pub(crate) fn into_exception(self, py: Python<'_>) -> PyErr {
        let (kind, message, help) = match self {
            Self::Python(error) => return error,
            Self::NotJson { offset } => {
                ("NotJson", format!("the event is no JSON at byte {offset}"), "look at it at its producer")
            }
            Self::TooDeep { offset } => (
                "TooDeep",
                format!("at byte {offset}, more than {MAX_DEPTH} objects and arrays inside one another"),
                "split the event",
            ),
            Self::Digits { offset } => (
                "Digits",
                format!("the integer at byte {offset} has more digits than Python reads"),
                "take the event as str or bytes",
            ),
        };
        Raised::new("EventError", kind, message, help).into_exception(py)
    }
}

impl From<PyErr> for ReadError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Reads one JSON text.
pub(crate) fn read<'py>(py: Python<'py>, text: &[u8]) -> Result<Bound<'py, PyAny>, ReadError> {
    let mut reader = Reader { py, text, at: 0 };
    reader.skip_white_space();
    let value = reader.value(0)?;
    reader.skip_white_space();
    if reader.at == text.len() { Ok(value) } else { Err(reader.fault()) }
}

/// Reads the value that begins at a place and has so many objects and arrays around it, and says where it ends.
pub(super) fn read_at<'py>(
    py: Python<'py>,
    text: &[u8],
    at: usize,
    depth: usize,
) -> Result<(Bound<'py, PyAny>, usize), ReadError> {
    let mut reader = Reader { py, text, at };
    let value = reader.value(depth)?;
    Ok((value, reader.at))
}

struct Reader<'a, 'py> {
    py: Python<'py>,
    text: &'a [u8],
    at: usize,
}

impl<'py> Reader<'_, 'py> {
    fn value(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, ReadError> {
        match self.peek() {
            Some(b'"') => Ok(self.string()?.into_any()),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b't') => self.word(b"true", PyBool::new(self.py, true).to_owned().into_any()),
            Some(b'f') => self.word(b"false", PyBool::new(self.py, false).to_owned().into_any()),
            Some(b'n') => self.word(b"null", self.py.None().into_bound(self.py)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, ReadError> {
        self.enter(depth)?;
        let dict = PyDict::new(self.py);
        self.at += 1;
        self.skip_white_space();
        if self.take(b'}') {
            return Ok(dict.into_any());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fault());
            }
            let key = self.key()?;
            self.skip_white_space();
            self.expect(b':')?;
            self.skip_white_space();
            let value = self.value(depth + 1)?;
            dict.set_item(key, value)?;
            self.skip_white_space();
            if self.take(b'}') {
                return Ok(dict.into_any());
            }
            self.expect(b',')?;
            self.skip_white_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Bound<'py, PyAny>, ReadError> {
        self.enter(depth)?;
        let list = PyList::empty(self.py);
        self.at += 1;
        self.skip_white_space();
        if self.take(b']') {
            return Ok(list.into_any());
        }
        loop {
            list.append(self.value(depth + 1)?)?;
            self.skip_white_space();
            if self.take(b']') {
                return Ok(list.into_any());
            }
            self.expect(b',')?;
            self.skip_white_space();
        }
    }

    /// A member's name. Those of envelopes come eight times an event, and are made once.
    fn key(&mut self) -> Result<Bound<'py, PyString>, ReadError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.starts_with(b"\"_") {
            for (number, name) in ENVELOPE_NAMES.iter().enumerate() {
                if rest.starts_with(name) {
                    self.at += name.len();
                    return Ok(envelope_name(self.py, number).clone());
                }
            }
        }
        self.string()
    }

    /// At a quote. Most strings have no escape, and are copied at once.
    fn string(&mut self) -> Result<Bound<'py, PyString>, ReadError> {
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        let Some(len) = memchr::memchr2(b'"', b'\\', rest) else {
            self.at = self.text.len();
            return Err(self.fault());
        };
        let plain = rest.get(..len).unwrap_or_default();
        // Without stopping at the first one, which is what lets the processor look at many bytes at once.
        if plain.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            self.at = start + plain.iter().position(|byte| *byte < 0x20).unwrap_or_default();
            return Err(self.fault());
        }
        match rest.get(len) {
            Some(b'"') => {
                let text = std::str::from_utf8(plain)
                    .map_err(|error| ReadError::NotJson { offset: start + error.valid_up_to() })?;
                self.at = start + len + 1;
                Ok(PyString::new(self.py, text))
            }
            _ => self.escaped_string(start),
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<Bound<'py, PyString>, ReadError> {
        self.at = start;
        let mut out = Vec::new();
        let mut has_lone_surrogate = false;
        loop {
            let byte = self.peek().ok_or_else(|| self.fault())?;
            match byte {
                b'"' => break,
                b'\\' => has_lone_surrogate |= self.escape(&mut out)?,
                0..0x20 => return Err(self.fault()),
                _ => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        if has_lone_surrogate {
            let bytes = PyBytes::new(self.py, &out);
            let text = bytes.call_method1("decode", ("utf-8", "surrogatepass"));
            let text = text.map_err(|_| ReadError::NotJson { offset: start })?;
            return Ok(text.cast_into::<PyString>().map_err(PyErr::from)?);
        }
        let text = std::str::from_utf8(&out).map_err(|_| ReadError::NotJson { offset: start })?;
        Ok(PyString::new(self.py, text))
    }

    /// At a backslash. Whether it was a surrogate without its partner.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let letter = self.text.get(self.at + 1).copied();
        let byte = match letter {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(out),
            _ => return Err(self.fault()),
        };
        out.push(byte);
        self.at += 2;
        Ok(false)
    }

    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let first = self.unit(self.at).ok_or_else(|| self.fault())?;
        self.at += 6;
        let point = match first {
            0xD800..=0xDBFF => match self.unit(self.at) {
                Some(second @ 0xDC00..=0xDFFF) => {
                    self.at += 6;
                    0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                }
                _ => first,
            },
            _ => first,
        };
        match char::from_u32(point) {
            Some(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                Ok(false)
            }
            None => {
                // As three bytes that UTF-8 does not have; Python is told to take them.
                let low = |value: u32| u8::try_from(value & 0x3F).unwrap_or_default() | 0x80;
                out.extend_from_slice(&[0xED, low(point >> 6), low(point)]);
                Ok(true)
            }
        }
    }

    /// The number of `\uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self) -> Result<Bound<'py, PyAny>, ReadError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.take(b'.') {
            is_integer = false;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| ReadError::NotJson { offset: start })?;
        if !is_integer {
            let number: f64 = text.parse().map_err(|_| ReadError::NotJson { offset: start })?;
            return Ok(PyFloat::new(self.py, number).into_any());
        }
        match text.parse::<i64>() {
            Ok(number) => Ok(PyInt::new(self.py, number).into_any()),
            Err(_) => {
                let number = self.py.get_type::<PyInt>().call1((text,));
                number.map_err(|_| ReadError::Digits { offset: start })
            }
        }
    }

    /// At least one.
    fn digits(&mut self) -> Result<(), ReadError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.fault()) }
    }

    fn word(&mut self, word: &[u8], value: Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>, ReadError> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.fault())
        }
    }

    fn enter(&self, depth: usize) -> Result<(), ReadError> {
        if depth >= MAX_DEPTH { Err(ReadError::TooDeep { offset: self.at }) } else { Ok(()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), ReadError> {
        if self.take(byte) { Ok(()) } else { Err(self.fault()) }
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    const fn fault(&self) -> ReadError {
        ReadError::NotJson { offset: self.at }
    }
}
