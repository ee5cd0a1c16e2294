//! Starts the machines. One boot for all scenarios of a kernel: a boot costs more than most scenarios.

use std::time::Duration;

use test_services::scratch;
use test_services::vm::{self, Kernel, Machine};

use crate::{inside, probe};

/// Chooses scenarios by a part of their name, for who works on one.
const WANTED: &str = "AEGIS_ENFORCE_ONLY";

fn run(test: &str, kernel: Kernel) {
    if !vm::need(test, kernel) {
        return;
    }
    let scratch = scratch::dir();
    let probe = probe::compile(scratch.path());
    let dynamic = probe::compile_dynamic(scratch.path());
    let this = std::env::current_exe().unwrap();
    let wanted = std::env::var(WANTED).unwrap_or_else(|_| "all".to_owned());
    let outcome = Machine::new(kernel)
        .file(&this, "/t/enforcement")
        .file(&probe, probe::PROBE)
        .file(&dynamic, probe::DYNAMIC)
        .env(inside::SCENARIOS, &wanted)
        .module("overlay")
        .module("fuse")
        .module("sctp")
        .cpus(2)
        .timeout(Duration::from_secs(600))
        .run(&["/t/enforcement", "inside::scenarios_run_where_they_belong", "--exact", "--nocapture"]);
    println!("{}", outcome.stderr);
    let said = outcome.success();
    println!("kernel {}:\n{said}", kernel.name());
    for (name, _) in inside::all().filter(|(name, _)| wanted == "all" || name.contains(&wanted)) {
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

/// As many rules as memory holds. A minute or more, since everything is emulated.
#[test]
#[ignore = "takes minutes; `cargo test -p aegis-enforce --test enforcement -- --ignored`"]
fn a_million_rules_load() {
    if !vm::need("a_million_rules_load", Kernel::New) {
        return;
    }
    let scratch = scratch::dir();
    let probe = probe::compile(scratch.path());
    let outcome = Machine::new(Kernel::New)
        .file(std::env::current_exe().unwrap(), "/t/enforcement")
        .file(&probe, probe::PROBE)
        .env(inside::MILLION, "1")
        .memory(2560)
        .cpus(2)
        .timeout(Duration::from_secs(900))
        .run(&["/t/enforcement", "inside::scale::a_million_rules", "--exact", "--nocapture"]);
    let said = outcome.success();
    println!("{said}");
    assert!(said.contains("1000000 rules are in force"), "{said}");
}
