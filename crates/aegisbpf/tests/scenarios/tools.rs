//! Programs of others that some tests need. Without them a test is skipped: aloud, and counted.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of a program, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether the test can go on: every program is there. Says so otherwise; with `AEGIS_TEST_REQUIRE_ALL=1` it fails.
#[track_caller]
pub(crate) fn need(test: &str, programs: &[&str]) -> bool {
    match programs.iter().find(|program| find(program).is_none()) {
        None => true,
        Some(missing) => skip(test, &format!("{missing} is not installed")),
    }
}

/// Whether the test runs as root, which may give files to others and mount file systems.
#[track_caller]
pub(crate) fn need_root(test: &str) -> bool {
    user() == 0 || skip(test, "it needs root")
}

/// Says aloud that a test is skipped, and counts it where the caller of all tests asked for that.
#[track_caller]
pub(crate) fn skip(test: &str, why: &str) -> bool {
    let required = std::env::var_os("AEGIS_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{test} may not be skipped: {why}");
    // Past the test runner's capture: a skipped test must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("AEGIS_TEST_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
    false
}

/// Runs a program in `dir`, expects success, and gives its standard output.
#[track_caller]
pub(crate) fn run(dir: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The effective user of this process.
pub(crate) fn user() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid()
}
