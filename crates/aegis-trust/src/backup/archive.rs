//! The archive itself: a POSIX tar (IEEE 1003.1, ustar) that any tar program lists, in exactly one spelling.
//!
//! `manifest.json`, the signed list, comes first; the files it names follow in a fixed order; two blocks of zeros end
//! it. Every header and every padding byte follows from the list, and is compared: there is no byte that can be
//! changed, no place for a link, a device or a path that leads elsewhere, and nothing is ever unpacked.

use std::ops::Range;

use aegis_audit::{CheckpointError, parse_checkpoint};
use aegis_crypto::{Digest, PublicKey, PublicKeyFileError, SigningKey, parse_public_key_file, sha256};
use jiff::Timestamp;
use tar::{EntryType, Header};

use super::contents::{BackupFile, Contents};
use crate::{
    bundle::{self, BundleError, BundleFormat, SignedBundle},
    config::Config,
    counter::{Counter, CounterParseError, MAX_COUNTER_LEN},
    host_statement::StatementError,
    key_dir::MAX_KEY_FILE_LEN,
    keys::MAX_NAME_LEN,
    revoked::{MAX_REVOKED_LEN, RevokedKeys},
};

const BLOCK_LEN: usize = 512;
const CONTENTS: &str = "manifest.json";
const MAX_CONTENTS_LEN: u64 = 1 << 20;
const MAX_SMALL_LEN: u64 = 64 * 1024;

/// What a file in a backup is. The order is that of the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    Config,
    BundleFormat,
    Counter,
    Revoked,
    /// A trusted key, by its name without `.pub`.
    Key(String),
    Applied,
    Previous,
    RolledBack,
    Checkpoint,
}

/// Why bytes are not a whole backup. Nothing in them was used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It ends too early.
    #[error("it is cut short: {what} does not end within its {len} bytes")]
    Short {
        /// What was being read.
        what: String,
        /// Length of the archive in bytes.
        len: u64,
    },
    /// It does not begin with the signed list.
    #[error("it does not begin with {CONTENTS}, the signed list of a backup")]
    NoContents,
    /// The list is too long.
    #[error("{CONTENTS} has {len} bytes, more than {MAX_CONTENTS_LEN}")]
    ContentsTooLong {
        /// What its header says.
        len: u64,
    },
    /// The list is not signed by the host key that it names.
    #[error("{CONTENTS} is not a signed list of a backup")]
    Statement {
        /// Why.
        source: StatementError,
    },
    /// The list does not say what a list says.
    #[error("{CONTENTS} does not list a backup")]
    Contents {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// The host key in the list is not one.
    #[error("{CONTENTS} carries no host key that can be trusted")]
    HostKey {
        /// Why.
        source: PublicKeyFileError,
    },
    /// The list can be spelled in another way.
    #[error("{CONTENTS} is not in its one canonical spelling")]
    ContentsSpelling,
    /// From another release.
    #[error("it is a backup of format {found}; this program reads format 1")]
    Format {
        /// The format.
        found: u32,
    },
    /// More files than a host has.
    #[error("it lists {count} files, more than any host has")]
    TooManyFiles {
        /// How many.
        count: usize,
    },
    /// A name that no file of a backup has: a path that leads elsewhere, for instance.
    #[error("it lists {name:?}, which no backup holds")]
    Name {
        /// The name, shortened.
        name: String,
    },
    /// Listed twice, or not in the one order.
    #[error("it lists {name} twice or out of order")]
    Order {
        /// The name.
        name: String,
    },
    /// Larger than anything of its kind.
    #[error("{name} has {len} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The file.
        name: String,
        /// What the list says.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Permissions that no file of a backup has.
    #[error(
        "{name} has mode {mode:o}, and only reading and writing by the owner and reading by others can be restored"
    )]
    Mode {
        /// The file.
        name: String,
        /// Its mode.
        mode: u32,
    },
    /// A link, directory or device in place of a file.
    #[error("{name} is {kind} in the archive, not a regular file")]
    NotAFile {
        /// The file.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// The header is not the one that the list leads to.
    #[error("the header of {name} is not what the signed list says of it")]
    Header {
        /// The file.
        name: String,
    },
    /// Something hides between two files.
    #[error("the padding after {name} is not zero")]
    Padding {
        /// The file.
        name: String,
    },
    /// Something follows the last file.
    #[error("it goes on after the last file that is listed")]
    Trailing,
    /// The file is not the one that was signed.
    #[error("{name} does not match its signed digest (sha256 {found}, signed {stated})")]
    Digest {
        /// The file.
        name: String,
        /// SHA-256 of what is there.
        found: Digest,
        /// What was signed.
        stated: Digest,
    },
    /// The version counter in it is none.
    #[error("version_counter is not a version counter")]
    Counter {
        /// Why.
        source: CounterParseError,
    },
    /// The configuration in it is none.
    #[error("aegisbpf.toml is not a configuration")]
    Config {
        /// What the TOML reader said.
        source: Box<toml::de::Error>,
    },
    /// The list of revoked keys in it is none.
    #[error("line {line} of keys/revoked is not `<key id> <time> <reason>`")]
    Revoked {
        /// Which line, from 1.
        line: usize,
    },
    /// A key in it is none.
    #[error("{name} does not hold a key that can be trusted")]
    Key {
        /// The file.
        name: String,
        /// Why.
        source: PublicKeyFileError,
    },
    /// A policy in it begins like a bundle and is none.
    #[error("{name} is not a signed bundle that this program reads")]
    Bundle {
        /// The file.
        name: String,
        /// Why.
        source: BundleError,
    },
    /// The policy in a bundle is not the one that its manifest names.
    #[error("the policy in {name} does not match the digest in its manifest")]
    PolicyDigest {
        /// The file.
        name: String,
    },
    /// An unsigned policy in it is none.
    #[error("{name} is neither a signed bundle nor a valid policy")]
    Policy {
        /// The file.
        name: String,
        /// Everything that is wrong with it.
        source: aegis_policy::PolicyErrors,
    },
    /// The bundle format in it is none.
    #[error("bundle_format is neither 1 nor 2")]
    BundleFormat,
    /// The checkpoint in it is none.
    #[error("audit-checkpoint is not a checkpoint")]
    Checkpoint {
        /// Why.
        source: CheckpointError,
    },
    /// The checkpoint in it is by another key.
    #[error("audit-checkpoint is not signed by the host key of the backup")]
    CheckpointKey,
}

impl ArchiveError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Format { .. } => "use the release of this program that made it",
                Self::TooLarge { .. } => "if the host that made it takes larger policies, check the archive on that host",
                _ => "take another copy; if every copy fails the same way, it was damaged or forged before it was copied",
            }
            .to_owned(),
        )
    }
}

/// One file on its way into an archive.
pub(super) struct NewFile {
    pub(super) kind: FileKind,
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    pub(super) mtime: u64,
}

/// A trusted key in an archive.
#[derive(Debug)]
pub(super) struct ArchivedKey {
    pub(super) name: String,
    pub(super) key: PublicKey,
    pub(super) mtime: u64,
}

/// A backup whose every byte is the one that the host key signed. Only [`Archive::parse`] makes one.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) sha256: Digest,
    pub(super) contents: Contents,
    pub(super) host_key: PublicKey,
    pub(super) counter: Option<Counter>,
    pub(super) format: Option<BundleFormat>,
    pub(super) revoked: RevokedKeys,
    pub(super) keys: Vec<ArchivedKey>,
    files: Vec<(FileKind, Range<usize>)>,
    bytes: Vec<u8>,
}

/// The most bytes that an archive may have, where a policy file may have `policy_limit`.
pub(super) fn max_len(policy_limit: u64) -> u64 {
    policy_limit.saturating_mul(3).saturating_add(16 << 20)
}

/// Puts an archive together and signs it.
pub(super) fn build(mut files: Vec<NewFile>, key: &SigningKey, created_at: Timestamp) -> Vec<u8> {
    files.sort_by(|a, b| a.kind.cmp(&b.kind));
    let listed = files.iter().map(|file| BackupFile {
        name: file.kind.name(),
        size: file.bytes.len() as u64,
        sha256: sha256(&file.bytes),
        mode: file.mode,
        mtime: file.mtime,
    });
    let contents = Contents::new(created_at, key.public_key(), listed.collect());
    let list = contents.sign(key);
    let mut archive = Vec::new();
    put(&mut archive, &contents_header(&contents, list.len() as u64), &list);
    for (file, listed) in files.iter().zip(&contents.files) {
        put(&mut archive, &file_header(listed), &file.bytes);
    }
    archive.resize(archive.len() + 2 * BLOCK_LEN, 0);
    archive
}

fn put(archive: &mut Vec<u8>, header: &Header, bytes: &[u8]) {
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK_LEN), 0);
}

impl Archive {
    /// Reads a whole archive: its signature, every header, every byte between the files, every digest, and that each
    /// file is what its name says. The signature is by the key that the archive itself carries; whose key that is, the
    /// caller must ask.
    pub(super) fn parse(bytes: Vec<u8>, policy_limit: u64) -> Result<Self, ArchiveError> {
        let mut blocks = Blocks { bytes: &bytes, at: 0 };
        let (header, list) = blocks.contents()?;
        let (contents, host_key) = Contents::parse(list)?;
        if header.as_bytes() != contents_header(&contents, list.len() as u64).as_bytes() {
            return Err(ArchiveError::Header { name: CONTENTS.to_owned() });
        }
        let mut files: Vec<(FileKind, Range<usize>)> = Vec::new();
        for file in &contents.files {
            let kind = FileKind::of(&file.name)
                .ok_or_else(|| ArchiveError::Name { name: shorten(file.name.as_bytes()) })?;
            if files.last().is_some_and(|(before, _)| *before >= kind) {
                return Err(ArchiveError::Order { name: file.name.clone() });
            }
            check_bounds(file, &kind, policy_limit)?;
            files.push((kind, blocks.file(file)?));
        }
        blocks.end()?;
        let mut archive = Self {
            sha256: sha256(&bytes),
            contents,
            host_key,
            counter: None,
            format: None,
            revoked: RevokedKeys::default(),
            keys: Vec::new(),
            files: Vec::new(),
            bytes,
        };
        for (file, (kind, range)) in archive.contents.files.clone().iter().zip(&files) {
            archive.take_in(file, kind, range.clone(), policy_limit)?;
        }
        archive.files = files;
        Ok(archive)
    }

    /// A file as it lies in the archive.
    pub(super) fn file(&self, kind: &FileKind) -> Option<&[u8]> {
        let (_, range) = self.files.iter().find(|(listed, _)| listed == kind)?;
        self.bytes.get(range.clone())
    }

    /// What is listed of a file.
    pub(super) fn listed(&self, kind: &FileKind) -> Option<&BackupFile> {
        self.files
            .iter()
            .zip(&self.contents.files)
            .find(|((listed, _), _)| listed == kind)
            .map(|(_, file)| file)
    }

    /// The whole archive.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks one file against its digest and its name, and keeps what it says.
    fn take_in(
        &mut self,
        file: &BackupFile,
        kind: &FileKind,
        range: Range<usize>,
        policy_limit: u64,
    ) -> Result<(), ArchiveError> {
        let bytes = self.bytes.get(range).unwrap_or_default();
        let (name, found) = (file.name.clone(), sha256(bytes));
        if found != file.sha256 {
            return Err(ArchiveError::Digest { name, found, stated: file.sha256 });
        }
        match kind {
            FileKind::Config => {
                let _: Config = toml::from_slice(bytes)
                    .map_err(|source| ArchiveError::Config { source: Box::new(source) })?;
            }
            FileKind::BundleFormat => {
                self.format = Some(match bytes {
                    b"1\n" => BundleFormat::V1,
                    b"2\n" => BundleFormat::V2,
                    _ => return Err(ArchiveError::BundleFormat),
                });
            }
            FileKind::Counter => {
                self.counter =
                    Some(Counter::parse(bytes).map_err(|source| ArchiveError::Counter { source })?);
            }
            FileKind::Revoked => {
                self.revoked = RevokedKeys::parse(bytes).map_err(|line| ArchiveError::Revoked { line })?;
            }
            FileKind::Key(short) => {
                let parsed =
                    parse_public_key_file(bytes).map_err(|source| ArchiveError::Key { name, source })?;
                self.keys.push(ArchivedKey { name: short.clone(), key: parsed.key, mtime: file.mtime });
            }
            FileKind::Applied | FileKind::Previous | FileKind::RolledBack => {
                check_policy(name, bytes, policy_limit)?
            }
            FileKind::Checkpoint => {
                let checkpoint =
                    parse_checkpoint(bytes).map_err(|source| ArchiveError::Checkpoint { source })?;
                if !checkpoint.is_signed_by(&self.host_key) {
                    return Err(ArchiveError::CheckpointKey);
                }
            }
        }
        Ok(())
    }
}

impl FileKind {
    /// The name in the archive.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Config => "aegisbpf.toml".to_owned(),
            Self::BundleFormat => "bundle_format".to_owned(),
            Self::Counter => "version_counter".to_owned(),
            Self::Revoked => "keys/revoked".to_owned(),
            Self::Key(name) => format!("keys/{name}.pub"),
            Self::Applied => "policy.applied".to_owned(),
            Self::Previous => "policy.applied.prev".to_owned(),
            Self::RolledBack => "policy.applied.rolled-back".to_owned(),
            Self::Checkpoint => "audit-checkpoint".to_owned(),
        }
    }

    /// What a name in an archive means; nothing else may be there.
    fn of(name: &str) -> Option<Self> {
        if let Some(key) = name.strip_prefix("keys/").and_then(|file| file.strip_suffix(".pub")) {
            return is_plain_name(key).then(|| Self::Key(key.to_owned()));
        }
        let fixed = [
            Self::Config,
            Self::BundleFormat,
            Self::Counter,
            Self::Revoked,
            Self::Applied,
            Self::Previous,
            Self::RolledBack,
            Self::Checkpoint,
        ];
        fixed.into_iter().find(|kind| kind.name() == name)
    }

    fn max_len(&self, policy_limit: u64) -> u64 {
        match self {
            Self::Config | Self::Checkpoint => MAX_SMALL_LEN,
            Self::BundleFormat => 16,
            Self::Counter => MAX_COUNTER_LEN,
            Self::Revoked => MAX_REVOKED_LEN,
            Self::Key(_) => MAX_KEY_FILE_LEN,
            Self::Applied | Self::Previous | Self::RolledBack => policy_limit,
        }
    }
}

/// Whether a key's name can stand in an archive as it is: no separator, no dot in front, nothing to be quoted.
pub(super) fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_NAME_LEN).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// The permission bits that a backup keeps.
pub(super) const MODE_BITS: u32 = 0o644;

fn check_bounds(file: &BackupFile, kind: &FileKind, policy_limit: u64) -> Result<(), ArchiveError> {
    let (name, limit) = (file.name.clone(), kind.max_len(policy_limit));
    if file.size > limit {
        return Err(ArchiveError::TooLarge { name, len: file.size, limit });
    }
    if file.mode & !MODE_BITS != 0 {
        return Err(ArchiveError::Mode { name, mode: file.mode });
    }
    Ok(())
}

fn check_policy(name: String, bytes: &[u8], policy_limit: u64) -> Result<(), ArchiveError> {
    if !bundle::is_bundle(bytes) {
        let limits = aegis_policy::Limits {
            max_bytes: usize::try_from(policy_limit).unwrap_or(usize::MAX),
            // The file's length bounds the rules well enough; the host's own limit is asked when it is put in force.
            max_rules: usize::MAX,
        };
        return aegis_policy::parse(bytes, &limits)
            .map(drop)
            .map_err(|source| ArchiveError::Policy { name, source });
    }
    let bundle = match SignedBundle::parse(bytes.to_vec()) {
        Ok(bundle) => bundle,
        Err(source) => return Err(ArchiveError::Bundle { name, source }),
    };
    match sha256(bundle.policy()) == bundle.manifest().policy_sha256 {
        true => Ok(()),
        false => Err(ArchiveError::PolicyDigest { name }),
    }
}

fn contents_header(contents: &Contents, size: u64) -> Header {
    header(CONTENTS, size, 0o600, u64::try_from(contents.created_at.as_second()).unwrap_or(0))
}

fn file_header(file: &BackupFile) -> Header {
    header(&file.name, file.size, file.mode, file.mtime)
}

/// The one header that a file of a backup has.
fn header(name: &str, size: u64, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    header
        .set_path(name)
        .expect("the names of a backup are relative, without `..`, and shorter than 100 bytes");
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    header
}

/// The archive as it is read, from front to back.
struct Blocks<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Blocks<'a> {
    fn contents(&mut self) -> Result<(&'a Header, &'a [u8]), ArchiveError> {
        let header = self.header(CONTENTS)?;
        if *header.path_bytes() != *CONTENTS.as_bytes() {
            return Err(ArchiveError::NoContents);
        }
        check_regular(header, CONTENTS)?;
        let size = header.entry_size().map_err(|_| ArchiveError::Header { name: CONTENTS.to_owned() })?;
        if size > MAX_CONTENTS_LEN {
            return Err(ArchiveError::ContentsTooLong { len: size });
        }
        let range = self.data(CONTENTS, size)?;
        Ok((header, self.bytes.get(range).unwrap_or_default()))
    }

    fn file(&mut self, file: &BackupFile) -> Result<Range<usize>, ArchiveError> {
        let header = self.header(&file.name)?;
        check_regular(header, &file.name)?;
        if header.as_bytes() != file_header(file).as_bytes() {
            return Err(ArchiveError::Header { name: file.name.clone() });
        }
        self.data(&file.name, file.size)
    }

    fn header(&mut self, name: &str) -> Result<&'a Header, ArchiveError> {
        let block = self.next(name, BLOCK_LEN)?;
        Ok(Header::from_byte_slice(self.bytes.get(block).unwrap_or_default()))
    }

    /// The bytes of a file, past which the padding is zero up to the next block.
    fn data(&mut self, name: &str, size: u64) -> Result<Range<usize>, ArchiveError> {
        let size = usize::try_from(size).map_err(|_| self.short(name))?;
        let data = self.next(name, size)?;
        let padding = self.next(name, size.next_multiple_of(BLOCK_LEN) - size)?;
        match self.bytes.get(padding).is_some_and(all_zero) {
            true => Ok(data),
            false => Err(ArchiveError::Padding { name: name.to_owned() }),
        }
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let end = self.next("the end of the archive", 2 * BLOCK_LEN)?;
        match self.bytes.get(end).is_some_and(all_zero) && self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(ArchiveError::Trailing),
        }
    }

    fn next(&mut self, what: &str, len: usize) -> Result<Range<usize>, ArchiveError> {
        let end = self
            .at
            .checked_add(len)
            .filter(|&end| end <= self.bytes.len())
            .ok_or_else(|| self.short(what))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn short(&self, what: &str) -> ArchiveError {
        ArchiveError::Short { what: what.to_owned(), len: self.bytes.len() as u64 }
    }
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn check_regular(header: &Header, name: &str) -> Result<(), ArchiveError> {
    let kind = match header.entry_type() {
        EntryType::Regular => return Ok(()),
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Directory => "a directory",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a FIFO",
        _ => "something else",
    };
    Err(ArchiveError::NotAFile { name: name.to_owned(), kind })
}

/// A hostile name, fit for a message.
fn shorten(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(100).collect()
}
