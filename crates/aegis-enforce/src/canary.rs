//! Something that is always denied, to everybody and in every mode, so that a denial can be shown without harm.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use crate::layout::FileId;
use crate::resolve::{HostResolver, Resolver as _};

/// An address that nobody has (RFC 5737), and a port on which nothing answers (RFC 863).
pub(crate) const ADDRESS: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255)), 9);

/// What became of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// The kernel denied it: rules of this kind are enforced.
    Denied,
    /// It was let through: rules of this kind are not enforced.
    Allowed,
    /// It could not be tried.
    Untried,
}

/// The signs of both kinds of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Signs {
    /// Opening the canary's file.
    pub file: Sign,
    /// Connecting to the canary's address. No packet is sent either way.
    pub network: Sign,
}

/// Makes the file, which is empty, and tells which it is.
///
/// # Errors
///
/// What the system says; a file that is there is taken as it is.
pub fn make(path: &Path) -> io::Result<Option<FileId>> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(path.to_str().and_then(|path| HostResolver::new().file(path)))
}

/// Tries both. Nothing changes by it.
pub fn signs(file: &Path) -> Signs {
    Signs { file: file_sign(file), network: network_sign() }
}

fn file_sign(path: &Path) -> Sign {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        _ => return Sign::Untried,
    }
    match OpenOptions::new().read(true).open(path) {
        Ok(_) => Sign::Allowed,
        // The file is root's, and whoever asks is root, or could not read it in the first place.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => Sign::Denied,
        Err(_) => Sign::Untried,
    }
}

fn network_sign() -> Sign {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return Sign::Untried };
    match socket.connect(ADDRESS) {
        Ok(()) => Sign::Allowed,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => Sign::Denied,
        // Without a route the question was asked all the same, and not denied.
        Err(error) if error.kind() == ErrorKind::NetworkUnreachable => Sign::Allowed,
        Err(_) => Sign::Untried,
    }
}
