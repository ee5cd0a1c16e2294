//! Search tokens: equal values of a field can be found and joined, sealed.

use std::sync::Arc;

use aegis_crypto::Secret;
use aegis_pii::TokenKey;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::bytes::BytesLike;
use crate::event;

/// Has some fields carry a token beside the envelope: the same one for equal values of a field, a tenant and an epoch, so
/// that sealed events can be searched, joined and counted.
///
/// That is what tokens give away, so there are none unless they are asked for: whoever sees tokens sees which events have
/// equal values, and how often; whoever has the key can try values. It opens nothing. It cannot be pickled.
///
/// :param key: 32 random bytes, not a DEK's
/// :param fields: the names of the fields that get a token
/// :param epoch: 0 to 4,294,967,295; tokens of different epochs cannot be compared
/// :raises ValueError: the key has another length
#[pyclass(frozen, name = "SearchTokens", module = "aegis_governance.telemetry")]
#[derive(Clone)]
pub(crate) struct SearchTokensObject(pub(crate) aegis_pii::SearchTokens);

#[pymethods]
impl SearchTokensObject {
    #[new]
    #[pyo3(signature = (key, fields, *, epoch = 1))]
    fn new(key: BytesLike, fields: Vec<String>, epoch: u32) -> PyResult<Self> {
        let bytes = key.as_slice();
        let key = <&[u8; 32]>::try_from(bytes).map_err(|_| {
            PyValueError::new_err(format!("a key of search tokens has 32 bytes, not {}", bytes.len()))
        })?;
        let key = Arc::new(TokenKey::new(&Secret::copy_of(key), epoch));
        Ok(Self(aegis_pii::SearchTokens { key, fields }))
    }

    /// The token of a value, to search for.
    ///
    /// :param field: the field's name
    /// :param value: what JSON can express, as it is in events: ``"alice"``, ``7``
    /// :param tenant: the enricher's
    /// :returns: ``EPOCH:`` and 32 hex digits
    /// :raises EventError: JSON cannot express it
    #[pyo3(signature = (field, value, *, tenant = None))]
    fn token(&self, field: &str, value: &Bound<'_, PyAny>, tenant: Option<&str>) -> PyResult<String> {
        let text = event::write_value(value)?;
        Ok(self.0.key.token(tenant.unwrap_or_default(), field, &text))
    }

    /// The names of the fields that get a token.
    #[getter]
    fn fields(&self) -> Vec<String> {
        self.0.fields.clone()
    }

    /// The epoch.
    #[getter]
    fn epoch(&self) -> u32 {
        self.0.key.epoch()
    }

    fn __repr__(&self) -> String {
        format!("<SearchTokens fields={:?} epoch={}>", self.0.fields, self.0.key.epoch())
    }
}
