//! A large map, filled and summed up by programs inside the kernel: a third less work for it than through bpf(2) to fill, and a
//! quarter of it to read everything back.

use std::fmt;
use std::os::fd::AsFd as _;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object, ObjectBuilder, ProgramInput};

use super::name;
use crate::compile::{Sum, Table};
use crate::layout::u64_at;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fill.bpf.o"));
/// A map of fewer entries is not worth the loading of programs.
const WORTH_IT: usize = 8192;
/// `IN_BLOCK`
const IN_BLOCK: usize = 128;
/// `BLOCKS`
const BLOCKS: usize = 128;
/// Bytes of what programs are called with, and answer: three words.
const CONTEXT: usize = 24;

/// Programs for one map.
pub(super) struct Bulk {
    object: Object,
    kind: &'static str,
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
        Ok(Self { object: object.load()?, kind })
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
            let mut context = [0; CONTEXT];
            let count = keys.len() as u64;
            context.iter_mut().zip(count.to_ne_bytes()).for_each(|(to, from)| *to = from);
            let answer = self.run("put", context)?;
            if u64_at(&answer, 8) != count {
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
        let answer = self.run("sum", [0; CONTEXT])?;
        Ok(Sum { entries: u64_at(&answer, 0), first: u64_at(&answer, 8), second: u64_at(&answer, 16) })
    }

    /// Lays entries of `size` bytes each out in blocks. What the last block had before stays behind the end.
    fn stage(&self, what: &str, size: usize, bytes: &[u8]) -> Result<(), libbpf_rs::Error> {
        let name = format!("{what}_{}", self.kind);
        let map = self.object.maps().find(|map| map.name().to_str() == Some(&name)).ok_or_else(absent)?;
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
        // The kernel writes the answer over what it was called with.
        program.test_run(ProgramInput { context_in: Some(&mut context), ..ProgramInput::default() })?;
        Ok(context)
    }
}

fn absent() -> libbpf_rs::Error {
    libbpf_rs::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error())
}
