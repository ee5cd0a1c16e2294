//! Who holds the private key: the trait, the signer that is a key file, and what can go wrong with any signer.

use std::{
    fmt,
    fs::OpenOptions,
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use aegis_crypto::{
    MAX_KEY_FILE_LEN, PrivateKeyFileError, PublicKey, PublicKeyError, Signature, SignatureParseError,
    SigningKey,
};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::durable::{self, ReadError};

/// Holds a private key, or reaches something that does.
pub trait PayloadSigner {
    /// The public half of the key that signs.
    fn public_key(&self) -> &PublicKey;

    /// Signs `payload` with Ed25519 (RFC 8032, no prehash). Callers verify what they get.
    ///
    /// # Errors
    ///
    /// [`SignerError`]; its [`failure`](SignerError::failure) tells whether trying again may help.
    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError>;
}

/// What a caller can do about a signer that gave no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerFailure {
    /// No answer; the same call may succeed later.
    TryAgain,
    /// The answer was no; it stays no until a person changes something.
    Refused,
    /// It cannot work like this: wrong file, wrong device, wrong answer.
    Broken,
}

/// Why there is no signature. No message has any of a secret, or of what a command printed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file that holds a secret cannot be read.
    #[error("the secret cannot be read")]
    Read {
        /// Why, with the path.
        source: ReadError,
    },
    /// Others than the owner can read a file that holds a secret.
    #[error("{} can be read by others than its owner (mode {mode:04o})", path.display())]
    KeyFilePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a private key that signs policy.
    #[error("{name} does not hold an Ed25519 private key")]
    KeyFile {
        /// What it was called.
        name: String,
        /// Why.
        source: PrivateKeyFileError,
    },

    /// The shell could not be started.
    #[error("cannot start the sign command")]
    CommandStart {
        /// Why.
        source: io::Error,
    },
    /// It was started and could not be waited for or written to.
    #[error("lost the sign command while it ran")]
    CommandLost {
        /// Why.
        source: io::Error,
    },
    /// It took too long, and was killed.
    #[error("the sign command did not finish within {} seconds and was killed", timeout.as_secs_f64())]
    CommandTimeout {
        /// How long it had.
        timeout: Duration,
    },
    /// It said no.
    #[error("the sign command failed ({status})")]
    CommandFailed {
        /// How it ended.
        status: ExitStatus,
    },
    /// It printed far more than a signature.
    #[error("the sign command printed more than {limit} bytes")]
    CommandOutputTooLong {
        /// The most that is read.
        limit: usize,
    },
    /// It printed nothing.
    #[error("the sign command succeeded and printed nothing")]
    CommandSilent,
    /// It printed text of another length. The text itself is not shown.
    #[error("the sign command printed {found} characters, not the 128 hex digits of a signature")]
    CommandOutputLength {
        /// Bytes it printed, white space at the end not counted.
        found: usize,
    },
    /// It printed 128 characters, and not all are hex digits. The text itself is not shown.
    #[error("character {position} that the sign command printed is not a hex digit")]
    CommandOutputNotHex {
        /// Which one, from 1.
        position: usize,
    },

    /// The PKCS#11 library cannot be used.
    #[error("cannot use {} as a PKCS#11 library", path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// Why.
        source: DeviceAnswer,
    },
    /// The variable with the PIN is not set.
    #[error("the variable {name}, which should hold the PIN, is not set")]
    PinVariable {
        /// Its name.
        name: String,
    },
    /// The PIN is empty, too long, or not text.
    #[error(
        "{origin} does not hold a PIN: 1 to {} bytes of UTF-8 without control characters",
        crate::signer_pkcs11::MAX_PIN_LEN
    )]
    PinText {
        /// The file or variable.
        origin: String,
    },
    /// No token has the label.
    #[error("no token is labelled {label:?}; {}", found_labels(found))]
    NoToken {
        /// What was looked for.
        label: String,
        /// The tokens that are there.
        found: Vec<String>,
    },
    /// A label that names more than one thing names none.
    #[error("{count} tokens are labelled {label:?}")]
    SeveralTokens {
        /// What was looked for.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// It was tried once, and will not be tried again by itself: devices lock.
    #[error("token {token:?} refused the PIN")]
    WrongPin {
        /// The token.
        token: String,
    },
    /// One more wrong PIN would lock the token, so none is tried.
    #[error("token {token:?} has one try of the PIN left; it was not used")]
    LastTry {
        /// The token.
        token: String,
    },
    /// Too many wrong PINs.
    #[error("token {token:?} is locked after too many wrong PINs")]
    PinLocked {
        /// The token.
        token: String,
    },
    /// The PIN was never set, or has to be changed first.
    #[error("the PIN of token {token:?} is not set up, or has expired")]
    PinNotReady {
        /// The token.
        token: String,
    },
    /// The token has no such Ed25519 private key.
    #[error("token {token:?} holds no Ed25519 private key labelled {label:?}")]
    NoKey {
        /// The token.
        token: String,
        /// What was looked for.
        label: String,
    },
    /// More than one has the label.
    #[error("token {token:?} holds {count} Ed25519 private keys labelled {label:?}")]
    SeveralKeys {
        /// The token.
        token: String,
        /// What was looked for.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// The private key is there, its public half is not.
    #[error("token {token:?} does not hold the public half of key {label:?}")]
    NoPublicKey {
        /// The token.
        token: String,
        /// The key.
        label: String,
    },
    /// More than one public key could be the other half.
    #[error("token {token:?} holds {count} public keys that could belong to key {label:?}")]
    SeveralPublicKeys {
        /// The token.
        token: String,
        /// The key.
        label: String,
        /// How many there are.
        count: usize,
    },
    /// The public key is neither 32 bytes nor their DER octet string.
    #[error("the public half of key {label:?} is stored in {len} bytes that are no Ed25519 point")]
    PublicPoint {
        /// The key.
        label: String,
        /// Their number.
        len: usize,
    },
    /// The public key is not one that may be trusted.
    #[error("the public half of key {label:?} cannot be trusted")]
    PublicKey {
        /// The key.
        label: String,
        /// Why.
        source: PublicKeyError,
    },
    /// The device did not give 64 bytes.
    #[error("token {token:?} gave something that is not an Ed25519 signature")]
    DeviceSignature {
        /// The token.
        token: String,
        /// Why.
        source: SignatureParseError,
    },
    /// The device gave no useful answer.
    #[error("token {token:?} is not available")]
    DeviceUnavailable {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
    /// The device does not permit this use of the key.
    #[error("token {token:?} does not permit it")]
    DeviceRefused {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
    /// The device cannot do it, or answered something that makes no sense here.
    #[error("token {token:?} cannot sign with Ed25519 in this way")]
    DeviceUnsuitable {
        /// The token.
        token: String,
        /// What it said.
        source: DeviceAnswer,
    },
}

/// What a PKCS#11 library answered: the function, and the name of its return code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DeviceAnswer {
    /// One line.
    pub text: String,
}

impl SignerError {
    /// What a caller can do about it.
    pub fn failure(&self) -> SignerFailure {
        match self {
            Self::CommandLost { .. } | Self::CommandTimeout { .. } | Self::DeviceUnavailable { .. } => {
                SignerFailure::TryAgain
            }
            Self::KeyFilePermissions { .. }
            | Self::CommandFailed { .. }
            | Self::PinVariable { .. }
            | Self::WrongPin { .. }
            | Self::LastTry { .. }
            | Self::PinLocked { .. }
            | Self::PinNotReady { .. }
            | Self::DeviceRefused { .. } => SignerFailure::Refused,
            Self::Read { .. }
            | Self::KeyFile { .. }
            | Self::CommandStart { .. }
            | Self::CommandOutputTooLong { .. }
            | Self::CommandSilent
            | Self::CommandOutputLength { .. }
            | Self::CommandOutputNotHex { .. }
            | Self::Module { .. }
            | Self::PinText { .. }
            | Self::NoToken { .. }
            | Self::SeveralTokens { .. }
            | Self::NoKey { .. }
            | Self::SeveralKeys { .. }
            | Self::NoPublicKey { .. }
            | Self::SeveralPublicKeys { .. }
            | Self::PublicPoint { .. }
            | Self::PublicKey { .. }
            | Self::DeviceSignature { .. }
            | Self::DeviceUnsuitable { .. } => SignerFailure::Broken,
        }
    }

    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Read { source } => return source.help(),
                Self::KeyFilePermissions { path, .. } => {
                    return Some(format!(
                        "find out who could have read it; if nobody did, `chmod 600 {}`",
                        path.display()
                    ));
                }
                Self::KeyFile { source, .. } => return source.help(),
                Self::CommandStart { .. } => "check that /bin/sh runs here",
                Self::CommandLost { .. } => "run it again",
                Self::CommandTimeout { .. } => "run the command by hand to see what it waits for, or give it more time",
                Self::CommandFailed { .. } => "run the command by hand; what it said is above",
                Self::CommandOutputTooLong { .. }
                | Self::CommandSilent
                | Self::CommandOutputLength { .. }
                | Self::CommandOutputNotHex { .. } => {
                    "the command must print the raw 64 bytes of the signature as hex and nothing else, for example with `| xxd -p -c 64`"
                }
                Self::Module { .. } => "give the path of the device's PKCS#11 library, such as /usr/lib/softhsm/libsofthsm2.so",
                Self::PinVariable { name } => return Some(format!("set {name}, or keep the PIN in a file of mode 0600")),
                Self::PinText { .. } => "put the PIN there, and nothing else",
                Self::NoToken { .. } => "check the label, and that the device is connected",
                Self::SeveralTokens { .. } | Self::SeveralKeys { .. } => {
                    "rename all but one with the device's own tool; a label must name one thing"
                }
                Self::WrongPin { .. } => "check the PIN before you try again: after a few wrong ones the device locks",
                Self::LastTry { .. } => "log in once with the device's own tool and the right PIN, then run this again",
                Self::PinLocked { .. } => "its security officer can set a new PIN",
                Self::PinNotReady { .. } => "set the user PIN with the device's own tool",
                Self::NoKey { .. } => "list the keys with `pkcs11-tool --module LIB --login --list-objects`",
                Self::NoPublicKey { .. } | Self::SeveralPublicKeys { .. } | Self::PublicPoint { .. } => {
                    "give the public key with `--public-key`"
                }
                Self::PublicKey { source, .. } => return source.help(),
                Self::DeviceUnavailable { .. } => "check that the device is connected and idle, then run this again",
                Self::DeviceRefused { .. } => "ask whoever runs the device to permit signing with this key",
                Self::DeviceSignature { .. } | Self::DeviceUnsuitable { .. } => {
                    "check that the device offers CKM_EDDSA for Ed25519 (`pkcs11-tool --module LIB --list-mechanisms`)"
                }
            }
            .to_owned(),
        )
    }
}

/// A private key in a PKCS#8 PEM file.
pub struct PemSigner {
    key: SigningKey,
}

impl PemSigner {
    /// Takes the bytes of a PKCS#8 PEM file; `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// [`SignerError::KeyFile`].
    pub fn from_pem(pem: &[u8], name: &str) -> Result<Self, SignerError> {
        let key = SigningKey::from_pkcs8_pem(pem)
            .map_err(|source| SignerError::KeyFile { name: name.to_owned(), source })?;
        Ok(Self { key })
    }

    /// Reads a PKCS#8 PEM file that only its owner can read.
    ///
    /// # Errors
    ///
    /// [`SignerError::Read`], [`SignerError::KeyFilePermissions`], [`SignerError::KeyFile`].
    pub fn from_file(path: &Path) -> Result<Self, SignerError> {
        let pem = read_private_file(path, MAX_KEY_FILE_LEN as u64)?;
        Self::from_pem(&pem, &path.display().to_string())
    }

    /// Signs with a key that is in memory already.
    pub fn new(key: SigningKey) -> Self {
        Self { key }
    }
}

impl PayloadSigner for PemSigner {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError> {
        Ok(self.key.sign(payload))
    }
}

impl fmt::Debug for PemSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemSigner").field("key_id", &self.key.public_key().key_id()).finish_non_exhaustive()
    }
}

/// Reads a file that holds a secret, of at most `limit` bytes, if nobody but its owner can read it.
pub(crate) fn read_private_file(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, SignerError> {
    let read = |source| SignerError::Read { source };
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|source| read(ReadError::Open { path: path.to_owned(), source }))?;
    // Asked of the open file, so that the mode is that of the bytes which are read.
    let metadata =
        file.metadata().map_err(|source| read(ReadError::Read { path: path.to_owned(), source }))?;
    durable::check_regular(&metadata, path).map_err(read)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(SignerError::KeyFilePermissions {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    durable::read_open(file, path, metadata.len(), limit).map(Zeroizing::new).map_err(read)
}

fn found_labels(found: &[String]) -> String {
    match found {
        [] => "no token is there".to_owned(),
        labels => format!(
            "there is {}",
            labels.iter().map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ")
        ),
    }
}
