//! Private key files: PKCS#8 in PEM, versions 1 and 2 (RFC 5958 §2, RFC 8410 §7).
//!
//! ```text
//! SEQUENCE { INTEGER 0 or 1, SEQUENCE { 1.3.101.112 }, OCTET STRING { OCTET STRING seed (32) },
//!            [0] attributes, skipped, [1] BIT STRING public key (32), version 2 only }
//! ```

use zeroize::Zeroizing;

use crate::der::{self, DerFault, Elements};
use crate::ed25519::SeedError;
use crate::key_id::KeyId;
use crate::pem::{BEGIN, Block, PemFault, find};
use crate::plain_text::{self, MAX_KEY_FILE_LEN, PlainTextError};
use crate::secret::Secret;

/// What a private key file holds.
pub(crate) struct PrivateKeyFile {
    pub(crate) seed: Secret<32>,
    /// The public key that a version 2 file states. It has not been compared yet.
    pub(crate) public_key: Option<[u8; 32]>,
}

/// Why a file is not an Ed25519 private key that can be used. No variant has any of the file's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyFileError {
    /// Not plain text of a sensible size.
    #[error(transparent)]
    Text(#[from] PlainTextError),
    /// No PEM block at the start.
    #[error("the private key file is not PEM: it does not start with `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// Encrypted under a passphrase.
    #[error("the private key is encrypted under a passphrase, which is not supported")]
    Encrypted,
    /// `OPENSSH PRIVATE KEY`, as ssh-keygen writes it.
    #[error("the private key is in OpenSSH's own format, not PKCS#8")]
    OpenSsh,
    /// `EC PRIVATE KEY`: SEC 1, for the curves of ECDSA.
    #[error("the private key is an EC key in SEC 1 format, not an Ed25519 key in PKCS#8")]
    Sec1,
    /// A public key, where the private one is needed.
    #[error("the file holds a public key, not a private one")]
    PublicKey,
    /// A certificate or a request for one.
    #[error("the file holds a certificate, not a private key")]
    Certificate,
    /// A PEM block of some other kind.
    #[error("the PEM block in the file is not `PRIVATE KEY`")]
    OtherPem,
    /// A private key of another algorithm.
    #[error("the private key is for {algorithm}, not Ed25519")]
    OtherAlgorithm {
        /// Its usual name, or its object identifier.
        algorithm: String,
    },
    /// The PEM block is damaged.
    #[error("the PEM block cannot be read: {0}")]
    Pem(PemFault),
    /// The PKCS#8 structure is damaged, or of a version that does not exist.
    #[error("the private key is not PKCS#8 version 1 or 2 for Ed25519 (RFC 8410, section 7)")]
    Structure,
    /// The public key in the file is not that of the private one.
    #[error("the public key in the file is not that of its private key, whose key id is {derived}")]
    PublicKeyMismatch {
        /// Id of the key that the private half really makes.
        derived: KeyId,
    },
    /// Something follows the key.
    #[error("the private key file has {len} more bytes after its first PEM block")]
    Trailing {
        /// How many, blanks at the end not counted.
        len: usize,
    },
    /// The provider failed.
    #[error(transparent)]
    Provider(SeedError),
}

impl PrivateKeyFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Text(error) => error.help(),
            Self::Provider(error) => error.help(),
            Self::Encrypted => {
                Some("decrypt it with `openssl pkey -in FILE -out PLAIN`, or sign with --sign-command".to_owned())
            }
            Self::OpenSsh | Self::Sec1 | Self::OtherAlgorithm { .. } | Self::Certificate | Self::OtherPem => {
                Some("make a signing key with `aegisbpf keys generate` or `openssl genpkey -algorithm ed25519`".to_owned())
            }
            Self::PublicKey => Some("give the signer's private key file here".to_owned()),
            Self::NotPem | Self::Pem(_) | Self::Structure => {
                Some("check it with `openssl pkey -in FILE -noout`; restore it from its backup if it is damaged".to_owned())
            }
            Self::PublicKeyMismatch { .. } => {
                Some("do not sign with it: the file was damaged or tampered with; restore it from its backup".to_owned())
            }
            Self::Trailing { .. } => Some("keep one private key in the file and nothing else".to_owned()),
        }
    }
}

/// Reads a file that holds one private key.
pub(crate) fn parse(bytes: &[u8]) -> Result<PrivateKeyFile, PrivateKeyFileError> {
    let text = plain_text::check(bytes)?;
    if !text.starts_with(BEGIN) {
        return Err(match find(text, BEGIN) {
            Some(_) => PrivateKeyFileError::Pem(PemFault::Begin),
            None => PrivateKeyFileError::NotPem,
        });
    }
    let block = Block::first(text).map_err(PrivateKeyFileError::Pem)?;
    match block.label {
        "PRIVATE KEY" => {}
        "ENCRYPTED PRIVATE KEY" => return Err(PrivateKeyFileError::Encrypted),
        "OPENSSH PRIVATE KEY" => return Err(PrivateKeyFileError::OpenSsh),
        // The old formats of OpenSSL announce encryption in a header.
        "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "DSA PRIVATE KEY" if block.has_headers() => {
            return Err(PrivateKeyFileError::Encrypted);
        }
        "EC PRIVATE KEY" | "EC PARAMETERS" => return Err(PrivateKeyFileError::Sec1),
        "RSA PRIVATE KEY" => return Err(PrivateKeyFileError::OtherAlgorithm { algorithm: "RSA".to_owned() }),
        "DSA PRIVATE KEY" => return Err(PrivateKeyFileError::OtherAlgorithm { algorithm: "DSA".to_owned() }),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(PrivateKeyFileError::PublicKey),
        "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" | "CERTIFICATE REQUEST" => {
            return Err(PrivateKeyFileError::Certificate);
        }
        _ => return Err(PrivateKeyFileError::OtherPem),
    }
    if !block.rest.is_empty() {
        return Err(PrivateKeyFileError::Trailing { len: block.rest.len() });
    }
    let mut der = Zeroizing::new([0; MAX_KEY_FILE_LEN]);
    let len = block.decode(der.as_mut_slice()).map_err(PrivateKeyFileError::Pem)?;
    parse_der(der.get(..len).unwrap_or_default())
}

/// Writes version 1, the only one that every openssl reads.
pub(crate) fn to_pem(seed: &Secret<32>) -> Zeroizing<String> {
    const PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let der = Zeroizing::new([PREFIX.as_slice(), seed.expose()].concat());
    let pem = pem_rfc7468::encode_string("PRIVATE KEY", pem_rfc7468::LineEnding::LF, &der)
        .expect("48 bytes and a fixed label are within every limit of PEM");
    Zeroizing::new(pem)
}

fn parse_der(der: &[u8]) -> Result<PrivateKeyFile, PrivateKeyFileError> {
    let structure = |DerFault| PrivateKeyFileError::Structure;
    let mut file = Elements::new(der);
    let mut info = Elements::new(file.next(der::SEQUENCE).map_err(structure)?);
    file.end().map_err(structure)?;

    let has_public_key = match info.next(der::INTEGER).map_err(structure)? {
        [0] => false,
        [1] => true,
        _ => return Err(PrivateKeyFileError::Structure),
    };
    let mut algorithm = Elements::new(info.next(der::SEQUENCE).map_err(structure)?);
    let oid = algorithm.next(der::OBJECT_IDENTIFIER).map_err(structure)?;
    if oid != der::ED25519 {
        return Err(PrivateKeyFileError::OtherAlgorithm { algorithm: der::algorithm_name(oid) });
    }
    // RFC 8410 §3: the parameters must be absent.
    algorithm.end().map_err(structure)?;

    let mut private = Elements::new(info.next(der::OCTET_STRING).map_err(structure)?);
    let seed: &[u8; 32] = private
        .next(der::OCTET_STRING)
        .map_err(structure)?
        .try_into()
        .map_err(|_| PrivateKeyFileError::Structure)?;
    private.end().map_err(structure)?;

    const ATTRIBUTES: u8 = 0xa0;
    const PUBLIC_KEY: u8 = 0x81;
    info.next_if(ATTRIBUTES).map_err(structure)?;
    let public_key = if has_public_key { info.next_if(PUBLIC_KEY).map_err(structure)? } else { None };
    let public_key = match public_key {
        Some([0, key @ ..]) => Some(key.try_into().map_err(|_| PrivateKeyFileError::Structure)?),
        Some(_) => return Err(PrivateKeyFileError::Structure),
        None => None,
    };
    info.end().map_err(structure)?;

    let seed = Secret::try_fill(|bytes| {
        bytes.copy_from_slice(seed);
        Ok::<(), PrivateKeyFileError>(())
    })?;
    Ok(PrivateKeyFile { seed, public_key })
}
