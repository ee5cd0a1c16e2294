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
    read.is_ok() && matches!(parse_public_key_file(&bytes), Err(PublicKeyFileError::PrivateKey { .. }))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
