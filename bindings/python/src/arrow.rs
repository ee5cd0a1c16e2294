//! Columns of Arrow, sealed and opened without a Python object for each value: the Arrow PyCapsule interface.
//!
//! A stream of record batches comes in a capsule and goes out in one. Batches are worked on when the consumer asks for
//! them, so that a table larger than memory passes through.
//!
//! It is one of two modules with `unsafe` of their own in this crate: two lines, which take a stream out of a capsule.

#![allow(unsafe_code, reason = "a capsule holds a C structure, and taking it out is unsafe by nature")]

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::builder::GenericByteBuilder;
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_array::types::{ByteArrayType, GenericStringType};
use arrow_array::{
    Array, ArrayRef, GenericStringArray, OffsetSizeTrait, RecordBatch, RecordBatchReader, StringViewArray,
};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use zeroize::Zeroizing;

use crate::failure::Raised;

/// What a capsule with a stream is called.
const STREAM: &std::ffi::CStr = c"arrow_array_stream";
/// Longer values are refused, in bytes.
const MOST_OF_A_VALUE: usize = 4 << 20;

/// Seals or opens one JSON text: appends the result, or says why not.
pub(crate) type Work = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> Result<(), String> + Send>;

/// What is in the columns.
#[derive(Debug, Clone)]
pub(crate) enum Columns {
    /// Whole events, a JSON text each.
    Events(Vec<String>),
    /// Values of the fields after which the columns are called.
    Fields(Vec<String>),
}

impl Columns {
    pub(crate) fn of(events: Option<Vec<String>>, fields: Option<Vec<String>>) -> PyResult<Self> {
        match (events, fields) {
            (Some(names), None) => Ok(Self::Events(names)),
            (None, Some(names)) => Ok(Self::Fields(names)),
            _ => Err(PyTypeError::new_err("give events, or fields, and not both: the names of the columns")),
        }
    }

    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Events(names) | Self::Fields(names) => names,
        }
    }
}

/// Whether values are sealed or opened: what a column of fields holds before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Seal,
    Open,
}

/// A stream of record batches, for whoever takes Arrow: ``pyarrow``, pandas, Polars, DuckDB, nanoarrow.
///
/// It can be taken once. Its batches are worked on when they are asked for, on the consumer's thread.
#[pyclass(frozen, name = "ArrowStream", module = "aegis_governance.telemetry")]
pub(crate) struct ArrowStream(Mutex<Option<Worked>>);

#[pymethods]
impl ArrowStream {
    /// The Arrow PyCapsule interface: gives the stream away.
    ///
    /// :raises ValueError: it was given away already
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface allows a producer to leave a wish unmet.
        let _ = requested_schema;
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let worked = taken.ok_or_else(|| PyValueError::new_err("this stream was taken already"))?;
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(worked)), STREAM)
    }

    fn __repr__(&self) -> &'static str {
        "<ArrowStream>"
    }
}

/// Takes the stream of an object, and gives another one in which the columns are sealed or opened.
///
/// # Errors
///
/// A `TypeError` for an object without a stream of record batches; an `OptionsError` for columns that are not there, or
/// that are no text.
pub(crate) fn pass_through(
    data: &Bound<'_, PyAny>,
    columns: Columns,
    direction: Direction,
    work: Work,
) -> PyResult<ArrowStream> {
    let py = data.py();
    let reader = import(data)?;
    let schema = reader.schema();
    let mut indices = Vec::new();
    for name in columns.names() {
        let found = schema.column_with_name(name);
        let (index, field) = found.ok_or_else(|| {
            refused(py, "NoColumn", format!("there is no column {name:?}"), "name columns of this table")
        })?;
        if !matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            let message = format!("the column {name:?} is no text, but {}", field.data_type());
            return Err(refused(py, "NoText", message, "cast it to a string"));
        }
        indices.push(index);
    }
    let fields = match columns {
        Columns::Events(_) => None,
        Columns::Fields(names) => Some(names.into_iter().map(Arc::from).collect()),
    };
    Ok(ArrowStream(Mutex::new(Some(Worked { reader, schema, indices, fields, direction, work, rows: 0 }))))
}

fn import(data: &Bound<'_, PyAny>) -> PyResult<RecordBatchStreamReader> {
    let py = data.py();
    if !data.hasattr("__arrow_c_stream__")? {
        let found = data.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "expected a table, data frame or reader with __arrow_c_stream__, not {found}"
        )));
    }
    let capsule = data.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
    let stream: NonNull<FFI_ArrowArrayStream> = capsule.pointer_checked(Some(STREAM))?.cast();
    // SAFETY: a capsule of this name holds an `ArrowArrayStream`, says the PyCapsule interface. It is this thread's, which
    // is attached, and the capsule lives until the end of this function.
    let taken = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
    // What is left in the capsule is marked as released, so that it is not released again.
    let reader = RecordBatchStreamReader::try_new(taken);
    // What such a reader says at this point is about the schema.
    reader.map_err(|_| {
        let help = "give a table or a data frame, not a single column";
        refused(py, "NoBatches", "this is no stream of record batches".to_owned(), help)
    })
}

pub(crate) fn refused(py: Python<'_>, kind: &str, message: String, help: &str) -> PyErr {
    Raised::new("OptionsError", kind, message, help).into_exception(py)
}

/// The stream, worked on.
struct Worked {
    reader: RecordBatchStreamReader,
    schema: SchemaRef,
    indices: Vec<usize>,
    /// The fields' names, where columns hold their values.
    fields: Option<Vec<Arc<str>>>,
    direction: Direction,
    work: Work,
    /// Rows that have passed, for messages.
    rows: usize,
}

impl Iterator for Worked {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        Some(self.batch(&batch))
    }
}

impl RecordBatchReader for Worked {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Worked {
    fn batch(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns = batch.columns().to_vec();
        for (number, index) in self.indices.clone().into_iter().enumerate() {
            let Some(column) = columns.get_mut(index) else { continue };
            let field = self.fields.as_ref().and_then(|fields| fields.get(number)).cloned();
            let cells =
                Cells { field, direction: self.direction, work: &mut self.work, first_row: self.rows };
            *column = cells.column(column)?;
        }
        self.rows += batch.num_rows();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

/// The values of one column of one batch.
struct Cells<'a> {
    field: Option<Arc<str>>,
    direction: Direction,
    work: &'a mut Work,
    first_row: usize,
}

impl Cells<'_> {
    fn column(mut self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match column.data_type() {
            DataType::Utf8 => self.strings::<i32>(column),
            DataType::LargeUtf8 => self.strings::<i64>(column),
            _ => {
                let found = column.as_any().downcast_ref::<StringViewArray>();
                let found =
                    found.ok_or_else(|| ArrowError::SchemaError("a column changed its type".to_owned()))?;
                let mut done = arrow_array::builder::StringViewBuilder::new();
                let mut out = Zeroizing::new(Vec::new());
                for row in 0..found.len() {
                    match found.is_valid(row) {
                        true => done.append_value(self.text(row, found.value(row), &mut out)?),
                        false => done.append_null(),
                    }
                }
                Ok(Arc::new(done.finish()))
            }
        }
    }

    fn strings<O: OffsetSizeTrait>(&mut self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let found = column.as_any().downcast_ref::<GenericStringArray<O>>();
        let found = found.ok_or_else(|| ArrowError::SchemaError("a column changed its type".to_owned()))?;
        let mut done = GenericByteBuilder::<GenericStringType<O>>::with_capacity(found.len(), 0);
        let mut out = Zeroizing::new(Vec::new());
        let mut total = 0_usize;
        for row in 0..found.len() {
            if !found.is_valid(row) {
                done.append_null();
                continue;
            }
            let text = self.text(row, found.value(row), &mut out)?;
            total += text.len();
            // The builder panics where the offsets of this type end.
            if O::from_usize(total).is_none() {
                let kind = <GenericStringType<O> as ByteArrayType>::DATA_TYPE;
                return Err(external(format!("a batch becomes too long for {kind}: use smaller batches")));
            }
            done.append_value(text);
        }
        Ok(Arc::new(done.finish()))
    }

    /// One value, sealed or opened. It stays in `out` until the next one.
    fn text<'a>(&mut self, row: usize, value: &str, out: &'a mut Vec<u8>) -> Result<&'a str, ArrowError> {
        out.clear();
        let done = match self.field.clone() {
            None => (self.work)(value.as_bytes(), out),
            Some(field) => self.value_of(&field, value, out),
        };
        let at = |what: &str| external(format!("row {}: {what}", self.first_row + row));
        done.map_err(|what| at(&what))?;
        std::str::from_utf8(out).map_err(|_| at("what came out is no text"))
    }

    /// A value on its own is the one member of an event, so that it is bound to its field as in any event.
    fn value_of(&mut self, field: &str, value: &str, out: &mut Vec<u8>) -> Result<(), String> {
        if value.len() > MOST_OF_A_VALUE {
            return Err(format!("the value has {} bytes, the limit is {MOST_OF_A_VALUE}", value.len()));
        }
        let mut event = Zeroizing::new(Vec::with_capacity(value.len() + field.len() + 16));
        event.push(b'{');
        write_string(field, &mut event)?;
        event.push(b':');
        let start = event.len();
        match self.direction {
            Direction::Seal => write_string(value, &mut event)?,
            Direction::Open => event.extend_from_slice(value.as_bytes()),
        }
        event.push(b'}');
        (self.work)(&event, out)?;
        // The event's own bytes around the value were copied.
        let end = out.len().saturating_sub(1);
        match self.direction {
            Direction::Seal => {
                out.truncate(end);
                out.drain(..start.min(end));
                Ok(())
            }
            Direction::Open => {
                let inner = out.get(start..end).unwrap_or_default();
                let text: String = serde_json::from_slice(inner).map_err(|_| "it holds no text")?;
                let text = Zeroizing::new(text);
                out.clear();
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(out, text).map_err(|_| "it was not written".to_owned())
}

fn external(message: String) -> ArrowError {
    ArrowError::ExternalError(message.into())
}
