//! The archive itself: a POSIX tar (IEEE 1003.1, ustar) that any tar program lists, in exactly one spelling.
//!
//! `manifest.json`, the signed list, comes first; the files it names follow in a fixed order; two blocks of zeros end
//! it. Every header and every padding byte follows from the list, and is compared: there is no byte that can be
//! changed, no place for a link, a device or a path that leads elsewhere, and nothing is ever unpacked.

use std::ops::Range;

use aegis_approval::Registration;
use aegis_audit::parse_checkpoint;
use aegis_crypto::{Digest, PublicKey, SigningKey, parse_public_key_file, sha256};
use jiff::Timestamp;
use tar::{EntryType, Header};

use super::{
    archive_error::ArchiveError,
    contents::{BackupFile, Contents},
    file_kind::FileKind,
};
use crate::{
    bundle::{self, BundleFormat, SignedBundle},
    config::Config,
    counter::Counter,
    custodians::{
        CustodiansError,
        record::{MAX_RECORD_LEN, Record},
        rule::CustodianFiles,
        threshold::Threshold,
    },
    revoked::RevokedKeys,
    rotation::Rotation,
};

const BLOCK_LEN: usize = 512;
pub(super) const CONTENTS: &str = "manifest.json";
pub(super) const MAX_CONTENTS_LEN: u64 = 1 << 20;

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
    pub(super) record: Option<Record>,
    pub(super) custodians: Option<CustodianFiles>,
    pub(super) rotation: Option<Rotation>,
    threshold: Option<Vec<u8>>,
    registrations: Vec<Registration>,
    files: Vec<(FileKind, Range<usize>)>,
    bytes: Vec<u8>,
}

/// The most bytes that an archive may have, where a policy file may have `policy_limit`.
pub(super) fn max_len(policy_limit: u64) -> u64 {
    policy_limit.saturating_mul(3).saturating_add((16 << 20) + MAX_RECORD_LEN)
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
    /// Reads a whole archive: every header, every byte between the files, every digest, the signature over them, and
    /// that each file is what its name says. The signature is by the key that the archive itself carries; whose key
    /// that is, the caller must ask.
    pub(super) fn parse(bytes: Vec<u8>, policy_limit: u64) -> Result<Self, ArchiveError> {
        let mut blocks = Blocks { bytes: &bytes, at: 0 };
        let (header, list) = blocks.contents()?;
        let claimed = Contents::parse(list)?;
        if header.as_bytes() != contents_header(&claimed.contents, list.len() as u64).as_bytes() {
            return Err(ArchiveError::Header { name: CONTENTS.to_owned() });
        }
        let mut files: Vec<(FileKind, Range<usize>)> = Vec::new();
        for file in &claimed.contents.files {
            let kind = FileKind::of(&file.name)
                .ok_or_else(|| ArchiveError::Name { name: shorten(file.name.as_bytes()) })?;
            if files.last().is_some_and(|(before, _)| *before >= kind) {
                return Err(ArchiveError::Order { name: file.name.clone() });
            }
            check_bounds(file, &kind, policy_limit)?;
            files.push((kind, blocks.file(file)?));
        }
        blocks.end()?;
        let (contents, host_key) = claimed.verify()?;
        let mut archive = Self {
            sha256: sha256(&bytes),
            contents,
            host_key,
            counter: None,
            format: None,
            revoked: RevokedKeys::default(),
            keys: Vec::new(),
            record: None,
            custodians: None,
            rotation: None,
            threshold: None,
            registrations: Vec::new(),
            files: Vec::new(),
            bytes,
        };
        for (file, (kind, range)) in archive.contents.files.clone().iter().zip(&files) {
            archive.take_in(file, kind, range.clone(), policy_limit)?;
        }
        archive.files = files;
        archive.take_in_rule()?;
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

    /// Checks one file against its name, and keeps what it says.
    fn take_in(
        &mut self,
        file: &BackupFile,
        kind: &FileKind,
        range: Range<usize>,
        policy_limit: u64,
    ) -> Result<(), ArchiveError> {
        let (name, bytes) = (file.name.clone(), self.bytes.get(range).unwrap_or_default());
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
                check_policy(name, bytes, policy_limit)?;
            }
            FileKind::Checkpoint => {
                let checkpoint =
                    parse_checkpoint(bytes).map_err(|source| ArchiveError::Checkpoint { source })?;
                if !checkpoint.is_signed_by(&self.host_key) {
                    return Err(ArchiveError::CheckpointKey);
                }
            }
            FileKind::Record => {
                self.record = Some(Record::parse(bytes).map_err(|source| ArchiveError::Record { source })?);
            }
            FileKind::Threshold => self.threshold = Some(bytes.to_vec()),
            FileKind::Custodian(id) => {
                let registration = Registration::parse(bytes).ok();
                let registration = registration.filter(|registration| registration.key().key_id() == *id);
                self.registrations.push(registration.ok_or(ArchiveError::Custodian { name })?);
            }
            FileKind::Rotation => {
                self.rotation = Some(Rotation::parse(bytes).ok_or(ArchiveError::Rotation)?);
            }
        }
        Ok(())
    }

    /// The files of custodians are a rule together, or none is there.
    fn take_in_rule(&mut self) -> Result<(), ArchiveError> {
        let rule = |source| ArchiveError::Rule { source: Box::new(source) };
        let registrations = std::mem::take(&mut self.registrations);
        let Some(bytes) = self.threshold.take() else {
            return match registrations.is_empty() {
                true => Ok(()),
                false => Err(rule(CustodiansError::NoThreshold { path: FileKind::Threshold.name().into() })),
            };
        };
        let threshold = Threshold::parse(&bytes).map_err(|source| {
            rule(CustodiansError::Threshold { path: FileKind::Threshold.name().into(), source })
        })?;
        self.custodians = Some(CustodianFiles::new(threshold, registrations).map_err(rule)?);
        Ok(())
    }
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
        let data = self.data(&file.name, file.size)?;
        let found = sha256(self.bytes.get(data.clone()).unwrap_or_default());
        match found == file.sha256 {
            true => Ok(data),
            false => Err(ArchiveError::Digest { name: file.name.clone(), found, stated: file.sha256 }),
        }
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
