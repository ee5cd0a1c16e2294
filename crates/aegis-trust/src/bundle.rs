//! The signed bundle: a policy, and over it a statement that somebody signed.
//!
//! ```text
//! AEGIS-POLICY-BUNDLE-V2
//! {"payload":"<base64 manifest>","payloadType":"application/vnd.aegis.policy-manifest.v2+json","signatures":[{"keyid":"…","sig":"<base64>"}]}
//! ---
//! <policy, verbatim to the end of the file>
//! ```
//!
//! Line 2 is a DSSE envelope (Dead Simple Signing Envelope 1.0). What is signed is its pre-authentication encoding of
//! the manifest, in which every field has its length before it. A bundle has one spelling: what parses here prints back
//! as the same bytes. The older format without separators is in [`v1`].

use std::ops::Range;

use aegis_crypto::{KeyId, PublicKey, Signature};
use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use crate::manifest::{Manifest, ManifestError};

pub mod v1;

/// The payload type that the signatures of a policy bundle cover.
pub const PAYLOAD_TYPE: &str = "application/vnd.aegis.policy-manifest.v2+json";
/// The most signatures that one bundle may carry.
pub const MAX_SIGNATURES: usize = 16;
/// The most bytes before the policy.
pub const MAX_HEADER_LEN: usize = 16 * 1024;

const MAGIC_ANY: &[u8] = b"AEGIS-POLICY-BUNDLE-";
const MAGIC_V2: &[u8] = b"AEGIS-POLICY-BUNDLE-V2\n";
const SEPARATOR: &[u8] = b"---\n";

/// Which of the two formats a bundle has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BundleFormat {
    /// The older format, signed without separators.
    #[serde(rename = "v1")]
    V1,
    /// A DSSE envelope over a manifest.
    #[serde(rename = "v2")]
    V2,
}

/// One signature, and the id of the key that it claims to be by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleSignature {
    /// The claim.
    pub key_id: KeyId,
    /// The signature.
    pub signature: Signature,
}

/// A bundle as it was read. Nothing in it is to be believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBundle {
    format: BundleFormat,
    manifest: Manifest,
    /// The exact bytes that the signatures cover.
    signed_bytes: Vec<u8>,
    signatures: Vec<BundleSignature>,
    /// The key that a version 1 bundle names. It is a claim like the key id.
    v1_signer: Option<[u8; 32]>,
    file: Vec<u8>,
    policy: Range<usize>,
}

/// Why bytes are not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Another magic line, or none.
    #[error("it does not begin with the line `AEGIS-POLICY-BUNDLE-V2`{}", if *.byte_order_mark { "; it begins with a byte-order mark" } else { "" })]
    Magic {
        /// Whether it begins with U+FEFF.
        byte_order_mark: bool,
    },
    /// Lines end in CR LF; a bundle has line feeds alone, so that its bytes are those that were signed.
    #[error("line {line} ends in CR LF; a bundle's lines end in LF")]
    CarriageReturn {
        /// The line, from 1.
        line: usize,
    },
    /// The header never ends, or is too long.
    #[error("line {line} does not end within {MAX_HEADER_LEN} bytes")]
    HeaderLine {
        /// The line, from 1.
        line: usize,
    },
    /// Line 3 is not the separator.
    #[error("line {line} is not `---`, the separator before the policy")]
    Separator {
        /// The line, from 1.
        line: usize,
    },
    /// Line 2 is not a DSSE envelope; the cause says why.
    #[error("line 2 is not a DSSE envelope")]
    Envelope {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// Line 2 means an envelope, but is not spelled in the one way.
    #[error(
        "the envelope is not in its one canonical spelling: compact JSON, `payload`, `payloadType`, `signatures`, padded base64"
    )]
    EnvelopeSpelling,
    /// A signature for another purpose.
    #[error("the payload type is {found:?}, not {PAYLOAD_TYPE:?}")]
    PayloadType {
        /// What it is.
        found: String,
    },
    /// `payload` is not base64.
    #[error("the payload is not base64")]
    PayloadBase64,
    /// The manifest inside is not one.
    #[error("the payload is not a policy manifest")]
    Manifest {
        /// Why.
        source: ManifestError,
    },
    /// No signature at all.
    #[error("it carries no signature")]
    NoSignature,
    /// More than [`MAX_SIGNATURES`].
    #[error("it carries {count} signatures, more than {MAX_SIGNATURES}")]
    TooManySignatures {
        /// How many.
        count: usize,
    },
    /// A signature is not 64 bytes of base64.
    #[error("signature {number} is not the base64 of 64 bytes")]
    SignatureBytes {
        /// Which one, from 1.
        number: usize,
    },
    /// The same key twice.
    #[error("key {key_id} appears in two signatures")]
    RepeatedKey {
        /// The key.
        key_id: KeyId,
    },
    /// The same signature twice, under different key ids.
    #[error("signature {number} repeats an earlier one under another key id")]
    RepeatedSignature {
        /// Which one, from 1.
        number: usize,
    },
    /// The policy is not as long as the manifest says.
    #[error("the policy has {found} bytes, the manifest says {stated}")]
    PolicySize {
        /// How many bytes follow the separator.
        found: u64,
        /// What the manifest says.
        stated: u64,
    },
    /// A version 1 header is not in the one spelling that is unambiguous.
    #[error("line {line} is not `{expected}`")]
    V1Header {
        /// The line, from 1.
        line: usize,
        /// What it must be.
        expected: &'static str,
    },
}

impl BundleError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Magic { .. } => "sign the policy with `aegisbpf policy sign`",
                Self::CarriageReturn { .. } => {
                    "copy the bundle as a binary file; something on the way changed its line ends"
                }
                Self::PolicySize { .. } | Self::HeaderLine { .. } | Self::Separator { .. } => {
                    "fetch the bundle again; it was changed or cut short on the way"
                }
                _ => "sign the policy again with `aegisbpf policy sign`",
            }
            .to_owned(),
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: KeyId,
    sig: String,
}

/// DSSE's pre-authentication encoding: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, lengths in decimal.
///
/// Source: DSSE 1.0, protocol, "Signature Definition".
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Whether a file claims to be a bundle, of whatever version.
pub fn is_bundle(file: &[u8]) -> bool {
    file.starts_with(MAGIC_ANY)
}

impl SignedBundle {
    /// Reads a bundle of either format. Nothing is verified.
    ///
    /// # Errors
    ///
    /// [`BundleError`]: the bytes are not a bundle, or not in the one spelling.
    pub fn parse(file: Vec<u8>) -> Result<Self, BundleError> {
        if file.starts_with(v1::MAGIC.trim_ascii_end()) {
            return v1::parse(file);
        }
        let mut lines = HeaderLines::after_magic(&file, MAGIC_V2)?;
        let envelope_line = lines.next_line()?;
        let (manifest, signed_bytes, signatures) = parse_envelope(envelope_line)?;
        let policy = lines.separator()?..file.len();
        let found = policy.len() as u64;
        if found != manifest.policy_size {
            return Err(BundleError::PolicySize { found, stated: manifest.policy_size });
        }
        Ok(Self {
            format: BundleFormat::V2,
            manifest,
            signed_bytes,
            signatures,
            v1_signer: None,
            file,
            policy,
        })
    }

    /// Puts a bundle together from its parts.
    pub(crate) fn assemble(manifest: &Manifest, signatures: &[BundleSignature], policy: &[u8]) -> Vec<u8> {
        let envelope = Envelope {
            payload: Base64::encode_string(manifest.to_json().as_bytes()),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: signatures.iter().map(EnvelopeSignature::from).collect(),
        };
        let line =
            serde_json::to_string(&envelope).expect("an envelope is strings alone, so it always serialises");
        let mut file = Vec::with_capacity(MAGIC_V2.len() + line.len() + 1 + SEPARATOR.len() + policy.len());
        file.extend_from_slice(MAGIC_V2);
        file.extend_from_slice(line.as_bytes());
        file.push(b'\n');
        file.extend_from_slice(SEPARATOR);
        file.extend_from_slice(policy);
        file
    }

    /// The format.
    pub fn format(&self) -> BundleFormat {
        self.format
    }
    /// What the signatures say of the policy.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// The signatures, as claimed.
    pub fn signatures(&self) -> &[BundleSignature] {
        &self.signatures
    }
    /// The exact bytes that the signatures cover.
    pub fn signed_bytes(&self) -> &[u8] {
        &self.signed_bytes
    }
    /// The policy text.
    pub fn policy(&self) -> &[u8] {
        self.file.get(self.policy.clone()).unwrap_or_default()
    }
    /// The whole file. It is what was read: a bundle has one spelling.
    pub fn as_bytes(&self) -> &[u8] {
        &self.file
    }
    /// The whole file printed anew from what was understood; equal to [`as_bytes`](Self::as_bytes).
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.format {
            BundleFormat::V2 => Self::assemble(&self.manifest, &self.signatures, self.policy()),
            BundleFormat::V1 => v1::print(self),
        }
    }
    /// The key that a version 1 bundle names.
    pub(crate) fn v1_signer(&self) -> Option<&[u8; 32]> {
        self.v1_signer.as_ref()
    }
    /// Gives the file and where the policy is in it.
    pub(crate) fn into_file(self) -> (Vec<u8>, Range<usize>) {
        (self.file, self.policy)
    }
}

impl BundleSignature {
    /// A signature by `key`.
    pub fn by(key: &PublicKey, signature: Signature) -> Self {
        Self { key_id: key.key_id(), signature }
    }
}

impl From<&BundleSignature> for EnvelopeSignature {
    fn from(signature: &BundleSignature) -> Self {
        Self { keyid: signature.key_id, sig: Base64::encode_string(signature.signature.as_bytes()) }
    }
}

fn parse_envelope(line: &[u8]) -> Result<(Manifest, Vec<u8>, Vec<BundleSignature>), BundleError> {
    let envelope: Envelope =
        serde_json::from_slice(line).map_err(|source| BundleError::Envelope { source })?;
    if serde_json::to_vec(&envelope).map_err(|source| BundleError::Envelope { source })? != line {
        return Err(BundleError::EnvelopeSpelling);
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(BundleError::PayloadType { found: envelope.payload_type });
    }
    let payload = decode_base64(&envelope.payload).ok_or(BundleError::PayloadBase64)?;
    let manifest = Manifest::parse(&payload).map_err(|source| BundleError::Manifest { source })?;
    let signatures = parse_signatures(&envelope.signatures)?;
    Ok((manifest, pre_authentication_encoding(PAYLOAD_TYPE, &payload), signatures))
}

fn parse_signatures(listed: &[EnvelopeSignature]) -> Result<Vec<BundleSignature>, BundleError> {
    if listed.is_empty() {
        return Err(BundleError::NoSignature);
    }
    if listed.len() > MAX_SIGNATURES {
        return Err(BundleError::TooManySignatures { count: listed.len() });
    }
    let mut signatures: Vec<BundleSignature> = Vec::with_capacity(listed.len());
    for (index, EnvelopeSignature { keyid, sig }) in listed.iter().enumerate() {
        let number = index + 1;
        let bytes = decode_base64(sig).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let signature = Signature::from_bytes(bytes.ok_or(BundleError::SignatureBytes { number })?);
        if signatures.iter().any(|earlier| earlier.key_id == *keyid) {
            return Err(BundleError::RepeatedKey { key_id: *keyid });
        }
        if signatures.iter().any(|earlier| earlier.signature == signature) {
            return Err(BundleError::RepeatedSignature { number });
        }
        signatures.push(BundleSignature { key_id: *keyid, signature });
    }
    Ok(signatures)
}

/// Padded base64 in its one spelling: unused bits are zero.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = Base64::decode_vec(text).ok()?;
    (Base64::encode_string(&bytes) == text).then_some(bytes)
}

/// The lines before the policy, read within [`MAX_HEADER_LEN`].
struct HeaderLines<'a> {
    file: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> HeaderLines<'a> {
    fn after_magic(file: &'a [u8], magic: &[u8]) -> Result<Self, BundleError> {
        if file.starts_with(magic) {
            return Ok(Self { file, at: magic.len(), line: 2 });
        }
        let text = magic.strip_suffix(b"\n").unwrap_or(magic);
        if file.strip_prefix(text).is_some_and(|rest| rest.starts_with(b"\r\n")) {
            return Err(BundleError::CarriageReturn { line: 1 });
        }
        Err(BundleError::Magic { byte_order_mark: file.starts_with("\u{feff}".as_bytes()) })
    }

    fn next_line(&mut self) -> Result<&'a [u8], BundleError> {
        let rest = self.file.get(self.at..self.file.len().min(MAX_HEADER_LEN)).unwrap_or_default();
        let end =
            rest.iter().position(|&byte| byte == b'\n').ok_or(BundleError::HeaderLine { line: self.line })?;
        let line = rest.get(..end).unwrap_or_default();
        if line.ends_with(b"\r") {
            return Err(BundleError::CarriageReturn { line: self.line });
        }
        self.at += end + 1;
        self.line += 1;
        Ok(line)
    }

    /// Passes the separator and gives the offset of the policy.
    fn separator(mut self) -> Result<usize, BundleError> {
        let line = self.line;
        match self.next_line() {
            Ok(b"---") => Ok(self.at),
            Ok(_) | Err(BundleError::HeaderLine { .. }) => Err(BundleError::Separator { line }),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
