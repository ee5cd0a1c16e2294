//! What enforcement costs, for `cargo xtask bench enforce`. As root; `costs` in a machine of its own whose clock counts
//! instructions, with a kernel that has BPF-LSM.
//!
//! | arguments | what it does |
//! |---|---|
//! | `costs RULES` | opens, connects and runs programs with nothing attached, with empty programs, with the empty policy, and with policies of 10 rules and up to so many |
//! | `apply RULES` | puts policies of so many rules in force, and the same entries into maps of the same kinds without anything else |
//! | `compile KIND RULES` | parses and compiles a policy, and asks no clock: for a profiler |
//!
//! It prints lines of a name and a number: nanoseconds, which are instructions where the clock counts those.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the benchmark")]

mod apply;
mod costs;
mod policies;
mod targets;

use std::error::Error;
use std::process::ExitCode;

use aegis_enforce::{Canary, Compiled, FileId, HostResolver, Label, Mode, Resolver as _, compile};
use aegis_policy::{Limits, Policy};

type Made<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["costs", rules] => rules.parse().map_err(Into::into).and_then(costs::measure),
        ["apply", rules] => rules.parse().map_err(Into::into).and_then(apply::measure),
        ["compile", kind, rules] => {
            rules.parse().map_err(Into::into).and_then(|rules| apply::compile(kind, rules))
        }
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(&*error);
            while let Some(error) = cause {
                eprintln!("error: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

const LABEL: Label = Label { version: Some(1), sha256: [7; 32], now: 0 };

fn parsed(text: &str) -> Made<Policy<'_>> {
    Ok(aegis_policy::parse(text.as_bytes(), &Limits::default())?)
}

fn compiled(policy: &Policy<'_>) -> Compiled {
    compile(policy, &HostResolver::new(), Mode::Enforce, &Canary { file: None })
}

/// This program is the agent: nobody else may change the maps once a policy is in force.
fn this_program() -> Vec<FileId> {
    HostResolver::new().file("/proc/self/exe").into_iter().collect()
}
