//! `scripts/sign_policy_external.sh` takes the flags of the runbook, and says what is wrong with others.

use std::process::{Command, Output};

use super::program;

#[test]
fn writes_nothing_when_the_signature_is_of_another_key() {
    let scratch = program::scratch();
    let root = scratch.path();
    generate(root, "one");
    let policy = program::root().join("examples/policies/web-server.conf");
    let output = script(&[
        "--policy",
        policy.to_str().unwrap(),
        "--public-key",
        root.join("one.pub").to_str().unwrap(),
        "--output",
        root.join("policy.signed").to_str().unwrap(),
        "--sign-command",
        "printf '%0128d' 0",
        "--policy-version=1",
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
    assert!(!root.join("policy.signed").exists());
}

#[test]
fn says_what_is_wrong_with_its_arguments_and_exits_2() {
    let complete = ["--policy", "p", "--public-key", "k", "--output", "o", "--sign-command", "c"];
    let cases: &[(&[&str], &str)] = &[
        (&[], "missing: --policy --public-key --output --sign-command"),
        (&["--policy", "p", "--output", "o"], "missing: --public-key --sign-command"),
        (&["--policy"], "--policy needs a value"),
        (&["--policy="], "--policy needs a value that is not empty"),
        (&["--policy", "p", "--policy", "p"], "--policy is given twice"),
        (&["--key", "k"], "unknown argument: --key"),
        (&["p"], "unknown argument: p"),
    ];
    for (arguments, message) in cases {
        let output = script(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with(&format!("error: {message}\n")),
            "{output:?}"
        );
        assert!(output.stdout.is_empty());
    }
    let output = command().args(complete).env("AEGISBPF", "/nonexistent/aegisbpf").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("AEGISBPF names no program"), "{output:?}");
}

#[test]
fn explains_itself() {
    let output = script(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for flag in ["--policy", "--public-key", "--output", "--sign-command", "--policy-version", "--expires"] {
        assert!(text.contains(flag), "{flag}");
    }
}

fn generate(directory: &std::path::Path, name: &str) {
    let output = Command::new(program::aegisbpf())
        .args(["keys", "generate", "--name", name, "--out"])
        .arg(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn command() -> Command {
    let mut command = Command::new(program::root().join("scripts/sign_policy_external.sh"));
    command.env("AEGISBPF", program::aegisbpf());
    command
}

fn script(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}
