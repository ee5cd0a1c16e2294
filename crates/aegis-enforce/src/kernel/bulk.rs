//! A large map, filled and summed up by programs inside the kernel: a third less work for it than through bpf(2) to fill, and a
//! quarter of it to read everything back; of a trie, a sixth.

use std::fmt;
use std::os::fd::AsFd as _;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, ProgramInput};

use super::{name, trie};
use crate::compile::{Sum, Table};
use crate::layout::u64_at;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fill.bpf.o"));
/// A map of fewer entries is not worth the loading of programs.
const WORTH_IT: usize = 8192;
/// `IN_BLOCK`
const IN_BLOCK: usize = 128;
/// `BLOCKS`
const BLOCKS: usize = 128;
/// `VISITS`
const VISITS: u64 = 32768;
/// Bytes of what programs are called with, and answer: `union cidr_call`, of which the others use the beginning.
const CONTEXT: usize = 64;

/// The kind that is a trie.
const TRIE: &str = "cidr";

/// Programs for one map.
pub(super) struct Bulk {
    object: Object,
    kind: &'static str,
    /// For so many entries.
    room: u64,
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Bulk {
    /// Programs for a map that will have so many entries. None if it is not worth it, there are none of its kind, or the
    /// kernel does not take them: without a compiler of its own, for one. bpf(2) does the same there.
    pub(super) fn of(name: &'static str, map: &MapHandle, entries: usize) -> Option<Self> {
        if entries < WORTH_IT { None } else { Self::load(name, map).ok() }
    }

    pub(super) fn load(name: &'static str, map: &MapHandle) -> Result<Self, libbpf_rs::Error> {
        let kind = match name {
            name::FILES | name::COMMS => "file",
            name::NAMES => "name",
            name::NET => "net",
            name::HASHES => "hash",
            name::CIDRS => TRIE,
            _ => return Err(libbpf_rs::Error::from_raw_os_error(rustix::io::Errno::NOTSUP.raw_os_error())),
        };
        let of_this = |other: &std::ffi::OsStr| {
            other.to_str().and_then(|name| name.rsplit_once('_')).is_some_and(|(_, of)| of == kind)
        };
        let mut object = ObjectBuilder::default().name("aegis_fill")?.open_memory(OBJECT)?;
        for mut program in object.progs_mut() {
            let wanted = of_this(program.name());
            program.set_autoload(wanted);
        }
        for mut other in object.maps_mut() {
            if other.name().to_str() == Some(&format!("into_{kind}")) {
                other.reuse_fd(map.as_fd())?;
            } else {
                let wanted = of_this(other.name());
                other.set_autocreate(wanted)?;
            }
        }
        Ok(Self { object: object.load()?, kind, room: map.max_entries().into() })
    }

    /// Puts entries into the map.
    pub(super) fn put<const K: usize, const V: usize>(
        &self,
        table: &Table<K, V>,
    ) -> Result<(), libbpf_rs::Error> {
        let most = IN_BLOCK * BLOCKS;
        for (keys, values) in table.keys().chunks(most).zip(table.values().chunks(most)) {
            self.stage("keys", K, keys.as_flattened())?;
            self.stage("values", V, values.as_flattened())?;
            let answer = self.run("put", context_of([keys.len() as u64]))?;
            if u64_at(&answer, 8) != keys.len() as u64 {
                // An error of the kernel is a small negative number. Without one, a block was not found.
                let error = i32::try_from(u64_at(&answer, 16).cast_signed()).unwrap_or(0);
                let error =
                    if error < 0 { error.saturating_neg() } else { rustix::io::Errno::IO.raw_os_error() };
                return Err(libbpf_rs::Error::from_raw_os_error(error));
            }
        }
        Ok(())
    }

    /// Sums up what is in the map.
    pub(super) fn sum(&self) -> Result<Sum, libbpf_rs::Error> {
        if self.kind == TRIE {
            return self.walk();
        }
        Ok(sum_at(&self.run("sum", [0; CONTEXT])?, 0))
    }

    /// From node to node, as the kernel's own structures have them.
    fn walk(&self) -> Result<Sum, libbpf_rs::Error> {
        let layout = trie::layout().ok_or_else(absent)?;
        let mut walk = context_of([layout.root, layout.node]);
        let mut visited = 0;
        loop {
            walk = self.run("sum", walk)?;
            let (next, begun, sum) = (u64_at(&walk, 16), u64_at(&walk, 24), sum_at(&walk, 32));
            visited += VISITS;
            if begun == 1 && next == 0 {
                return Ok(sum);
            }
            // At most every other node is none of an entry's. Otherwise it stands still, or goes round.
            let most = sum.entries.saturating_mul(2).saturating_add(VISITS);
            if begun == 0 || visited > most || sum.entries > self.room {
                return Err(absent());
            }
        }
    }

    /// Lays entries of `size` bytes each out in blocks. What the last block had before stays behind the end.
    fn stage(&self, what: &str, size: usize, bytes: &[u8]) -> Result<(), libbpf_rs::Error> {
        let name = format!("{what}_{}", self.kind);
        let map = self.map(&name)?;
        let block = size * IN_BLOCK;
        let whole = bytes.len() / block;
        let numbers: Vec<u8> = (0_u32..).take(whole + 1).flat_map(u32::to_ne_bytes).collect();
        let (numbers, last) = numbers.split_at(4 * whole);
        let (blocks, rest) = bytes.split_at(block * whole);
        if whole > 0 {
            let count = u32::try_from(whole).unwrap_or(u32::MAX);
            map.update_batch(numbers, blocks, count, MapFlags::ANY, MapFlags::ANY)?;
        }
        if !rest.is_empty() {
            let mut padded = rest.to_vec();
            padded.resize(block, 0);
            map.update(last, &padded, MapFlags::ANY)?;
        }
        Ok(())
    }

    fn run(&self, what: &str, mut context: [u8; CONTEXT]) -> Result<[u8; CONTEXT], libbpf_rs::Error> {
        let name = format!("aegis_{what}_{}", self.kind);
        let program = self.object.progs_mut().find(|program| program.name().to_str() == Some(&name));
        let program = program.ok_or_else(absent)?;
        if self.kind != TRIE {
            // The kernel writes the answer over what it was called with.
            program.test_run(ProgramInput { context_in: Some(&mut context), ..ProgramInput::default() })?;
            return Ok(context);
        }
        let (map, only) = (self.map("call_cidr")?, 0_u32.to_ne_bytes());
        map.update(&only, &context, MapFlags::ANY)?;
        program.test_run(ProgramInput::default())?;
        let answer = map.lookup(&only, MapFlags::ANY)?.ok_or_else(absent)?;
        answer.as_slice().try_into().map_err(|_| absent())
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, libbpf_rs::Error> {
        self.object.maps().find(|map| map.name().to_str() == Some(name)).ok_or_else(absent)
    }
}

/// What a program is called with: these words, and no others.
fn context_of<const N: usize>(words: [u64; N]) -> [u8; CONTEXT] {
    let mut context = [0; CONTEXT];
    context.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_ne_bytes());
    context
}

fn sum_at(answer: &[u8; CONTEXT], at: usize) -> Sum {
    Sum { entries: u64_at(answer, at), first: u64_at(answer, at + 8), second: u64_at(answer, at + 16) }
}

fn absent() -> libbpf_rs::Error {
    libbpf_rs::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use libbpf_rs::MapType;
    use test_services::tools;

    use super::super::fill;
    use super::*;
    use crate::layout::{CIDR_KEY, FILE_KEY, HASH_KEY, NAME_KEY, NAME_RULE, NET_KEY, RULE, Rule, cidr_key};

    /// Entries that differ in every part; more than go in at once, and not a whole number of blocks.
    fn table<const K: usize, const V: usize>(entries: u64) -> Table<K, V> {
        let mut table = Table::default();
        for number in 0..entries {
            let bytes = |seed: u64| {
                (0_u64..).map(move |at| crate::layout::mix(number ^ seed, at)).flat_map(u64::to_ne_bytes)
            };
            let (mut key, mut value) = ([0; K], [0; V]);
            key.iter_mut().zip(bytes(1)).for_each(|(to, from)| *to = from);
            value.iter_mut().zip(bytes(2)).for_each(|(to, from)| *to = from);
            table.insert(key, value);
        }
        table
    }

    fn map(key: usize, value: usize, room: usize) -> Result<MapHandle, libbpf_rs::Error> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let size = |size: usize| u32::try_from(size).unwrap();
        MapHandle::create(MapType::Hash, Some("bulk"), size(key), size(value), size(room), &options)
    }

    /// Whether this process may make maps and run programs at all; elsewhere the tests in machines do the same.
    fn may(test: &str) -> bool {
        let loaded = map(FILE_KEY, RULE, 1).and_then(|map| Bulk::load(name::FILES, &map).map(drop));
        match loaded {
            Ok(()) => true,
            Err(error) => {
                tools::skip(test, &format!("the kernel takes no programs of this process: {error}"))
            }
        }
    }

    fn is_whole<const K: usize, const V: usize>(name: &'static str, entries: u64) {
        let table = table::<K, V>(entries);
        let map = map(K, V, table.len()).unwrap();
        let bulk = Bulk::load(name, &map).unwrap();
        bulk.put(&table).unwrap();
        assert_eq!(bulk.sum().unwrap(), table.sum(), "{name}");
        // And what bpf(2) reads there is the same.
        assert_eq!(fill::sum_of(&map, name, |_| true).unwrap(), table.sum(), "{name}");
    }

    #[test]
    fn what_is_put_in_is_what_is_there_and_what_is_summed_up() {
        if !may("what_is_put_in_is_what_is_there_and_what_is_summed_up") {
            return;
        }
        let more_than_at_once = (IN_BLOCK * BLOCKS + IN_BLOCK + 1) as u64;
        is_whole::<FILE_KEY, RULE>(name::FILES, more_than_at_once);
        is_whole::<FILE_KEY, RULE>(name::COMMS, 1);
        is_whole::<NAME_KEY, NAME_RULE>(name::NAMES, more_than_at_once);
        is_whole::<NET_KEY, RULE>(name::NET, IN_BLOCK as u64);
        is_whole::<HASH_KEY, RULE>(name::HASHES, 2 * IN_BLOCK as u64 - 1);
    }

    #[test]
    fn a_map_that_is_full_says_so() {
        if !may("a_map_that_is_full_says_so") {
            return;
        }
        let table = table::<NET_KEY, RULE>(1000);
        let map = map(NET_KEY, RULE, 300).unwrap();
        let error = Bulk::load(name::NET, &map).unwrap().put(&table).unwrap_err();
        assert!(error.to_string().contains("Argument list too long"), "{error}");
    }

    #[test]
    fn what_is_lost_spoilt_or_added_is_found() {
        if !may("what_is_lost_spoilt_or_added_is_found") {
            return;
        }
        let table = table::<NET_KEY, RULE>(500);
        let map = map(NET_KEY, RULE, 501).unwrap();
        let bulk = Bulk::load(name::NET, &map).unwrap();
        bulk.put(&table).unwrap();
        let (key, value) = (table.keys()[77], table.values()[77]);
        let differs = || bulk.sum().unwrap() != table.sum();
        assert!(!differs());
        let mut spoilt = value;
        spoilt[3] ^= 0x10;
        map.update(&key, &spoilt, MapFlags::ANY).unwrap();
        assert!(differs(), "spoilt");
        map.delete(&key).unwrap();
        assert!(differs(), "lost");
        let mut other = key;
        other[23] ^= 1;
        map.update(&other, &value, MapFlags::ANY).unwrap();
        assert!(differs(), "under another key");
        map.delete(&other).unwrap();
        map.update(&key, &value, MapFlags::ANY).unwrap();
        assert!(!differs(), "as it was");
        map.update(&other, &value, MapFlags::ANY).unwrap();
        assert!(differs(), "added");
    }

    #[test]
    fn there_are_none_for_a_small_map_or_another_kind() {
        if !may("there_are_none_for_a_small_map_or_another_kind") {
            return;
        }
        let map = map(NET_KEY, RULE, 1).unwrap();
        assert!(Bulk::of(name::NET, &map, WORTH_IT - 1).is_none());
        assert!(Bulk::of(name::NET, &map, WORTH_IT).is_some());
        assert!(Bulk::of(name::GROUPS, &map, WORTH_IT).is_none());
    }

    fn trie(room: usize) -> MapHandle {
        fill::create(MapType::LpmTrie, name::CIDRS, CIDR_KEY, RULE, room, libbpf_sys::BPF_F_NO_PREALLOC)
            .unwrap()
    }

    /// Networks of both families, of all lengths, most of them in others. Lines are what tells their values apart, if `lines`.
    fn networks(entries: u32, lines: bool) -> Table<CIDR_KEY, RULE> {
        let mut table = Table::default();
        let mut number = 0_u32;
        while table.len() < entries as usize {
            let bits = crate::layout::mix(7, number.into());
            // Every other one is where an earlier one is, but longer or shorter.
            let address = crate::layout::mix(8, (number / 2).into());
            let v6 = bits & 1 == 1;
            let prefix = u8::try_from((bits >> 8) % if v6 { 129 } else { 33 }).unwrap();
            let network: std::net::IpAddr = if v6 {
                let address = (0xfd_u128 << 120) | (u128::from(address) << 40) | u128::from(number);
                (address & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).to_be_bytes().into()
            } else {
                let address = u32::try_from(address >> 32).unwrap();
                (address & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).to_be_bytes().into()
            };
            let rule = Rule { line: if lines { number } else { 1 }, section: 9, protocols: 0, flags: 0 };
            table.put(cidr_key(network, prefix), rule.to_bytes(), |_| {});
            number += 1;
        }
        table
    }

    #[test]
    fn what_is_put_into_a_trie_is_what_is_there_and_what_is_summed_up() {
        if !may("what_is_put_into_a_trie_is_what_is_there_and_what_is_summed_up") {
            return;
        }
        for (entries, lines) in [(1, true), (8191, true), (8192, false), (16_385, true), (100_000, true)] {
            let table = networks(entries, lines);
            let map = trie(table.len());
            let bulk = Bulk::load(name::CIDRS, &map).unwrap();
            bulk.put(&table).unwrap();
            assert_eq!(bulk.sum().unwrap(), table.sum(), "{entries}");
            // And what bpf(2) reads there is the same.
            assert_eq!(fill::sum_of(&map, name::CIDRS, |_| true).unwrap(), table.sum(), "{entries}");
        }
    }

    /// At each bit a way to each side, so that as many nodes wait as there can.
    #[test]
    fn a_trie_may_be_as_deep_as_its_keys_are_long() {
        if !may("a_trie_may_be_as_deep_as_its_keys_are_long") {
            return;
        }
        let mut table = Table::<CIDR_KEY, RULE>::default();
        for prefix in 0..=128_u8 {
            let rule = Rule { line: prefix.into(), section: 9, protocols: 0, flags: 0 };
            let beside = 1_u128.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            for address in [0, beside] {
                table.put(cidr_key(address.to_be_bytes().into(), prefix), rule.to_bytes(), |_| {});
            }
        }
        let map = trie(table.len());
        let bulk = Bulk::load(name::CIDRS, &map).unwrap();
        bulk.put(&table).unwrap();
        assert_eq!(table.len(), 257);
        assert_eq!(bulk.sum().unwrap(), table.sum());
    }

    #[test]
    fn a_trie_without_networks_is_empty() {
        if !may("a_trie_without_networks_is_empty") {
            return;
        }
        let bulk = Bulk::load(name::CIDRS, &trie(0)).unwrap();
        bulk.put(&Table::<CIDR_KEY, RULE>::default()).unwrap();
        assert_eq!(bulk.sum().unwrap(), Sum::default());
    }

    #[test]
    fn a_trie_that_is_full_says_so() {
        if !may("a_trie_that_is_full_says_so") {
            return;
        }
        let map = trie(300);
        let error = Bulk::load(name::CIDRS, &map).unwrap().put(&networks(1000, true)).unwrap_err();
        assert!(error.to_string().contains("No space left on device"), "{error}");
    }

    type Entry = ([u8; CIDR_KEY], [u8; RULE]);

    /// Each with values that differ, and with values of which all are the same.
    #[test]
    fn what_is_lost_spoilt_or_added_in_a_trie_is_found() {
        if !may("what_is_lost_spoilt_or_added_in_a_trie_is_found") {
            return;
        }
        // The network, one in it, one in that, and one beside them.
        let texts = [("10.0.0.0", 8), ("10.1.0.0", 16), ("10.1.1.0", 24), ("192.0.2.0", 24)];
        let keys = texts.map(|(address, prefix)| cidr_key(address.parse().unwrap(), prefix));
        let other = |address: &str, prefix| cidr_key(address.parse().unwrap(), prefix);
        for lines in [[1, 2, 3, 4], [1; 4]] {
            let mut table = Table::<CIDR_KEY, RULE>::default();
            for (key, line) in keys.iter().zip(lines) {
                let rule = Rule { line, section: 9, protocols: 0, flags: 0 };
                table.insert(*key, rule.to_bytes());
            }
            let value = |index: usize| table.values()[index];
            let mut spoilt = value(2);
            spoilt[3] ^= 0x10;
            // What is deleted, and what is put in its place.
            let cases: &[(&str, Option<usize>, Option<Entry>)] = &[
                ("nothing", None, None),
                ("the outermost is lost", Some(0), None),
                ("one between two is lost", Some(1), None),
                ("the innermost is lost", Some(2), None),
                ("one by itself is lost", Some(3), None),
                ("spoilt", Some(2), Some((keys[2], spoilt))),
                ("another in place of one", Some(2), Some((other("10.1.2.0", 24), value(2)))),
                ("shorter", Some(2), Some((other("10.1.0.0", 23), value(2)))),
                ("shorter, by itself", Some(3), Some((other("192.0.2.0", 23), value(3)))),
                ("longer", Some(2), Some((other("10.1.1.0", 25), value(2)))),
                ("of the other family", Some(0), Some((other("a00::", 8), value(0)))),
            ];
            for (what, lost, put) in cases {
                let map = trie(table.len());
                let bulk = Bulk::load(name::CIDRS, &map).unwrap();
                bulk.put(&table).unwrap();
                lost.iter().for_each(|index| map.delete(&keys[*index]).unwrap());
                put.iter().for_each(|(key, value)| map.update(key, value, MapFlags::ANY).unwrap());
                let found = bulk.sum().unwrap();
                assert_eq!(found == table.sum(), *what == "nothing", "{what}, {lines:?}");
                assert_eq!(found, fill::sum_of(&map, name::CIDRS, |_| true).unwrap(), "{what}, {lines:?}");
                let checked = fill::check_trie(&map, Some(&bulk), &table.sum());
                assert_eq!(checked.is_ok(), *what == "nothing", "{what}, {lines:?}");
            }
            let map = trie(table.len() + 1);
            let bulk = Bulk::load(name::CIDRS, &map).unwrap();
            bulk.put(&table).unwrap();
            fill::check_trie(&map, Some(&bulk), &table.sum()).unwrap();
            map.update(&other("198.51.100.0", 24), &value(0), MapFlags::ANY).unwrap();
            assert!(fill::check_trie(&map, Some(&bulk), &table.sum()).is_err(), "added");
        }
    }
}
