//! Public key files: which of three formats one is, and what it is if it is none of them.
//!
//! | format | looks like | standard |
//! |---|---|---|
//! | [`SpkiPem`](PublicKeyFormat::SpkiPem) | `-----BEGIN PUBLIC KEY-----` | RFC 7468 §13, RFC 8410 §4 |
//! | [`Hex`](PublicKeyFormat::Hex) | 64 hex digits | RFC 8032 §5.1.5 for the bytes |
//! | [`OpenSsh`](PublicKeyFormat::OpenSsh) | `ssh-ed25519 AAAA… comment` | RFC 8709 §4 |
//!
//! A file holds one key and nothing else. A file with a private key in it is told apart before everything
//! else, so that it never gets into a directory that others can read.

mod error;
mod openssh;

use crate::der::{self, DerFault, Elements};
use crate::ed25519::PublicKey;
use crate::hex_text::{self, Case};
use crate::pem::{BEGIN, Block, PemFault, find};
use crate::plain_text;

pub use error::{OpenSshFault, PrivateKeyKind, PublicKeyFileError};
pub(crate) use openssh::{blob as openssh_blob, printable};

/// A public key and how its file spelled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedPublicKey {
    /// The key, checked.
    pub key: PublicKey,
    /// The format of the file.
    pub format: PublicKeyFormat,
    /// The comment of an OpenSSH line, made safe for a terminal: printable ASCII, at most 128 characters. Nobody
    /// vouches for it.
    pub comment: Option<String>,
}

/// The formats in which a public key may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKeyFormat {
    /// `-----BEGIN PUBLIC KEY-----`, as openssl writes it.
    SpkiPem,
    /// 64 hex digits.
    Hex,
    /// One `ssh-ed25519` line, as ssh-keygen writes it.
    OpenSsh,
}

/// Reads a file that holds one Ed25519 public key, in any of the [formats](PublicKeyFormat).
///
/// Blanks and line ends around the key are allowed, as are lines that end in CR LF.
///
/// # Errors
///
/// A [`PublicKeyFileError`] that says what the file is instead.
pub fn parse_public_key_file(bytes: &[u8]) -> Result<ParsedPublicKey, PublicKeyFileError> {
    refuse_private_der(bytes)?;
    let text = plain_text::check(bytes)?;
    refuse_private_text(text)?;
    if text.starts_with(BEGIN) {
        return from_pem(text);
    }
    if find(text, BEGIN).is_some() {
        return Err(PublicKeyFileError::Pem(PemFault::Begin));
    }
    if let Some(parsed) = openssh::parse(text)? {
        return Ok(parsed);
    }
    from_hex(text)
}

fn from_pem(text: &[u8]) -> Result<ParsedPublicKey, PublicKeyFileError> {
    let block = Block::first(text).map_err(PublicKeyFileError::Pem)?;
    match block.label {
        "PUBLIC KEY" => {}
        "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" | "CERTIFICATE REQUEST" => {
            return Err(PublicKeyFileError::Certificate);
        }
        "RSA PUBLIC KEY" => return Err(PublicKeyFileError::OtherAlgorithm { algorithm: "RSA".to_owned() }),
        _ => return Err(PublicKeyFileError::OtherPem { label: block.label.chars().take(64).collect() }),
    }
    refuse_rest(block.rest)?;
    let mut der = vec![0; plain_text::MAX_KEY_FILE_LEN];
    let len = block.decode(&mut der).map_err(PublicKeyFileError::Pem)?;
    let raw = raw_of_spki(der.get(..len).unwrap_or_default())?;
    let key = PublicKey::from_bytes(raw).map_err(PublicKeyFileError::Key)?;
    Ok(ParsedPublicKey { key, format: PublicKeyFormat::SpkiPem, comment: None })
}

/// The 32 bytes in a `SubjectPublicKeyInfo` (RFC 5280 §4.1, RFC 8410 §4).
fn raw_of_spki(der: &[u8]) -> Result<&[u8; 32], PublicKeyFileError> {
    let structure = |DerFault| PublicKeyFileError::Structure;
    let mut file = Elements::new(der);
    let mut info = Elements::new(file.next(der::SEQUENCE).map_err(structure)?);
    file.end().map_err(structure)?;
    let mut algorithm = Elements::new(info.next(der::SEQUENCE).map_err(structure)?);
    let oid = algorithm.next(der::OBJECT_IDENTIFIER).map_err(structure)?;
    if oid != der::ED25519 {
        return Err(PublicKeyFileError::OtherAlgorithm { algorithm: der::algorithm_name(oid) });
    }
    // RFC 8410 §3: the parameters must be absent.
    algorithm.end().map_err(structure)?;
    let key = info.next(der::BIT_STRING).map_err(structure)?;
    info.end().map_err(structure)?;
    match key {
        [0, raw @ ..] => raw.try_into().map_err(|_| PublicKeyFileError::Structure),
        _ => Err(PublicKeyFileError::Structure),
    }
}

fn from_hex(text: &[u8]) -> Result<ParsedPublicKey, PublicKeyFileError> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (first, rest) = text.split_at_checked(digits).ok_or(PublicKeyFileError::Unrecognised)?;
    match (first.len(), rest) {
        (64, []) => {}
        (128, _) => return Err(PublicKeyFileError::PrivateKey { kind: PrivateKeyKind::Hex }),
        (64, rest) => return Err(rest_of(plain_text::trim(rest))),
        // A word of a few letters may be all hex digits; a number of this size is meant as a key.
        (found @ 16.., []) => return Err(PublicKeyFileError::HexLength { found }),
        _ => return Err(PublicKeyFileError::Unrecognised),
    }
    let first = std::str::from_utf8(first).map_err(|_| PublicKeyFileError::Unrecognised)?;
    let raw = hex_text::decode(first, Case::Either).map_err(|_| PublicKeyFileError::Unrecognised)?;
    let key = PublicKey::from_bytes(&raw).map_err(PublicKeyFileError::Key)?;
    Ok(ParsedPublicKey { key, format: PublicKeyFormat::Hex, comment: None })
}

/// Nothing may follow a key. It is said whether what follows is another key, since the remedies differ.
fn refuse_rest(rest: &[u8]) -> Result<(), PublicKeyFileError> {
    if rest.is_empty() { Ok(()) } else { Err(rest_of(rest)) }
}

fn rest_of(rest: &[u8]) -> PublicKeyFileError {
    let is_hex_key = rest.len() >= 64 && rest.iter().take(64).all(u8::is_ascii_hexdigit);
    if rest.starts_with(BEGIN) || is_hex_key || openssh::starts_with_key_type(rest) {
        PublicKeyFileError::SeveralKeys
    } else {
        PublicKeyFileError::Trailing { len: rest.len() }
    }
}

/// Finds a private key anywhere in the text, also behind a public one.
fn refuse_private_text(text: &[u8]) -> Result<(), PublicKeyFileError> {
    const KINDS: &[(&[u8], PrivateKeyKind)] = &[
        (b"-----BEGIN PRIVATE KEY", PrivateKeyKind::Pkcs8),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY", PrivateKeyKind::Encrypted),
        (b"-----BEGIN OPENSSH PRIVATE KEY", PrivateKeyKind::OpenSsh),
        (b"-----BEGIN EC PRIVATE KEY", PrivateKeyKind::Sec1),
        (b"PRIVATE KEY-----", PrivateKeyKind::OtherPem),
        (b"PuTTY-User-Key-File-", PrivateKeyKind::Putty),
    ];
    match KINDS.iter().find(|(mark, _)| find(text, mark).is_some()) {
        Some((_, kind)) => Err(PublicKeyFileError::PrivateKey { kind: *kind }),
        None => Ok(()),
    }
}

/// A PKCS#8 file in binary starts with a version number, which no public key does.
fn refuse_private_der(bytes: &[u8]) -> Result<(), PublicKeyFileError> {
    let mut file = Elements::new(bytes);
    let is_private = file
        .next(der::SEQUENCE)
        .and_then(|contents| Elements::new(contents).next(der::INTEGER))
        .is_ok_and(|version| matches!(version, [0 | 1]));
    if is_private { Err(PublicKeyFileError::PrivateKey { kind: PrivateKeyKind::Der }) } else { Ok(()) }
}
