//! Everything that can be wrong with an archive.

use aegis_audit::CheckpointError;
use aegis_crypto::{Digest, PublicKeyFileError};

use super::archive::{CONTENTS, MAX_CONTENTS_LEN};
use crate::{
    bundle::BundleError,
    counter::CounterParseError,
    custodians::{CustodiansError, record::RecordParseError},
    host_statement::StatementError,
};

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
    /// The record of approvals in it is none.
    #[error("custodians.json is not a record of approvals")]
    Record {
        /// Why.
        source: RecordParseError,
    },
    /// A file of a custodian in it does not register that key.
    #[error("{name} does not register a custodian by that key")]
    Custodian {
        /// The file.
        name: String,
    },
    /// The custodians in it cannot be together.
    #[error("the custodians in it are no rule")]
    Rule {
        /// Why.
        source: Box<CustodiansError>,
    },
    /// The rotation in it is none.
    #[error("rotation.json does not say how far a rotation has come")]
    Rotation,
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
