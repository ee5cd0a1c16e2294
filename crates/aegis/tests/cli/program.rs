//! Runs the program in a directory of its own.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What the sessions begin with.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/fixtures")
}

/// A secret that others can read is refused, and git keeps no such modes.
pub(crate) fn keep_secrets_private() {
    for file in std::fs::read_dir(fixtures()).unwrap() {
        std::fs::set_permissions(file.unwrap().path(), PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// A private copy of the fixtures, where `state` will be.
pub(crate) fn dir() -> tempfile::TempDir {
    let dir = test_services::scratch::dir();
    for file in std::fs::read_dir(fixtures()).unwrap() {
        let file = file.unwrap();
        let copy = dir.path().join(file.file_name());
        std::fs::copy(file.path(), &copy).unwrap();
        std::fs::set_permissions(copy, PermissionsExt::from_mode(0o600)).unwrap();
    }
    dir
}

/// A script that runs the program without the variables that the suite sets for tests.
pub(crate) fn without_test_variables(dir: &Path) -> PathBuf {
    let script = dir.join("aegis");
    let text =
        format!("#!/bin/bash\nunset ${{!AEGIS_TEST_*}}\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_aegis"));
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    script
}

/// The program with its state in `dir`, not yet started. No variable of a developer reaches it.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis"));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("AEGIS_") || name.starts_with("AWS_") {
            command.env_remove(variable);
        }
    }
    // Nobody is asked over the network who this machine is.
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", dir);
    command.env("AEGIS_STATE_DIR", "state").env("AEGIS_PASSPHRASE_FILE", "passphrase").current_dir(dir);
    command
}

/// Runs it with nothing on its standard input.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    run_with(dir, arguments, b"")
}

/// The same, with `stdin`.
pub(crate) fn run_with(dir: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = command(dir)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may refuse its arguments and be gone before it has read all of this.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// Runs it, and expects that it ends with `code`.
#[track_caller]
pub(crate) fn expect(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    if code != 0 {
        assert!(!stderr.is_empty() || arguments.first() == Some(&"doctor"), "{arguments:?} said nothing");
    }
    stdout
}
