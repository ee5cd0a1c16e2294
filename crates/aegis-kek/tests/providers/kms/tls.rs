//! KMS over TLS: whom it trusts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aegis_kek::KmsFault;
use aegis_kek::aws_kms::KmsWrap;
use tempfile::TempDir;
use test_services::kms::REGION;
use test_services::proxy::Proxy;
use test_services::{scratch, tools};

use super::chain::{child, text};
use super::{Sort, access, fault, load, moto, wrapped};

/// A CA, and a certificate by it for one host.
struct Certificates(TempDir);

impl Certificates {
    fn for_host(name: &str) -> Self {
        let this = Self(scratch::dir());
        fs::write(
            this.path("leaf.ext"),
            format!(
                "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName={name}\n"
            ),
        )
        .unwrap();
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let ca =
            ["req", "-x509", "-days", "2", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.crt"];
        this.openssl(&[&ca[..2], &curve, &ca[2..]].concat());
        let leaf = ["req", "-subj", "/CN=leaf", "-keyout", "leaf.key", "-out", "leaf.csr"];
        this.openssl(&[&leaf[..1], &curve, &leaf[1..]].concat());
        this.openssl(&[
            "x509",
            "-req",
            "-in",
            "leaf.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "leaf.ext",
            "-out",
            "leaf.crt",
        ]);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.path("ca.crt")
    }

    fn proxy(&self, target: std::net::SocketAddr) -> Proxy {
        Proxy::with_tls(target, &self.path("leaf.crt"), &self.path("leaf.key"))
    }

    fn openssl(&self, args: &[&str]) {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(args).current_dir(self.0.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn trusts_a_certificate_by_a_ca_that_is_named_and_no_other() {
    let test = "trusts_a_certificate_by_a_ca_that_is_named_and_no_other";
    if !tools::need(test, &["openssl"]) {
        return;
    }
    let Some(kms) = moto(test) else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    let right = Certificates::for_host("IP:127.0.0.1");
    let other = Certificates::for_host("DNS:kms.example.com");

    let said = |certificates: &Certificates, trusted: &Path| {
        let proxy = certificates.proxy(kms.address());
        let said = child(
            &private,
            &wrapped,
            &[
                ("AEGIS_KMS_KEY_ID", &*key),
                ("AWS_ENDPOINT_URL_KMS", &*proxy.url()),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("SSL_CERT_FILE", text(trusted)),
            ],
        );
        (said, proxy.seen().len())
    };
    let (loaded, requests) = said(&right, &right.ca());
    assert!(loaded.contains("loaded ") && requests == 1, "{loaded}");
    for (certificates, trusted) in [(&right, &other), (&other, &other)] {
        let (refused, requests) = said(certificates, &trusted.ca());
        assert!(refused.contains("no TLS connection to https://127.0.0.1:"), "{refused}");
        assert_eq!(requests, 0, "nothing was asked of whom we do not trust");
    }
}

#[test]
fn says_that_a_server_is_not_trusted_or_has_no_tls() {
    let test = "says_that_a_server_is_not_trusted_or_has_no_tls";
    if !tools::need(test, &["openssl"]) {
        return;
    }
    let Some(kms) = moto(test) else { return };
    let key = kms.key(REGION);
    let (private, wrapped) = wrapped(access(&kms.url(), &key), KmsWrap::Direct);
    let unknown = Certificates::for_host("IP:127.0.0.1").proxy(kms.address());
    for url in [unknown.url(), kms.url().replace("http:", "https:")] {
        let (sort, found) = fault(load(access(&url, &key), &private, &wrapped));
        assert_eq!(sort, Sort::Unavailable);
        let KmsFault::Tls { endpoint, reason } = &found else { panic!("{found:?}") };
        assert!(*endpoint == url && !reason.is_empty(), "{found:?}");
    }
    assert!(unknown.seen().is_empty(), "nothing was asked of whom we do not trust");
}
