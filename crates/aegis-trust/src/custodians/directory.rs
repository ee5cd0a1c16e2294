//! How a directory of custodians comes, goes, or takes the place of another one: whole, under one name.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aegis_crypto::Digest;
use rustix::fs::{CWD, RenameFlags};

use super::rule::CustodianFiles;
use crate::{
    HostPaths,
    durable::{self, WriteError},
    guarded_dir::Guard,
};

/// Writes the files beside the directory that they are for.
pub(super) fn stage(paths: &HostPaths, files: &CustodianFiles) -> Result<(), WriteError> {
    discard(paths)?;
    let staging = paths.custodians_staging();
    durable::make_dir(&staging, 0o755)?;
    set_mode(&staging)?;
    for (name, bytes) in files.files() {
        durable::write_staged(&staging.join(name), bytes, 0o644)?;
    }
    Ok(())
}

/// The mode is the one that was asked for, whatever the umask of the caller.
fn set_mode(dir: &Path) -> Result<(), WriteError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |step| move |source| WriteError { path: dir.to_owned(), step, source };
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(failed("set the mode of"))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync"))
}

/// The digest of a directory's rule, if it is a whole one.
fn digest_of(dir: &Path) -> Option<Digest> {
    CustodianFiles::load(dir, Guard::Own).ok().flatten().map(|files| files.rule().digest())
}

/// Puts the rule of this digest in place, if it is staged or is there already; whether it is there now.
pub(super) fn put_in_place(paths: &HostPaths, digest: &Digest) -> Result<bool, WriteError> {
    let (dir, staging) = (&paths.custodians_dir, paths.custodians_staging());
    if digest_of(dir).as_ref() == Some(digest) {
        durable::sync_parent(dir)?;
        return Ok(true);
    }
    if digest_of(&staging).as_ref() != Some(digest) {
        return Ok(false);
    }
    if dir.symlink_metadata().is_err() {
        durable::rename_synced(&staging, dir)?;
        return Ok(true);
    }
    match rustix::fs::renameat_with(CWD, &staging, CWD, dir, RenameFlags::EXCHANGE) {
        Ok(()) => durable::sync_parent(dir)?,
        // A file system that cannot do both at once. Between the two there is no directory, which is an error and not
        // "no rule", and the next command goes on here.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let outgoing = outgoing(paths);
            remove_tree(&outgoing)?;
            durable::rename_synced(dir, &outgoing)?;
            durable::rename_synced(&staging, dir)?;
        }
        Err(errno) => {
            let step = "exchange a new directory with";
            return Err(WriteError { path: dir.clone(), step, source: errno.into() });
        }
    }
    Ok(true)
}

/// Takes the directory away, under another name first: half of it is never under its own.
pub(super) fn take_away(paths: &HostPaths) -> Result<(), WriteError> {
    let dir = &paths.custodians_dir;
    if dir.symlink_metadata().is_ok() {
        let outgoing = outgoing(paths);
        remove_tree(&outgoing)?;
        durable::rename_synced(dir, &outgoing)?;
    }
    discard(paths)
}

/// Removes what was staged, and what was replaced.
pub(super) fn discard(paths: &HostPaths) -> Result<(), WriteError> {
    remove_tree(&paths.custodians_staging())?;
    remove_tree(&outgoing(paths))
}

fn outgoing(paths: &HostPaths) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(paths.custodians_dir.file_name().unwrap_or_default());
    name.push(".old.tmp");
    paths.custodians_dir.with_file_name(name)
}

fn remove_tree(path: &Path) -> Result<(), WriteError> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(source) => Err(source),
    };
    match removed {
        Ok(()) => durable::sync_parent(path),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(WriteError { path: path.to_owned(), step: "remove", source }),
    }
}
