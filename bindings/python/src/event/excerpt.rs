//! What of a `dict` the crates have to see, and a copy of the rest.
//!
//! Most of an event is neither sealed nor opened. So only the members that are, and the objects and arrays around them,
//! become JSON: an excerpt of the event, in which each of them stands at its place. What came of it is put into a copy of
//! the `dict`; all else in the copy is what the program had, without a detour over text.
//!
//! | `{"event": "x", "actor_id": "alice", "list": [1, 2, {"n": 3, "signer_id": 4}]}` | |
//! |---|---|
//! | excerpt | `{"actor_id":"alice","list":[0,0,{"signer_id":4}]}` |
//! | places | `actor_id`; `signer_id` of the copy of the third element |
//!
//! It is a shorter way to what the long one gives, which is [`super::take`] and [`super::Form::give`], and never to
//! anything else: whatever is unusual, is refused on the way, or comes out otherwise than was expected, goes the long way.
//! Both copy every `dict`, `list` and `tuple`; what they hold is immutable and shared by this one.

use std::iter::repeat;
use std::ops::Range;

use aegis_pii::{Catalogue, Selector};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::iter::BoundDictIterator;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use zeroize::Zeroizing;

use super::reader::{ENVELOPE_NAMES, envelope_name};
use super::sealed::LastEnvelope;
use super::writer::{MAX_DEPTH, Writer};

/// Which members the crates have to see.
pub(crate) struct Rules {
    members: Option<Members>,
    /// The member that holds the event's id, if there is one.
    event_id: Option<Py<PyString>>,
    /// Most bytes of an event as JSON.
    limit: usize,
}

enum Members {
    /// Those with these names. The value is whether they are personal; if not, they are unusual.
    Named(Py<PyDict>),
    /// Those that hold an envelope.
    Envelopes,
}

impl Members {
    /// How long an excerpt mostly is, at most.
    const fn usual_len(&self) -> usize {
        match self {
            Self::Named(_) => 1 << 10,
            Self::Envelopes => 16 << 10,
        }
    }
}

/// Members that mean something to the crates wherever they are, or at the beginning of an event.
const UNUSUAL: [&str; 2] = ["_encrypted", "_aegis"];

impl Rules {
    /// For sealing the fields of a catalogue.
    pub(crate) fn for_sealing(
        py: Python<'_>,
        catalogue: &Catalogue,
        event_id: Option<&str>,
        limit: usize,
    ) -> PyResult<Self> {
        let names = PyDict::new(py);
        for name in UNUSUAL {
            names.set_item(PyString::intern(py, name), false)?;
        }
        let mut members = Some(Members::Named(names.clone().unbind()));
        for field in catalogue.fields() {
            match &field.selector {
                Selector::Name(name) => names.set_item(PyString::intern(py, name), true)?,
                Selector::Pointer(_) => members = None,
            }
        }
        Ok(Self { members, event_id: interned(py, event_id), limit })
    }

    /// For opening whatever is sealed.
    pub(crate) fn for_opening(py: Python<'_>, event_id: Option<&str>, limit: usize) -> Self {
        Self { members: Some(Members::Envelopes), event_id: interned(py, event_id), limit }
    }

    /// No event is excerpted.
    pub(crate) fn none(limit: usize) -> Self {
        Self { members: None, event_id: None, limit }
    }

    /// Most bytes of an event as JSON.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }
}

fn interned(py: Python<'_>, name: Option<&str>) -> Option<Py<PyString>> {
    name.map(|name| PyString::intern(py, name).unbind())
}

/// An excerpt of an event, and the copy that becomes the result.
pub(crate) struct Excerpt<'py> {
    text: Zeroizing<Vec<u8>>,
    copy: Bound<'py, PyDict>,
    values: Vec<Value<'py>>,
}

/// A value that is in the excerpt.
struct Value<'py> {
    place: Place<'py>,
    /// Where it is in the text.
    bytes: Range<usize>,
    /// How many objects and arrays are around it.
    depth: usize,
}

/// Where in the copy a value belongs.
enum Place<'py> {
    Member(Bound<'py, PyDict>, Bound<'py, PyString>),
    Element(Bound<'py, PyList>, usize),
}

/// The event has to go the long way.
struct Unusual;

impl From<PyErr> for Unusual {
    /// Whatever it was, it will be met there again, and raised.
    fn from(_: PyErr) -> Self {
        Self
    }
}

impl<'py> Excerpt<'py> {
    /// Takes an event; `None` if it has to go the long way.
    pub(crate) fn of(event: &Bound<'py, PyAny>, rules: &Rules) -> Option<Self> {
        let members = rules.members.as_ref()?;
        let event = event.cast_exact::<PyDict>().ok()?;
        let walk = Walk {
            py: event.py(),
            members,
            writer: Writer::new(rules.limit, members.usual_len()),
            frames: Vec::with_capacity(8),
            opened: 0,
            values: Vec::with_capacity(16),
            left: rules.limit,
        };
        walk.run(event, rules).ok()
    }

    /// What the crates have to see.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Puts what came of the excerpt in the places of what was in it. `None` if that is not what is in `out`.
    pub(crate) fn give(self, out: &[u8], last: &mut LastEnvelope) -> Option<Bound<'py, PyAny>> {
        let Self { text, copy, values } = self;
        let py = copy.py();
        let (mut from, mut at) = (0, 0);
        for Value { place, bytes, depth } in values {
            // Between values, each byte is what it was.
            let between = text.get(from..bytes.start)?;
            out.get(at..)?.strip_prefix(between)?;
            let (value, end) = last.read(py, out, at + between.len(), depth)?;
            place.set(value).ok()?;
            (from, at) = (bytes.end, end);
        }
        (out.get(at..)? == text.get(from..)?).then(|| copy.into_any())
    }
}

/// The way through an event. Without recursion: what is open is in `frames`.
struct Walk<'a, 'py> {
    py: Python<'py>,
    members: &'a Members,
    writer: Writer,
    frames: Vec<Frame<'py>>,
    /// How many of the frames are in the excerpt: those around a value that is.
    opened: usize,
    values: Vec<Value<'py>>,
    /// Bytes that the event may still take as JSON. Of a text, each character is counted as the longest escape.
    left: usize,
}

/// An object or array that is open, as it is copied. What is walked through is the copy, which nobody else changes.
enum Frame<'py> {
    Object {
        copy: Bound<'py, PyDict>,
        members: BoundDictIterator<'py>,
        /// Of the current member.
        key: Option<Bound<'py, PyString>>,
        has_written: bool,
    },
    Array {
        copy: Bound<'py, PyList>,
        len: usize,
        /// The number of the element after the current one.
        next: usize,
        /// How many elements are in the excerpt.
        written: usize,
    },
}

impl<'py> Walk<'_, 'py> {
    fn run(mut self, event: &Bound<'py, PyDict>, rules: &Rules) -> Result<Excerpt<'py>, Unusual> {
        let copy = self.enter_object(event)?;
        if matches!(self.members, Members::Envelopes) {
            for name in [intern!(self.py, "_encrypted"), intern!(self.py, "_aegis")] {
                if copy.contains(name)? {
                    return Err(Unusual);
                }
            }
        }
        if let Some(name) = &rules.event_id {
            self.note_event_id(&copy, name.bind(self.py))?;
        }
        while self.step()? {}
        let Self { mut writer, values, .. } = self;
        if values.is_empty() && writer.len() == 0 {
            writer.plain(b"{}");
        }
        Ok(Excerpt { text: writer.into_text(), copy, values })
    }

    /// The event's id is seen, and stays.
    fn note_event_id(
        &mut self,
        event: &Bound<'py, PyDict>,
        name: &Bound<'py, PyString>,
    ) -> Result<(), Unusual> {
        let Some(id) = event.get_item(name)? else { return Ok(()) };
        self.pass_scalar(&id)?;
        if let Some(Frame::Object { key, .. }) = self.frames.last_mut() {
            *key = Some(name.clone());
        }
        self.open()?;
        self.writer.value(&id, self.frames.len()).map_err(|_| Unusual)
    }

    /// One member or element further. Whether there may be more.
    fn step(&mut self) -> Result<bool, Unusual> {
        let value = match self.frames.last_mut() {
            None => return Ok(false),
            Some(Frame::Object { members, key, .. }) => match members.next() {
                None => {
                    self.leave();
                    return Ok(true);
                }
                Some((name, value)) => {
                    let name = name.cast_into_exact::<PyString>().map_err(|_| Unusual)?;
                    let name = key.insert(name);
                    let mark = match self.members {
                        Members::Named(names) => names.bind(self.py).get_item(&*name)?,
                        Members::Envelopes => None,
                    };
                    let spent = text_len(name)?;
                    self.left = self.left.checked_sub(spent).ok_or(Unusual)?;
                    if let Some(mark) = mark {
                        if !mark.is(PyBool::new(self.py, true)) {
                            return Err(Unusual);
                        }
                        self.take(&value)?;
                        return Ok(true);
                    }
                    value
                }
            },
            Some(Frame::Array { copy, len, next, .. }) => {
                if next == len {
                    self.leave();
                    return Ok(true);
                }
                let value = copy.get_item(*next)?;
                *next += 1;
                value
            }
        };
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            let may_be_sealed = matches!(self.members, Members::Envelopes);
            if may_be_sealed && dict.contains(intern!(self.py, "_encrypted"))? {
                self.take(&value)?;
            } else {
                self.enter_object(dict)?;
            }
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            self.check_room_for(list.len())?;
            self.enter_array(list.get_slice(0, list.len()))?;
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.check_room_for(tuple.len())?;
            self.enter_array(tuple.to_list())?;
        } else {
            self.pass_scalar(&value)?;
        }
        Ok(true)
    }

    /// Copies an object into the place of the current value, to go on inside.
    fn enter_object(&mut self, object: &Bound<'py, PyDict>) -> Result<Bound<'py, PyDict>, Unusual> {
        self.check_room_for(object.len())?;
        let copy = object.copy()?;
        let members = copy.iter();
        self.enter(
            copy.as_any(),
            Frame::Object { copy: copy.clone(), members, key: None, has_written: false },
        )?;
        Ok(copy)
    }

    fn enter_array(&mut self, copy: Bound<'py, PyList>) -> Result<(), Unusual> {
        let len = copy.len();
        self.enter(copy.as_any(), Frame::Array { copy: copy.clone(), len, next: 0, written: 0 })
    }

    fn enter(&mut self, copy: &Bound<'py, PyAny>, frame: Frame<'py>) -> Result<(), Unusual> {
        self.check_depth()?;
        self.spend(3)?;
        if let Some(around) = self.frames.last() {
            around.place()?.set(copy.clone())?;
        }
        self.frames.push(frame);
        Ok(())
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        if self.opened > self.frames.len() {
            self.opened = self.frames.len();
            self.writer.byte(frame.brackets().1);
        }
    }

    /// Takes the current value into the excerpt.
    fn take(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Unusual> {
        self.open()?;
        let start = self.writer.len();
        let depth = self.frames.len();
        match self.members {
            Members::Named(_) => self.writer.value(value, depth).map_err(|_| Unusual)?,
            Members::Envelopes => {
                self.check_depth()?;
                self.write_envelope(value.cast_exact::<PyDict>().map_err(|_| Unusual)?)?;
            }
        }
        let bytes = start..self.writer.len();
        self.spend(bytes.len() + 1)?;
        let place = self.frames.last().ok_or(Unusual)?.place()?;
        self.values.push(Value { place, bytes, depth });
        Ok(())
    }

    /// Begins the current value in the excerpt, and before it whatever is around it.
    fn open(&mut self) -> Result<(), Unusual> {
        let Self { writer, frames, opened, .. } = self;
        for (number, frame) in frames.iter_mut().enumerate().skip(opened.saturating_sub(1)) {
            if number >= *opened {
                writer.byte(frame.brackets().0);
            }
            frame.begin_value(writer)?;
        }
        *opened = frames.len();
        Ok(())
    }

    /// Writes an object that claims to be an envelope, if it has what one may have: texts, and `true`.
    fn write_envelope(&mut self, envelope: &Bound<'py, PyDict>) -> Result<(), Unusual> {
        const MOST: usize = 8;
        if envelope.len() > MOST {
            return Err(Unusual);
        }
        let mut before = b'{';
        let known = ENVELOPE_NAMES.iter().map(Some).chain(repeat(None));
        for (number, ((name, value), known)) in envelope.iter().zip(known).enumerate() {
            self.writer.byte(std::mem::replace(&mut before, b','));
            match known {
                // As we gave it: the very object.
                Some(text) if name.is(envelope_name(self.py, number)) => self.writer.plain(text),
                _ => {
                    let name = name.cast_exact::<PyString>().map_err(|_| Unusual)?;
                    self.writer.string(name).map_err(|_| Unusual)?;
                }
            }
            self.writer.byte(b':');
            if let Ok(text) = value.cast_exact::<PyString>() {
                self.writer.similar_string(text).map_err(|_| Unusual)?;
            } else if value.is(PyBool::new(self.py, true)) {
                self.writer.plain(b"true");
            } else {
                return Err(Unusual);
            }
        }
        self.writer.byte(b'}');
        Ok(())
    }

    /// Passes what has nothing inside, if JSON has it too.
    fn pass_scalar(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Unusual> {
        let len = if let Ok(text) = value.cast_exact::<PyString>() {
            text_len(text)?
        } else if value.is_none() || value.is_exact_instance_of::<PyBool>() {
            6
        } else if let Ok(number) = value.cast_exact::<PyFloat>() {
            number.value().is_finite().then_some(32).ok_or(Unusual)?
        } else {
            // A larger one has as many digits as Python allows, or too many.
            value.cast_exact::<PyInt>().map_err(|_| Unusual)?.extract::<i64>()?;
            21
        };
        self.spend(len)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Unusual> {
        self.left = self.left.checked_sub(bytes).ok_or(Unusual)?;
        Ok(())
    }

    /// Nothing is copied that would be too long as JSON: each member or element has two bytes at least.
    fn check_room_for(&self, values: usize) -> Result<(), Unusual> {
        if values.saturating_mul(2) > self.left { Err(Unusual) } else { Ok(()) }
    }

    fn check_depth(&self) -> Result<(), Unusual> {
        if self.frames.len() >= MAX_DEPTH { Err(Unusual) } else { Ok(()) }
    }
}

impl<'py> Frame<'py> {
    /// Where the current value is.
    fn place(&self) -> Result<Place<'py>, Unusual> {
        Ok(match self {
            Self::Object { copy, key, .. } => Place::Member(copy.clone(), key.clone().ok_or(Unusual)?),
            Self::Array { copy, next, .. } => {
                Place::Element(copy.clone(), next.checked_sub(1).ok_or(Unusual)?)
            }
        })
    }

    const fn brackets(&self) -> (u8, u8) {
        match self {
            Self::Object { .. } => (b'{', b'}'),
            Self::Array { .. } => (b'[', b']'),
        }
    }

    /// Writes what stands before the current value.
    fn begin_value(&mut self, writer: &mut Writer) -> Result<(), Unusual> {
        match self {
            Self::Object { key, has_written, .. } => {
                if std::mem::replace(has_written, true) {
                    writer.byte(b',');
                }
                writer.string(key.as_ref().ok_or(Unusual)?).map_err(|_| Unusual)?;
                writer.byte(b':');
            }
            Self::Array { next, written, .. } => {
                // Something in the places of those before it, so that it has its number.
                for number in *written..*next {
                    if number > 0 {
                        writer.byte(b',');
                    }
                    if number + 1 < *next {
                        writer.byte(b'0');
                    }
                }
                *written = *next;
            }
        }
        Ok(())
    }
}

impl<'py> Place<'py> {
    fn set(&self, value: Bound<'py, PyAny>) -> PyResult<()> {
        match self {
            Self::Member(object, key) => object.set_item(key, value),
            Self::Element(array, index) => array.set_item(*index, value),
        }
    }
}

/// The most bytes that a text can take as JSON, with quotes and what follows.
fn text_len(text: &Bound<'_, PyString>) -> PyResult<usize> {
    Ok(text.len()?.saturating_mul(6).saturating_add(3))
}
