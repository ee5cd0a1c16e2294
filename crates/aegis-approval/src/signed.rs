//! A request with what custodians signed, as it is stored and as it travels in a file.

use aegis_crypto::{CustodianSignature, CustodianSignatureError, KeyId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::{parse_time, to_text};
use crate::name::{NameError, PersonId, Role};
use crate::request::{RawRequest, ReadRequestError, Request};
use crate::statement::Decision;

/// What a custodian gave. Nothing in it is to be believed until it is checked against the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenSignature {
    /// Which way.
    pub decision: Decision,
    /// Who.
    pub person: PersonId,
    /// In which role.
    pub role: Role,
    /// With which key.
    pub key: KeyId,
    /// When, as the signer says; it is part of what is signed.
    pub signed: Timestamp,
    /// The signature over the [`statement`](crate::statement()).
    pub signature: CustodianSignature,
}

/// A request and its signatures, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// What is asked for.
    pub request: Request,
    /// What was signed, in the order of arrival.
    pub signatures: Vec<GivenSignature>,
}

const TYPE: &str = "aegis-approval-v1";

impl SignedRequest {
    /// The most bytes of a file.
    pub const MAX_LEN: usize = 256 * 1024;
    /// The most signatures of a request.
    pub const MAX_SIGNATURES: usize = 40;

    /// The file: canonical JSON (RFC 8785) in one line.
    pub fn to_json(&self) -> String {
        let Self { request, signatures } = self;
        let mut text = to_text(&json!({
            "type": TYPE,
            "request": request.to_value(),
            "signatures": signatures.iter().map(GivenSignature::to_value).collect::<Vec<_>>(),
        }));
        text.push('\n');
        text
    }

    /// Reads a file in its one spelling: a byte that was changed anywhere is found, here or when it is verified.
    ///
    /// # Errors
    ///
    /// A [`ReadSignedError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadSignedError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(ReadSignedError::TooLong { found: bytes.len() });
        }
        let raw: RawSigned = serde_json::from_slice(bytes).map_err(|error| ReadSignedError::json(&error))?;
        let RawSigned { r#type, request, signatures } = raw;
        if r#type != TYPE {
            return Err(ReadSignedError::Type);
        }
        if signatures.len() > Self::MAX_SIGNATURES {
            return Err(ReadSignedError::TooManySignatures { found: signatures.len() });
        }
        let signed = Self {
            request: Request::of_raw(request).map_err(ReadSignedError::Request)?,
            signatures: signatures.into_iter().map(GivenSignature::of_raw).collect::<Result<_, _>>()?,
        };
        if signed.to_json().as_bytes() != bytes {
            return Err(ReadSignedError::NotCanonical);
        }
        Ok(signed)
    }
}

impl GivenSignature {
    /// The most bytes of one in JSON.
    pub const MAX_LEN: usize = 8 * 1024;

    /// It alone, as canonical JSON without a newline.
    pub fn to_json(&self) -> String {
        to_text(&self.to_value())
    }

    /// Reads one, in its one spelling.
    ///
    /// # Errors
    ///
    /// A [`ReadSignedError`].
    pub fn from_json(text: &str) -> Result<Self, ReadSignedError> {
        if text.len() > Self::MAX_LEN {
            return Err(ReadSignedError::TooLong { found: text.len() });
        }
        let signature =
            Self::of_raw(serde_json::from_str(text).map_err(|error| ReadSignedError::json(&error))?)?;
        if signature.to_json() != text {
            return Err(ReadSignedError::NotCanonical);
        }
        Ok(signature)
    }

    fn to_value(&self) -> Value {
        let Self { decision, person, role, key, signed, signature } = self;
        json!({
            "decision": decision.as_str(),
            "person": person.as_str(),
            "role": role.as_str(),
            "key_id": key.to_string(),
            "signed": signed.to_string(),
            "signature": signature.to_string(),
        })
    }

    fn of_raw(raw: RawSignature) -> Result<Self, ReadSignedError> {
        let RawSignature { decision, person, role, key_id, signed, signature } = raw;
        Ok(Self {
            decision: Decision::of_word(&decision).ok_or(ReadSignedError::Field { field: "decision" })?,
            person: person.parse().map_err(ReadSignedError::Name)?,
            role: role.parse().map_err(ReadSignedError::Name)?,
            key: key_id.parse().map_err(|_| ReadSignedError::Field { field: "key_id" })?,
            signed: parse_time(&signed).ok_or(ReadSignedError::Field { field: "signed" })?,
            signature: signature.parse().map_err(ReadSignedError::Signature)?,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSigned {
    r#type: String,
    request: RawRequest,
    signatures: Vec<RawSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    decision: String,
    person: String,
    role: String,
    key_id: String,
    signed: String,
    signature: String,
}

/// Why a file is not a request with signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadSignedError {
    /// More than there can be.
    #[error("the file has {found} bytes, more than any approval")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// Not the JSON of an approval.
    #[error("this is not the JSON of an approval, at line {line} column {column}")]
    Json {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// Something else, or of another version.
    #[error("the type of the file is not {TYPE}")]
    Type,
    /// The request in it.
    #[error("the request in the file cannot be used")]
    Request(#[source] ReadRequestError),
    /// More signatures than people who are ever asked.
    #[error("at most {} signatures are read, not {found}", SignedRequest::MAX_SIGNATURES)]
    TooManySignatures {
        /// How many.
        found: usize,
    },
    /// A name that breaks its rule.
    #[error("a name in a signature cannot be used")]
    Name(#[source] NameError),
    /// Another field that is not what it should be.
    #[error("the field {field} of a signature cannot be used")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// Not a signature.
    #[error("a signature in the file cannot be read")]
    Signature(#[source] CustodianSignatureError),
    /// Not in the one spelling.
    #[error(
        "the file is not in canonical JSON (RFC 8785), so it was not written by this program or was changed"
    )]
    NotCanonical,
}

impl ReadSignedError {
    fn json(error: &serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some("ask for the file again, as `aegis approval export` writes it".to_owned())
    }
}
