//! Runs the fuzz targets of `fuzz/` for a bounded time: `cargo xtask fuzz`.
//!
//! The targets are built as cargo-fuzz builds them, but by plain cargo: coverage instrumentation needs no nightly
//! compiler. With a nightly compiler the address sanitizer is switched on as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::checkout;
use crate::failure::{Failure, Outcome};
use crate::scratch::{Keep, Scratch};

/// The targets, each one file in `fuzz/fuzz_targets` with a corpus of the same name.
pub(crate) const TARGETS: &[&str] = &[
    "bundle",
    "key_file",
    "policy",
    "counter",
    "audit_log",
    "backup",
    "hybrid_key",
    "sealed_box",
    "kek_container",
    "kek_file",
    "variables_file",
    "keyring_backup",
    "pii_event",
    "pipeline_config",
    "dead_letter",
    "bip322_signature",
    "approval",
    "event_record",
];

/// The most memory that a target may take, in MiB: inputs are small, so a growth is a bug.
const MEMORY_LIMIT_MIB: u32 = 1024;
/// The longest that one input may take, in seconds.
const INPUT_LIMIT_SECS: u32 = 10;

/// Whether the targets could be built here.
pub(crate) enum Built {
    Ready,
    /// What is missing.
    NoTools(&'static str),
}

/// Beside what the targets are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Nothing: it says how far it is.
    Nothing,
    /// Something else that runs meanwhile: it takes the time that processors have left, and says nothing unless it fails.
    Others,
}

/// Builds the targets and runs them, each for `seconds`.
pub(crate) fn run(seconds: u64, only: Option<&str>) -> Outcome {
    if let Some(target) = only.filter(|target| !TARGETS.contains(target)) {
        return Err(Failure::usage(format!("no fuzz target {target}; there are {}", TARGETS.join(", "))));
    }
    match build(Beside::Nothing)? {
        Built::Ready => {}
        Built::NoTools(why) => return Err(Failure::new(format!("cannot fuzz: {why}"))),
    }
    for target in TARGETS.iter().filter(|target| only.is_none_or(|only| only == **target)) {
        fuzz(target, seconds)?;
    }
    Ok(())
}

/// Builds all targets with coverage instrumentation.
pub(crate) fn build(beside: Beside) -> Outcome<Built> {
    if checkout::on_path("g++").is_none() && checkout::on_path("clang++").is_none() {
        return Ok(Built::NoTools("libFuzzer needs a C++ compiler (g++)"));
    }
    if !cfg!(target_arch = "x86_64") && !cfg!(target_arch = "aarch64") {
        return Ok(Built::NoTools("libFuzzer is used on x86_64 and aarch64 only"));
    }
    let mut flags = vec![
        "--cfg=fuzzing",
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
        "-Ccodegen-units=1",
        "-Cdebug-assertions",
        "-Coverflow-checks",
        "-Cforce-frame-pointers",
    ];
    let nightly = has_nightly();
    if nightly {
        flags.push("-Zsanitizer=address");
    }
    if beside == Beside::Nothing {
        println!("building the fuzz targets with {}", with(nightly));
    }
    let mut command = match beside {
        Beside::Others if checkout::on_path("nice").is_some() => {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19", "cargo"]);
            nice
        }
        Beside::Nothing | Beside::Others => Command::new("cargo"),
    };
    if nightly {
        command.arg("+nightly");
    }
    command
        .args(["build", "--release", "--bins", "--target", &host_triple()?])
        .arg("--manifest-path")
        .arg(fuzz_dir().join("Cargo.toml"))
        .current_dir(fuzz_dir())
        // A name of its own, so that a run of cargo-fuzz and this one do not rebuild each other's files.
        .env("CARGO_TARGET_DIR", target_dir())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .stdin(Stdio::null());
    let (status, said) = match beside {
        Beside::Nothing => (command.status().map_err(Failure::of("run cargo"))?, String::new()),
        Beside::Others => {
            let output = command.output().map_err(Failure::of("run cargo"))?;
            (output.status, format!(":\n{}", String::from_utf8_lossy(&output.stderr)))
        }
    };
    if status.success() {
        Ok(Built::Ready)
    } else {
        Err(Failure::new(format!("the fuzz targets do not build with {}{said}", with(nightly))))
    }
}

fn with(nightly: bool) -> &'static str {
    if nightly { "nightly, address sanitizer on" } else { "stable" }
}

/// Runs all targets, as many at once as there are processors, and tells how each ended, in order.
pub(crate) fn all(seconds: u64) -> Vec<(&'static str, Outcome)> {
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut ended = Vec::with_capacity(TARGETS.len());
    for targets in TARGETS.chunks(at_once) {
        std::thread::scope(|scope| {
            let running: Vec<_> =
                targets.iter().map(|target| (*target, scope.spawn(|| fuzz(target, seconds)))).collect();
            for (target, thread) in running {
                let outcome =
                    thread.join().unwrap_or_else(|_| Err(Failure::new("the thread that ran it panicked")));
                ended.push((target, outcome));
            }
        });
    }
    ended
}

/// Runs one target on a copy of its corpus; an input that breaks it stays in `fuzz/artifacts`.
pub(crate) fn fuzz(target: &str, seconds: u64) -> Outcome {
    let program = target_dir().join(host_triple()?).join("release").join(target);
    let artifacts = fuzz_dir().join("artifacts").join(target);
    std::fs::create_dir_all(&artifacts)
        .map_err(Failure::of(format_args!("make the directory {}", artifacts.display())))?;
    // New inputs go to the first directory, so the stored corpus only grows by a decision.
    let found = Scratch::new(&format!("aegis-fuzz-{target}"), Keep::No)?;
    println!("fuzzing {target} for {seconds} s");
    let output = Command::new(&program)
        .arg(found.path())
        .arg(fuzz_dir().join("corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"))
        .arg(format!("-timeout={INPUT_LIMIT_SECS}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-verbosity=0", "-max_len=16384"])
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::of(format_args!("run {}", program.display())))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failure::new(format!(
            "fuzz target {target} failed, see {}:\n{said}",
            artifacts.display()
        )));
    }
    let executed = stat(&said, "stat::number_of_executed_units:");
    let new = stat(&said, "stat::new_units_added:");
    println!("  {target}: {executed} inputs, {new} of them reached something new, none broke it");
    Ok(())
}

fn stat<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines().find_map(|line| line.strip_prefix(name)).map_or("?", str::trim)
}

fn fuzz_dir() -> PathBuf {
    checkout::root().join("fuzz")
}

fn target_dir() -> PathBuf {
    fuzz_dir().join("target").join("xtask")
}

/// A nightly compiler that rustup has installed already; none is fetched.
fn has_nightly() -> bool {
    Command::new("rustup").args(["toolchain", "list"]).output().is_ok_and(|output| {
        output.stdout.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"nightly"))
    })
}

fn host_triple() -> Outcome<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .current_dir(Path::new("/"))
        .output()
        .map_err(Failure::of("run rustc -vV"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| Failure::new("rustc -vV names no host"))
}
