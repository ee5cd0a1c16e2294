//! Secret bytes: on the heap, erased on drop, compared in constant time, shown to nobody.

use aws_lc_rs::rand;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// `N` secret bytes on the heap. Erased on drop; compared in constant time.
///
/// It cannot be cloned, printed, serialized or compared with `==`.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Fills the bytes where they will live, so that no copy stays on the stack.
    ///
    /// # Errors
    ///
    /// Whatever `fill` gives; bytes that it had already written are erased.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// As [`try_fill`](Self::try_fill), for what cannot fail.
    pub(crate) fn fill(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0);
        secret
    }

    /// A copy of bytes that somebody else erases: `bytes` is left as it is, and is the caller's to erase.
    pub fn copy_of(bytes: &[u8; N]) -> Self {
        Self::fill(|to| to.copy_from_slice(bytes))
    }

    /// `N` bytes of the system's random generator.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the generator gave none. There is no weaker one to fall back to.
    pub fn random() -> Result<Self, RandomError> {
        Self::try_fill(|bytes| rand::fill(bytes).map_err(|_| RandomError))
    }

    /// Lends the bytes. Each call is a line that a reviewer can search for.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Whether both hold the same bytes, in a time that does not depend on where they differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

/// Overwrites `LEN` bytes of the stack below the caller, where functions that have returned kept their values.
///
/// For functions that return a secret by value, which leaves a copy in each frame that it passed through. They must
/// not be inlined into the caller, or their values are in its frame instead.
#[inline(never)]
pub(crate) fn bleach_stack<const LEN: usize>() {
    let mut used = [0_u8; LEN];
    used.zeroize();
    std::hint::black_box(&mut used);
}

/// The system's random generator gave no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random generator gave no bytes")]
pub struct RandomError;

impl RandomError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(
            "nothing was made; check that getrandom(2) or /dev/urandom works here, then try again".to_owned(),
        )
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> zeroize::ZeroizeOnDrop for Secret<N> {}
