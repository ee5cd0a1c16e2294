//! Swaps while everybody opens files.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use aegis_enforce::{Enforcement, Mode};

use super::{Canary, LABEL, Place, Scenario, Start, compiled, swap};
use crate::probe::{DENIED, PROBE, ask};

pub(super) const ALL: &[Scenario] = &[("swaps under load", Start::Loaded(under_load))];

/// Processes that open a denied file and an allowed one for as long as they live, and say if either ends wrongly.
pub(super) struct Hammers(Vec<Child>);

impl Hammers {
    pub(super) fn start(count: usize, denied: &str, allowed: &str) -> Self {
        let start = |_| {
            let mut command = Command::new(PROBE);
            command.args(["hammer", denied, allowed]).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        Self((0..count).map(start).collect())
    }

    /// Ends them, and tells how often they opened.
    pub(super) fn stop(&mut self) -> u64 {
        let end = |mut child: Child| {
            drop(child.stdin.take());
            let mut said = String::new();
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(child.wait().unwrap().success(), "{said}");
            let opens: u64 = said.split(' ').next().unwrap().parse().unwrap();
            assert!(opens > 0);
            opens
        };
        self.0.drain(..).map(end).sum()
    }
}

impl Drop for Hammers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What both policies deny is denied at every moment, what both allow is allowed; what only one denies follows the swaps.
fn under_load(enforcement: &Enforcement) {
    let place = Place::new("under_load");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "x"));
    let (even, odd) = (place.file("even", "x"), place.file("odd", "x"));
    let more: String = (0..200).map(|index| format!("/nowhere/{index}\n")).collect();
    let policy = |mine: &str, more: &str| format!("version=6\n[deny_path]\n{more}{secret}\n{mine}\n");
    let policies = [policy(&even, ""), policy(&odd, &more)]
        .map(|policy| compiled(&policy, Mode::Enforce, Canary { file: None }));
    swap(enforcement, &policy(&odd, ""), Mode::Enforce);
    let mut hammers = Hammers::start(8, &secret, &open);
    for round in 0..50 {
        for (policy, denied, allowed) in [(&policies[0], &even, &odd), (&policies[1], &odd, &even)] {
            enforcement.swap(policy, &LABEL, None).unwrap();
            if round % 10 == 0 {
                assert_eq!(ask(&format!("open {denied}")), DENIED);
                assert_eq!(ask(&format!("open {allowed}")), 0);
            }
        }
    }
    let opens = hammers.stop();
    let counted = enforcement.counters().unwrap();
    println!("100 swaps under {opens} opens, of which {} were judged anew", counted.retried);
    assert_eq!(enforcement.in_force().unwrap().unwrap().mode, Mode::Enforce);
}
