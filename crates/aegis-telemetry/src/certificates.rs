//! Certificates in PEM files: whom we trust, and who we are (TLS client authentication).

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The most bytes of a file of certificates, or of a key.
const MAX_LEN: u64 = 1 << 20;

/// Our own certificate, and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate and those that lead to the receiver's authority, in this order (PEM).
    pub certificate: PathBuf,
    /// The private key (PEM: PKCS #8, SEC 1 or PKCS #1), not encrypted. Only its owner may read it.
    pub key: PathBuf,
}

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// Certificates of those whom we trust.
    Trusted,
    /// Our own certificate.
    Own,
    /// The key that belongs to it.
    OwnKey,
}

impl fmt::Display for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trusted => "certificate to trust",
            Self::Own => "client certificate",
            Self::OwnKey => "client key",
        })
    }
}

/// Certificates or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read the {what}")]
    Read {
        /// What should be in it.
        what: Certificates,
        /// Why not.
        source: aegis_durable::ReadError,
    },
    /// There is none in it.
    #[error("there is no {what} in {}", path.display())]
    None {
        /// What should be in it.
        what: Certificates,
        /// The file.
        path: PathBuf,
    },
    /// What is in it cannot be parsed.
    #[error("the {what} in {} cannot be used", path.display())]
    Malformed {
        /// What should be in it.
        what: Certificates,
        /// The file.
        path: PathBuf,
    },
    /// The key is under a passphrase, which nobody can be asked for.
    #[error("the key in {} is encrypted", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The file of the key can be read by others.
    #[error("{} can be read or written by others than its owner (mode {mode:04o})", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Certificate and key are not a pair.
    #[error("the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    NotAPair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
}

impl CertificateError {
    /// What the file at fault should hold.
    pub const fn what(&self) -> Certificates {
        match self {
            Self::Read { what, .. } | Self::None { what, .. } | Self::Malformed { what, .. } => *what,
            Self::Encrypted { .. } | Self::Mode { .. } => Certificates::OwnKey,
            Self::NotAPair { .. } => Certificates::Own,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } => return source.help(),
            Self::None { .. } | Self::Malformed { .. } => "name a PEM file".to_owned(),
            Self::Encrypted { path } => {
                format!("decrypt it: openssl pkey -in {} -out KEY, with a umask of 077", path.display())
            }
            Self::Mode { path, .. } => {
                format!("chmod 600 {}, and ask yourself who has read it", path.display())
            }
            Self::NotAPair { .. } => "name the two files that were made together".to_owned(),
        })
    }
}

/// The certificates of a file, at least one, each of which can be an authority.
pub(crate) fn trusted(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found = certificates(path, Certificates::Trusted)?;
    let mut store = RootCertStore::empty();
    for certificate in &found {
        let malformed =
            |_| CertificateError::Malformed { what: Certificates::Trusted, path: path.to_owned() };
        store.add(certificate.clone()).map_err(malformed)?;
    }
    Ok(found)
}

impl ClientCertificate {
    /// Reads both files, and checks that they belong together. The key is given as PEM.
    pub(crate) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, Zeroizing<Vec<u8>>), CertificateError> {
        let Self { certificate, key } = self;
        let chain = certificates(certificate, Certificates::Own)?;
        let pem = private_pem(key)?;
        let own = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| self.malformed_key())?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let made = rustls::sign::CertifiedKey::from_der(chain.clone(), own, &provider);
        match made.and_then(|pair| pair.keys_match()) {
            Ok(()) => Ok((chain, pem)),
            Err(source) => {
                Err(CertificateError::NotAPair { certificate: certificate.clone(), key: key.clone(), source })
            }
        }
    }

    /// There is no key in the file of the key.
    pub(crate) fn malformed_key(&self) -> CertificateError {
        CertificateError::None { what: Certificates::OwnKey, path: self.key.clone() }
    }
}

fn certificates(path: &Path, what: Certificates) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = aegis_durable::read_bounded(path, MAX_LEN)
        .map_err(|source| CertificateError::Read { what, source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| CertificateError::Malformed { what, path: path.to_owned() })?;
    match found.is_empty() {
        true => Err(CertificateError::None { what, path: path.to_owned() }),
        false => Ok(found),
    }
}

/// The bytes of a file that only its owner can read.
fn private_pem(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let pem = aegis_durable::read_bounded(path, MAX_LEN)
        .map_err(|source| CertificateError::Read { what: Certificates::OwnKey, source })?;
    let pem = Zeroizing::new(pem);
    // What was read is what was looked at, unless somebody who may write there changes it in between: then it is theirs.
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.mode() & 0o077 != 0
    {
        return Err(CertificateError::Mode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    if pem.windows(18).any(|window| window == b"ENCRYPTED PRIVATE ")
        || pem.windows(22).any(|window| window == b"Proc-Type: 4,ENCRYPTED")
    {
        return Err(CertificateError::Encrypted { path: path.to_owned() });
    }
    Ok(pem)
}
