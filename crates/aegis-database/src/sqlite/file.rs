//! The file: nobody else can read it, and nobody else can put another one in its place.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use aegis_durable::{WriteError, insecure, write_new};
use rustix::fs::OFlags;

use super::open_files::is_open_here;
use crate::contents::{Contents, Place};
use crate::error::{AddressFault, Answer, Damage, DatabaseError};

/// What a SQLite database begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The least that a SQLite database has: a page of the smallest size. SQLite takes less for nothing, and writes over it.
const MIN_LEN: u64 = 512;

/// What SQLite puts beside its file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Makes the file if it is not there, empty and of mode 0600, before SQLite sees its name; and checks it and its
/// directory. Gives the absolute path, in which no component is a link, and what the file is.
pub(super) fn prepare(
    path: &Path,
    contents: &'static Contents,
) -> Result<(PathBuf, Metadata), DatabaseError> {
    let no_file = || DatabaseError::Address { contents, fault: AddressFault::NoFile };
    let name = path.file_name().filter(|name| !name.as_bytes().contains(&0)).ok_or_else(no_file)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Absolute, so that SQLite takes no name for a URI.
    let directory = fs::canonicalize(directory).map_err(|error| sorted(path, contents, &error))?;
    let metadata = fs::metadata(&directory).map_err(|error| sorted(path, contents, &error))?;
    if let Some(why) = insecure(&metadata) {
        return Err(DatabaseError::Insecure { contents, path: directory, why });
    }
    let path = directory.join(name);
    if stat(&path, contents)?.is_none() {
        match write_new(&path, b"", 0o600) {
            Ok(()) => {}
            // Another process was faster.
            Err(WriteError { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(sorted(&path, contents, &error.source)),
        }
    }
    let metadata = check(&path, contents)?;
    // Looked at by its length only: to open and close the file would release the locks that another store in this process
    // has on it. With a journal beside it, it is a database that was being made when the power went.
    let is_cut_short =
        (1..MIN_LEN).contains(&metadata.len()) && stat(&companion(&path, "-journal"), contents)?.is_none();
    if is_cut_short {
        return Err(DatabaseError::Damaged { place: place(&path, contents), damage: Damage::NotADatabase });
    }
    Ok((path, metadata))
}

/// Checks the file and what SQLite put beside it. Before each opening: they may have been exchanged.
pub(super) fn check(path: &Path, contents: &'static Contents) -> Result<Metadata, DatabaseError> {
    let metadata =
        stat(path, contents)?.ok_or_else(|| sorted(path, contents, &io::ErrorKind::NotFound.into()))?;
    check_private(path, contents, &metadata).map_err(|error| match error {
        DatabaseError::Insecure { .. } if is_something_else(path, &metadata) => {
            DatabaseError::Foreign { place: place(path, contents) }
        }
        error => error,
    })?;
    for suffix in COMPANIONS {
        let companion = companion(path, suffix);
        if let Some(metadata) = stat(&companion, contents)? {
            check_private(&companion, contents, &metadata)?;
        }
    }
    Ok(metadata)
}

/// Whether something is in the WAL.
pub(super) fn has_wal(path: &Path, contents: &'static Contents) -> Result<bool, DatabaseError> {
    Ok(stat(&companion(path, "-wal"), contents)?.is_some_and(|metadata| metadata.len() > 0))
}

fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn stat(path: &Path, contents: &'static Contents) -> Result<Option<Metadata>, DatabaseError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(sorted(path, contents, &error)),
    }
}

/// Whether a file that others can read is no database at all, so that its mode must stay. What is open here is not looked
/// at: to open and close it would release the locks on it.
fn is_something_else(path: &Path, metadata: &Metadata) -> bool {
    if !metadata.is_file() || metadata.len() == 0 || is_open_here(metadata) {
        return false;
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let mut first = Vec::with_capacity(MAGIC.len());
    let limit = u64::try_from(MAGIC.len()).unwrap_or(u64::MAX);
    let read = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut first));
    read.is_ok() && first != MAGIC
}

fn check_private(path: &Path, contents: &'static Contents, metadata: &Metadata) -> Result<(), DatabaseError> {
    if metadata.is_symlink() {
        return Err(DatabaseError::NotAFile { path: path.to_owned(), kind: "a symbolic link" });
    }
    if let Err(aegis_durable::ReadError::NotAFile { path, kind }) =
        aegis_durable::check_regular(metadata, path)
    {
        return Err(DatabaseError::NotAFile { path, kind });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    let open = (mode & 0o077 != 0)
        .then(|| format!("can be read by others than its owner (mode {mode:04o}, not 0600)"));
    match insecure(metadata).or(open) {
        Some(why) => Err(DatabaseError::Insecure { contents, path: path.to_owned(), why }),
        None => Ok(()),
    }
}

/// The place of the database in a file.
pub(super) fn place(path: &Path, contents: &'static Contents) -> Place {
    Place { contents, location: path.display().to_string() }
}

/// What the system said, sorted.
fn sorted(path: &Path, contents: &'static Contents, error: &io::Error) -> DatabaseError {
    let place = place(path, contents);
    let answer = Answer::of_io(error);
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => DatabaseError::NoPlace { place, answer },
        io::ErrorKind::PermissionDenied => DatabaseError::Denied { place, answer },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DatabaseError::Full { place, answer },
        io::ErrorKind::ReadOnlyFilesystem => DatabaseError::ReadOnly { place },
        _ => DatabaseError::Failed { place, answer },
    }
}
