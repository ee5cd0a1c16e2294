//! The command line as its users see it.
//!
//! `cmd/**` are sessions and single commands, and exactly what they print. Each runs in a private copy of its `.in`,
//! often `cmd/fixtures`; `.out` holds files that must come out byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

#[path = "cli/events.rs"]
mod events;
#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/runbook.rs"]
mod runbook;
#[path = "cli/trial.rs"]
mod trial;

use aegis_trust::sign::{PemSigner, SignRequest};

#[test]
fn prints_what_the_snapshots_say() {
    // A secret that others can read is refused, and git keeps no such modes.
    for secret in ["first.key", "second.key", "third.key", "pin"] {
        let secret = std::path::Path::new("tests/cmd/fixtures").join(secret);
        std::fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let cases = trycmd::TestCases::new();
    for variable in program::VARIABLES {
        // Set to nothing they are an error, so a developer's own value must not reach the sessions.
        assert!(std::env::var_os(variable).is_none(), "unset {variable} to run the tests");
    }
    cases.case("tests/cmd/*.trycmd").case("tests/cmd/*/*.toml");
}

/// Ed25519 signs the same bytes the same way every time. The stored bundle was signed by `openssl pkeyutl`.
#[test]
fn signs_what_openssl_signed_byte_for_byte() {
    let dir = program::fixtures();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let signer = PemSigner::from_pem(&read("first.key"), "first.key").unwrap();
    let request = SignRequest {
        policy: &read("policy.conf"),
        policy_version: 7,
        epoch: 0,
        issued_at: "2024-01-02T00:00:00Z".parse().unwrap(),
        expires_at: None,
        limits: aegis_policy::Limits::default(),
    };
    let bundle = aegis_trust::sign::sign(&request, &signer).unwrap();
    assert_eq!(String::from_utf8(bundle).unwrap(), String::from_utf8(read("bundle.signed")).unwrap());
}
