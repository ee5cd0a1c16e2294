//! Tests that mount something: they run in a mount namespace of their own, by this program started once more.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_services::{scratch, tools};

/// The directory that such a test has to itself.
const DIRECTORY: &str = "AEGIS_TEST_FANOTIFY_DIRECTORY";

/// Runs an ignored test of this program in a mount namespace of its own. `name` is the caller's, for what is skipped.
#[track_caller]
pub(super) fn run(name: &str, ignored: &str) {
    if !super::supported(name) || !tools::need(name, &["unshare", "mount"]) {
        return;
    }
    let dir = scratch::dir();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("fanotify::{ignored}"), "--ignored", "--nocapture"])
        .env(DIRECTORY, dir.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    for line in text.lines().filter(|line| line.starts_with("SKIPPED ")) {
        eprintln!("{line}");
    }
}

/// A file system that nobody else sees, mounted in such a test's directory. None outside of such a test.
pub(super) fn file_system() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os(DIRECTORY)?).join("fs");
    std::fs::create_dir(&dir).unwrap();
    mount(&["-t", "tmpfs", "none"], &dir);
    Some(dir)
}

pub(super) fn mount(arguments: &[&str], at: &Path) {
    assert!(Command::new("mount").args(arguments).arg(at).status().unwrap().success());
}
