//! What is opened, connected to and run.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::Made;

/// Files in a directory of their own, gone at the end.
pub(crate) struct Targets {
    root: PathBuf,
    /// Which no rule names, nor any in its directory.
    pub(crate) plain: String,
    /// Which no rule names, in a directory in which rules name others.
    pub(crate) neighbour: String,
    pub(crate) denied_by_path: String,
    pub(crate) denied_by_inode: String,
    /// The same as a policy has it.
    pub(crate) denied_inode: String,
    /// A program that does nothing.
    pub(crate) program: String,
    /// The same by a denied name.
    pub(crate) denied_program: String,
    pub(crate) denied_comm: &'static str,
    pub(crate) address: &'static str,
    pub(crate) denied_address: &'static str,
}

impl Targets {
    /// Paths of one length and depth, so that the walk to each costs the same.
    pub(crate) fn new() -> Made<Self> {
        let root = std::env::temp_dir().join(format!("in-kernel-{}", std::process::id()));
        for directory in ["plain", "named"] {
            fs::create_dir_all(root.join(directory))?;
        }
        let file = |name: &str| -> Made<String> {
            let path = root.join(name);
            fs::write(&path, "x")?;
            Ok(path.display().to_string())
        };
        let denied_by_inode = file("plain/two")?;
        let metadata = fs::metadata(&denied_by_inode)?;
        Ok(Self {
            plain: file("plain/one")?,
            neighbour: file("named/one")?,
            denied_by_path: file("named/two")?,
            denied_inode: format!("{}:{}", metadata.dev(), metadata.ino()),
            denied_by_inode,
            program: program(&root.join("plain/run"))?,
            denied_program: program(&root.join("plain/not"))?,
            denied_comm: "not",
            address: "127.0.0.2:9",
            denied_address: "127.0.0.3",
            root,
        })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A program of x86-64 that ends at once, without a library or a stack: 129 bytes.
fn program(at: &Path) -> Made<String> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // mov eax, 60 (exit); xor edi, edi; syscall
    const CODE: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let length = HEADERS + CODE.len() as u64;
    let mut elf = Vec::new();
    let mut half = |value: u16| elf.extend(value.to_le_bytes());
    // ELF64, little endian, version 1, System V.
    [0x457f, 0x464c, 0x0102, 0x0001, 0, 0, 0, 0].into_iter().for_each(&mut half);
    [2, 62, 1, 0].into_iter().for_each(&mut half); // executable, x86-64
    elf.extend([BASE + HEADERS, 64, 0].into_iter().flat_map(u64::to_le_bytes)); // entry, program headers, sections
    elf.extend([0_u8; 4]);
    elf.extend([64, 56, 1, 64, 0, 0_u16].into_iter().flat_map(u16::to_le_bytes));
    elf.extend([1, 5_u32].into_iter().flat_map(u32::to_le_bytes)); // load, read and execute
    elf.extend([0, BASE, BASE, length, length, 0x1000].into_iter().flat_map(u64::to_le_bytes));
    elf.extend(CODE);
    fs::write(at, &elf)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))?;
    Ok(at.display().to_string())
}
