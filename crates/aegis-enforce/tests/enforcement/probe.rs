//! The probe: compiled from C for each run of the tests, and asked inside the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `EPERM`
pub(crate) const DENIED: i32 = 1;

/// Compiles it, linked statically so that it runs anywhere.
pub(crate) fn compile(into: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/enforcement/probe.c");
    let program = into.join("probe");
    let output = Command::new("cc")
        .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Asks the probe and tells the error number, 0 for none.
pub(crate) fn ask(args: &[&str]) -> i32 {
    let status = Command::new("/t/probe").args(args).status().expect("the probe runs");
    status.code().unwrap_or_else(|| panic!("the probe died of {args:?}: {status}"))
}
