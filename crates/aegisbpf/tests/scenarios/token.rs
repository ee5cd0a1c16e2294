//! A signing key that stays inside a PKCS#11 token: SoftHSM2 in a directory of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::host::{Host, Run};
use crate::tools;

/// A PKCS#11 token in a directory of its own.
struct Token {
    host: Host,
    module: &'static str,
}

const PIN: &str = "user-87654321";
const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];

impl Token {
    fn new(test: &str) -> Option<Self> {
        if !tools::need(test, &["softhsm2-util", "pkcs11-tool"]) {
            return None;
        }
        let Some(module) = MODULES.into_iter().find(|module| Path::new(module).exists()) else {
            tools::skip(test, "the library of SoftHSM2 is not where distributions put it");
            return None;
        };
        let token = Self { host: Host::in_force(&[5]), module };
        fs::create_dir(token.host.file("tokens")).unwrap();
        let tokens = token.host.file("tokens");
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(token.host.file("softhsm2.conf"), config).unwrap();
        fs::write(token.host.file("pin"), PIN).unwrap();
        fs::set_permissions(token.host.file("pin"), fs::Permissions::from_mode(0o600)).unwrap();
        let init =
            ["--init-token", "--free", "--label", "policy-signing", "--so-pin", "so-12345678", "--pin", PIN];
        token.tool("softhsm2-util", &init);
        let make = [
            "--login",
            "--pin",
            PIN,
            "--keypairgen",
            "--key-type",
            "EC:edwards25519",
            "--label",
            "release",
            "--id",
            "01",
        ];
        token.pkcs11(&make);
        token.pkcs11(&["--read-object", "--type", "pubkey", "--label", "release", "-o", "hsm.pub"]);
        Some(token)
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("SOFTHSM2_CONF", self.host.file("softhsm2.conf"))
            .current_dir(self.host.dir());
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn pkcs11(&self, arguments: &[&str]) {
        self.tool(
            "pkcs11-tool",
            &[&["--module", self.module, "--token-label", "policy-signing"][..], arguments].concat(),
        );
    }

    /// Signs version 6 with the token.
    fn sign(&self, token: &str, label: &str, pin: &Pin<'_>) -> Run {
        let mut arguments = vec![
            "policy",
            "sign",
            "policy.conf",
            "-o",
            "hsm.signed",
            "--policy-version",
            "6",
            "--pkcs11-module",
            self.module,
        ];
        arguments.extend(["--token", token, "--key-label", label]);
        if let Pin::File(file) = pin {
            arguments.extend(["--pin-file", file]);
        }
        let mut command = self.host.command(&arguments);
        command.env("SOFTHSM2_CONF", self.host.file("softhsm2.conf"));
        if let Pin::Variable(pin) = pin {
            command.env("AEGIS_PKCS11_PIN", pin);
        }
        Run::of(command)
    }
}

enum Pin<'a> {
    File(&'a str),
    Variable(&'a str),
    None,
}

#[test]
fn a_signature_made_inside_a_pkcs11_token_applies() {
    let Some(token) = Token::new("a_signature_made_inside_a_pkcs11_token_applies") else { return };
    let host = &token.host;
    host.ok(&["keys", "add", "hsm.pub"]);
    let run = token.sign("policy-signing", "release", &Pin::File("pin"));
    assert_eq!(run.code, Some(0), "{run:?}");
    host.ok(&["policy", "apply", "hsm.signed", "--require-signature"]);
    assert_eq!(host.counter(), Some(6));
    fs::remove_file(host.file("hsm.signed")).unwrap();
    let run = token.sign("policy-signing", "release", &Pin::Variable(PIN));
    assert_eq!(run.code, Some(0), "{run:?}");
    fs::remove_file(host.file("hsm.signed")).unwrap();

    for (name, run) in [
        ("wrong PIN", token.sign("policy-signing", "release", &Pin::Variable("1234-wrong"))),
        ("empty PIN", token.sign("policy-signing", "release", &Pin::Variable(""))),
        ("no PIN", token.sign("policy-signing", "release", &Pin::None)),
        ("PIN file missing", token.sign("policy-signing", "release", &Pin::File("no-such-pin"))),
        ("wrong token", token.sign("other-token", "release", &Pin::File("pin"))),
        ("wrong label", token.sign("policy-signing", "other-key", &Pin::File("pin"))),
        ("label too long", token.sign("policy-signing", &"x".repeat(1000), &Pin::File("pin"))),
    ] {
        run.is_refusal_for_any_reason(name);
        assert!(!host.file("hsm.signed").exists(), "{name}");
        assert!(!run.stderr.contains(PIN) && !run.stderr.contains("1234-wrong"), "{name}: {}", run.stderr);
    }
    // A PIN that others may read is refused before the device is asked.
    fs::set_permissions(host.file("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    token
        .sign("policy-signing", "release", &Pin::File("pin"))
        .is_refusal("open PIN file", "can be read by others");
    // A library that is none.
    let sign = [
        "policy",
        "sign",
        "policy.conf",
        "-o",
        "x",
        "--policy-version",
        "7",
        "--pkcs11-module",
        "policy.conf",
    ];
    let mut command = host.command(&[&sign[..], &["--token", "t", "--key-label", "l"]].concat());
    command.env("AEGIS_PKCS11_PIN", PIN);
    Run::of(command).is_refusal("no library", "");
}
