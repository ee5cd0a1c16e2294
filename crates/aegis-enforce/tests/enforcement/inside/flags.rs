//! Sections without entries: tracing, modules, BPF.

use aegis_enforce::{Enforcement, Mode};

use super::{Scenario, Start, judged, swap};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[
    ("deny_ptrace", Start::Loaded(denied_tracing)),
    ("deny_module_load", Start::Loaded(denied_modules)),
    ("deny_bpf", Start::Loaded(denied_bpf)),
];

fn denied_tracing(enforcement: &Enforcement) {
    judged(
        enforcement,
        "version=6\n[deny_ptrace]\n",
        &["seize", "attach", "traceme", "read-memory"],
        &["read-status", "bpf-load"],
    );
    assert_eq!(ask("open-memory"), 0);
    swap(enforcement, "version=6\n[deny_ptrace]\n", Mode::Enforce);
    assert_eq!(ask("open-memory"), 13, "what /proc makes of EPERM");
}

fn denied_modules(enforcement: &Enforcement) {
    let denied = ["init-module", "finit-module", "packed-module"];
    judged(enforcement, "version=6\n[deny_module_load]\n", &denied, &["bpf-load"]);
}

/// The agent swaps under such a policy all the same.
fn denied_bpf(enforcement: &Enforcement) {
    judged(enforcement, "version=6\n[deny_bpf]\n", &["bpf-load"], &["bpf-map", "init-module"]);
    swap(enforcement, "version=6\n[deny_bpf]\n", Mode::Enforce);
    swap(enforcement, "version=6\n[deny_bpf]\n[deny_ptrace]\n", Mode::Enforce);
    assert_eq!((ask("bpf-load"), ask("seize")), (DENIED, DENIED));
}
