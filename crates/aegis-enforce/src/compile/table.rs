//! The entries of one map while a policy is compiled, and what they sum up to.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use crate::layout::mix;

/// Free places that a table begins with.
const FEWEST: usize = 16;
/// Entries whose places are looked at together.
const TOGETHER: usize = 64;

/// A key and its value.
pub(crate) type Entry<const K: usize, const V: usize> = ([u8; K], [u8; V]);

/// Entries of one map, each key once, in the order in which they came: keys and values lie as the kernel takes them.
#[derive(Debug)]
pub(crate) struct Table<const K: usize, const V: usize> {
    keys: Vec<[u8; K]>,
    values: Vec<[u8; V]>,
    /// Where the entry of a key is, 1 for the first: at the place of its hash or soon after it. 0 is a free place, and half
    /// of them are.
    places: Vec<u32>,
    /// Keys are numbers that the policy's author chose. He does not choose where they collide.
    seed: u64,
}

impl<const K: usize, const V: usize> Default for Table<K, V> {
    fn default() -> Self {
        let seed = RandomState::new().hash_one(K);
        Self { keys: Vec::new(), values: Vec::new(), places: Vec::new(), seed }
    }
}

impl<const K: usize, const V: usize> Table<K, V> {
    /// Makes room for so many more, and for the canary.
    pub(crate) fn reserve(&mut self, more: usize) {
        if more == 0 {
            return;
        }
        let more = more.saturating_add(1);
        self.keys.reserve(more);
        self.values.reserve(more);
        let entries = self.keys.len().saturating_add(more);
        if entries.saturating_mul(2) > self.places.len() {
            self.spread(entries);
        }
    }

    /// Adds an entry, or lets `merge` make one of it and of the one that is there.
    #[inline]
    pub(crate) fn put(&mut self, key: [u8; K], value: [u8; V], merge: impl FnOnce(&mut [u8; V])) {
        if self.places.len() < (self.keys.len() + 1) * 2 {
            self.spread((self.keys.len() + 1) * 2);
        }
        self.put_at(self.place_of(&key), key, value, merge);
    }

    /// Adds entries one after the other, as [`Table::put`] does with each.
    pub(crate) fn put_all(&mut self, entries: &[Entry<K, V>], merge: impl Fn(&mut [u8; V], &[u8; V])) {
        for entries in entries.chunks(TOGETHER) {
            let needed = (self.keys.len() + entries.len()) * 2;
            if self.places.len() < needed {
                self.spread(needed);
            }
            let mut places = [0; TOGETHER];
            places.iter_mut().zip(entries).for_each(|(place, (key, _))| *place = self.place_of(key));
            // None of these waits for another, as each of those below would: whether a place is free decides what is next.
            let mask = self.places.len().wrapping_sub(1);
            let taken = places.iter().filter_map(|place| self.places.get(place & mask));
            std::hint::black_box(taken.fold(0, |all, taken| all | taken));
            for (place, (key, value)) in places.iter().zip(entries) {
                self.put_at(*place, *key, *value, |known| merge(known, value));
            }
        }
    }

    /// There is room.
    #[inline]
    fn put_at(&mut self, place: usize, key: [u8; K], value: [u8; V], merge: impl FnOnce(&mut [u8; V])) {
        match self.find_from(place, &key) {
            Found::At(index) => {
                if let Some(known) = self.values.get_mut(index) {
                    merge(known);
                }
            }
            Found::Free(place) => {
                self.keys.push(key);
                self.values.push(value);
                if let Some(place) = self.places.get_mut(place) {
                    // A policy has fewer than 2^32 bytes, and an entry takes at least one of them.
                    *place = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
                }
            }
        }
    }

    /// Adds an entry in place of one that is there.
    pub(crate) fn insert(&mut self, key: [u8; K], value: [u8; V]) {
        self.put(key, value, |known| *known = value);
    }

    pub(crate) fn get(&self, key: &[u8; K]) -> Option<&[u8; V]> {
        match self.find(key) {
            Found::At(index) => self.values.get(index),
            Found::Free(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn keys(&self) -> &[[u8; K]] {
        &self.keys
    }

    /// Each value at the place of its key.
    pub(crate) fn values(&self) -> &[[u8; V]] {
        &self.values
    }

    /// What all entries sum up to.
    pub(crate) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        self.keys.iter().zip(&self.values).for_each(|(key, value)| sum.add(key, value));
        sum
    }

    #[inline]
    fn find(&self, key: &[u8; K]) -> Found {
        self.find_from(self.place_of(key), key)
    }

    #[inline]
    fn find_from(&self, place: usize, key: &[u8; K]) -> Found {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = place & mask;
        while let Some(place) = self.places.get(at) {
            let Some(index) = (*place as usize).checked_sub(1) else { return Found::Free(at) };
            if self.keys.get(index) == Some(key) {
                return Found::At(index);
            }
            at = (at + 1) & mask;
        }
        // A table without a place is empty.
        Found::Free(0)
    }

    #[inline]
    fn place_of(&self, key: &[u8; K]) -> usize {
        usize::try_from(mix_words(self.seed, key)).unwrap_or(0)
    }

    /// Gives every entry a place among as many as `entries` need.
    fn spread(&mut self, entries: usize) {
        let places = entries.saturating_mul(2).max(FEWEST).next_power_of_two();
        let mask = places - 1;
        let mut places = vec![0; places];
        for (index, key) in (1_u32..).zip(&self.keys) {
            let mut at = self.place_of(key) & mask;
            while let Some(place) = places.get_mut(at) {
                if *place == 0 {
                    *place = index;
                    break;
                }
                at = (at + 1) & mask;
            }
        }
        self.places = places;
    }
}

/// Where a key is, or where it would be put.
enum Found {
    At(usize),
    Free(usize),
}

/// A sum over entries that does not depend on their order. It finds what was lost or spoilt, not what somebody forged. The
/// programs of `bpf/fill.bpf.c` make the same of what is in a map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) entries: u64,
    pub(crate) first: u64,
    pub(crate) second: u64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let state = mix(key.len() as u64, value.len() as u64);
        let state = mix_words(mix_words(state, key), value);
        self.entries += 1;
        self.first = self.first.wrapping_add(state);
        self.second = self.second.wrapping_add(mix(state, MARK));
    }
}

const MARK: u64 = 0x6165_6769_735f_7375;

#[inline]
fn mix_words(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| mix(state, u64::from_ne_bytes(*word)));
    if rest.is_empty() {
        return state;
    }
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    mix(state, u64::from_ne_bytes(last))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few different keys, so that most are there already.
        #[test]
        fn a_table_is_a_map(entries in proptest::collection::vec((0_u64..64, any::<u64>()), 0..400), room in 0_usize..100) {
            let mut table = Table::<8, 8>::default();
            table.reserve(room);
            let mut map = BTreeMap::new();
            for (key, value) in entries {
                let add = |known: u64| known.wrapping_mul(3).wrapping_add(value);
                table.put(key.to_ne_bytes(), value.to_ne_bytes(), |known| *known = add(u64::from_ne_bytes(*known)).to_ne_bytes());
                map.entry(key).and_modify(|known| *known = add(*known)).or_insert(value);
            }
            prop_assert_eq!(table.len(), map.len());
            for key in 0_u64..64 {
                let found = table.get(&key.to_ne_bytes()).map(|value| u64::from_ne_bytes(*value));
                prop_assert_eq!(found, map.get(&key).copied());
            }
        }

        /// Also those that are in one lot twice.
        #[test]
        fn entries_that_are_put_together_are_as_if_each_was_put_by_itself(
            lots in proptest::collection::vec(proptest::collection::vec((0_u64..300, any::<u64>()), 0..200), 0..5)
        ) {
            let merge = |known: &mut [u8; 8], new: &[u8; 8]| {
                let (old, new) = (u64::from_ne_bytes(*known), u64::from_ne_bytes(*new));
                *known = old.wrapping_mul(3).wrapping_add(new).to_ne_bytes();
            };
            let (mut together, mut alone) = (Table::<8, 8>::default(), Table::<8, 8>::default());
            for lot in lots {
                let lot: Vec<_> = lot.iter().map(|(key, value)| (key.to_ne_bytes(), value.to_ne_bytes())).collect();
                together.put_all(&lot, merge);
                lot.iter().for_each(|(key, value)| alone.put(*key, *value, |known| merge(known, value)));
                prop_assert_eq!(together.keys(), alone.keys());
                prop_assert_eq!(together.values(), alone.values());
            }
            for (key, value) in alone.keys().iter().zip(alone.values()) {
                prop_assert_eq!(together.get(key), Some(value));
            }
        }

        /// The order in which the kernel gives entries back is its own.
        #[test]
        fn a_sum_knows_no_order(entries in proptest::collection::vec((any::<[u8; 16]>(), any::<[u8; 8]>()), 0..50)) {
            let sum = |entries: &mut dyn Iterator<Item = &([u8; 16], [u8; 8])>| {
                let mut sum = Sum::default();
                entries.for_each(|(key, value)| sum.add(key, value));
                sum
            };
            prop_assert_eq!(sum(&mut entries.iter()), sum(&mut entries.iter().rev()));
            if let Some((_, rest)) = entries.split_first() {
                prop_assert_ne!(sum(&mut entries.iter()), sum(&mut rest.iter()));
            }
        }

        /// Each bit of each entry counts.
        #[test]
        fn a_sum_tells_entries_apart(key in any::<[u8; 24]>(), value in any::<[u8; 8]>(), bit in 0_usize..256) {
            let sum = |key: &[u8], value: &[u8]| {
                let mut sum = Sum::default();
                sum.add(key, value);
                (sum.first, sum.second)
            };
            let (mut other_key, mut other_value) = (key, value);
            match bit.checked_sub(192) {
                None => other_key[bit / 8] ^= 1 << (bit % 8),
                Some(bit) => other_value[bit / 8] ^= 1 << (bit % 8),
            }
            let (one, other) = (sum(&key, &value), sum(&other_key, &other_value));
            prop_assert!(one.0 != other.0 && one.1 != other.1);
        }
    }
}
