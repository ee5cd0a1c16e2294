//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Where tests make their directories: beside the build, never in a directory that others can write to.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The host program as it is in the sources now: built if it is not, or as the suite has built it already.
pub(crate) fn aegisbpf() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("aegisbpf"))
}

/// The control program, likewise.
pub(crate) fn aegis() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("aegis"))
}

fn build(package: &str) -> PathBuf {
    if let Some(directory) = std::env::var_os("AEGIS_TEST_PROGRAMS") {
        return Path::new(&directory).join(package);
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", package, "--message-format=json"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = messages.rsplit_once("\"executable\":\"").expect("cargo names the program");
    PathBuf::from(rest.split_once('"').unwrap().0)
}

/// Whether a program is there to be run.
pub(crate) fn is_on_path(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .any(|directory| directory.join(program).is_file())
}

/// Says aloud that a test, or a part of one, was skipped, and where the suite counts it: then it is not a passed one.
pub(crate) fn skip(sentence: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {sentence}");
    if let Some(file) = std::env::var_os("AEGIS_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        // One write, so that lines of tests that run at once do not mix.
        file.write_all(format!("{sentence}\n").as_bytes()).unwrap();
    }
}
