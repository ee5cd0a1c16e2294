//! Starts the machines. One boot for all scenarios of a kernel: a boot costs more than most scenarios.

use std::time::Duration;

use test_services::scratch;
use test_services::vm::{self, Kernel, Machine};

use crate::{inside, probe};

fn run(test: &str, kernel: Kernel) {
    if !vm::need(test, kernel) {
        return;
    }
    let scratch = scratch::dir();
    let probe = probe::compile(scratch.path());
    let this = std::env::current_exe().unwrap();
    let outcome = Machine::new(kernel)
        .file(&this, "/t/enforcement")
        .file(&probe, "/t/probe")
        .env(inside::SCENARIOS, "all")
        .module("overlay")
        .timeout(Duration::from_secs(300))
        .run(&["/t/enforcement", "inside::scenarios_run_where_they_belong", "--exact", "--nocapture"]);
    let said = outcome.success();
    for name in inside::names() {
        assert!(said.contains(&format!("scenario {name}: held")), "{name} did not run:\n{said}");
    }
}

#[test]
fn rules_hold_on_the_oldest_kernel() {
    run("rules_hold_on_the_oldest_kernel", Kernel::Old);
}

#[test]
fn rules_hold_on_the_newest_kernel() {
    run("rules_hold_on_the_newest_kernel", Kernel::New);
}
