//! Runs the program in a directory of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The variables that the program reads.
pub(crate) const VARIABLES: [&str; 6] = [
    "AEGIS_CONFIG_DIR",
    "AEGIS_KEYS_DIR",
    "AEGIS_CUSTODIANS_DIR",
    "AEGIS_STATE_DIR",
    "AEGIS_VERSION_COUNTER_PATH",
    "AEGIS_PKCS11_PIN",
];

/// A private copy of `cmd/fixtures`.
pub(crate) fn fixtures() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd/fixtures")).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_dir() {
            continue;
        }
        let copy = dir.path().join(file.file_name());
        std::fs::copy(file.path(), &copy).unwrap();
        // Private keys that others can read are refused, and git keeps no such modes.
        std::fs::set_permissions(copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    dir
}

/// Runs `aegisbpf` with `arguments` in `dir`, with nothing on its standard input.
pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    run_with(dir, arguments, b"")
}

/// The same, with `stdin`.
pub(crate) fn run_with(dir: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegisbpf"));
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let mut child = command
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may refuse its arguments and be gone before it has read all of this.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// Runs `aegisbpf` below the root `host`, and expects that it ends with `code`.
pub(crate) fn expect(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let output = run(dir, &[&["--root", "host"], arguments].concat());
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    if code != 0 {
        assert!(!stderr.is_empty() || arguments.first() == Some(&"health"), "{arguments:?} said nothing");
    }
    stdout
}
