//! A certification authority for a test, by openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{scratch, tools};

/// Signs certificates that are good for two days. Its files go with it.
pub struct Authority(TempDir);

/// A certificate and the key that belongs to it, in PEM files of their own.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key, mode 0600.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, or `None` if there is no openssl; then the test is skipped.
    pub fn new(test: &str) -> Option<Self> {
        if !tools::need(test, &["openssl"]) {
            return None;
        }
        let this = Self(scratch::dir());
        this.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt",
        );
        Some(this)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join("ca.crt")
    }

    /// A certificate for a server of a name, such as `IP:127.0.0.1` or `DNS:localhost`.
    pub fn server(&self, name: &str) -> Pair {
        self.sign("server", &format!("extendedKeyUsage=serverAuth\nsubjectAltName={name}\n"))
    }

    /// A certificate for a client.
    pub fn client(&self, name: &str) -> Pair {
        self.sign(name, "extendedKeyUsage=clientAuth\n")
    }

    fn sign(&self, name: &str, extensions: &str) -> Pair {
        let path = |extension: &str| self.0.path().join(format!("{name}.{extension}"));
        fs::write(path("ext"), format!("basicConstraints=critical,CA:FALSE\n{extensions}")).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
        ));
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        Pair { certificate: path("crt"), key: path("key") }
    }

    fn openssl(&self, line: &str) {
        run(self.0.path(), line);
    }
}

fn run(dir: &Path, line: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(line.split(' ')).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
