//! Which fields are personal.

use aegis_pii::{Catalogue, Field, Priority, Selector};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::OrRaise as _;

/// The personal fields: by name at any depth, or by JSON Pointer (RFC 6901), in which ``*`` is every element of an array.
///
/// ``Catalogue()`` has the twelve fields of the guide. It does not change; its methods give other ones.
#[pyclass(frozen, name = "Catalogue", module = "aegis_governance.telemetry", from_py_object)]
#[derive(Clone)]
pub(crate) struct CatalogueObject(pub(crate) Catalogue);

#[pymethods]
impl CatalogueObject {
    #[new]
    fn new() -> Self {
        Self(Catalogue::guide())
    }

    /// Reads a configuration: JSON with ``extend``, ``min_priority``, ``only`` and ``without``, as ``aegis`` reads it.
    ///
    /// :raises CatalogueError: it cannot be used
    #[staticmethod]
    fn from_json(py: Python<'_>, config: &str) -> PyResult<Self> {
        Ok(Self(Catalogue::from_json(config.as_bytes()).or_raise(py)?))
    }

    /// Exactly these fields: names, or pointers, which begin with a slash.
    ///
    /// :raises CatalogueError: one of them cannot be a field, or is there twice
    #[staticmethod]
    #[pyo3(signature = (fields, *, priority = "critical"))]
    fn of(py: Python<'_>, fields: Vec<String>, priority: &str) -> PyResult<Self> {
        Ok(Self(Catalogue::new(fields_of(py, fields, priority)?).or_raise(py)?))
    }

    /// These fields too.
    ///
    /// :raises CatalogueError: one of them cannot be a field
    #[pyo3(signature = (fields, *, priority = "critical"))]
    fn extended(&self, py: Python<'_>, fields: Vec<String>, priority: &str) -> PyResult<Self> {
        Ok(Self(self.0.clone().extended(fields_of(py, fields, priority)?).or_raise(py)?))
    }

    /// The fields of at least this priority: ``"critical"``, ``"high"`` or ``"medium"``.
    ///
    /// :raises CatalogueError: none is left
    fn at_least(&self, py: Python<'_>, priority: &str) -> PyResult<Self> {
        Ok(Self(self.0.clone().at_least(priority_of(py, priority)?).or_raise(py)?))
    }

    /// These fields of it alone.
    ///
    /// :raises CatalogueError: it has not all of them: a slip of the pen would leave a field in the clear
    fn only(&self, py: Python<'_>, fields: Vec<String>) -> PyResult<Self> {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        Ok(Self(self.0.clone().only(&fields).or_raise(py)?))
    }

    /// All but these fields.
    ///
    /// :raises CatalogueError: it has not all of them
    fn without(&self, py: Python<'_>, fields: Vec<String>) -> PyResult<Self> {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        Ok(Self(self.0.clone().without(&fields).or_raise(py)?))
    }

    /// Its version, ``cat1-`` and 16 hex digits: another one for each selection.
    #[getter]
    fn version(&self) -> String {
        self.0.version().to_string()
    }

    /// The fields in order, each a dict of ``name`` or ``pointer``, ``priority`` and ``description``.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let show = |field: &Field| {
            let shown = PyDict::new(py);
            match &field.selector {
                Selector::Name(name) => shown.set_item("name", name)?,
                Selector::Pointer(pointer) => shown.set_item("pointer", pointer)?,
            }
            shown.set_item("priority", field.priority.name())?;
            shown.set_item("description", &field.description)?;
            Ok(shown)
        };
        self.0.fields().iter().map(show).collect()
    }

    fn __len__(&self) -> usize {
        self.0.fields().len()
    }

    fn __repr__(&self) -> String {
        format!("<Catalogue {} fields={}>", self.0.version(), self.0.fields().len())
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (Vec<Parts>,))> {
        let fields = slf.get().0.fields().iter();
        let fields = fields.map(|field| {
            (field.selector.to_string(), field.priority.name().to_owned(), field.description.clone())
        });
        Ok((slf.get_type().getattr("_of_parts")?.unbind(), (fields.collect(),)))
    }

    /// For pickles.
    #[staticmethod]
    fn _of_parts(py: Python<'_>, parts: Vec<Parts>) -> PyResult<Self> {
        let fields = parts.into_iter().map(|(selector, priority, description)| {
            Ok(Field { selector: selector_of(selector), description, priority: priority_of(py, &priority)? })
        });
        Ok(Self(Catalogue::new(fields.collect::<PyResult<_>>()?).or_raise(py)?))
    }
}

/// A field in a pickle: selector, priority, description.
type Parts = (String, String, String);

fn fields_of(py: Python<'_>, fields: Vec<String>, priority: &str) -> PyResult<Vec<Field>> {
    let priority = priority_of(py, priority)?;
    let field = |text| Field { selector: selector_of(text), description: String::new(), priority };
    Ok(fields.into_iter().map(field).collect())
}

fn selector_of(text: String) -> Selector {
    if text.starts_with('/') { Selector::Pointer(text) } else { Selector::Name(text) }
}

fn priority_of(py: Python<'_>, name: &str) -> PyResult<Priority> {
    name.parse().or_raise(py)
}
