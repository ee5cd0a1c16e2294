//! TLS by the provider of cryptography that everything else uses. A certificate is always verified, and for the host's name.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Refusal, Tls, fault, unreadable};
use crate::error::AddressFault;

/// The most bytes of a file of authorities: that of a whole system has about a quarter of a megabyte.
const MAX_AUTHORITIES_LEN: u64 = 1 << 22;

/// What connects with TLS; `None` where none is wanted.
pub(super) fn connector(tls: &Tls) -> Result<Option<MakeRustlsConnect>, Refusal> {
    let Tls::Verified { authorities } = tls else { return Ok(None) };
    let roots = match authorities {
        Some(path) => roots_of(path)?,
        None => roots_of_the_system()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(Path::new("TLS"), "a set of versions", error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(config)))
}

fn roots_of(path: &Path) -> Result<RootCertStore, Refusal> {
    let refused = |why: String| unusable(path, "certificates of authorities (PEM)", why);
    let bytes = aegis_durable::read_bounded(path, MAX_AUTHORITIES_LEN)
        .map_err(|error| refused(unreadable(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() { Err(refused("there is none in it".to_owned())) } else { Ok(roots) }
}

fn roots_of_the_system() -> Result<RootCertStore, Refusal> {
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that no strict reader takes; those are of no use here, and no reason to fail.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let why = "there is none in it that can be used".to_owned();
        Err(unusable(Path::new("the system's certificate store"), "certificates of authorities", why))
    } else {
        Ok(roots)
    }
}

fn unusable(path: &Path, purpose: &'static str, why: String) -> Refusal {
    fault(AddressFault::File { path: path.to_owned(), purpose, why })
}
