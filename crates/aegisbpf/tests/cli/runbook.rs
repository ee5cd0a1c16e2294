//! The key-management runbook, line by line: its commands, its two variables, and what it does with plain files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{VARIABLES, fixtures};

/// A host whose keys and counter are where the runbook's variables say.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let dir = fixtures();
        fs::create_dir_all(dir.path().join("etc/aegisbpf/keys")).unwrap();
        fs::create_dir_all(dir.path().join("var/lib/aegisbpf")).unwrap();
        // A signer that stands for a KMS: it reads the payload and prints 128 hex characters.
        let wrapper = "#!/bin/sh\n\
            cat > payload\n\
            openssl pkeyutl -sign -rawin -in payload -inkey second.key | od -An -v -tx1 | tr -d ' \\n'\n";
        fs::write(dir.path().join("your-kms-sign-wrapper"), wrapper).unwrap();
        fs::set_permissions(dir.path().join("your-kms-sign-wrapper"), PermissionsExt::from_mode(0o700))
            .unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a line of the runbook, and expects that it ends with `code`.
    #[track_caller]
    fn line(&self, code: i32, line: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_aegisbpf")).parent().unwrap();
        let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut shell = Command::new("sh");
        for variable in VARIABLES {
            shell.env_remove(variable);
        }
        let path = format!("{}:{repository}:{}", program.display(), std::env::var("PATH").unwrap());
        let output = shell
            .args(["-ec", &line.replace("sudo ", "").replace("scripts/", &format!("{repository}/scripts/"))])
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("AEGIS_KEYS_DIR", self.path("etc/aegisbpf/keys"))
            .env("AEGIS_VERSION_COUNTER_PATH", self.path("var/lib/aegisbpf/version_counter"))
            .output()
            .unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}\n{stdout}{stderr}");
        [stdout, stderr].concat()
    }

    fn counter(&self) -> String {
        fs::read_to_string(self.path("var/lib/aegisbpf/version_counter"))
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    }
}

const SIGN: &str = "scripts/sign_policy_external.sh \
    --policy policy.conf --public-key second.pub --output policy.signed \
    --sign-command './your-kms-sign-wrapper'";

#[test]
fn every_line_of_the_runbook_works() {
    let host = Host::new();

    // Rotate signing keys.
    host.line(0, "sudo aegisbpf keys add first.pub");
    host.line(0, "sudo aegisbpf policy apply bundle.signed --require-signature");
    assert_eq!(host.counter(), "7");
    host.line(0, "sudo aegisbpf keys add second.pub");
    host.line(0, SIGN);
    host.line(0, "sudo aegisbpf policy apply policy.signed --require-signature");
    assert_eq!(host.counter(), "8", "the external signer took the version after this host's counter");
    host.line(0, "rm etc/aegisbpf/keys/first.pub");
    host.line(0, "aegisbpf keys list --json | grep -q 6a3803d5f059902a");

    // Revoke a compromised key: its file is gone, and what it signed is refused.
    host.line(0, "aegisbpf policy sign policy-2.conf -o stolen.signed --policy-version 9 --key first.key");
    let refused = host.line(1, "sudo aegisbpf policy apply stolen.signed --require-signature");
    assert!(refused.contains("no trusted key has signed it"), "{refused}");
    // The emergency policy is signed by another key and has a greater version; anti-rollback holds.
    host.line(0, &SIGN.replace("policy.conf", "policy-2.conf"));
    host.line(0, "sudo aegisbpf policy apply policy.signed --require-signature");
    assert_eq!(host.counter(), "9");
    host.line(1, "sudo aegisbpf policy apply bundle.signed --require-signature");
    assert_eq!(host.counter(), "9");
    // Audit recent policy apply events and key changes in SIEM.
    let events = host.line(0, "sudo aegisbpf audit export --format ocsf");
    for class in ["3004", "5019", "2004"] {
        assert!(events.contains(&format!("\"class_uid\":{class}")), "no event of class {class}\n{events}");
    }
}

#[test]
fn a_restored_copy_of_the_three_places_serves() {
    let host = Host::new();
    host.line(0, "sudo aegisbpf keys add second.pub");
    host.line(0, SIGN);
    host.line(0, "sudo aegisbpf policy apply policy.signed --require-signature");

    host.line(0, "tar cf backup.tar etc/aegisbpf/keys var/lib/aegisbpf/version_counter var/lib/aegisbpf/policy.applied*");
    host.line(0, "rm -r etc var && tar xf backup.tar");
    // The log is none of the three, and health says so until there is one again.
    let health = host.line(1, "sudo aegisbpf health --json");
    assert!(health.contains("there is no audit log"), "{health}");
    host.line(0, "sudo aegisbpf policy apply policy.signed --require-signature");
    host.line(1, "sudo aegisbpf health --json");
    host.line(0, SIGN);
    host.line(0, "sudo aegisbpf policy apply policy.signed --require-signature");
    assert_eq!(host.counter(), "2");
}
