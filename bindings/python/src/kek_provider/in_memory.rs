//! A KEK that is nowhere.

use aegis_kek::InMemoryKekProvider;
use pyo3::prelude::*;

use super::Provider;
use crate::failure::OrRaise as _;

/// A new KEK that is kept in memory only. For tests: what is sealed under it cannot be read once the process ends.
#[pyclass(extends = Provider, frozen, name = "InMemoryKEKProvider", module = "aegis_governance")]
pub(crate) struct InMemoryProvider;

#[pymethods]
impl InMemoryProvider {
    #[new]
    fn new(py: Python<'_>) -> PyResult<PyClassInitializer<Self>> {
        Ok(Provider::new(py.detach(InMemoryKekProvider::generate).or_raise(py)?).with(Self))
    }
}
