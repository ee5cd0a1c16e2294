//! What a host says of itself and signs with the key of its audit log: a backup's list of files, a drill's evidence.
//!
//! A statement is one line, a DSSE envelope with one signature, in one spelling. Its payload type is part of what is
//! signed, so a statement of one kind is none of another, and no signature over a checkpoint is a statement.

use aegis_crypto::{KeyId, NotAuthentic, PublicKey, Signature, SigningKey};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::bundle::pre_authentication_encoding;

/// A statement as it was read. Nothing in it is to be believed yet.
pub(crate) struct HostStatement {
    payload_type: &'static str,
    payload: Vec<u8>,
    key_id: KeyId,
    signature: Signature,
}

/// Why bytes are not a statement of a host.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not the JSON of an envelope with one signature.
    #[error("it is not a DSSE envelope with one signature")]
    Envelope {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// It means an envelope, but is not spelled in the one way.
    #[error("the envelope is not in its one canonical spelling")]
    Spelling,
    /// A statement of another kind.
    #[error("the payload type is {found:?}, not {expected:?}")]
    PayloadType {
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// It names another key than the one it is held against.
    #[error("it is signed under key id {claimed}, not by key {key_id}")]
    OtherKey {
        /// The id in the envelope.
        claimed: KeyId,
        /// The key that should have signed.
        key_id: KeyId,
    },
    /// It was changed, or somebody else made it.
    #[error("the signature by host key {key_id} does not hold; it was changed or forged")]
    BadSignature {
        /// The key that should have signed.
        key_id: KeyId,
        /// The verdict.
        source: NotAuthentic,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: (EnvelopeSignature,),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: KeyId,
    sig: String,
}

/// Signs `payload` as the host: one line, ended by a line feed.
pub(crate) fn sign(key: &SigningKey, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let signature = key.sign(&pre_authentication_encoding(payload_type, payload));
    envelope(key.public_key().key_id(), &signature, payload_type, payload)
}

fn envelope(keyid: KeyId, signature: &Signature, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let signature = EnvelopeSignature { keyid, sig: Base64::encode_string(signature.as_bytes()) };
    let envelope = Envelope {
        payload: Base64::encode_string(payload),
        payload_type: payload_type.to_owned(),
        signatures: (signature,),
    };
    let mut line =
        serde_json::to_vec(&envelope).expect("an envelope is strings alone, so it always serialises");
    line.push(b'\n');
    line
}

impl HostStatement {
    /// Reads a statement of one kind. The caller has bounded its size. Nothing is verified.
    pub(crate) fn parse(bytes: &[u8], payload_type: &'static str) -> Result<Self, StatementError> {
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|source| StatementError::Envelope { source })?;
        if envelope.payload_type != payload_type {
            let found = envelope.payload_type.chars().take(100).collect();
            return Err(StatementError::PayloadType { found, expected: payload_type });
        }
        let (EnvelopeSignature { keyid: key_id, sig },) = &envelope.signatures;
        let payload = Base64::decode_vec(&envelope.payload).map_err(|_| StatementError::Spelling)?;
        let raw = Base64::decode_vec(sig).map_err(|_| StatementError::Spelling)?;
        let signature = Signature::from_slice(&raw).map_err(|_| StatementError::Spelling)?;
        // Printed anew it must give the same bytes: no white space, no unused bits, no other order.
        if self::envelope(*key_id, &signature, payload_type, &payload) != bytes {
            return Err(StatementError::Spelling);
        }
        Ok(Self { payload_type, payload, key_id: *key_id, signature })
    }

    /// The payload, to look up which key it names. It is not to be believed before [`verify`](Self::verify).
    pub(crate) fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether `key` signed it.
    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), StatementError> {
        let key_id = key.key_id();
        if self.key_id != key_id {
            return Err(StatementError::OtherKey { claimed: self.key_id, key_id });
        }
        key.verify(&pre_authentication_encoding(self.payload_type, &self.payload), &self.signature)
            .map_err(|source| StatementError::BadSignature { key_id, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/vnd.aegis.test+json";

    #[test]
    fn holds_for_the_key_that_signed_it_and_no_other() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let line = sign(&key, TYPE, b"{}");
        let statement = HostStatement::parse(&line, TYPE).unwrap();
        assert_eq!(statement.unverified_payload(), b"{}");
        statement.verify(key.public_key()).unwrap();
        assert!(matches!(statement.verify(other.public_key()), Err(StatementError::OtherKey { .. })));
        assert!(matches!(
            HostStatement::parse(&line, "application/vnd.aegis.other+json"),
            Err(StatementError::PayloadType { .. })
        ));
    }

    #[test]
    fn refuses_every_changed_bit() {
        let key = SigningKey::generate().unwrap();
        let line = sign(&key, TYPE, b"{\"a\":1}");
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                let read = HostStatement::parse(&changed, TYPE)
                    .and_then(|statement| statement.verify(key.public_key()));
                assert!(read.is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn refuses_other_spellings_and_more_signatures() {
        let key = SigningKey::generate().unwrap();
        let line = String::from_utf8(sign(&key, TYPE, b"{}")).unwrap();
        let (before, signature) = line.trim_end().split_once("\"signatures\":[").unwrap();
        let signature = signature.strip_suffix("]}").unwrap();
        for text in [
            line.trim_end().to_owned(),
            format!("{line}\n"),
            format!(" {line}"),
            line.replace("\":", "\": "),
            format!("{before}\"signatures\":[{signature},{signature}]}}\n"),
            format!("{before}\"signatures\":[]}}\n"),
            format!("{before}\"signatures\":[{signature}],\"more\":1}}\n"),
            format!("\u{feff}{line}"),
            String::new(),
        ] {
            assert!(HostStatement::parse(text.as_bytes(), TYPE).is_err(), "{text:?}");
        }
    }
}
