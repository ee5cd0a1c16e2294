//! Runs the tests that are written in Python (`tests/suite`), and reports what they did as a Rust test program does.
//!
//! The package is put together in a directory of its own: its Python files, and the library that cargo has just built for
//! this program. So it is tested as it is built with everything else, and nothing is installed anywhere. The Python is the
//! one of `cargo xtask setup`; without it, all is skipped, aloud, and counted.
//!
//! `cargo test -p aegis-python --test python -- NAME` runs the tests whose names contain NAME.

#![allow(clippy::print_stdout, reason = "a test program reports on standard output")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "as in test functions, which the lint table lets do so"
)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use test_services::kms::Kms;
use test_services::{scratch, tools};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("0 tests, 0 benchmarks");
        return ExitCode::SUCCESS;
    }
    let name = words.iter().find(|word| !word.starts_with('-')).cloned();
    let Some(python) = python() else {
        // Counted by this line alone: `tools::skip` would have it counted once more.
        assert!(
            std::env::var_os("AEGIS_TEST_REQUIRE_ALL").is_none_or(|value| value != "1"),
            "no Python for tests"
        );
        println!(
            "skipped: the tests of the Python package: no Python with pytest; `cargo xtask setup` makes one"
        );
        println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        return ExitCode::SUCCESS;
    };
    let dir = scratch::dir();
    let package = stage(dir.path());
    let kms = Kms::moto();
    let mut command = Command::new(&python);
    command.current_dir(here().join("tests/suite"));
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "--color=no"]);
    command.arg("--basetemp").arg(dir.path().join("tmp"));
    command.env("PYTHONPATH", &package).env("PYTHONDONTWRITEBYTECODE", "1");
    // The fault handler says where a test hangs; nothing waits for ever.
    command.args(["-o", "faulthandler_timeout=120"]);
    if let Some(kms) = &kms {
        command.env("AEGIS_TEST_KMS", kms.url());
    }
    if let Some(name) = &name {
        command.args(["-k", name]);
    }
    let output = command.output().unwrap();
    let (text, trouble) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    print!("{trouble}");
    let counts = Counts::of(&text);
    // 5: no test has that name, as when another test of the workspace is asked for.
    let ran_none = name.is_some() && output.status.code() == Some(5);
    let is_ok = ran_none || (output.status.success() && counts.failed == 0 && counts.passed > 0);
    let failed = if is_ok { 0 } else { counts.failed.max(1) };
    let Counts { passed, skipped, .. } = counts;
    let word = if is_ok { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out"
    );
    if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the last line says: `3 failed, 120 passed, 1 skipped, 2 errors in 20.01s`, or `… in 75.10s (0:01:15)`.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        let last = text.lines().rev().find_map(|line| line.split_once(" in ")).unwrap_or_default();
        for part in last.0.split(',') {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => counts.passed += number,
                "failed" | "error" | "errors" => counts.failed += number,
                "skipped" => counts.skipped += number,
                _ => {}
            }
        }
        counts
    }
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python of `cargo xtask setup`, if it is set up for this.
fn python() -> Option<PathBuf> {
    let python = tools::python()?;
    let output = Command::new(&python).args(["-c", "import pytest"]).output().ok()?;
    output.status.success().then_some(python)
}

/// The package as it is installed, by links.
fn stage(dir: &Path) -> PathBuf {
    let package = dir.join("package");
    for name in ["aegis_governance", "crypto", "telemetry"] {
        link_tree(&here().join("python").join(name), &package.join(name));
    }
    let library = std::env::current_exe().unwrap().parent().unwrap().join("libaegis_native.so");
    assert!(library.is_file(), "{}: cargo builds it for this program", library.display());
    symlink(&library, package.join("aegis_governance/_native.abi3.so")).unwrap();
    package
}

fn link_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            if entry.file_name() != "__pycache__" {
                link_tree(&source, &target);
            }
        } else if source.extension().is_none_or(|extension| extension != "so") {
            symlink(&source, &target).unwrap();
        }
    }
}
