//! Policies in force, end to end: the program, in a machine whose kernel has BPF-LSM, and in one whose kernel has not.

use std::path::Path;
use std::time::Duration;

use test_services::vm::{self, Kernel, Machine};

/// The checks that both scripts begin with.
const CHECKS: &str = "tests/scenarios/checks.sh";

fn run(test: &str, kernel: Kernel, script: &str, lsm: Option<&str>) {
    if !vm::need(test, kernel) {
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = here.join("tests/scenarios").join(script);
    let machine = Machine::new(kernel)
        .file(Path::new(env!("CARGO_BIN_EXE_aegisbpf")), "/usr/sbin/aegisbpf")
        .file(here.join(CHECKS), "/t/checks.sh")
        .file(&script, "/t/script.sh")
        .timeout(Duration::from_secs(420));
    let machine = match lsm {
        Some(list) => machine.lsm(list),
        None => machine,
    };
    let outcome = machine.run(&["sh", "/t/script.sh"]);
    let said = outcome.success();
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("failed: ")).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{said}");
    assert!(said.ends_with("done\n"), "it did not come to its end:\n{said}");
    // A script whose checks were lost would hold nothing, and fail nothing.
    let text = std::fs::read_to_string(&script).expect("the script");
    let checks = text.lines().filter(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        let is_check = matches!(word, "check" | "refused" | "says" | "denied") && line.contains('\'');
        is_check || line.contains("held '")
    });
    let held = said.lines().filter(|line| line.starts_with("held: ")).count();
    assert_eq!(held, checks.count(), "{said}");
}

#[test]
fn a_policy_is_in_force_on_the_oldest_kernel() {
    run("a_policy_is_in_force_on_the_oldest_kernel", Kernel::Old, "enforcement.sh", None);
}

#[test]
fn a_policy_is_in_force_on_the_newest_kernel() {
    run("a_policy_is_in_force_on_the_newest_kernel", Kernel::New, "enforcement.sh", None);
}

#[test]
fn a_policy_is_in_force_without_bpf_lsm() {
    let lsm = "landlock,lockdown,yama,integrity";
    run("a_policy_is_in_force_without_bpf_lsm", Kernel::Old, "fanotify.sh", Some(lsm));
}

/// Also where nothing tells: without securityfs, and with fanotify alone, as there are no control groups at first.
#[test]
fn a_kernel_that_leaves_bpf_lsm_out_is_found_out() {
    let lsm = "landlock,lockdown,yama,integrity";
    run("a_kernel_that_leaves_bpf_lsm_out_is_found_out", Kernel::Old, "without_lsm.sh", Some(lsm));
}
