//! Speed and memory as ratios to the unavoidable work: `cargo xtask bench`.
//!
//! The floor is a program of its own (in `examples/`) that does the same work with the same library, and nothing else:
//! `floor` reads, hashes and verifies the same bytes. Both are measured in the same run, in turns, so a ratio means the same on any machine. Ratios are of
//! processor time, which other load on the machine does not change; what waits for a disk is measured by the clock.

mod approval;
mod audit;
mod crypto;
mod enforce;
mod keyring;
mod peers;
mod pii;
mod policy;
mod policy_file;
mod python;
mod table;

use std::path::PathBuf;
use std::process::Command;

use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};
use crate::setup;
use table::Table;

/// How long a benchmark may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Up to a million rules: some minutes.
    Full,
    /// Up to 100,000 rules and fewer rounds, to see that nothing broke.
    Quick,
}

impl Effort {
    fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(5),
        }
    }
}

/// Rows of the table that are about one thing, and can be asked for by its name.
struct Group {
    name: &'static str,
    measure: fn(Effort, &mut Table) -> Outcome,
}

/// In the order of the table, each in a file of its name.
const GROUPS: &[Group] = &[
    Group { name: "policy", measure: policy::measure },
    Group { name: "audit", measure: audit::measure },
    Group { name: "crypto", measure: crypto::measure },
    Group { name: "keyring", measure: keyring::measure },
    Group { name: "approval", measure: approval::measure },
    Group { name: "pii", measure: pii::measure },
];

/// Those that are measured only if they are named: they need a network, or virtual machines.
const ON_REQUEST: &[Group] = &[
    Group { name: "peers", measure: peers::measure },
    Group { name: "python", measure: python::measure },
    Group { name: "enforce", measure: enforce::measure },
];

/// Set in the environment of the run that is bound to one core.
const BOUND: &str = "AEGIS_BENCH_BOUND";

/// Builds, binds itself to one core, measures, prints the table; fails if a target is missed. Measures all of [`GROUPS`]
/// if none is named.
pub(crate) fn run(effort: Effort, only: &[&str]) -> Outcome {
    let groups = || GROUPS.iter().chain(ON_REQUEST);
    if let Some(unknown) = only.iter().find(|name| groups().all(|group| group.name != **name)) {
        let known: Vec<&str> = groups().map(|group| group.name).collect();
        return Err(Failure::usage(format!(
            "nothing to measure is called {unknown}; there are {}",
            known.join(", ")
        )));
    }
    if std::env::var_os(BOUND).is_none() {
        // One build for all of it: apart, the packages would ask for different features and be built twice.
        let packages = ["aegisbpf", "aegis", "aegis-pii", "xtask"].map(|name| ["--package", name]);
        let mut packages = [packages.as_flattened(), &["--bins", "--examples"]].concat();
        if only.contains(&"python") {
            packages.extend(["--package", "aegis-python", "--lib"]);
        }
        setup::for_build()?;
        checkout::build(Profile::Release, &packages)?;
        if checkout::on_path("taskset").is_some() {
            return run_bound(effort, only);
        }
        println!("note: taskset is missing, so the programs may move between cores");
    }
    let mut table = Table::default();
    let named = groups().filter(|group| only.contains(&group.name));
    for group in GROUPS.iter().filter(|_| only.is_empty()).chain(named) {
        (group.measure)(effort, &mut table)?;
    }
    table.print();
    table.verdict()
}

/// Runs this program once more, bound to the first core that it may use.
fn run_bound(effort: Effort, only: &[&str]) -> Outcome {
    let this = std::env::current_exe().map_err(Failure::of("find this program"))?;
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &first_core()]).arg(this).arg("bench").env(BOUND, "1");
    if effort == Effort::Quick {
        command.arg("--quick");
    }
    let status = command.args(only).status().map_err(Failure::of("run taskset"))?;
    if status.success() { Ok(()) } else { Err(Failure::new("the benchmark failed, see above")) }
}

/// The first core of `Cpus_allowed_list`, such as `0` of `0-1`.
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    list.split([',', '-']).next().unwrap_or("0").to_owned()
}

/// A program of `examples/`, as it was built for this.
fn example(name: &str) -> PathBuf {
    checkout::built(Profile::Release, &format!("examples/{name}"))
}
