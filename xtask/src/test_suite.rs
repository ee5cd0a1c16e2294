//! Everything that is tested, in one command: `cargo xtask test`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Outcome};
use crate::scratch::Keep;
use crate::{checkout, fuzz, quickstart, setup};

/// How many tests did what. A skipped one is never counted as passed.
#[derive(Default, Debug, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs everything and ends in `N passed, N failed, N skipped`.
pub(crate) fn run(fuzz_seconds: u64) -> Outcome {
    let mut tally = Tally::default();
    title("set-up");
    let ready = setup::prepare();
    for sentence in &ready.missing {
        println!("warning: {sentence}");
    }

    title("cargo test --workspace");
    let skips = checkout::target_dir().join("skipped-tests.txt");
    // Tests wait much: for machines that boot, servers that start, deadlines that pass. That time is enough for a build.
    let (tested, fuzz_built) = std::thread::scope(|scope| {
        let build = (fuzz_seconds > 0).then(|| scope.spawn(|| fuzz::build(fuzz::Beside::Others)));
        let tested = cargo_tests(&mut tally, ready.python.as_deref(), &skips);
        let panicked = |_| Err(Failure::new("the thread that built the fuzz targets panicked"));
        (tested, build.map(|build| build.join().unwrap_or_else(panicked)))
    });
    tested?;
    said_skips(&mut tally, &skips);

    title("a build without every provider");
    check(&mut tally, "a build without every provider", without_providers());

    title("quickstart");
    // The tests have built the programs. Built alone they would ask for fewer features, and for minutes.
    check(&mut tally, "quickstart", quickstart::run_built(Keep::No));

    title("shellcheck");
    shellcheck(&mut tally);

    title("fuzz targets");
    fuzz_targets(&mut tally, fuzz_seconds, fuzz_built);

    println!();
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    if tally.failed == 0 { Ok(()) } else { Err(Failure::new(format!("{} failed", tally.failed))) }
}

fn title(text: &str) {
    println!("\n=== {text}");
}

fn check(tally: &mut Tally, name: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => tally.passed = tally.passed.saturating_add(1),
        Err(failure) => {
            println!("failed: {name}: {failure}");
            tally.failed = tally.failed.saturating_add(1);
        }
    }
}

fn skip(tally: &mut Tally, sentence: &str) {
    println!("skipped: {sentence}");
    tally.skipped = tally.skipped.saturating_add(1);
}

/// Runs every Rust test and adds up what each test binary reports.
fn cargo_tests(tally: &mut Tally, python: Option<&Path>, skips: &Path) -> Outcome {
    match std::fs::remove_file(skips) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::of(format_args!("remove {}", skips.display()))(error)),
    }
    let mut command = checkout::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command.env("AEGIS_TEST_SKIPS", skips);
    command.env("AEGIS_TEST_PROGRAMS", checkout::target_dir().join("debug"));
    if let (None, Some(python)) = (std::env::var_os("AEGIS_TEST_PYTHON"), python) {
        command.env("AEGIS_TEST_PYTHON", python);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(Failure::of("run cargo test"))?;
    let mut sum = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(Failure::of("read from cargo test"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            add_result_line(&mut sum, &line);
        }
    }
    let status = child.wait().map_err(Failure::of("wait for cargo test"))?;
    // A test binary that does not compile, or dies, has no result line; it must not look like nothing.
    if !status.success() && sum.failed == 0 {
        sum.failed = 1;
    }
    if status.success() && sum.passed == 0 {
        return Err(Failure::new("cargo test ran no test"));
    }
    tally.passed = tally.passed.saturating_add(sum.passed);
    tally.failed = tally.failed.saturating_add(sum.failed);
    tally.skipped = tally.skipped.saturating_add(sum.skipped);
    Ok(())
}

/// A provider that was left out of a build is an error, never another one in its place. Only such a build has the test.
fn without_providers() -> Outcome {
    let test = "a_provider_that_was_not_built";
    let mut command = checkout::cargo();
    command.args(["test", "-p", "aegis-kek", "--no-default-features", "--features"]);
    command.args(["environment,in-memory,file", "--test", "providers", test]);
    let output = command.stdin(Stdio::null()).output().map_err(Failure::of("run cargo test"))?;
    let mut found = Tally::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("{line}");
        add_result_line(&mut found, line);
    }
    match output.status.success() && found.passed > 0 {
        true => Ok(()),
        false => Err(Failure::new(format!("{test}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Adds a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`.
fn add_result_line(sum: &mut Tally, line: &str) {
    let Some(results) = line.strip_prefix("test result: ") else { return };
    let counts = results.split_once(". ").map_or(results, |(_, counts)| counts);
    for part in counts.split(';') {
        let mut words = part.split_whitespace();
        let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match what {
            "passed" => sum.passed = sum.passed.saturating_add(number),
            "failed" => sum.failed = sum.failed.saturating_add(number),
            "ignored" => sum.skipped = sum.skipped.saturating_add(number),
            _ => {}
        }
    }
}

/// A test that lacks its program passes for the test runner, but says so in a file: it counts as skipped.
fn said_skips(tally: &mut Tally, skips: &Path) {
    let Ok(text) = std::fs::read_to_string(skips) else { return };
    for sentence in text.lines().filter(|line| !line.trim().is_empty()) {
        skip(tally, sentence);
        tally.passed = tally.passed.saturating_sub(1);
    }
}

fn shellcheck(tally: &mut Tally) {
    if checkout::on_path("shellcheck").is_none() {
        skip(tally, "shellcheck is not installed");
        return;
    }
    let status = Command::new("shellcheck")
        .current_dir(checkout::root())
        .args(["scripts/sign_policy_external.sh", ".ci/run", "vm/run-in-vm"])
        .status();
    let outcome = match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new("see above")),
        Err(error) => Err(Failure::of("run shellcheck")(error)),
    };
    check(tally, "shellcheck", outcome);
}

fn fuzz_targets(tally: &mut Tally, seconds: u64, built: Option<Outcome<fuzz::Built>>) {
    let Some(built) = built else {
        skip(tally, "fuzzing: 0 seconds were asked for; the stored corpora were replayed above");
        return;
    };
    match built {
        Ok(fuzz::Built::Ready) => {
            for (target, outcome) in fuzz::all(seconds) {
                check(tally, target, outcome);
            }
        }
        Ok(fuzz::Built::NoTools(why)) => {
            for target in fuzz::TARGETS {
                skip(tally, &format!("fuzz target {target}: {why}"));
            }
        }
        Err(failure) => check(tally, "build of the fuzz targets", Err(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_what_the_test_binaries_report() {
        let mut sum = Tally::default();
        add_result_line(
            &mut sum,
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
        );
        add_result_line(
            &mut sum,
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        add_result_line(&mut sum, "test result_of_something ... ok");
        assert_eq!(sum, Tally { passed: 15, failed: 2, skipped: 1 });
    }
}
