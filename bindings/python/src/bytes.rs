//! Bytes from Python and back.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString, PyType};
use zeroize::Zeroizing;

/// `bytes`, or what can be seen as such: `bytearray`, `memoryview`.
pub(crate) struct BytesLike(PyBackedBytes);

impl BytesLike {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<'py> FromPyObject<'_, 'py> for BytesLike {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self(bytes.to_owned().into()));
        }
        if let Ok(bytes) = object.cast::<PyByteArray>() {
            return Ok(Self(bytes.to_owned().into()));
        }
        if object.cast::<PyMemoryView>().is_ok() {
            let bytes = object.call_method0("tobytes")?;
            return Ok(Self(bytes.cast_into::<PyBytes>()?.into()));
        }
        // The type, and nothing of the object.
        let found = object.get_type().name()?;
        Err(PyTypeError::new_err(format!("expected bytes, bytearray or memoryview, not {found}")))
    }
}

/// Associated data: a list of byte strings, or one of them.
pub(crate) struct Parts(pub(crate) Vec<BytesLike>);

impl<'py> FromPyObject<'_, 'py> for Parts {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        /// More would be a mistake: whoever binds data to a box binds a few names.
        const MOST: usize = 16;
        if let Ok(one) = object.extract::<BytesLike>() {
            return Ok(Self(vec![one]));
        }
        if object.cast::<PyString>().is_ok() {
            return Err(PyTypeError::new_err("associated data is bytes, or a sequence of bytes, not str"));
        }
        let mut parts = Vec::new();
        let limits = || PyValueError::new_err(format!("associated data has 1 to {MOST} parts"));
        for part in object.try_iter()? {
            if parts.len() == MOST {
                return Err(limits());
            }
            parts.push(part?.extract()?);
        }
        // A box that is bound to nothing could be put in the place of any other.
        if parts.is_empty() { Err(limits()) } else { Ok(Self(parts)) }
    }
}

/// Hands secret bytes to Python, in a type that does not show them.
pub(crate) fn secret_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "aegis_governance._secret", "SecretBytes")?;
    class.call1((PyBytes::new(py, bytes),))
}

/// A text that may be secret, copied so that it is erased.
pub(crate) fn secret_text(object: &Bound<'_, PyString>) -> PyResult<Zeroizing<String>> {
    Ok(Zeroizing::new(object.to_cow()?.into_owned()))
}
