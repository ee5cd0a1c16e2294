//! Developer commands, run as `cargo xtask COMMAND`.
//!
//! | module | what it is for |
//! |---|---|
//! | [`setup`] | installs what the build needs, and the programs that tests compare ours with |
//! | [`quickstart`] | the main jobs, on real files, command by command |
//! | [`test_suite`] | everything that is tested, summed up in one line |
//! | [`fuzz`] | each fuzz target for a bounded time |
//! | [`mod@bench`] | speed and memory as ratios to the unavoidable work |

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people at a terminal")]

mod bench;
mod checkout;
mod failure;
mod fuzz;
mod measure;
mod quickstart;
mod scratch;
mod setup;
mod test_suite;

use std::process::ExitCode;

use failure::{Failure, Outcome};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup [--build]             install what the build and the tests need, or the build alone (Debian 12; needs root only if
                              something is missing)
  quickstart [--keep]         the main jobs: keys for data and keys for policy, made, used, rotated, revoked
  test [--fuzz-seconds N]     set-up and everything that is tested; N seconds for each fuzz target (default 5, 0 skips)
  fuzz [--seconds N] [TARGET] run each fuzz target, or one, for N seconds (default 60)
  bench [--quick] [GROUP...]  speed and memory against the cost of the unavoidable work; all of it, or policy, audit,
                              crypto, keyring, pii; by name only, as they want a Python with packages: peers, what people
                              use today, and python, the Python package

variables that the tests read:
  AEGIS_TEST_PYTHON           a python with xtask/requirements.txt installed; `test` sets it to the one of `setup`
  AEGIS_TEST_PROGRAMS         a directory with `aegis` and `aegisbpf`, built already; `test` sets it to what it has built
  AEGIS_TEST_SKIPS            a file to which a test that lacks something adds a line; `test` counts those lines
  AEGIS_TEST_REQUIRE_ALL=1    fail instead of skipping
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(words: &[&str]) -> Outcome {
    match words {
        [] | ["help" | "--help" | "-h", ..] => {
            print!("{USAGE}");
            Ok(())
        }
        ["setup"] => setup::run(),
        ["setup", "--build"] => setup::for_build(),
        ["quickstart"] => quickstart::run(scratch::Keep::No),
        ["quickstart", "--keep"] => quickstart::run(scratch::Keep::Yes),
        ["test"] => test_suite::run(5),
        ["test", "--fuzz-seconds", seconds] => test_suite::run(whole_number(seconds)?),
        ["fuzz"] => fuzz::run(60, None),
        ["fuzz", "--seconds", seconds] => fuzz::run(whole_number(seconds)?, None),
        ["fuzz", "--seconds", seconds, target] => fuzz::run(whole_number(seconds)?, Some(target)),
        ["fuzz", target] => fuzz::run(60, Some(target)),
        ["bench", "--quick", groups @ ..] => bench::run(bench::Effort::Quick, groups),
        ["bench", groups @ ..] => bench::run(bench::Effort::Full, groups),
        _ => Err(Failure::usage(format!("unknown command: {}\n\n{USAGE}", words.join(" ")))),
    }
}

fn whole_number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("{text} is not a whole number of seconds")))
}
