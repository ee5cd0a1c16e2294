//! Files that the command line asks to be written: `-o FILE`, `--report FILE`, `--out F`.
//!
//! A file is replaced whole or not at all, by renaming a finished one to its name. That would replace a device
//! or a FIFO by a file just as well, so `-o /dev/null` is refused instead of breaking the system. So are a private
//! key, which cannot be made again, and what the program itself keeps, which has commands of its own.

mod new_file;

pub use new_file::NewFile;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use aegis_crypto::{MAX_KEY_FILE_LEN, PublicKeyFileError, parse_public_key_file};
use aegis_durable::write_unguarded;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::input::is_stdin as is_stdout;
use crate::output::Output;

/// Where a program writes what it was asked to write, and where it does not.
#[derive(Clone, Copy)]
pub struct Destinations<'a> {
    output: &'a Output,
    is_reserved: &'a dyn Fn(&Path) -> bool,
}

impl<'a> Destinations<'a> {
    /// Every regular file but those for which `is_reserved` says yes; and standard output for `-`.
    pub fn new(output: &'a Output, is_reserved: &'a dyn Fn(&Path) -> bool) -> Self {
        Self { output, is_reserved }
    }

    /// Standard output.
    pub fn output(&self) -> &'a Output {
        self.output
    }

    /// Writes `bytes` to `path`, or to standard output if it is `-`.
    ///
    /// # Errors
    ///
    /// What is there already stays as it is.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        if is_stdout(path) {
            return self.output.bytes(bytes);
        }
        let target = self.resolve(path)?;
        write_unguarded(&target, bytes, mode)
            .map_err(|error| Failure::new(cannot_write(path), &error, error.help()))
    }

    /// Lends a writer to `path`, or to standard output if it is `-`. For what is too long to be held in memory.
    ///
    /// # Errors
    ///
    /// What is there already stays as it is.
    pub fn stream(
        &self,
        path: &Path,
        mode: u32,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if is_stdout(path) {
            return self.output.stream(fill);
        }
        let target = self.resolve(path)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        let temp = target.with_file_name(name);
        let written = fill_synced(&temp, mode, fill).and_then(|()| fs::rename(&temp, &target));
        if written.is_err() {
            // What is left of it is of no use; the error that is reported is the first one.
            let _ = fs::remove_file(&temp);
        }
        written.map_err(|error| Failure::new(cannot_write(path), &error, None))
    }

    /// Begins a file that will be `path` when it is finished, and nothing before. For what is written by other threads.
    ///
    /// # Errors
    ///
    /// What is there already stays as it is.
    pub fn create(&self, path: &Path, mode: u32) -> Result<NewFile, Failure> {
        let target = self.resolve(path)?;
        NewFile::begin(&target, mode).map_err(|error| Failure::new(cannot_write(path), &error, None))
    }

    /// Refuses what [`write`](Self::write) would refuse, before anything is done that cannot be undone.
    ///
    /// # Errors
    ///
    /// Nothing may be written there.
    pub fn check(&self, path: &Path) -> Result<(), Failure> {
        if is_stdout(path) {
            return Ok(());
        }
        self.resolve(path).map(drop)
    }

    /// Refuses a place that only the commands for it may fill: trusted keys, log, counter, keyring.
    ///
    /// # Errors
    ///
    /// It is such a place.
    pub fn refuse_reserved(&self, path: &Path) -> Result<(), Failure> {
        match (self.is_reserved)(path) {
            true => Err(Failure::because(cannot_write(path), "this host keeps its own files there")
                .with_help(
                    "name another place; what the host keeps is changed by the commands for it alone",
                )),
            false => Ok(()),
        }
    }

    /// The file behind `path`: a link stays a link to it.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Failure> {
        self.refuse_reserved(path)?;
        match fs::canonicalize(path) {
            Ok(target) if target.is_file() && holds_private_key(&target) => Err(Failure::because(
                cannot_write(path),
                "it holds a private key, which cannot be made again",
            )
            .with_help("name another file")),
            Ok(target) if target.is_file() => Ok(target),
            Ok(_) => Err(Failure::because(cannot_write(path), "it is there and is not a regular file")
                .with_help("name a file, or `-` for standard output")),
            // `/dev/stdout` is such a link when standard output is a pipe: a file in its place would break the system.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                Err(Failure::because(cannot_write(path), "it is a link that leads to no file")
                    .with_help("name a file, or `-` for standard output"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
            Err(error) => Err(Failure::new(cannot_write(path), &error, None)),
        }
    }
}

/// Gives a file that was just written back to its owner, or says that it has another one now.
pub fn give_to(path: &Path, uid: u32, gid: u32, output: &Output) {
    let given = fs::metadata(path).and_then(|now| {
        if (now.uid(), now.gid()) == (uid, gid) { Ok(()) } else { chown(path, Some(uid), Some(gid)) }
    });
    if let Err(error) = given {
        output.warn(&format!("{} was written, but has another owner now: {error}", path.display()));
    }
}

fn fill_synced(
    temp: &Path,
    mode: u32,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(mode).open(temp)?;
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.into_inner()?.sync_all()
}

/// Whether there is a private key in `file`. One that cannot be read is left to the write that follows.
fn holds_private_key(file: &Path) -> bool {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_LEN));
    let read = File::open(file).and_then(|file| file.take(MAX_KEY_FILE_LEN as u64).read_to_end(&mut bytes));
    let is_ours = |bytes: &[u8]| {
        KEY_FILE_HEADERS.iter().any(|header| bytes.starts_with(header))
            || bytes.split(|byte| *byte == b'\n').any(|line| {
                KEY_VARIABLES
                    .iter()
                    .any(|name| line.strip_prefix(b"export ").unwrap_or(line).starts_with(name))
            })
    };
    read.is_ok()
        && (is_ours(&bytes)
            || matches!(parse_public_key_file(&bytes), Err(PublicKeyFileError::PrivateKey { .. })))
}

/// How files begin in which a KEK or the key of a custodian is under a passphrase, of whichever version.
const KEY_FILE_HEADERS: [&[u8]; 2] = [b"AEGIS-KEK-FILE-V", b"AEGIS-CUSTODIAN-KEY-V"];
/// Lines of a variables file with the private half of a KEK, wrapped or not.
const KEY_VARIABLES: [&[u8]; 3] =
    [b"AEGIS_MASTER_KEK_PRIVATE=", b"AEGIS_KMS_WRAPPED_PRIVATE_KEY=", b"AEGIS_HSM_WRAPPED_PRIVATE_KEY="];

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_private_key_is_known_in_each_form() {
        let file = std::env::temp_dir().join(format!("aegis-terminal-{}-key", std::process::id()));
        for (text, expected) in [
            ("AEGIS-KEK-FILE-V1\npublic x\n", true),
            ("AEGIS-CUSTODIAN-KEY-V1\npublic x\n", true),
            ("AEGIS_MASTER_KEK_PUBLIC=x\nAEGIS_MASTER_KEK_PRIVATE='x'\n", true),
            ("export AEGIS_KMS_WRAPPED_PRIVATE_KEY=x\n", true),
            ("# a note\nAEGIS_HSM_WRAPPED_PRIVATE_KEY=x\n", true),
            ("AEGIS_MASTER_KEK_PUBLIC=x\n", false),
            ("{\"actor_id\":\"AEGIS-KEK-FILE-V1\"}\n", false),
            ("", false),
        ] {
            fs::write(&file, text).unwrap();
            let found = holds_private_key(&file);
            fs::remove_file(&file).unwrap();
            assert_eq!(found, expected, "{text}");
        }
    }
}
