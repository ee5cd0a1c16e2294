//! A request with what custodians signed, as it is stored and as it travels in a file.

use std::collections::BTreeSet;

use aegis_crypto::{
    CustodianPublicKey, CustodianPublicKeyError, CustodianSignature, CustodianSignatureError, KeyId,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::{parse_time, to_text};
use crate::name::{NameError, PersonId, Role};
use crate::registry::{Custodian, CustodianKey, KeyState, Registry, RegistryError};
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
    /// The public keys that signed, so that everything can be computed again from the file alone; or none. Whose they are
    /// is for a [`Registry`] to say: nobody trusts them because they are here.
    pub keys: Vec<CustodianPublicKey>,
}

const TYPE: &str = "aegis-approval-v1";

impl SignedRequest {
    /// The most bytes of a file.
    pub const MAX_LEN: usize = 256 * 1024;
    /// The most signatures of a request.
    pub const MAX_SIGNATURES: usize = 40;

    /// A request with signatures, and none of the keys that signed.
    pub const fn new(request: Request, signatures: Vec<GivenSignature>) -> Self {
        Self { request, signatures, keys: Vec::new() }
    }

    /// The same with the keys that signed, if the registry has all of them.
    #[must_use]
    pub fn with_keys(mut self, registry: &Registry) -> Self {
        let signed: BTreeSet<KeyId> = self.signatures.iter().map(|signature| signature.key).collect();
        let keys = signed.iter().map(|key| registry.holder(*key).map(|(_, held)| held.public.clone()));
        self.keys = keys.collect::<Option<_>>().unwrap_or_default();
        self
    }

    /// Adds a signature, and the key that made it if those of all others are here.
    pub fn add(&mut self, given: GivenSignature, key: &CustodianPublicKey) {
        if (self.signatures.is_empty() || !self.keys.is_empty())
            && let Err(place) = self.keys.binary_search_by_key(&key.key_id(), CustodianPublicKey::key_id)
        {
            self.keys.insert(place, key.clone());
        }
        self.signatures.push(given);
    }

    /// The custodians as the file itself claims them to be: each signer with the key that signed, and the roles in which
    /// they did. It says whether the signatures are right, and nothing of whether these people are custodians.
    ///
    /// # Errors
    ///
    /// A [`RegistryError`]: two people with one key, for instance.
    pub fn claimed_registry(&self) -> Result<Registry, RegistryError> {
        let people: BTreeSet<&PersonId> = self.signatures.iter().map(|signature| &signature.person).collect();
        Registry::new(people.into_iter().map(|person| {
            let own = || self.signatures.iter().filter(|signature| signature.person == *person);
            let ids: BTreeSet<KeyId> = own().map(|signature| signature.key).collect();
            let keys = self.keys.iter().filter(|key| ids.contains(&key.key_id()));
            Custodian {
                person: person.clone(),
                roles: own().map(|signature| signature.role.clone()).collect(),
                keys: keys
                    .map(|key| CustodianKey {
                        public: key.clone(),
                        registered: self.request.created(),
                        state: KeyState::Active,
                    })
                    .collect(),
            }
        }))
    }

    /// The file: canonical JSON (RFC 8785) in one line.
    pub fn to_json(&self) -> String {
        let Self { request, signatures, keys } = self;
        let mut text = to_text(&json!({
            "type": TYPE,
            "request": request.to_value(),
            "signatures": signatures.iter().map(GivenSignature::to_value).collect::<Vec<_>>(),
            "keys": keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
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
        let RawSigned { r#type, request, signatures, keys } = raw;
        if r#type != TYPE {
            return Err(ReadSignedError::Type);
        }
        if signatures.len() > Self::MAX_SIGNATURES {
            return Err(ReadSignedError::TooManySignatures { found: signatures.len() });
        }
        if keys.len() > signatures.len() {
            return Err(ReadSignedError::Keys);
        }
        let keys = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>();
        let signed = Self {
            request: Request::of_raw(request).map_err(ReadSignedError::Request)?,
            signatures: signatures.into_iter().map(GivenSignature::of_raw).collect::<Result<_, _>>()?,
            keys: keys.map_err(ReadSignedError::Key)?,
        };
        let signed_by: BTreeSet<KeyId> = signed.signatures.iter().map(|signature| signature.key).collect();
        let is_theirs = signed.keys.iter().map(CustodianPublicKey::key_id).eq(signed_by);
        if !signed.keys.is_empty() && !is_theirs {
            return Err(ReadSignedError::Keys);
        }
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
    keys: Vec<String>,
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
    /// Not a public key.
    #[error("a public key in the file cannot be used")]
    Key(#[source] CustodianPublicKeyError),
    /// Other keys than those that signed, or in another order than that of their ids.
    #[error("the public keys in the file are not those of its signatures")]
    Keys,
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
