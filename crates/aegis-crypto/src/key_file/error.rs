//! What a public key file can be besides a public key.

use crate::ed25519::PublicKeyError;
use crate::pem::PemFault;
use crate::plain_text::PlainTextError;

/// Why a file is not one Ed25519 public key. No variant has any of a private key's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyFileError {
    /// Not plain text of a sensible size.
    #[error(transparent)]
    Text(#[from] PlainTextError),
    /// A private key, alone or beside a public one.
    #[error("the file holds a private key ({kind}); only the public key belongs here")]
    PrivateKey {
        /// How it was recognised.
        kind: PrivateKeyKind,
    },
    /// A certificate, a request for one, or an OpenSSH certificate.
    #[error("the file holds a certificate, not a public key")]
    Certificate,
    /// A public key of another algorithm.
    #[error("the public key is for {algorithm}, not Ed25519")]
    OtherAlgorithm {
        /// Its usual name, its OpenSSH name, or its object identifier.
        algorithm: String,
    },
    /// A PEM block of some other kind.
    #[error("the PEM block in the file is `{label}`, not `PUBLIC KEY`")]
    OtherPem {
        /// Letters, digits and spaces, at most 64.
        label: String,
    },
    /// The PEM block is damaged, or text stands before it.
    #[error("the PEM block cannot be read: {0}")]
    Pem(PemFault),
    /// The PEM block is whole, but what it holds is not an Ed25519 key.
    #[error("the public key is not the 44 bytes that RFC 8410, section 4, prescribes for Ed25519")]
    Structure,
    /// The OpenSSH line is damaged.
    #[error("the `ssh-ed25519` line cannot be read: {0}")]
    OpenSsh(OpenSshFault),
    /// Hex digits only, but not 64 of them.
    #[error("a public key in hex has 64 digits, this file has {found}")]
    HexLength {
        /// Digits in the file.
        found: usize,
    },
    /// A second key follows the first.
    #[error("the file holds more than one key")]
    SeveralKeys,
    /// Something follows the key.
    #[error("the file has {len} more bytes after the public key")]
    Trailing {
        /// How many, blanks at the end not counted.
        len: usize,
    },
    /// None of the formats.
    #[error("the file is not a public key in any known format")]
    Unrecognised,
    /// The format is right, but the key may not be trusted.
    #[error(transparent)]
    Key(PublicKeyError),
}

impl PublicKeyFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Text(error) => return error.help(),
            Self::Key(error) => return error.help(),
            Self::PrivateKey { .. } => {
                "keep it off this host and treat it as exposed; `openssl pkey -in FILE -pubout` gives its public key"
            }
            Self::Certificate => "`openssl x509 -in FILE -pubkey -noout` gives the public key in it",
            Self::OtherAlgorithm { .. } => {
                "make a signing key with `aegisbpf keys generate` or `openssl genpkey -algorithm ed25519`"
            }
            Self::HexLength { .. } => "give the raw 32-byte public key as 64 hex digits",
            Self::SeveralKeys => "put each key into a file of its own",
            Self::Trailing { .. } => "keep one public key in the file and nothing else",
            Self::OtherPem { .. }
            | Self::Pem(_)
            | Self::Structure
            | Self::OpenSsh(_)
            | Self::Unrecognised => {
                "give PEM that starts with `-----BEGIN PUBLIC KEY-----`, 64 hex digits, or one `ssh-ed25519` line"
            }
        };
        Some(help.to_owned())
    }
}

/// The kinds of private key that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateKeyKind {
    /// `-----BEGIN PRIVATE KEY-----`.
    Pkcs8,
    /// `-----BEGIN ENCRYPTED PRIVATE KEY-----`. Encrypted or not, it is not for a host.
    Encrypted,
    /// `-----BEGIN OPENSSH PRIVATE KEY-----`.
    OpenSsh,
    /// `-----BEGIN EC PRIVATE KEY-----`.
    Sec1,
    /// Any other PEM block whose label ends in `PRIVATE KEY`.
    OtherPem,
    /// A PuTTY key file, version 2 or 3.
    Putty,
    /// PKCS#8 in binary.
    Der,
    /// 128 hex digits: a seed with its public key, or an expanded private key.
    Hex,
}

impl std::fmt::Display for PrivateKeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pkcs8 => "PKCS#8",
            Self::Encrypted => "encrypted PKCS#8",
            Self::OpenSsh => "OpenSSH",
            Self::Sec1 => "SEC 1",
            Self::OtherPem => "PEM",
            Self::Putty => "PuTTY",
            Self::Der => "binary DER",
            Self::Hex => "128 hex digits",
        })
    }
}

/// Why an `ssh-ed25519` line cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenSshFault {
    /// Nothing follows `ssh-ed25519`.
    #[error("no key follows `ssh-ed25519`")]
    NoKey,
    /// The second word is not canonical base64.
    #[error("the word after `ssh-ed25519` is not base64")]
    Base64,
    /// The base64 holds something else than `ssh-ed25519` and 32 bytes.
    #[error("its base64 does not hold the name `ssh-ed25519` and 32 bytes")]
    Structure,
    /// Words stand before `ssh-ed25519`, as in `authorized_keys` or `known_hosts`.
    #[error("words stand before `ssh-ed25519`, such as login options or a host name")]
    WordsBefore,
}
