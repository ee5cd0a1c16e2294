//! Overrides that two people sign.

use std::collections::BTreeSet;

use aegis_approval::{
    Audience, DEFAULT_USE_WITHIN, Decision, DualChecks, DualSignatureValidator, GivenSignature,
    Justification, NewRequest, PersonId, Quorum, Request, Role, Subject, statement,
};
use aegis_crypto::{CustodianAlgorithm, CustodianPrivateKey, CustodianPublicKey};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::fmt::Write as _;
use std::time::SystemTime;

use crate::bytes::BytesLike;
use crate::failure::{OrRaise as _, Raised, in_one_line};

const ALGORITHM: CustodianAlgorithm = CustodianAlgorithm::Bip322;

/// An override of failed gates that is asked for: what, where, why, by whom, and until when. It does not change.
///
/// A risk lead and a security lead, two people with two keys, have to sign it; whoever asks may not. The complexity gate
/// cannot be overridden.
///
/// :param subject: what is to be overridden, one line of printable ASCII
/// :param justification: why
/// :param requested_by: who asks, such as ``"alice"``
/// :param audience: for which deployment: ``"deployment:NAME"``
/// :param failed_gates: the gates that failed
/// :param expires_in: how long it may be signed, in seconds: 60 to 2,592,000
/// :raises ApprovalError: it would break a rule, which is named
#[pyclass(frozen, name = "OverrideRequest", module = "aegis_governance.approval")]
pub(crate) struct OverrideRequest(Request);

#[pymethods]
impl OverrideRequest {
    #[new]
    #[pyo3(signature = (subject, justification, requested_by, *, audience, failed_gates = vec![], expires_in = 86_400))]
    fn new(
        py: Python<'_>,
        subject: &str,
        justification: &str,
        requested_by: &str,
        audience: &str,
        failed_gates: Vec<String>,
        expires_in: i64,
    ) -> PyResult<Self> {
        let gates = failed_gates.iter().map(|gate| gate.parse().or_raise(py));
        let new = NewRequest {
            subject: Subject::Override(subject.parse().or_raise(py)?),
            audience: audience.parse::<Audience>().or_raise(py)?,
            justification: justification.parse::<Justification>().or_raise(py)?,
            failed_gates: gates.collect::<PyResult<BTreeSet<_>>>()?,
            requester: requested_by.parse().or_raise(py)?,
            quorum: Quorum::classic(),
            algorithms: [ALGORITHM].into(),
            lifetime: jiff::SignedDuration::from_secs(expires_in),
            use_within: DEFAULT_USE_WITHIN,
        };
        Ok(Self(Request::new(new, now()).or_raise(py)?))
    }

    /// Reads a request in its one spelling, as ``to_json`` writes it.
    ///
    /// :raises ApprovalError: it is none, or breaks a rule
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        Ok(Self(Request::from_json(text).or_raise(py)?))
    }

    /// The request as canonical JSON (RFC 8785).
    fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// Its name.
    #[getter]
    fn id(&self) -> &str {
        self.0.id().as_str()
    }

    /// SHA-256 of its canonical JSON, which covers all of it: 32 bytes.
    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.hash().as_bytes())
    }

    /// The same as 64 lowercase hex digits.
    #[getter]
    fn hash_hex(&self) -> String {
        self.0.hash().to_string()
    }

    /// Who asks, and therefore cannot sign.
    #[getter]
    fn requested_by(&self) -> &str {
        self.0.requester().as_str()
    }

    /// Why.
    #[getter]
    fn justification(&self) -> &str {
        self.0.justification().as_str()
    }

    /// Until when it may be signed, in UTC as RFC 3339.
    #[getter]
    fn expires(&self) -> String {
        self.0.expires().to_string()
    }

    /// What it means if it is approved, in plain words.
    #[getter]
    fn risk(&self) -> String {
        self.0.risk()
    }

    /// The few lines that a custodian reads and signs. A wallet in which they are typed makes a signature that counts.
    ///
    /// :param signer: who signs
    /// :param role: ``"risk_lead"`` or ``"security_lead"``
    /// :param signed: when, in UTC as RFC 3339 in whole seconds
    /// :param decision: ``"approve"`` or ``"reject"``
    #[pyo3(signature = (signer, role, signed, *, decision = "approve"))]
    fn statement(
        &self,
        py: Python<'_>,
        signer: &str,
        role: &str,
        signed: &str,
        decision: &str,
    ) -> PyResult<String> {
        let (person, role) = (signer.parse::<PersonId>().or_raise(py)?, role.parse::<Role>().or_raise(py)?);
        let signed = signed
            .parse::<jiff::Timestamp>()
            .ok()
            .filter(|time| time.subsec_nanosecond() == 0)
            .ok_or_else(|| PyValueError::new_err("signed is a time such as \"2026-01-31T12:00:00Z\""))?;
        let decision = decision_of(decision)?;
        Ok(statement(&self.0, decision, &person, &role, ALGORITHM, signed).as_str().to_owned())
    }

    /// Signs it, now.
    ///
    /// :param private_key: 32 bytes, of a BIP-322 key pair
    /// :returns: the signature as canonical JSON, for ``DualSignatureValidator.validate``
    /// :raises ApprovalError: a name cannot be one, or who asks would sign
    /// :raises SignError: nothing was signed
    #[pyo3(signature = (signer, role, private_key, *, decision = "approve"))]
    fn sign(
        &self,
        py: Python<'_>,
        signer: &str,
        role: &str,
        private_key: BytesLike,
        decision: &str,
    ) -> PyResult<String> {
        let (person, role) = (signer.parse::<PersonId>().or_raise(py)?, role.parse::<Role>().or_raise(py)?);
        if person == *self.0.requester() {
            let message = format!("{person} asked for it, and cannot sign it");
            return Err(Raised::new("ApprovalError", "Requester", message, "have somebody else sign it")
                .into_exception(py));
        }
        let decision = decision_of(decision)?;
        let key = CustodianPrivateKey::from_bytes(ALGORITHM, private_key.as_slice()).or_raise(py)?;
        let signed = jiff::Timestamp::from_second(now().as_second()).unwrap_or_default();
        let text = statement(&self.0, decision, &person, &role, ALGORITHM, signed);
        let signature = py.detach(|| key.sign(&text)).or_raise(py)?;
        let key = key.public_key().key_id();
        Ok(GivenSignature { decision, person, role, key, signed, signature }.to_json())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let (first, _) =
            self.0.hash().as_bytes().split_first_chunk().map_or(([0; 8], &[][..]), |(f, r)| (*f, r));
        u64::from_be_bytes(first)
    }

    fn __repr__(&self) -> String {
        format!("<OverrideRequest id={} expires={}>", self.0.id(), self.0.expires())
    }
}

/// Checks that a risk lead and a security lead, two people with two keys, both approve.
///
/// :param risk_lead: the risk lead's name
/// :param risk_lead_key: their public key, 32 bytes (x-only, BIP-340)
/// :param security_lead: the security lead's name
/// :param security_lead_key: their public key
/// :raises ApprovalError: they are one person, or have one key
#[pyclass(frozen, name = "DualSignatureValidator", module = "aegis_governance.approval")]
pub(crate) struct DualValidator(DualSignatureValidator);

#[pymethods]
impl DualValidator {
    #[new]
    fn new(
        py: Python<'_>,
        risk_lead: &str,
        risk_lead_key: BytesLike,
        security_lead: &str,
        security_lead_key: BytesLike,
    ) -> PyResult<Self> {
        let pair = |name: &str, key: &BytesLike| -> PyResult<(PersonId, CustodianPublicKey)> {
            let key = CustodianPublicKey::from_bytes(ALGORITHM, key.as_slice()).or_raise(py)?;
            Ok((name.parse().or_raise(py)?, key))
        };
        let (risk, security) = (pair(risk_lead, &risk_lead_key)?, pair(security_lead, &security_lead_key)?);
        Ok(Self(DualSignatureValidator::new(risk, security).or_raise(py)?))
    }

    /// Checks both signatures over a request, and the request itself. Every check is made, also after one failed.
    ///
    /// :param signatures: those that ``OverrideRequest.sign`` made, in any order, at most 40
    /// :returns: what was checked, and how it came out
    /// :raises ApprovalError: a text is no signature at all
    fn validate(
        &self,
        py: Python<'_>,
        request: &OverrideRequest,
        signatures: Vec<String>,
    ) -> PyResult<DualChecksObject> {
        const MOST: usize = aegis_approval::SignedRequest::MAX_SIGNATURES;
        if signatures.len() > MOST {
            return Err(PyValueError::new_err(format!("at most {MOST} signatures are looked at")));
        }
        let given = signatures.iter().map(|text| GivenSignature::from_json(text).or_raise(py));
        let given = given.collect::<PyResult<Vec<_>>>()?;
        Ok(DualChecksObject(py.detach(|| self.0.validate(&request.0, &given, now()))))
    }

    fn __repr__(&self) -> String {
        let mut shown = "<DualSignatureValidator".to_owned();
        for (role, key) in ["risk_lead", "security_lead"].into_iter().zip(self.0.keys()) {
            if let Some(key) = key {
                let _ = write!(shown, " {role}={}", key.fingerprint());
            }
        }
        shown + ">"
    }
}

/// What was checked of an override, and how it came out. As a truth value: whether every check passed.
#[pyclass(frozen, name = "DualChecks", module = "aegis_governance.approval")]
pub(crate) struct DualChecksObject(DualChecks);

#[pymethods]
impl DualChecksObject {
    /// Whether every check passed.
    #[getter]
    const fn is_valid(&self) -> bool {
        self.0.is_valid()
    }

    /// The checks that failed, each with why: ``"request"``, ``"risk_lead"``, ``"security_lead"``.
    #[getter]
    fn failed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let failed = PyDict::new(py);
        let DualChecks { request, risk_lead, security_lead } = &self.0;
        if let Err(fault) = request {
            failed.set_item("request", in_one_line(fault))?;
        }
        for (name, check) in [("risk_lead", risk_lead), ("security_lead", security_lead)] {
            if let Err(fault) = check {
                failed.set_item(name, in_one_line(fault))?;
            }
        }
        Ok(failed)
    }

    const fn __bool__(&self) -> bool {
        self.0.is_valid()
    }

    fn __repr__(&self) -> String {
        let failed = self.0.failed();
        if failed.is_empty() {
            "<DualChecks valid>".to_owned()
        } else {
            format!("<DualChecks failed={failed:?}>")
        }
    }
}

fn decision_of(name: &str) -> PyResult<Decision> {
    crate::enricher::choose("decision", name, &[Decision::Approve, Decision::Reject], Decision::as_str)
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default()
}
