//! A KEK that is wrapped by a key in AWS KMS.

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use aegis_kek::aws_kms::{KmsAccess, KmsWrap, PlainHttp, provision};
use aegis_kek::{AwsKmsKekProvider, AwsKmsSettings, Variables};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use super::Provider;
use crate::bytes::BytesLike;
use crate::failure::OrRaise as _;

/// A KEK whose private half is encrypted by a symmetric key in AWS KMS.
///
/// Region, endpoint and credentials that are not given come from the variables of AWS and its standard chain:
/// ``AWS_REGION``, ``AWS_ENDPOINT_URL_KMS``, profiles, web identity, SSO, containers, the instance.
///
/// :param kms_key_id: id, ``alias/NAME``, or the ARN of either
/// :param wrapped_private_key: what ``provision`` or ``aegis kek provision`` made, at most 6,144 bytes
/// :param public_key_bytes: the KEK's public key, 1,216 bytes
/// :param region: such as ``"eu-central-1"``; an ARN says it too, and goes first
/// :param endpoint_url: another address than that of AWS: an emulator, a VPC endpoint
/// :param allow_plain_http: whether the private key may travel without TLS to another host than this
/// :raises KEKSettingsError: what cannot be right; KMS was not asked
/// :raises KeyFormatError: the public key is none
#[pyclass(extends = Provider, frozen, name = "AWSKMSKEKProvider", module = "aegis_governance")]
pub(crate) struct AwsKmsProvider;

#[pymethods]
impl AwsKmsProvider {
    #[new]
    #[pyo3(signature = (kms_key_id, wrapped_private_key, public_key_bytes, *, region = None, endpoint_url = None,
        allow_plain_http = false))]
    fn new(
        py: Python<'_>,
        kms_key_id: &str,
        wrapped_private_key: BytesLike,
        public_key_bytes: BytesLike,
        region: Option<String>,
        endpoint_url: Option<String>,
        allow_plain_http: bool,
    ) -> PyResult<PyClassInitializer<Self>> {
        let access = access(py, kms_key_id, region, endpoint_url, allow_plain_http)?;
        let public_key = HybridPublicKey::from_bytes(public_key_bytes.as_slice()).or_raise(py)?;
        let wrapped_private_key = wrapped_private_key.as_slice().to_vec();
        let settings = AwsKmsSettings { access, wrapped_private_key, public_key };
        Ok(Provider::new(AwsKmsKekProvider::new(settings).or_raise(py)?).with(Self))
    }

    /// Takes the settings from variables: ``AEGIS_KMS_KEY_ID``, ``AEGIS_KMS_WRAPPED_PRIVATE_KEY`` and
    /// ``AEGIS_MASTER_KEK_PUBLIC``.
    ///
    /// :raises KEKSettingsError: all that are missing at once, or the one that cannot be used
    #[classmethod]
    fn from_environment(class: &Bound<'_, PyType>) -> PyResult<Py<Self>> {
        let py = class.py();
        let provider = AwsKmsKekProvider::from_environment(&Variables::of_process()).or_raise(py)?;
        Py::new(py, Provider::new(provider).with(Self))
    }

    /// Has KMS wrap a private key, bound to the KEK's id, and unwraps it once to see that it can be.
    ///
    /// What it returns is not secret; as base64 it is for ``AEGIS_KMS_WRAPPED_PRIVATE_KEY``.
    ///
    /// :param private_key: 2,432 bytes, or a seed of 96 or 32
    /// :param form: ``"direct"`` (``kms:Encrypt``) or ``"data-key"`` (``kms:GenerateDataKey``)
    /// :raises KEKError: KMS did not do it
    #[staticmethod]
    #[pyo3(signature = (kms_key_id, private_key, *, form = "direct", region = None, endpoint_url = None,
        allow_plain_http = false))]
    fn provision<'py>(
        py: Python<'py>,
        kms_key_id: &str,
        private_key: BytesLike,
        form: &str,
        region: Option<String>,
        endpoint_url: Option<String>,
        allow_plain_http: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let wrap = [KmsWrap::Direct, KmsWrap::DataKey].into_iter().find(|wrap| wrap.as_str() == form);
        let wrap = wrap.ok_or_else(|| PyValueError::new_err("form is \"direct\" or \"data-key\""))?;
        let access = access(py, kms_key_id, region, endpoint_url, allow_plain_http)?;
        let private = HybridPrivateKey::import(private_key.as_slice()).or_raise(py)?;
        let wrapped = py.detach(|| provision(access, &private, wrap)).or_raise(py)?;
        Ok(PyBytes::new(py, &wrapped))
    }
}

/// How KMS is reached: as the variables of AWS have it, and as it is said here before that.
fn access(
    py: Python<'_>,
    kms_key_id: &str,
    region: Option<String>,
    endpoint: Option<String>,
    allow_plain_http: bool,
) -> PyResult<KmsAccess> {
    let mut access = KmsAccess::from_environment(kms_key_id, &Variables::of_process()).or_raise(py)?;
    access.region = region.or(access.region);
    access.endpoint = endpoint.or(access.endpoint);
    if allow_plain_http {
        access.plain_http = PlainHttp::Anywhere;
    }
    Ok(access)
}
