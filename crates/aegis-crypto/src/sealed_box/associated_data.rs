//! Associated data: what is not in a box and still has to be the same when it is opened.

/// Associated data in its one encoding: the number of parts, then each part after its length.
///
/// Numbers are 8 bytes, big-endian. So no byte can move from one part to the next, and what follows the encoding
/// (the plaintext, in a commitment) cannot be taken for a part. There is no empty one: a box that is bound to
/// nothing can be put in the place of any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociatedData(Vec<u8>);

impl AssociatedData {
    /// Binds these parts in this order. None at all does not compile.
    pub fn new<const N: usize>(parts: [&[u8]; N]) -> Self {
        const { assert!(N > 0, "associated data needs at least one part") }
        Self(length_prefixed(&parts))
    }

    /// As [`new`](Self::new), for parts whose number is known only at run time.
    pub fn of(first: &[u8], rest: &[&[u8]]) -> Self {
        let parts: Vec<&[u8]> = std::iter::once(first).chain(rest.iter().copied()).collect();
        Self(length_prefixed(&parts))
    }

    /// For vectors that have no parts.
    #[cfg(test)]
    pub(crate) fn of_raw(encoded: Vec<u8>) -> Self {
        Self(encoded)
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The number of parts, then each part after its length.
pub(crate) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let len = parts.iter().map(|part| PREFIX_LEN + part.len()).sum::<usize>() + PREFIX_LEN;
    let mut encoded = Vec::with_capacity(len);
    encoded.extend_from_slice(&(parts.len() as u64).to_be_bytes());
    for part in parts {
        encoded.extend_from_slice(&(part.len() as u64).to_be_bytes());
        encoded.extend_from_slice(part);
    }
    encoded
}

const PREFIX_LEN: usize = size_of::<u64>();
