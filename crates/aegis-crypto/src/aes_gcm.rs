//! AES-256-GCM (FIPS 197, NIST SP 800-38D) of short texts, one after the other under one key.
//!
//! The provider does a long text several times as fast, and takes as long to begin and to end a short one as this does for all
//! of it: a field of an event is 40 bytes bound to 140, and took 100 ns of its time in the place of 45 ns. That was a sixth
//! of the time of sealing or of opening an event; and 1,300 instructions of a field's 7,300, in the place of 580. So what is
//! short is done here, where the processor has instructions for AES and for the products of GHASH; for all else,
//! everywhere, there is the provider, and both give the same bytes.
//!
//! | module | what it holds |
//! |---|---|
//! | `carryless` | both directions, by AES and PCLMULQDQ |

#[cfg(target_arch = "x86_64")]
mod carryless;

#[cfg(test)]
mod tests;

use zeroize::ZeroizeOnDrop;

use crate::sealed_box::keys::TAG_LEN;
use crate::sealed_box::nonces::NONCE_LEN;

/// The most blocks that are hashed for a short text: up to there this is faster than the provider.
const MAX_BLOCKS: usize = 32;

/// For how many texts it is kept what their associated data came to: those of an event mostly have the same as those of the
/// last one. It says as much as the key, so it is part of that, and erased with it.
const KEPT: usize = 16;

/// The blocks that are hashed for a text: of its associated data, its own, and one of both lengths (SP 800-38D §7.1).
const fn blocks(text_len: usize, associated_len: usize) -> usize {
    blocks_of(associated_len) + blocks_of(text_len) + 1
}

/// The blocks of so many bytes.
const fn blocks_of(len: usize) -> usize {
    len.div_ceil(16)
}

/// A key of AES-256-GCM, expanded for short texts. It is erased on drop.
pub(crate) struct ShortTextKey {
    #[cfg(target_arch = "x86_64")]
    key: Box<carryless::Key>,
}

impl ShortTextKey {
    /// Expands a key. `None` where the processor lacks the instructions. Parts of the key may stay on the stack.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn new_leaving_copies(key: &[u8; 32]) -> Option<Self> {
        Some(Self { key: carryless::Key::new(carryless::Instructions::detect()?, key) })
    }

    /// Expands a key. There is no processor that has the instructions.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn new_leaving_copies(_: &[u8; 32]) -> Option<Self> {
        None
    }

    /// Whether texts and associated data of these lengths are done here.
    pub(crate) const fn takes(&self, text_len: usize, associated_len: usize) -> bool {
        blocks(text_len, associated_len) <= MAX_BLOCKS
    }

    /// Writes the ciphertext of `plaintext`, whose length it has, and gives the tag. Texts that mostly have the same associated
    /// data as an earlier one have its number.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn seal(
        &mut self,
        number: usize,
        nonce: &[u8; NONCE_LEN],
        associated_data: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> [u8; TAG_LEN] {
        self.key.seal(number, nonce, associated_data, plaintext, ciphertext)
    }

    /// Writes what `ciphertext` would be the ciphertext of, whose length it has, and gives the tag that it would have. Who
    /// calls compares that tag, in constant time, and lets nobody see the text unless it is the right one.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn open_unchecked(
        &mut self,
        number: usize,
        nonce: &[u8; NONCE_LEN],
        associated_data: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> [u8; TAG_LEN] {
        self.key.open_unchecked(number, nonce, associated_data, ciphertext, plaintext)
    }
}

/// What [`ShortTextKey::new_leaving_copies`] does not make there cannot be called.
#[cfg(not(target_arch = "x86_64"))]
impl ShortTextKey {
    pub(crate) fn seal(
        &mut self,
        _: usize,
        _: &[u8; NONCE_LEN],
        _: &[u8],
        _: &[u8],
        _: &mut [u8],
    ) -> [u8; TAG_LEN] {
        unreachable!("there is no such key")
    }

    pub(crate) fn open_unchecked(
        &mut self,
        _: usize,
        _: &[u8; NONCE_LEN],
        _: &[u8],
        _: &[u8],
        _: &mut [u8],
    ) -> [u8; TAG_LEN] {
        unreachable!("there is no such key")
    }
}

impl ZeroizeOnDrop for ShortTextKey {}
