//! A policy as large as memory holds.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Instant;

use aegis_enforce::{Canary, Enforcement, Mode, Options};

use super::{LABEL, MILLION, Scenario, Start, compiled, judged, load, swap};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[
    ("more rules than go into one batch", Start::Loaded(batches)),
    ("more networks than go into one batch", Start::Loaded(networks)),
];

const RULES: u32 = 1_000_000;

/// Run by [`a_million_rules_load`](crate::vm) in a machine with the memory for it.
#[test]
fn a_million_rules() {
    if std::env::var_os(MILLION).is_none() {
        return;
    }
    in_force(&load(&Options::default()), RULES);
}

fn batches(enforcement: &Enforcement) {
    in_force(enforcement, 40_000);
    enforcement.verify().unwrap();
}

/// Of both families; every other one of IPv4 is in the one before it.
fn networks(enforcement: &Enforcement) {
    let mut policy = "version=6\n[deny_cidr]\n".to_owned();
    for index in 0..12_000_u32 {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + index / 2 * 512);
        writeln!(policy, "{address}/{}", if index % 2 == 0 { 24 } else { 27 }).unwrap();
        writeln!(policy, "fd00:{index:x}:8000::/33").unwrap();
    }
    let denied = [
        "udp 10.0.0.1 9",
        "udp 10.0.0.255 9",
        "udp 10.46.222.31 9",
        "udp fd00:0:8000::1 9",
        "udp fd00:2edf:ffff::1 9",
    ];
    let allowed = ["udp 10.0.1.1 9", "udp 10.46.223.1 9", "udp fd00:0:7fff::1 9", "udp fd00:2ee0:8000::1 9"];
    judged(enforcement, &policy, &denied, &allowed);
    swap(enforcement, &policy, Mode::Enforce);
    enforcement.verify().unwrap();
    assert!(enforcement.in_force().unwrap().unwrap().entries >= 24_000);
}

/// So many addresses are denied, and the next one is not.
fn in_force(enforcement: &Enforcement, rules: u32) {
    let address = |index: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + index);
    let mut policy = "version=6\n[deny_ip]\n".to_owned();
    for index in 0..rules {
        writeln!(policy, "{}", address(index)).unwrap();
    }
    let begun = Instant::now();
    let compiled = compiled(&policy, Mode::Enforce, Canary { file: None });
    println!("parsed and compiled in {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    enforcement.swap(&compiled, &LABEL, None).unwrap();
    println!("put in force in {:.1} s", begun.elapsed().as_secs_f64());
    for index in [0, rules / 2, rules - 1] {
        assert_eq!(ask(&format!("udp {} 9", address(index))), DENIED);
    }
    assert_ne!(ask(&format!("udp {} 9", address(rules))), DENIED);
    let in_force = enforcement.in_force().unwrap().unwrap();
    assert!(in_force.rules == u64::from(rules) && in_force.entries >= u64::from(rules), "{in_force:?}");
    println!("{rules} rules are in force");
}
