//! The text of a `str`, without a copy of it.
//!
//! PyO3 copies each one, for the stable ABI of CPython 3.9 has no other way. The function that lends the text is in that
//! version too, and in every one since 3.3; in the stable ABI since 3.10, so it stays.

#![allow(unsafe_code, reason = "a function of CPython that PyO3 does not declare for the stable ABI of 3.9")]

use std::ffi::c_char;

use pyo3::ffi::{Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyString;

unsafe extern "C" {
    /// Lends the UTF-8 of a `str`, which the `str` keeps from then on. Null, and an exception, if it has none.
    fn PyUnicode_AsUTF8AndSize(text: *mut PyObject, size: *mut Py_ssize_t) -> *const c_char;
}

/// The UTF-8 of a text; `None` if it holds a surrogate without its partner, or there is no memory.
pub(super) fn utf8<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    let mut size: Py_ssize_t = 0;
    // SAFETY: it is a `str`, it lives, and this thread is attached: there is a `Bound` of it. `size` is written to.
    let start = unsafe { PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut size) };
    let Some(len) = usize::try_from(size).ok().filter(|_| !start.is_null()) else {
        drop(PyErr::take(text.py()));
        return None;
    };
    // SAFETY: so many bytes begin there. They belong to the `str`, which never changes and lives as long as the reference.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), len) })
}
