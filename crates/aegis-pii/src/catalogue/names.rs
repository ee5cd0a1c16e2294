//! A set of names that is asked for every member of every event.

/// Names, behind a filter by first byte and length that turns away nearly everything else.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// For each first byte, one bit for each length; the last bit stands for 63 bytes and more.
    lengths: [u64; 256],
    sorted: Vec<Box<[u8]>>,
}

impl Names {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut sorted: Vec<Box<[u8]>> = names.map(Box::from).collect();
        sorted.sort_unstable();
        let mut lengths = [0; 256];
        for name in &sorted {
            if let Some(first) = name.first()
                && let Some(bits) = lengths.get_mut(usize::from(*first))
            {
                *bits |= length_bit(name.len());
            }
        }
        Self { lengths, sorted }
    }

    #[inline]
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        let Some(first) = name.first() else { return false };
        let Some(lengths) = self.lengths.get(usize::from(*first)) else { return false };
        lengths & length_bit(name.len()) != 0 && self.is_listed(name)
    }

    fn is_listed(&self, name: &[u8]) -> bool {
        self.sorted.binary_search_by(|listed| (**listed).cmp(name)).is_ok()
    }
}

const fn length_bit(len: usize) -> u64 {
    1 << if len < 63 { len } else { 63 }
}
