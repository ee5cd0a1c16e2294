//! Policies in force, end to end: the program, in a machine whose kernel has BPF-LSM.

use std::path::Path;
use std::time::Duration;

use test_services::vm::{self, Kernel, Machine};

fn run(test: &str, kernel: Kernel) {
    if !vm::need(test, kernel) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/enforcement.sh");
    let outcome = Machine::new(kernel)
        .file(Path::new(env!("CARGO_BIN_EXE_aegisbpf")), "/usr/sbin/aegisbpf")
        .file(&script, "/t/enforcement.sh")
        .timeout(Duration::from_secs(420))
        .run(&["sh", "/t/enforcement.sh"]);
    let said = outcome.success();
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("failed: ")).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{said}");
    assert!(said.ends_with("done\n"), "it did not come to its end:\n{said}");
    // A script whose checks were lost would hold nothing, and fail nothing.
    let text = std::fs::read_to_string(&script).expect("the script");
    let checks = text.lines().filter(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        matches!(word, "check" | "refused" | "says" | "denied") && line.contains('\'')
    });
    let held = said.lines().filter(|line| line.starts_with("held: ")).count();
    assert_eq!(held, checks.count() + 1, "{said}");
}

#[test]
fn a_policy_is_in_force_on_the_oldest_kernel() {
    run("a_policy_is_in_force_on_the_oldest_kernel", Kernel::Old);
}

#[test]
fn a_policy_is_in_force_on_the_newest_kernel() {
    run("a_policy_is_in_force_on_the_newest_kernel", Kernel::New);
}
