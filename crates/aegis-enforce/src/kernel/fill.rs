//! The maps of one policy: made, filled, and read back before anything looks at them.

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use super::bulk::Bulk;
use super::name;
use crate::compile::{Compiled, Sum, Table, resolution_of};
use crate::error::KernelError;
use crate::layout::{
    CIDR_KEY, COMM_KEY, FILE_KEY, FILTER_WORDS, GROUP, GROUP_KEY, HASH_KEY, NAME_KEY, NAME_RULE, NET_KEY,
    POLICY, PolicyValue, RULE,
};

/// Entries that go into the kernel in one call.
const BATCH: usize = 16 * 1024;

pub(super) type Filled = Vec<(&'static str, MapHandle)>;

/// Fills maps for everything but the header. The second value is a digest over what was meant to be in them, the third is
/// [`Compiled::resolution`].
pub(super) fn fill(policy: &Compiled) -> Result<(Filled, [u8; 32], u64), KernelError> {
    let tables = &policy.tables;
    let mut sums = Vec::new();
    let mut filled = vec![(name::FILTER, filter(&policy.filter)?)];
    filled.push((name::FILES, hash_map(name::FILES, &tables.files, policy.file_room(), &mut sums)?));
    filled.push((name::NAMES, hash_map(name::NAMES, &tables.names, tables.names.len(), &mut sums)?));
    filled.push((name::HASHES, hash_map(name::HASHES, &tables.hashes, tables.hashes.len(), &mut sums)?));
    filled.push((name::COMMS, hash_map(name::COMMS, &tables.comms, tables.comms.len(), &mut sums)?));
    filled.push((name::GROUPS, hash_map(name::GROUPS, &tables.groups, tables.groups.len(), &mut sums)?));
    filled.push((name::NET, hash_map(name::NET, &tables.net, tables.net.len(), &mut sums)?));
    filled.push((name::CIDRS, trie(&tables.cidrs, &mut sums)?));
    let words: Vec<u8> = sums
        .iter()
        .flat_map(|sum: &Sum| [sum.entries, sum.first, sum.second])
        .chain([u64::from(policy.flags), u64::from(policy.group_levels)])
        .flat_map(u64::to_ne_bytes)
        .collect();
    let resolution = match sums.as_slice() {
        [files, names, _, _, groups, ..] if policy.names_alone.is_none() => {
            resolution_of([files, names, groups])
        }
        _ => policy.resolution(),
    };
    Ok((filled, *aegis_crypto::sha256(&words).as_bytes(), resolution))
}

/// A map like those that [`fill`] and [`header`] make of that name.
pub(super) fn template(name: &'static str) -> Result<MapHandle, KernelError> {
    let hash = |key, value| create(MapType::Hash, name, key, value, 1, 0);
    match name {
        name::POLICY => create(MapType::Array, name, 4, POLICY, 1, 0),
        name::FILTER => create(MapType::Array, name, 4, 8 * FILTER_WORDS, 1, 0),
        name::FILES => hash(FILE_KEY, RULE),
        name::NAMES => hash(NAME_KEY, NAME_RULE),
        name::HASHES => hash(HASH_KEY, RULE),
        name::COMMS => hash(COMM_KEY, RULE),
        name::GROUPS => hash(GROUP_KEY, GROUP),
        name::NET => hash(NET_KEY, RULE),
        _ => create(MapType::LpmTrie, name, CIDR_KEY, RULE, 1, libbpf_sys::BPF_F_NO_PREALLOC),
    }
}

/// The array with the header.
pub(super) fn header(value: &PolicyValue) -> Result<MapHandle, KernelError> {
    let map = create(MapType::Array, name::POLICY, 4, POLICY, 1, 0)?;
    let written = map.update(&0_u32.to_ne_bytes(), &value.to_bytes(), MapFlags::ANY);
    written.map_err(|source| failed("write", name::POLICY, source))?;
    Ok(map)
}

pub(super) fn create(
    kind: MapType,
    name: &'static str,
    key: usize,
    value: usize,
    entries: usize,
    flags: u32,
) -> Result<MapHandle, KernelError> {
    let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: flags,
        ..Default::default()
    };
    MapHandle::create(kind, Some(name), size(key), size(value), size(entries.max(1)), &options)
        .map_err(|source| failed("make", name, source))
}

fn hash_map<const K: usize, const V: usize>(
    name: &'static str,
    table: &Table<K, V>,
    room: usize,
    sums: &mut Vec<Sum>,
) -> Result<MapHandle, KernelError> {
    let map = create(MapType::Hash, name, K, V, room, 0)?;
    let meant = table.sum();
    let found = match Bulk::of(name, &map, table.len()) {
        Some(bulk) => {
            bulk.put(table).map_err(|source| failed("fill", name, source))?;
            bulk.sum().map_err(|source| failed("read", name, source))?
        }
        None => {
            put(&map, name, table)?;
            sum_of(&map, name, |_| true)?
        }
    };
    compare(name, &found, &meant)?;
    sums.push(meant);
    Ok(map)
}

fn trie<const K: usize, const V: usize>(
    table: &Table<K, V>,
    sums: &mut Vec<Sum>,
) -> Result<MapHandle, KernelError> {
    let map = create(MapType::LpmTrie, name::CIDRS, K, V, table.len(), libbpf_sys::BPF_F_NO_PREALLOC)?;
    let bulk = Bulk::of(name::CIDRS, &map, table.len());
    // The kernel does not wait for the memory of an entry. If there was none, there may be some now.
    if bulk.as_ref().is_none_or(|bulk| bulk.put(table).is_err()) {
        put(&map, name::CIDRS, table)?;
    }
    let meant = table.sum();
    check_trie(&map, bulk.as_ref(), &meant)?;
    sums.push(meant);
    Ok(map)
}

/// What a program finds by the kernel's own structures may be wrong if those are not what they were; bpf(2) then decides.
pub(super) fn check_trie(map: &MapHandle, bulk: Option<&Bulk>, meant: &Sum) -> Result<(), KernelError> {
    if bulk.and_then(|bulk| bulk.sum().ok()).is_some_and(|found| found == *meant) {
        return Ok(());
    }
    compare(name::CIDRS, &sum_of(map, name::CIDRS, |_| true)?, meant)
}

fn put<const K: usize, const V: usize>(
    map: &MapHandle,
    name: &'static str,
    table: &Table<K, V>,
) -> Result<(), KernelError> {
    for (keys, values) in table.keys().chunks(BATCH).zip(table.values().chunks(BATCH)) {
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let (keys, values) = (keys.as_flattened(), values.as_flattened());
        let updated = map.update_batch(keys, values, count, MapFlags::ANY, MapFlags::ANY);
        updated.map_err(|source| failed("fill", name, source))?;
    }
    Ok(())
}

pub(super) fn filter(bytes: &[u8]) -> Result<MapHandle, KernelError> {
    let map = create(MapType::Array, name::FILTER, 4, 8 * FILTER_WORDS, 1, 0)?;
    let key = 0_u32.to_ne_bytes();
    map.update(&key, bytes, MapFlags::ANY).map_err(|source| failed("fill", name::FILTER, source))?;
    let found = map.lookup(&key, MapFlags::ANY).map_err(|source| failed("read", name::FILTER, source))?;
    if found.as_deref() != Some(bytes) {
        return Err(KernelError::Differs { name: name::FILTER, found: 1, meant: 1 });
    }
    Ok(map)
}

/// What differs is not made current.
fn compare(name: &'static str, found: &Sum, meant: &Sum) -> Result<(), KernelError> {
    if found != meant {
        return Err(KernelError::Differs { name, found: found.entries, meant: meant.entries });
    }
    Ok(())
}

/// The sum over the entries of a map that `counts` says count.
pub(super) fn sum_of(
    map: &MapHandle,
    name: &'static str,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<Sum, KernelError> {
    let mut sum = Sum::default();
    // All at once: the kernel gives whole buckets, so a batch may be short, and the library takes a short one for the last.
    let all = map.max_entries().saturating_add(1);
    let batches = map.lookup_batch(all, MapFlags::ANY, MapFlags::ANY);
    let mut found = 0_usize;
    for (key, value) in batches.map_err(|source| failed("read", name, source))? {
        found += 1;
        if counts(&value) {
            sum.add(&key, &value);
        }
    }
    // The library takes a kernel that knows no batches of this kind of map for an empty map.
    if found == 0 {
        for key in map.keys() {
            let value = map.lookup(&key, MapFlags::ANY).map_err(|source| failed("read", name, source))?;
            if let Some(value) = value.filter(|value| counts(value)) {
                sum.add(&key, &value);
            }
        }
    }
    Ok(sum)
}

fn failed(action: &'static str, name: &str, source: libbpf_rs::Error) -> KernelError {
    KernelError::Map { action, name: name.to_owned(), source }
}
