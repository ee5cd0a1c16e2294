//! Base64 as people paste it: RFC 4648 §4 with padding, and white space and line breaks anywhere.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::variables::{SecretText, VariableFault};

/// Decodes at most `max_len` bytes. Neither the text nor the bytes stay anywhere but in what is returned.
///
/// # Errors
///
/// [`VariableFault`]: blank, a foreign character, a bad end, too many bytes.
///
/// Source: RFC 4648 §4. Decoding takes a time that depends on the length only.
pub(crate) fn decode(text: &str, max_len: usize) -> Result<Zeroizing<Vec<u8>>, VariableFault> {
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    packed.extend(text.bytes().filter(|byte| !is_white_space(*byte)));
    if packed.is_empty() {
        return Err(VariableFault::Blank);
    }
    if let Some(at) = text.chars().position(|found| !is_base64(found)) {
        return Err(VariableFault::Base64Character { position: at + 1 });
    }
    let mut bytes = Zeroizing::new(vec![0; packed.len() / 4 * 3]);
    let len = match Base64::decode(packed.as_slice(), bytes.as_mut_slice()) {
        Ok(decoded) => decoded.len(),
        Err(_) => return Err(VariableFault::Base64End),
    };
    if len > max_len {
        return Err(VariableFault::TooManyBytes { limit: max_len });
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// One line of base64.
pub(crate) fn encode(bytes: &[u8]) -> SecretText {
    let mut text = Zeroizing::new(vec![0; bytes.len().div_ceil(3) * 4]);
    SecretText::new(Base64::encode(bytes, text.as_mut_slice()).expect("the length of what it encodes to"))
}

const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'\x0b' | b'\x0c')
}

fn is_base64(found: char) -> bool {
    found.is_ascii_alphanumeric()
        || matches!(found, '+' | '/' | '=')
        || u8::try_from(found).is_ok_and(is_white_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_means_nothing_anywhere() {
        for text in ["Zm9vYg==", " Zm9v\nYg==\n", "Z m\t9 v\r\nY g = =", "\x0bZm9vYg=\x0c="] {
            assert_eq!(*decode(text, 4).unwrap(), b"foob", "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_base64() {
        let end = VariableFault::Base64End;
        let cases = [
            ("", VariableFault::Blank),
            (" \r\n\t", VariableFault::Blank),
            ("Zm9vYg", end.clone()),
            ("Zm9vYg=", end.clone()),
            ("Zm9vYg===", end.clone()),
            ("Zm9vYh==", end.clone()),
            ("Zm9v=Yg=", end.clone()),
            ("====", end.clone()),
            ("Zm9vYg==Zm9v", end),
            ("Zm-vYg==", VariableFault::Base64Character { position: 3 }),
            ("Zm9v Yg\u{a0}==", VariableFault::Base64Character { position: 8 }),
            ("ключ", VariableFault::Base64Character { position: 1 }),
            ("Zm9vYmE=", VariableFault::TooManyBytes { limit: 4 }),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text, 4).map(|_| ()), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn encodes_with_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(bytes.as_bytes()).expose(), text);
        }
    }
}
