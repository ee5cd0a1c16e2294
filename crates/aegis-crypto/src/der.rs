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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_in_their_shortest_form_only() {
        let element = |head: &[u8], len: usize| [head, &vec![7; len]].concat();
        for (head, len, expected) in [
            (&[4, 0][..], 0, Ok(0)),
            (&[4, 0x7f], 0x7f, Ok(0x7f)),
            (&[4, 0x81, 0x80], 0x80, Ok(0x80)),
            (&[4, 0x81, 0xff], 0xff, Ok(0xff)),
            (&[4, 0x82, 1, 0], 0x100, Ok(0x100)),
            (&[4, 0x81, 0x7f], 0x7f, Err(DerFault)),
            (&[4, 0x82, 0, 0xff], 0xff, Err(DerFault)),
            (&[4, 0x80], 0, Err(DerFault)),
            (&[4, 0x83, 0, 1, 0], 0x100, Err(DerFault)),
            (&[4, 0xff], 0, Err(DerFault)),
            (&[4, 2], 1, Err(DerFault)),
            (&[4, 0x81], 0, Err(DerFault)),
            (&[4, 0x82, 1], 0, Err(DerFault)),
            (&[4], 0, Err(DerFault)),
            (&[], 0, Err(DerFault)),
            (&[5, 0], 0, Err(DerFault)),
        ] {
            let bytes = element(head, len);
            assert_eq!(Elements::new(&bytes).next(OCTET_STRING).map(<[u8]>::len), expected, "{head:02x?}");
        }
    }

    #[test]
    fn a_failed_read_takes_nothing() {
        let mut elements = Elements::new(&[4, 1, 9]);
        assert_eq!(elements.next(SEQUENCE), Err(DerFault));
        assert_eq!(elements.next_if(SEQUENCE), Ok(None));
        assert_eq!(elements.next(OCTET_STRING), Ok(&[9][..]));
        assert_eq!(elements.next_if(OCTET_STRING), Ok(None));
        assert_eq!(elements.end(), Ok(()));
    }

    #[test]
    fn is_sequence_means_the_whole_of_the_bytes() {
        assert!(is_sequence(&[0x30, 2, 5, 0]));
        for bytes in [&[0x30, 2, 5, 0, 0][..], &[0x30, 2, 5], &[0x31, 0], &[]] {
            assert!(!is_sequence(bytes), "{bytes:02x?}");
        }
    }
}
