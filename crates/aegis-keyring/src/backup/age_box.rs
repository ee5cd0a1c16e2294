//! The file for an age recipient: age-encryption.org/v1, binary, X25519.
//!
//! Such a recipient is not safe from a quantum computer. What is in the file is: wrappings under a hybrid KEK.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::str::FromStr;

use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor};

use super::create::BackupError;
use super::read::{ReadBackupError, read_up_to};
use super::records::Pieces;

/// How an age file begins.
pub(super) const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// The end of an age header is looked for in so many bytes: one recipient takes 200, and the parser's work grows with
/// the square.
const MAX_HEADER_LEN: usize = 16 * 1024;
/// Bytes of plaintext in each piece of an age file.
const PIECE_LEN: usize = 64 * 1024;
/// Most identities in one file.
const MAX_IDENTITIES: usize = 64;

/// A public key for age, `age1…`.
#[derive(Clone)]
pub struct AgeRecipient(age::x25519::Recipient);

impl FromStr for AgeRecipient {
    type Err = AgeKeyError;

    fn from_str(text: &str) -> Result<Self, AgeKeyError> {
        text.parse().map(Self).map_err(|_| AgeKeyError::Recipient)
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgeRecipient({})", self.0)
    }
}

/// Private keys for age. Erased on drop, and shown to nobody.
pub struct AgeIdentities(Vec<age::x25519::Identity>);

impl AgeIdentities {
    /// Reads an identity file as age-keygen writes it: lines `AGE-SECRET-KEY-1…`, and comments.
    ///
    /// # Errors
    ///
    /// An [`AgeKeyError`], with the number of a line and nothing of its content.
    pub fn parse(text: &str) -> Result<Self, AgeKeyError> {
        let mut identities = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1_usize..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if identities.len() >= MAX_IDENTITIES {
                return Err(AgeKeyError::TooMany);
            }
            identities.push(line.parse().map_err(|_| AgeKeyError::Identity { line: number })?);
        }
        if identities.is_empty() { Err(AgeKeyError::NoIdentity) } else { Ok(Self(identities)) }
    }
}

impl fmt::Debug for AgeIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgeIdentities").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

/// Why a text is no key for age. It never has any of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgeKeyError {
    /// Not a public key.
    #[error("it is no age recipient such as age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")]
    Recipient,
    /// A line that is no private key.
    #[error("line {line} of the age identities is no AGE-SECRET-KEY-1…")]
    Identity {
        /// Which line, from 1.
        line: usize,
    },
    /// Nothing but comments.
    #[error("there is no age identity in it")]
    NoIdentity,
    /// More than anybody has.
    #[error("there are more than {MAX_IDENTITIES} age identities in it")]
    TooMany,
}

impl AgeKeyError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Recipient => "`age-keygen -y FILE` prints the recipient of an identity".to_owned(),
            Self::Identity { .. } | Self::NoIdentity | Self::TooMany => {
                "give a file that age-keygen wrote; passphrases, SSH keys and plugins are not read".to_owned()
            }
        })
    }
}

/// Writes an age file.
pub(super) struct Writer<W: Write>(StreamWriter<W>);

impl<W: Write> Writer<W> {
    pub(super) fn start(recipient: &AgeRecipient, out: W) -> Result<Self, BackupError> {
        let recipient: &dyn age::Recipient = &recipient.0;
        let encryptor =
            Encryptor::with_recipients(std::iter::once(recipient)).map_err(|_| BackupError::Recipient)?;
        encryptor.wrap_output(out).map(Self).map_err(BackupError::Output)
    }

    pub(super) fn write(&mut self, plaintext: &[u8]) -> Result<(), BackupError> {
        self.0.write_all(plaintext).map_err(BackupError::Output)
    }

    pub(super) fn finish(self) -> Result<W, BackupError> {
        self.0.finish().map_err(BackupError::Output)
    }
}

/// Reads an age file.
pub(super) struct Reader<R: Read> {
    stream: StreamReader<Source<R>>,
    piece: u64,
}

type Source<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

impl<R: Read> Reader<R> {
    /// Takes a file of which `first` was read already.
    pub(super) fn start(
        mut first: Vec<u8>,
        identities: &AgeIdentities,
        mut input: R,
    ) -> Result<Self, ReadBackupError> {
        let more = read_up_to(&mut input, MAX_HEADER_LEN.saturating_sub(first.len()))?;
        first.extend_from_slice(&more);
        // The last line of the header, whole: its parser reads each line to its end, however far that is.
        let last_line = first.windows(5).position(|window| window == b"\n--- ");
        let last_line = last_line.and_then(|start| first.get(start.saturating_add(1)..)).unwrap_or_default();
        if !last_line.contains(&b'\n') {
            return Err(ReadBackupError::Header);
        }
        let source = BufReader::new(Cursor::new(first).chain(input));
        let decryptor = Decryptor::new_buffered(source).map_err(refused)?;
        let identities = identities.0.iter().map(|identity| -> &dyn age::Identity { identity });
        let stream = decryptor.decrypt(identities).map_err(refused)?;
        Ok(Self { stream, piece: 0 })
    }
}

impl<R: Read> Pieces for Reader<R> {
    fn next(&mut self, to: &mut Vec<u8>) -> Result<bool, ReadBackupError> {
        let start = to.len();
        to.resize(start.saturating_add(PIECE_LEN), 0);
        let read = loop {
            match self.stream.read(to.get_mut(start..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        to.truncate(start.saturating_add(*read.as_ref().unwrap_or(&0)));
        match read {
            Ok(0) => Ok(false),
            Ok(_) => {
                self.piece = self.piece.saturating_add(1);
                Ok(true)
            }
            // What age says of a piece that does not open, or of a file that ends too soon or goes on too long.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Err(ReadBackupError::NotAuthentic { piece: self.piece })
            }
            Err(error) => Err(ReadBackupError::Input(error)),
        }
    }
}

fn refused(error: DecryptError) -> ReadBackupError {
    match error {
        DecryptError::NoMatchingKeys => ReadBackupError::OtherIdentity,
        DecryptError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            ReadBackupError::Input(error)
        }
        _ => ReadBackupError::Header,
    }
}
