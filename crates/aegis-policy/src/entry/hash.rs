//! `sha256:` and 64 hex digits. Upper case is read; lower case is canonical.

use std::borrow::Cow;

use super::{EntryError, Refusal};

const PREFIX: &str = "sha256:";

/// Takes the 64 digits of a `sha256:` entry.
#[inline]
pub(crate) fn sha256(text: &str) -> Result<&str, Refusal> {
    let Some(digits) = text.strip_prefix(PREFIX) else {
        return Err(Refusal::new(0, text.len().min(PREFIX.len()), EntryError::NotSha256));
    };
    let Ok(bytes) = <&[u8; 64]>::try_from(digits.as_bytes()) else {
        let error = EntryError::HashLength { digits: digits.len() };
        return Err(Refusal::new(PREFIX.len(), digits.len(), error));
    };
    // Without a branch for each digit the compiler makes a few vector instructions of this.
    if bytes.iter().fold(0, |bad, &byte| bad | not_hex(byte)) != 0 {
        let at = bytes.iter().position(|&byte| not_hex(byte) != 0).unwrap_or(0);
        return Err(Refusal::new(PREFIX.len() + at, 1, EntryError::NotHex));
    }
    Ok(digits)
}

pub(super) fn canonical(digits: Cow<'_, str>) -> Cow<'_, str> {
    if digits.bytes().fold(false, |upper, byte| upper | byte.is_ascii_uppercase()) {
        return Cow::Owned(digits.to_ascii_lowercase());
    }
    digits
}

/// 1 for a byte that is no hex digit, 0 for one that is.
const fn not_hex(byte: u8) -> u8 {
    let digit = byte.wrapping_sub(b'0') < 10;
    let letter = (byte | 0x20).wrapping_sub(b'a') < 6;
    !(digit | letter) as u8
}
