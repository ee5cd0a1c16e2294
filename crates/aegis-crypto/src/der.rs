//! The little of DER (X.690 §8, §10) that Ed25519 key files need: definite lengths, each in its shortest form.

/// The bytes are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DerFault;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Elements that follow one another. It never reads past the slice it was given.
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The contents of the next element, which must have this tag.
    pub(crate) fn next(&mut self, tag: u8) -> Result<&'a [u8], DerFault> {
        let (found, rest) = self.0.split_first().ok_or(DerFault)?;
        if *found != tag {
            return Err(DerFault);
        }
        let (len, rest) = match rest {
            [len @ 0..=0x7f, rest @ ..] => (usize::from(*len), rest),
            [0x81, len @ 0x80..=0xff, rest @ ..] => (usize::from(*len), rest),
            [0x82, high @ 1..=0xff, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return Err(DerFault),
        };
        let (contents, rest) = rest.split_at_checked(len).ok_or(DerFault)?;
        self.0 = rest;
        Ok(contents)
    }

    /// As [`next`](Self::next), or `None` if another element or nothing follows.
    pub(crate) fn next_if(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerFault> {
        if self.0.first() == Some(&tag) { self.next(tag).map(Some) } else { Ok(None) }
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), DerFault> {
        if self.0.is_empty() { Ok(()) } else { Err(DerFault) }
    }
}

/// Whether the bytes are one whole SEQUENCE, as every DER key file is.
pub(crate) fn is_sequence(bytes: &[u8]) -> bool {
    let mut elements = Elements::new(bytes);
    elements.next(SEQUENCE).is_ok() && elements.end().is_ok()
}

/// Contents of the object identifier 1.3.101.112, `id-Ed25519` (RFC 8410 §3).
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// A name for the algorithm of a key that is not Ed25519: a word that people know, or the dotted identifier.
pub(crate) fn algorithm_name(oid: &[u8]) -> String {
    let known = match oid {
        [0x2b, 0x65, 0x6e] => "X25519",
        [0x2b, 0x65, 0x6f] => "X448",
        [0x2b, 0x65, 0x71] => "Ed448",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => "RSA",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] => "RSA-PSS",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => "EC",
        [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01] => "DSA",
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11] => "ML-DSA-44",
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12] => "ML-DSA-65",
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13] => "ML-DSA-87",
        _ => {
            return format!(
                "object identifier with DER contents {}",
                hex::encode(oid.get(..16).unwrap_or(oid))
            );
        }
    };
    known.to_owned()
}
