//! What an ELF program needs to run: its interpreter and its libraries.
//!
//! | what | where it stands (System V ABI, chapters 4 and 5) |
//! |---|---|
//! | interpreter | the segment `PT_INTERP` |
//! | libraries, where to look for them | `DT_NEEDED`, `DT_RUNPATH` and `DT_RPATH` in `PT_DYNAMIC`; names in `DT_STRTAB` |
//!
//! Files of 64 bits in either byte order. Whatever is out of place ends the reading: nothing here is trusted.

use std::io;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const DYNAMIC: usize = 16;
/// At most so many segments are looked at.
const MAX_SEGMENTS: usize = 256;
/// At most so many dynamic entries.
const MAX_DYNAMIC: usize = 4096;
/// At most so many libraries of one file.
const MAX_LIBRARIES: usize = 256;
/// The longest name.
const MAX_NAME: usize = 4096;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What a program needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) interpreter: Option<String>,
    pub(super) libraries: Vec<String>,
    pub(super) run_path: Option<String>,
}

/// Reads as many bytes as there is room for, at an offset in the file; fewer only at its end. `pread(2)` of a file does.
type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<usize>;

/// What the file needs; none if it is not an ELF file.
pub(super) fn needs(read: ReadAt<'_>) -> Option<Needs> {
    let mut header = [0; HEADER];
    read_all(read, &mut header, 0)?;
    let fields = Fields { bytes: &header, big: header.get(5) == Some(&2) };
    if !header.starts_with(b"\x7fELF\x02") || fields.u16(54)? != u16::try_from(SEGMENT).ok()? {
        return None;
    }
    let (offset, count) = (fields.u64(32)?, usize::from(fields.u16(56)?).min(MAX_SEGMENTS));
    let mut table = vec![0; count * SEGMENT];
    read_all(read, &mut table, offset)?;
    let segments: Vec<Segment> =
        table.chunks_exact(SEGMENT).filter_map(|bytes| Segment::of(Fields { bytes, ..fields })).collect();
    let one = |kind| segments.iter().find(|segment| segment.kind == kind);
    let mut needs = Needs::default();
    if let Some(segment) = one(PT_INTERP) {
        needs.interpreter = name(read, segment.offset);
    }
    if let Some(segment) = one(PT_DYNAMIC) {
        add_libraries(read, fields.big, segment, &segments, &mut needs);
    }
    Some(needs)
}

fn add_libraries(read: ReadAt<'_>, big: bool, dynamic: &Segment, segments: &[Segment], needs: &mut Needs) {
    let count = usize::try_from(dynamic.size).unwrap_or(usize::MAX) / DYNAMIC;
    let mut table = vec![0; count.min(MAX_DYNAMIC) * DYNAMIC];
    if read_all(read, &mut table, dynamic.offset).is_none() {
        return;
    }
    let entries: Vec<(u64, u64)> = table
        .chunks_exact(DYNAMIC)
        .filter_map(|bytes| {
            let fields = Fields { bytes, big };
            Some((fields.u64(0)?, fields.u64(8)?))
        })
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let value = |wanted| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    // An address in memory; the segment that is loaded there has it in the file.
    let strings =
        value(DT_STRTAB).and_then(|address| segments.iter().find_map(|load| load.place_of(address)));
    let Some(strings) = strings else { return };
    let text = |at: u64| name(read, strings.checked_add(at)?);
    needs.run_path = value(DT_RUNPATH).or_else(|| value(DT_RPATH)).and_then(text);
    let needed = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED);
    needs.libraries = needed.take(MAX_LIBRARIES).filter_map(|(_, at)| text(*at)).collect();
}

fn read_all(read: ReadAt<'_>, bytes: &mut [u8], at: u64) -> Option<()> {
    (read(bytes, at).ok()? == bytes.len()).then_some(())
}

/// A text that ends in NUL.
fn name(read: ReadAt<'_>, at: u64) -> Option<String> {
    let mut bytes = vec![0; MAX_NAME];
    let len = read(&mut bytes, at).ok()?;
    let (name, _) =
        bytes.get(..len)?.split_at_checked(bytes.iter().take(len).position(|byte| *byte == 0)?)?;
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Integers in a record, in the byte order of the file.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(if self.big { u16::from_be_bytes } else { u16::from_le_bytes })
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(if self.big { u32::from_be_bytes } else { u32::from_le_bytes })
    }

    fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(if self.big { u64::from_be_bytes } else { u64::from_le_bytes })
    }
}

/// An entry of the program header table.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    fn of(fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            kind: fields.u32(0)?,
            offset: fields.u64(8)?,
            address: fields.u64(16)?,
            size: fields.u64(32)?,
        })
    }

    /// Where in the file is what is loaded at an address.
    fn place_of(&self, address: u64) -> Option<u64> {
        let inside = address.checked_sub(self.address)?;
        (self.kind == PT_LOAD && inside < self.size).then(|| self.offset.checked_add(inside))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with an interpreter, two libraries and a path for them.
    fn file(big: bool) -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, value: u64, len: usize| {
            let all = if big { value.to_be_bytes() } else { value.to_le_bytes() };
            let part = if big { &all[8 - len..] } else { &all[..len] };
            bytes[at..at + len].copy_from_slice(part);
        };
        put(32, 64, 8);
        put(54, 56, 2);
        put(56, 3, 2);
        // PT_INTERP at 0x200; PT_DYNAMIC at 0x300; PT_LOAD of it all at 0x400000.
        for (index, (kind, offset, address, size)) in
            [(3, 0x200, 0, 9), (2, 0x300, 0, 0x60), (1, 0, 0x40_0000, 0x600)].into_iter().enumerate()
        {
            let at = 64 + 56 * index;
            put(at, kind, 4);
            put(at + 8, offset, 8);
            put(at + 16, address, 8);
            put(at + 32, size, 8);
        }
        let dynamic = [(1, 1), (1, 8), (29, 16), (5, 0x40_0400), (0, 0), (1, 1)];
        for (index, (tag, value)) in dynamic.into_iter().enumerate() {
            put(0x300 + 16 * index, tag, 8);
            put(0x308 + 16 * index, value, 8);
        }
        bytes[..6].copy_from_slice(if big { b"\x7fELF\x02\x02" } else { b"\x7fELF\x02\x01" });
        bytes[0x200..0x209].copy_from_slice(b"/lib/ld.s");
        bytes[0x400..0x41c].copy_from_slice(b"\0liba.s\0libb.so\0$ORIGIN/lib\0");
        bytes
    }

    fn read_in(file: &[u8]) -> Option<Needs> {
        needs(&|bytes, at| {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let from = file.get(at..).unwrap_or_default();
            let len = from.len().min(bytes.len());
            bytes[..len].copy_from_slice(&from[..len]);
            Ok(len)
        })
    }

    #[test]
    fn reads_what_a_program_needs_in_either_byte_order() {
        for big in [false, true] {
            let expected = Needs {
                interpreter: Some("/lib/ld.s".to_owned()),
                libraries: vec!["liba.s".to_owned(), "libb.so".to_owned()],
                run_path: Some("$ORIGIN/lib".to_owned()),
            };
            assert_eq!(read_in(&file(big)), Some(expected), "{big}");
        }
    }

    #[test]
    fn nothing_that_is_cut_short_or_changed_makes_it_fail() {
        let good = file(false);
        for len in 0..good.len() {
            let _ = read_in(&good[..len]);
        }
        for at in 0..0x500 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = read_in(&bad);
            }
        }
        assert_eq!(read_in(b""), None);
        assert_eq!(read_in(&[0; 4096]), None);
        assert_eq!(read_in(b"#!/bin/sh\n"), None);
    }
}
