//! What can be said of an event without any key.

use aegis_pii::{Catalogue, ClearField, EncryptError, Inspection, Inspector, Limits, SealedField};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::catalogue::CatalogueObject;
use crate::enricher::{form_name, hash_name};
use crate::event;
use crate::failure::OrRaise as _;

/// Says what is sealed in an event, and what should be and is not. It needs no key, and shows no value.
///
/// :param event: as for ``PIIEncryptionEnricher``
/// :param catalogue: the fields that are personal; without one, the twelve of the guide
/// :returns: a dict: ``sealed``, a list of dicts with ``pointer``, ``name``, ``dek_version``, ``algorithm``,
///     ``encrypted_at``, ``form``, ``plaintext_hash``, ``catalogue`` and ``token`` (``None`` if the envelope has none), and
///     ``plaintext_len`` in bytes; ``clear``, a list of dicts with ``pointer`` and ``name``; ``malformed``, how many objects
///     say that they are encrypted and are no envelope; ``catalogue``, the version by which the event was sealed, if it says
/// :raises EventError: it is not JSON, or over a limit
#[pyfunction]
#[pyo3(signature = (event, *, catalogue = None))]
pub(crate) fn inspect<'py>(
    event: &Bound<'py, PyAny>,
    catalogue: Option<CatalogueObject>,
) -> PyResult<Bound<'py, PyDict>> {
    let py = event.py();
    let limits = Limits::for_decryption();
    let (_, text) = event::take(event, limits.max_event_len)?;
    let catalogue = catalogue.map_or_else(Catalogue::guide, |catalogue| catalogue.0);
    let text = text.as_slice();
    let inspected = py.detach(|| Inspector::new(catalogue, limits).inspect(text));
    let Inspection { catalogue, sealed, clear, malformed } =
        inspected.map_err(EncryptError::from).or_raise(py)?;
    let shown = PyDict::new(py);
    let sealed: Vec<_> = sealed.iter().map(|field| sealed_field(py, field)).collect::<PyResult<_>>()?;
    shown.set_item("sealed", PyList::new(py, sealed)?)?;
    let clear: Vec<_> = clear.iter().map(|field| clear_field(py, field)).collect::<PyResult<_>>()?;
    shown.set_item("clear", PyList::new(py, clear)?)?;
    shown.set_item("malformed", malformed)?;
    shown.set_item("catalogue", catalogue)?;
    Ok(shown)
}

fn sealed_field<'py>(py: Python<'py>, field: &SealedField) -> PyResult<Bound<'py, PyDict>> {
    let SealedField {
        pointer,
        name,
        dek,
        algorithm,
        sealed_at,
        catalogue,
        form,
        plaintext_hash,
        token,
        plaintext_len,
        offset: _,
    } = field;
    let shown = PyDict::new(py);
    shown.set_item("pointer", pointer)?;
    shown.set_item("name", name)?;
    shown.set_item("dek_version", dek.as_str())?;
    shown.set_item("algorithm", algorithm)?;
    shown.set_item("encrypted_at", sealed_at)?;
    shown.set_item("form", form_name(*form))?;
    shown.set_item("plaintext_hash", hash_name(*plaintext_hash))?;
    shown.set_item("catalogue", catalogue)?;
    shown.set_item("token", token)?;
    shown.set_item("plaintext_len", plaintext_len)?;
    Ok(shown)
}

fn clear_field<'py>(py: Python<'py>, field: &ClearField) -> PyResult<Bound<'py, PyDict>> {
    let ClearField { pointer, name, offset: _ } = field;
    let shown = PyDict::new(py);
    shown.set_item("pointer", pointer)?;
    shown.set_item("name", name)?;
    Ok(shown)
}
