//! Programs of others that some tests need. Without them a test is skipped: aloud, and counted.

use std::io::Write as _;
use std::path::PathBuf;

/// The path of a program, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether the test can go on: every program is there. Says so otherwise; with `AEGIS_TEST_REQUIRE_ALL=1` it fails.
#[track_caller]
pub fn need(test: &str, programs: &[&str]) -> bool {
    match programs.iter().find(|program| find(program).is_none()) {
        None => true,
        Some(missing) => skip(test, &format!("{missing} is not installed")),
    }
}

/// Says aloud that a test is skipped, and counts it where the caller of all tests asked for that. Always `false`.
#[track_caller]
pub fn skip(test: &str, why: &str) -> bool {
    let required = std::env::var_os("AEGIS_TEST_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "{test} may not be skipped: {why}");
    // Past the test runner's capture: a skipped test must be seen.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    if let Some(file) = std::env::var_os("AEGIS_TEST_SKIPS") {
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        // One write, so that lines of tests that run at once do not mix.
        file.write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
    false
}

/// The Python that has the packages of `xtask/requirements.txt`: named by `AEGIS_TEST_PYTHON`, or the one that
/// `cargo xtask setup` made.
pub fn python() -> Option<PathBuf> {
    let named = std::env::var_os("AEGIS_TEST_PYTHON").map(PathBuf::from);
    named
        .or_else(|| Some(crate::scratch::target_dir().join("python/bin/python")))
        .filter(|path| path.is_file())
}
