//! Looks through the memory of this process for what should be nowhere in it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

const LEN: usize = 16;

/// Bytes that are looked for, each inverted: nobody is to find them here.
pub(crate) type Inverted = [u8; LEN];

/// The first bytes of these, inverted.
pub(crate) fn inverted(bytes: &[u8]) -> Inverted {
    std::array::from_fn(|at| !bytes[at])
}

/// The places in `wanted` of the pieces that are in memory that this process can write to. It has no other thread that
/// works.
pub(crate) fn found(wanted: &[Inverted]) -> Vec<usize> {
    const PAGE: usize = 4096;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut page = vec![0_u8; PAGE + LEN - 1];
    let own = page.as_ptr_range();
    let own = own.start.addr() as u64..own.end.addr() as u64;
    let zeros = vec![0_u8; page.len()];
    let mut hits = vec![false; wanted.len()];
    // So that most places cost one look.
    let begins: Vec<bool> = (0..=255_u8).map(|byte| wanted.iter().any(|piece| piece[0] == !byte)).collect();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        for at in (start..end).step_by(PAGE) {
            let len = page.len().min(usize::try_from(end - at).unwrap());
            // What the search itself has read is not a find.
            if (at..at + len as u64).any(|byte| own.contains(&byte)) {
                continue;
            }
            if memory.read_exact_at(&mut page[..len], at).is_ok() && page[..len] != zeros[..len] {
                for window in page[..len].windows(LEN).filter(|window| begins[usize::from(window[0])]) {
                    for (hit, inverse) in hits.iter_mut().zip(wanted) {
                        *hit |= window.iter().zip(inverse).all(|(byte, other)| *byte == !*other);
                    }
                }
            }
        }
    }
    page.fill(0);
    hits.into_iter().zip(0..).filter_map(|(hit, at)| hit.then_some(at)).collect()
}
