//! Secret bytes: erased on drop, compared in constant time, shown to nobody; long ones locked in memory.

use std::mem::MaybeUninit;

use aws_lc_rs::rand;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::pages::LockedPages;

/// From this length on a secret has pages of its own, which cost a page each and a few system calls. So long are
/// hybrid private keys; what is shorter is soon used up.
const OWN_PAGES_FROM: usize = 1024;

/// `N` secret bytes. Erased on drop; compared in constant time.
///
/// It cannot be cloned, printed, serialized or compared with `==`. Those of 1 KiB and more, such as hybrid private keys,
/// have pages of their own, which are kept out of swap space and core files as far as the system allows it:
/// [`is_locked`](Self::is_locked) says whether it did. Shorter ones are on the heap.
pub struct Secret<const N: usize>(Place<N>);

/// Where the bytes are.
enum Place<const N: usize> {
    Heap(Box<[u8; N]>),
    Pages(LockedPages<N>),
}

impl<const N: usize> Secret<N> {
    /// Fills the bytes where they will live, so that no copy stays on the stack.
    ///
    /// # Errors
    ///
    /// Whatever `fill` gives; bytes that it had already written are erased.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Place::new());
        fill(secret.0.bytes_mut())?;
        Ok(secret)
    }

    /// As [`try_fill`](Self::try_fill), for what cannot fail.
    pub(crate) fn fill(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Place::new());
        fill(secret.0.bytes_mut());
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
        self.0.bytes()
    }

    /// Whether the bytes are kept out of swap space and core files. Never those of a secret under 1 KiB, nor of one
    /// that found the limit on locked memory (`RLIMIT_MEMLOCK`) reached. A forked child has a copy that may be swapped.
    pub const fn is_locked(&self) -> bool {
        match &self.0 {
            Place::Heap(_) => false,
            Place::Pages(pages) => pages.is_locked(),
        }
    }

    /// Whether both hold the same bytes, in a time that does not depend on where they differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose().as_slice().ct_eq(other.expose().as_slice()).into()
    }
}

/// Overwrites `KIB` · 1,024 bytes of the stack below the caller, where functions that have returned kept their values.
///
/// For functions that return a secret by value, which leaves a copy in each frame that it passed through. They must
/// not be inlined into the caller, or their values are in its frame instead.
#[inline(never)]
pub fn bleach_stack<const KIB: usize>() {
    let mut used = [const { MaybeUninit::<[u8; 1024]>::uninit() }; KIB];
    // A piece at a time: for more at once, the C library takes an instruction that is slow to begin.
    for piece in &mut used {
        piece.write([0; 1024]);
        zeroize::optimization_barrier(piece);
    }
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

impl<const N: usize> Place<N> {
    fn new() -> Self {
        if const { N >= OWN_PAGES_FROM }
            && let Some(pages) = LockedPages::new()
        {
            return Self::Pages(pages);
        }
        // The kernel may map no more for a process with very many keys. On the heap they are erased as well.
        Self::Heap(Box::new([0; N]))
    }

    const fn bytes(&self) -> &[u8; N] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages.bytes(),
        }
    }

    const fn bytes_mut(&mut self) -> &mut [u8; N] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages.bytes_mut(),
        }
    }
}

impl<const N: usize> Drop for Place<N> {
    fn drop(&mut self) {
        match self {
            Self::Heap(bytes) => bytes.zeroize(),
            // They erase themselves before they are unmapped.
            Self::Pages(_) => {}
        }
    }
}

impl<const N: usize> zeroize::ZeroizeOnDrop for Secret<N> {}
