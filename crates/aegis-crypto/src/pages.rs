//! Memory straight from the kernel, for what an allocator cannot give. One of two modules with `unsafe` in this crate.
//!
//! | type | what the kernel does with its pages | source |
//! |---|---|---|
//! | [`LockedPages`] | keeps them out of swap space and core files | mlock(2), madvise(2) `MADV_DONTDUMP` |
//! | [`ProcessMark`] | gives a forked child zeros in their place | madvise(2) `MADV_WIPEONFORK` |
//!
//! Pages are never shared: a fork gives the child its own copy of the mapping, so whatever the child erases or unmaps,
//! the parent keeps. Lengths need not be multiples of a page; the kernel rounds them up, here always to the same pages.

#![allow(unsafe_code, reason = "mapping memory and lending it out is what this module is for")]

use std::ffi::c_void;
use std::process;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// `N` bytes, zero at first, on pages of their own. Erased and unmapped on drop.
pub(crate) struct LockedPages<const N: usize> {
    bytes: NonNull<[u8; N]>,
    is_locked: bool,
}

impl<const N: usize> LockedPages<N> {
    /// `None` if the kernel maps no more memory for this process. Pages that it maps and does not lock, because a
    /// limit is reached (`RLIMIT_MEMLOCK`), are given out all the same: see [`is_locked`](Self::is_locked).
    pub(crate) fn new() -> Option<Self> {
        const { assert!(N > 0, "no bytes have no page") }
        let start = map(N)?;
        // SAFETY: the N bytes at `start` were mapped in the line above and nothing refers to them; this marks them,
        // and neither reads nor writes them.
        let undumped = unsafe { madvise(start.as_ptr(), N, Advice::LinuxDontDump) };
        // SAFETY: as above; mlock(2) makes the pages resident and does not change what they hold.
        let locked = unsafe { mlock(start.as_ptr(), N) };
        Some(Self { bytes: start.cast(), is_locked: undumped.is_ok() && locked.is_ok() })
    }

    /// Whether the pages are kept out of swap space and out of core files. In a forked child only the latter.
    pub(crate) const fn is_locked(&self) -> bool {
        self.is_locked
    }

    pub(crate) const fn bytes(&self) -> &[u8; N] {
        // SAFETY: `bytes` points to N mapped, initialised bytes until `drop`, and whoever could write to them borrows
        // `self` as mutable.
        unsafe { self.bytes.as_ref() }
    }

    pub(crate) const fn bytes_mut(&mut self) -> &mut [u8; N] {
        // SAFETY: as in `bytes`, and `self` is borrowed as mutable, so nobody else reads or writes them.
        unsafe { self.bytes.as_mut() }
    }
}

impl<const N: usize> Drop for LockedPages<N> {
    fn drop(&mut self) {
        // The kernel erases pages before it gives them to anybody, but not at once.
        self.bytes_mut().zeroize();
        unmap(self.bytes.cast(), N);
    }
}

// SAFETY: the pages belong to this value alone and to no thread; it is a `Box<[u8; N]>` but for where the bytes are.
unsafe impl<const N: usize> Send for LockedPages<N> {}

// SAFETY: a shared reference gives nothing but shared references to bytes.
unsafe impl<const N: usize> Sync for LockedPages<N> {}

/// Tells this process from the one that it was forked from.
///
/// The id of the process would do so, at the price of a system call, except where both are number 1 of a PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessMark(u64);

impl ProcessMark {
    /// A mark that no process has.
    #[cfg(test)]
    pub(crate) const fn of_another(number: u32) -> Self {
        Self(BY_ID | 1 << 62 | number as u64)
    }

    /// The mark of this process: the same every time, and another one in a child.
    pub(crate) fn current() -> Self {
        let Some(wiped) = wiped_on_fork() else { return Self(BY_ID | u64::from(process::id())) };
        match wiped.load(Ordering::Acquire) {
            0 => Self::begin(wiped),
            mark => Self(mark),
        }
    }

    /// The page is as the kernel gave it: this process is new. Ancestors have lower numbers, for their counter was
    /// copied into this process, and a mark is inherited from ancestors only.
    #[cold]
    fn begin(wiped: &AtomicU64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mark = NEXT.fetch_add(1, Ordering::Relaxed);
        match wiped.compare_exchange(0, mark, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Self(mark),
            Err(of_another_thread) => Self(of_another_thread),
        }
    }
}

/// Marks made of process ids have this bit, and those that were counted do not.
const BY_ID: u64 = 1 << 63;

/// A number that is zero until it is set, and again in a child. `None` where the kernel cannot do that (before 4.14).
fn wiped_on_fork() -> Option<&'static AtomicU64> {
    // Null before the first call; then the page, or `unavailable`. No lock: a child that was forked while another
    // thread held one would wait for ever.
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    static UNAVAILABLE: AtomicU64 = AtomicU64::new(0);
    let unavailable = (&raw const UNAVAILABLE).cast_mut();

    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let made = map_wiped_on_fork();
        let offered = made.map_or(unavailable, NonNull::as_ptr);
        match PAGE.compare_exchange(ptr::null_mut(), offered, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => page = offered,
            Err(of_another_thread) => {
                page = of_another_thread;
                if let Some(made) = made {
                    unmap(made.cast(), size_of::<AtomicU64>());
                }
            }
        }
    }
    if page == unavailable {
        return None;
    }
    // SAFETY: `page` is neither null nor the marker, so it came from `map_wiped_on_fork` and was published above; it is
    // aligned to a page, is never unmapped after that, and is used as an atomic number alone.
    Some(unsafe { &*page })
}

fn map_wiped_on_fork() -> Option<NonNull<AtomicU64>> {
    let start = map(size_of::<AtomicU64>())?;
    // SAFETY: the bytes at `start` were mapped in the line above and nothing refers to them; this changes what a
    // child finds there.
    match unsafe { madvise(start.as_ptr(), size_of::<AtomicU64>(), Advice::LinuxWipeOnFork) } {
        Ok(()) => Some(start.cast()),
        Err(_) => {
            unmap(start, size_of::<AtomicU64>());
            None
        }
    }
}

/// At least `len` new bytes, all zero, that can be read and written.
fn map(len: usize) -> Option<NonNull<c_void>> {
    // SAFETY: without an address and without MAP_FIXED the kernel takes addresses at which nothing is mapped, so
    // memory that anything refers to stays as it is.
    let start = unsafe {
        mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    NonNull::new(start.ok()?)
}

/// Gives back what [`map`] gave for the same `len`, to which nothing refers any more.
fn unmap(start: NonNull<c_void>, len: usize) {
    // It fails only where it would split a mapping and the process has too many. Then a page leaks, which was erased.
    // SAFETY: the callers, all of them above, own the mapping, which began at `start` and had this `len`, and they
    // use it no more.
    let _ = unsafe { munmap(start.as_ptr(), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zero_at_first_and_keep_what_is_written() {
        let mut pages = LockedPages::<2432>::new().unwrap();
        assert_eq!(pages.bytes(), &[0; 2432]);
        pages.bytes_mut().fill(0x5c);
        let other = LockedPages::<2432>::new().unwrap();
        assert_eq!((pages.bytes(), other.bytes()), (&[0x5c; 2432], &[0; 2432]));
        assert!(pages.bytes().as_ptr().addr().is_multiple_of(4096));
    }

    #[test]
    fn a_process_has_one_mark_in_all_threads() {
        let mark = ProcessMark::current();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(ProcessMark::current)).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == mark));
        assert_eq!(ProcessMark::current(), mark);
        assert_ne!(ProcessMark::of_another(1), mark);
    }

    #[test]
    fn this_kernel_tells_a_child_that_it_is_one() {
        if wiped_on_fork().is_none() {
            let why = "the kernel has no MADV_WIPEONFORK, so the id of the process is asked for each time";
            test_services::tools::skip("this_kernel_tells_a_child_that_it_is_one", why);
            return;
        }
        assert_eq!(ProcessMark::current().0 & BY_ID, 0);
    }
}
