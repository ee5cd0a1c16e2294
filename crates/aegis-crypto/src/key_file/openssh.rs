//! One line of OpenSSH: `ssh-ed25519 AAAA… comment` (RFC 4253 §6.6, RFC 8709 §4).

use base64ct::{Base64, Encoding};

use super::{OpenSshFault, ParsedPublicKey, PublicKeyFileError, PublicKeyFormat, refuse_rest};
use crate::ed25519::PublicKey;
use crate::plain_text::trim;

/// The bytes in the base64 before the key: the name and the key's length, each with a length of four bytes.
const BLOB_PREFIX: &[u8; 19] = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20";

const MAX_COMMENT_LEN: usize = 128;

/// The name and the key as they are in the base64.
pub(crate) fn blob(raw: &[u8; 32]) -> Vec<u8> {
    [BLOB_PREFIX.as_slice(), raw].concat()
}

/// A comment that is safe on a terminal and in one line: printable ASCII, at most 128 characters, the rest `?`.
pub(crate) fn printable(comment: &str) -> Option<String> {
    let safe = |c: char| match c {
        ' '..='~' => c,
        '\t' => ' ',
        _ => '?',
    };
    let text: String = comment.trim().chars().take(MAX_COMMENT_LEN).map(safe).collect();
    if text.is_empty() { None } else { Some(text) }
}

/// Whether the text starts with the name of an OpenSSH key type.
pub(super) fn starts_with_key_type(text: &[u8]) -> bool {
    is_key_type(words(text).next().unwrap_or_default())
}

/// Reads the line, or gives `None` if the text has no OpenSSH key in its first line.
pub(super) fn parse(text: &[u8]) -> Result<Option<ParsedPublicKey>, PublicKeyFileError> {
    let end = text.iter().position(|&byte| byte == b'\n').unwrap_or(text.len());
    let (line, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    let line = trim(line);
    let kind = words(line).next().unwrap_or_default();
    if kind != b"ssh-ed25519" {
        return refuse_other(line, kind);
    }
    let after_kind = trim(line.strip_prefix(kind).unwrap_or_default());
    let encoded = words(after_kind).next().ok_or(PublicKeyFileError::OpenSsh(OpenSshFault::NoKey))?;
    let comment = after_kind.strip_prefix(encoded).unwrap_or_default();
    refuse_rest(trim(rest))?;

    let fault = PublicKeyFileError::OpenSsh;
    let encoded = std::str::from_utf8(encoded).map_err(|_| fault(OpenSshFault::Base64))?;
    let decoded = Base64::decode_vec(encoded).map_err(|_| fault(OpenSshFault::Base64))?;
    let raw = decoded.strip_prefix(BLOB_PREFIX.as_slice()).ok_or(fault(OpenSshFault::Structure))?;
    let raw = raw.try_into().map_err(|_| fault(OpenSshFault::Structure))?;
    let key = PublicKey::from_bytes(raw).map_err(PublicKeyFileError::Key)?;
    let comment = printable(&String::from_utf8_lossy(comment));
    Ok(Some(ParsedPublicKey { key, format: PublicKeyFormat::OpenSsh, comment }))
}

fn refuse_other(line: &[u8], kind: &[u8]) -> Result<Option<ParsedPublicKey>, PublicKeyFileError> {
    if is_key_type(kind) {
        let algorithm = printable(&String::from_utf8_lossy(kind)).unwrap_or_default();
        return Err(if algorithm.contains("-cert-v") {
            PublicKeyFileError::Certificate
        } else {
            PublicKeyFileError::OtherAlgorithm { algorithm }
        });
    }
    if words(line).any(|word| word == b"ssh-ed25519") {
        return Err(PublicKeyFileError::OpenSsh(OpenSshFault::WordsBefore));
    }
    Ok(None)
}

fn is_key_type(word: &[u8]) -> bool {
    [b"ssh-".as_slice(), b"sk-ssh-", b"ecdsa-sha2-", b"sk-ecdsa-sha2-"]
        .iter()
        .any(|start| word.starts_with(start))
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}
