//! The head of the log as a C2SP checkpoint (`c2sp.org/tlog-checkpoint`): a signed note whose text is the log's
//! origin, its size in decimal, and its root hash in base64.

use aegis_crypto::{Digest, PublicKey, SigningKey};
use base64ct::{Base64, Encoding as _};

use crate::note::{self, Note, NoteError};

/// Why bytes are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note.
    #[error("it is not a signed note")]
    Note {
        /// What is wrong with the note.
        #[from]
        source: NoteError,
    },
    /// Fewer than three lines, or no origin.
    #[error("it has no origin, size and root hash")]
    Incomplete,
    /// The size is not a decimal number without leading zeros, below 2^64.
    #[error("its size is not a decimal number")]
    Size,
    /// The root hash is not 32 bytes in base64.
    #[error("its root hash is not 32 bytes in base64")]
    Root,
    /// An empty line follows the root hash within the text.
    #[error("it has an empty line where only extensions may stand")]
    EmptyExtension,
}

impl CheckpointError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Note { source } => source.help(),
            Self::Incomplete | Self::Size | Self::Root | Self::EmptyExtension => {
                Some("give a file as `aegisbpf audit checkpoint` wrote it".to_owned())
            }
        }
    }
}

/// A checkpoint as it was read. Nothing in it is to be believed before [`Checkpoint::is_signed_by`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Digest,
    note: Note,
}

/// Reads a checkpoint; see [`Checkpoint::parse`].
///
/// # Errors
///
/// [`CheckpointError`] says what is wrong with its form.
pub fn parse_checkpoint(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::parse(bytes)
}

impl Checkpoint {
    /// Reads a checkpoint. Extension lines are kept as part of the signed text and mean nothing here.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] says what is wrong with its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        let mut lines = note.text().strip_suffix('\n').unwrap_or_default().split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Incomplete);
        };
        if origin.is_empty() {
            return Err(CheckpointError::Incomplete);
        }
        if lines.any(str::is_empty) {
            return Err(CheckpointError::EmptyExtension);
        }
        let number: u64 = size.parse().map_err(|_| CheckpointError::Size)?;
        if number.to_string() != size {
            return Err(CheckpointError::Size);
        }
        let mut raw = [0; 32];
        let decoded = Base64::decode(root, &mut raw).map_err(|_| CheckpointError::Root)?;
        if decoded.len() != raw.len() {
            return Err(CheckpointError::Root);
        }
        let origin = origin.to_owned();
        Ok(Self { origin, size: number, root: Digest::from_bytes(raw), note })
    }

    /// Signs the head of a log.
    pub(crate) fn sign(origin: &str, size: u64, root: &Digest, key: &SigningKey) -> String {
        let text = format!("{origin}\n{size}\n{}\n", Base64::encode_string(root.as_bytes()));
        note::sign(&text, origin, key)
    }

    /// The name of the log, which is also the name of the keys that sign for it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many entries it covers.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle root of those entries.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Whether `key` signed it under the name of the log.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.note.is_signed_by(&self.origin, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_crypto::sha256;

    #[test]
    fn a_checkpoint_is_these_lines() {
        let key = SigningKey::generate().unwrap();
        let text = Checkpoint::sign("aegisbpf/0123456789abcdef", 0, &sha256(b""), &key);
        assert!(text.starts_with(
            "aegisbpf/0123456789abcdef\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} aegisbpf/0123456789abcdef "
        ));
        let read = parse_checkpoint(text.as_bytes()).unwrap();
        assert_eq!((read.origin(), read.size(), read.root()), ("aegisbpf/0123456789abcdef", 0, sha256(b"")));
        assert!(read.is_signed_by(key.public_key()));
        assert!(!read.is_signed_by(SigningKey::generate().unwrap().public_key()));
    }

    #[test]
    fn refuses_a_checkpoint_with_one_thing_wrong() {
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let cases = [
            ("two lines", "log\n1".to_owned(), CheckpointError::Incomplete),
            ("no origin", format!("\n1\n{root}"), CheckpointError::Incomplete),
            ("leading zero", format!("log\n01\n{root}"), CheckpointError::Size),
            ("plus", format!("log\n+1\n{root}"), CheckpointError::Size),
            ("minus", format!("log\n-1\n{root}"), CheckpointError::Size),
            ("exponent", format!("log\n1e3\n{root}"), CheckpointError::Size),
            ("empty size", format!("log\n\n{root}"), CheckpointError::Size),
            ("20 digits", format!("log\n99999999999999999999\n{root}"), CheckpointError::Size),
            ("short root", "log\n1\n47DEQpj8".to_owned(), CheckpointError::Root),
            ("long root", format!("log\n1\n{}", "A".repeat(48)), CheckpointError::Root),
            ("unpadded root", format!("log\n1\n{}", root.trim_end_matches('=')), CheckpointError::Root),
            ("hex root", format!("log\n1\n{}", "0".repeat(64)), CheckpointError::Root),
            ("empty extension", format!("log\n1\n{root}\n\nx"), CheckpointError::EmptyExtension),
        ];
        for (name, text, error) in cases {
            let note = format!("{text}\n\n\u{2014} log AAAAAAAA\n");
            assert_eq!(parse_checkpoint(note.as_bytes()), Err(error), "{name}");
        }
        assert!(matches!(parse_checkpoint(b""), Err(CheckpointError::Note { .. })));
    }
}
