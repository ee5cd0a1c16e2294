//! The program that an ELF file names to load it: the kernel asks about it as about a program of its own.
//!
//! BPF-LSM judges it as mapped code, so that nobody has to list the dynamic linker among the programs that may run. Here it
//! is told from a program by its coming next, from the same process, after a program that names it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::opener::Opener;
use super::subject::Subject;
use crate::layout::FileId;

/// Program headers that are looked at; real programs have about a dozen.
const MAX_HEADERS: u64 = 128;
const MAX_PATH: u64 = 4096;
const PT_INTERP: u64 = 3;
/// Processes whose program is known and whose interpreter has not come: those that failed to start.
const MAX_EXPECTED: usize = 4096;

/// Interpreters that are to come, by process.
#[derive(Debug, Default)]
pub(super) struct Expected {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_process: HashMap<i32, (u64, FileId)>,
    count: u64,
}

impl Expected {
    /// A program is about to be allowed: its interpreter comes next.
    pub(super) fn expect(&self, opener: Opener, program: impl AsFd) {
        let found = interpreter(program).and_then(|path| Subject::at(&opener.below_root(&path)?).ok());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { by_process, count } = &mut *state;
        let Some(found) = found else {
            by_process.remove(&opener.0);
            return;
        };
        if by_process.len() >= MAX_EXPECTED {
            let oldest = by_process.iter().min_by_key(|(_, (at, _))| *at).map(|(pid, _)| *pid);
            oldest.and_then(|pid| by_process.remove(&pid));
        }
        *count += 1;
        by_process.insert(opener.0, (*count, found.id));
    }

    /// Whether the file is what the process was expected to ask for.
    pub(super) fn has_come(&self, opener: Opener, file: FileId) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.by_process.remove(&opener.0).is_some_and(|(_, expected)| expected == file)
    }
}

/// The path in `PT_INTERP`. None for whatever is no little-endian ELF file, or names none.
fn interpreter(program: impl AsFd) -> Option<PathBuf> {
    let program = program.as_fd();
    let header = read(program, 0, 64)?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (&[class, data], _) = rest.split_first_chunk::<2>()?;
    if magic != b"\x7fELF" || data != 1 {
        return None;
    }
    // Offsets of e_phoff, e_phentsize, e_phnum; in a program header, of p_offset and p_filesz. Sizes of addresses.
    let (table, size, entries, offset, length, word) = match class {
        1 => (28, 42, 44, 4, 16, 4),
        2 => (32, 54, 56, 8, 32, 8),
        _ => return None,
    };
    let table = number(&header, table, word)?;
    let (size, entries) = (number(&header, size, 2)?, number(&header, entries, 2)?);
    for index in 0..entries.min(MAX_HEADERS) {
        let entry = read(program, table.checked_add(index.checked_mul(size)?)?, 56)?;
        if number(&entry, 0, 4)? != PT_INTERP {
            continue;
        }
        let length = number(&entry, length, word)?;
        if !(2..=MAX_PATH).contains(&length) {
            return None;
        }
        let path = read(program, number(&entry, offset, word)?, usize::try_from(length).ok()?)?;
        let path = path.split(|byte| *byte == 0).next()?;
        return path.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(path)));
    }
    None
}

fn read(program: impl AsFd, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = rustix::io::retry_on_intr(|| rustix::io::pread(&program, &mut bytes, offset)).ok()?;
    // What is behind the end of a short file is zero, and says nothing.
    (read > 0).then_some(bytes)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    fn of(bytes: &[u8]) -> Option<PathBuf> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("it takes bytes");
        interpreter(&file)
    }

    /// A header, and one program header behind it.
    fn elf(length: u64, path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 3;
        bytes[64 + 8] = 64 + 56;
        bytes[64 + 32..64 + 40].copy_from_slice(&length.to_le_bytes());
        bytes.extend(path);
        bytes
    }

    #[test]
    fn the_interpreter_is_what_the_program_names() {
        assert_eq!(of(&elf(7, b"/lib/x\0")), Some(PathBuf::from("/lib/x")));
        let this = File::open("/proc/self/exe").expect("this program");
        assert!(interpreter(&this).is_none_or(|path| path.is_absolute()));
    }

    #[test]
    fn a_file_that_names_none_or_lies_has_none() {
        let cases: &[(&str, Vec<u8>)] = &[
            ("empty", Vec::new()),
            ("a script", b"#!/bin/sh\n".to_vec()),
            ("relative", elf(6, b"lib/x\0")),
            ("no length", elf(0, b"/lib/x\0")),
            ("absurd length", elf(u64::MAX, b"/lib/x\0")),
            ("nothing there", elf(7, b"")),
            ("big-endian", [&b"\x7fELF\x02\x02"[..], &[0; 200]].concat()),
            ("table out of the file", {
                let mut bytes = elf(7, b"/lib/x\0");
                bytes[32..40].fill(0xff);
                bytes
            }),
        ];
        for (name, bytes) in cases {
            assert_eq!(of(bytes), None, "{name}");
        }
    }
}
