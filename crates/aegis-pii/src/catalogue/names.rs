//! A set of names that is asked for every member of every event.

use std::fmt;

/// Names, behind a filter by first byte and length that turns away nearly everything else.
#[derive(Clone)]
pub(crate) struct Names {
    by_first_byte: Box<[Bucket; 256]>,
    sorted: Vec<Box<[u8]>>,
}

/// The names with one first byte.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// One bit for each length; the last bit stands for 63 bytes and more.
    lengths: u64,
    /// Where in `sorted` they are.
    start: usize,
    end: usize,
}

impl Names {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut sorted: Vec<Box<[u8]>> = names.map(Box::from).collect();
        sorted.sort_unstable();
        let mut by_first_byte = Box::new([Bucket::default(); 256]);
        for (place, name) in sorted.iter().enumerate() {
            if let Some(first) = name.first()
                && let Some(bucket) = by_first_byte.get_mut(usize::from(*first))
            {
                if bucket.lengths == 0 {
                    bucket.start = place;
                }
                bucket.end = place + 1;
                bucket.lengths |= length_bit(name.len());
            }
        }
        Self { by_first_byte, sorted }
    }

    #[inline]
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        let Some(first) = name.first() else { return false };
        let Some(bucket) = self.by_first_byte.get(usize::from(*first)) else { return false };
        bucket.lengths & length_bit(name.len()) != 0 && self.is_listed(bucket, name)
    }

    fn is_listed(&self, bucket: &Bucket, name: &[u8]) -> bool {
        /// Up to here comparing lengths one by one is faster than to search.
        const FEW: usize = 8;
        let names = self.sorted.get(bucket.start..bucket.end).unwrap_or_default();
        if names.len() <= FEW {
            return names.iter().any(|listed| **listed == *name);
        }
        names.binary_search_by(|listed| (**listed).cmp(name)).is_ok()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("len", &self.sorted.len()).finish_non_exhaustive()
    }
}

const fn length_bit(len: usize) -> u64 {
    1 << if len < 63 { len } else { 63 }
}
