//! What a backup says it holds: the statement that the host signs, first in the archive.

use aegis_crypto::{Digest, KeyId, PublicKey, SigningKey, parse_public_key_file};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive_error::ArchiveError;
use crate::{
    custodians::rule::MAX_REGISTRATIONS,
    host_statement::{self, HostStatement},
    key_dir::MAX_KEYS,
    manifest::truncate_to_seconds,
};

/// The payload type that the host's signature covers.
pub const PAYLOAD_TYPE: &str = "application/vnd.aegis.host-backup.v1+json";

const FORMAT: u32 = 1;
/// The most files in one archive: the keys, the custodians, and one of each other kind.
const MAX_FILES: usize = MAX_KEYS + MAX_REGISTRATIONS + 11;

/// One file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Its name in the archive, such as `keys/release.pub`.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its permission bits; read and write alone.
    pub mode: u32,
    /// When it was last written, in seconds since 1970.
    pub mtime: u64,
}

/// The signed list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    format: u32,
    /// When the backup was made; whole seconds.
    pub(super) created_at: Timestamp,
    /// The host key that signs.
    pub(super) host_key: KeyId,
    /// The same key as SPKI PEM, so that the archive can be checked anywhere.
    host_key_pem: String,
    /// The files that follow, in the order of the archive.
    pub(super) files: Vec<BackupFile>,
}

/// A list whose signature was not looked at yet.
pub(super) struct ClaimedContents {
    pub(super) contents: Contents,
    statement: HostStatement,
}

impl ClaimedContents {
    /// Believes the list as far as the key that it names goes.
    pub(super) fn verify(self) -> Result<(Contents, PublicKey), ArchiveError> {
        let Self { contents, statement } = self;
        let key = parse_public_key_file(contents.host_key_pem.as_bytes())
            .map_err(|source| ArchiveError::HostKey { source })?
            .key;
        statement.verify(&key).map_err(|source| ArchiveError::Statement { source })?;
        if contents.host_key != key.key_id() || contents.host_key_pem != key.to_spki_pem() {
            return Err(ArchiveError::ContentsSpelling);
        }
        Ok((contents, key))
    }
}

impl Contents {
    pub(super) fn new(created_at: Timestamp, key: &PublicKey, files: Vec<BackupFile>) -> Self {
        Self {
            format: FORMAT,
            created_at: truncate_to_seconds(created_at),
            host_key: key.key_id(),
            host_key_pem: key.to_spki_pem(),
            files,
        }
    }

    pub(super) fn sign(&self, key: &SigningKey) -> Vec<u8> {
        host_statement::sign(key, PAYLOAD_TYPE, &self.to_json())
    }

    /// Reads a list. Nothing in it is to be believed yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<ClaimedContents, ArchiveError> {
        let statement =
            HostStatement::parse(bytes, PAYLOAD_TYPE).map_err(|source| ArchiveError::Statement { source })?;
        let payload = statement.unverified_payload();
        let contents: Self =
            serde_json::from_slice(payload).map_err(|source| ArchiveError::Contents { source })?;
        if contents.to_json() != payload {
            return Err(ArchiveError::ContentsSpelling);
        }
        if contents.format != FORMAT {
            return Err(ArchiveError::Format { found: contents.format });
        }
        if contents.files.len() > MAX_FILES {
            return Err(ArchiveError::TooManyFiles { count: contents.files.len() });
        }
        Ok(ClaimedContents { contents, statement })
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names, numbers and times always serialise")
    }
}
