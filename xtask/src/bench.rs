//! Speed and memory as ratios to the unavoidable work: `cargo xtask bench`.
//!
//! The floor is a program of its own (`examples/floor.rs`) that reads, hashes and verifies the same bytes and does
//! nothing else. Both are measured in the same run, in turns, so a ratio means the same on any machine. Ratios are of
//! processor time, which other load on the machine does not change; what waits for a disk is measured by the clock.

mod policy_file;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};
use crate::measure::{Cost, Work, medians, peak_memory_kib};
use crate::scratch::{Keep, Scratch};
use table::Table;

/// How long a benchmark may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Up to a million rules: some minutes.
    Full,
    /// Up to 100,000 rules and fewer rounds, to see that nothing broke.
    Quick,
}

/// Set in the environment of the run that is bound to one core.
const BOUND: &str = "AEGIS_BENCH_BOUND";

/// Builds, binds itself to one core, measures, prints the table; fails if a target is missed.
pub(crate) fn run(effort: Effort) -> Outcome {
    if std::env::var_os(BOUND).is_none() {
        // One build for all of it: apart, the two packages would ask for different features and be built twice.
        let packages = ["--package", "aegisbpf", "--package", "xtask", "--bins", "--examples"];
        checkout::build(Profile::Release, &packages)?;
        if checkout::on_path("taskset").is_some() {
            return run_bound(effort);
        }
        println!("note: taskset is missing, so the programs may move between cores");
    }
    let bench = Bench::new(effort)?;
    let mut table = Table::default();
    bench.small_bundle(&mut table)?;
    bench.health(&mut table)?;
    bench.policies(&mut table)?;
    bench.memory(&mut table)?;
    bench.newlines(&mut table)?;
    bench.instructions(&mut table)?;
    bench.audit_append(&mut table)?;
    table.print();
    table.verdict()
}

/// Runs this program once more, bound to the first core that it may use.
fn run_bound(effort: Effort) -> Outcome {
    let this = std::env::current_exe().map_err(Failure::of("find this program"))?;
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &first_core()]).arg(this).arg("bench").env(BOUND, "1");
    if effort == Effort::Quick {
        command.arg("--quick");
    }
    let status = command.status().map_err(Failure::of("run taskset"))?;
    if status.success() { Ok(()) } else { Err(Failure::new("the benchmark failed, see above")) }
}

/// The first core of `Cpus_allowed_list`, such as `0` of `0-1`.
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    list.split([',', '-']).next().unwrap_or("0").to_owned()
}

struct Bench {
    scratch: Scratch,
    effort: Effort,
    aegisbpf: PathBuf,
    sizes: Vec<Size>,
}

/// A policy of so many rules, plain and signed.
struct Size {
    rules: usize,
    policy: PathBuf,
    bundle: PathBuf,
    bundle_len: u64,
}

impl Bench {
    /// Makes a host with a trusted key and a small policy in force, and a signed policy of each size.
    fn new(effort: Effort) -> Outcome<Self> {
        let scratch = Scratch::new("aegis-bench", Keep::No)?;
        let aegisbpf = checkout::built(Profile::Release, "aegisbpf");
        let mut bench = Self { scratch, effort, aegisbpf, sizes: Vec::new() };
        let directory = bench.scratch.path().display().to_string();
        bench.set_up(&["keys", "generate", "--out", &directory, "--name", "bench"])?;
        bench.set_up(&["keys", "add", &format!("{directory}/bench.pub")])?;
        let small = bench.size(10, 1)?;
        bench.set_up(&["policy", "apply", &small.bundle.display().to_string(), "--require-signature"])?;
        let counts: &[usize] = match effort {
            Effort::Full => &[1_000, 10_000, 100_000, 1_000_000],
            Effort::Quick => &[1_000, 10_000, 100_000],
        };
        for rules in counts {
            let size = bench.size(*rules, 2)?;
            bench.sizes.push(size);
        }
        bench.sizes.insert(0, small);
        Ok(bench)
    }

    fn size(&self, rules: usize, version: u64) -> Outcome<Size> {
        let policy = self.scratch.write(&format!("{rules}.conf"), policy_file::text(rules).as_bytes())?;
        let bundle = self.scratch.path().join(format!("{rules}.signed"));
        self.set_up(&[
            "policy",
            "sign",
            &policy.display().to_string(),
            "--out",
            &bundle.display().to_string(),
            "--policy-version",
            &version.to_string(),
            "--expires",
            "1d",
            "--key",
            &self.scratch.path().join("bench.key").display().to_string(),
        ])?;
        let bundle_len = std::fs::metadata(&bundle)
            .map_err(Failure::of(format_args!("look at {}", bundle.display())))?
            .len();
        Ok(Size { rules, policy, bundle, bundle_len })
    }

    fn set_up(&self, arguments: &[&str]) -> Outcome {
        let output = Command::new(&self.aegisbpf)
            .arg("--root")
            .arg(self.host())
            .args(arguments)
            .output()
            .map_err(Failure::of(format_args!("run {}", self.aegisbpf.display())))?;
        if output.status.success() {
            Ok(())
        } else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Failure::new(format!("`aegisbpf {}` failed:\n{said}", arguments.join(" "))))
        }
    }

    fn host(&self) -> PathBuf {
        self.scratch.path().join("host")
    }

    fn aegisbpf<'a>(&self, name: &'a str, arguments: &[&str], exit: i32) -> Work<'a> {
        let mut command =
            vec![self.aegisbpf.display().to_string(), "--root".to_owned(), self.host().display().to_string()];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Work { name, command, exit }
    }

    fn verify(&self, bundle: &Path) -> Work<'static> {
        self.aegisbpf("policy verify", &["policy", "verify", &bundle.display().to_string()], 0)
    }

    fn dry_run(&self, bundle: &Path) -> Work<'static> {
        let bundle = bundle.display().to_string();
        self.aegisbpf("apply --dry-run", &["policy", "apply", &bundle, "--require-signature", "--dry-run"], 0)
    }

    fn rounds(&self, full: usize) -> usize {
        match self.effort {
            Effort::Full => full,
            Effort::Quick => full.div_ceil(5),
        }
    }

    /// A bundle of a few rules: what the start of the process and the reading of keys and counter cost.
    fn small_bundle(&self, table: &mut Table) -> Outcome {
        let Some(small) = self.sizes.first() else { return Err(Failure::new("no policy was made")) };
        let works = [self.verify(&small.bundle), floor(None)];
        if let [ours, floor] = medians(&works, self.rounds(201))?.as_slice() {
            table.ratio(
                "verify a small bundle, whole process / process start + Ed25519",
                ours.cpu,
                floor.cpu,
                1.3,
            );
            table.ratio_for_information("  the same by the clock", ours.wall, floor.wall);
        }
        Ok(())
    }

    fn health(&self, table: &mut Table) -> Outcome {
        // Degraded: nothing is enforced until the kernel backend exists, and no drill was run.
        let works = [self.aegisbpf("health", &["health", "--json"], 1)];
        if let [cost] = medians(&works, self.rounds(51))?.as_slice() {
            table.at_most_ms("health, whole process, by the clock", cost.wall, 10.0);
        }
        Ok(())
    }

    /// Verification and a dry run of each size against the floor for the same file, and whether both grow in line.
    fn policies(&self, table: &mut Table) -> Outcome {
        let mut verify = Vec::new();
        let mut dry_run = Vec::new();
        for size in &self.sizes {
            let works = [self.verify(&size.bundle), floor(Some(&size.bundle)), self.dry_run(&size.bundle)];
            let rounds = if size.rules >= 100_000 { self.rounds(15) } else { self.rounds(101) };
            let costs = medians(&works, rounds)?;
            let [ours, floor, parsed] = costs.as_slice() else {
                return Err(Failure::new("a measurement is missing"));
            };
            if size.rules == 1_000_000 {
                table.ratio(
                    "policy verify, 1,000,000 rules / read + SHA-256 + Ed25519",
                    ours.cpu,
                    floor.cpu,
                    1.5,
                );
                table.ratio("apply --dry-run, 1,000,000 rules / the same", parsed.cpu, floor.cpu, 4.0);
            } else {
                let rules = size.rules;
                table.ratio_for_information(&format!("  policy verify, {rules} rules"), ours.cpu, floor.cpu);
                table.ratio_for_information(
                    &format!("  apply --dry-run, {rules} rules"),
                    parsed.cpu,
                    floor.cpu,
                );
            }
            verify.push((size.rules, *ours));
            dry_run.push((size.rules, *parsed));
        }
        table.linear("policy verify, dearest rule / cheapest, from 10,000 rules on", &per_rule(&verify), 1.5);
        table.linear(
            "apply --dry-run, dearest rule / cheapest, from 10,000 rules on",
            &per_rule(&dry_run),
            1.5,
        );
        Ok(())
    }

    fn memory(&self, table: &mut Table) -> Outcome {
        let Some(largest) = self.sizes.last() else { return Err(Failure::new("no policy was made")) };
        for work in [self.verify(&largest.bundle), self.dry_run(&largest.bundle)] {
            let peak = peak_memory_kib(&work)?;
            let name = format!("peak memory / file size, {}, {} rules", work.name, largest.rules);
            // Of a small file the program itself is most of the memory.
            let most = (largest.rules == 1_000_000).then_some(3.0);
            table.memory(&name, peak.saturating_mul(1024), largest.bundle_len, most);
        }
        Ok(())
    }

    /// A megabyte of line feeds: a reader that looks back at every line would take minutes.
    fn newlines(&self, table: &mut Table) -> Outcome {
        let bare = self.scratch.write("newlines.conf", &vec![b'\n'; 1 << 20])?;
        let mut with_header = b"version=1\n".to_vec();
        with_header.resize(1 << 20, b'\n');
        let with_header = self.scratch.write("header-newlines.conf", &with_header)?;
        let [bare, with_header] = [bare, with_header].map(|path| path.display().to_string());
        let works = [
            self.aegisbpf("policy lint of newlines", &["policy", "lint", &bare], 1),
            self.aegisbpf("policy lint of a header and newlines", &["policy", "lint", &with_header], 0),
            self.aegisbpf("policy verify of newlines", &["policy", "verify", &bare], 1),
        ];
        for (work, cost) in works.iter().zip(medians(&works, self.rounds(25))?) {
            table.at_most_ms(&format!("1 MiB, {}, whole process", work.name), cost.cpu, 5.0);
        }
        Ok(())
    }

    /// Instructions of the parser for each rule: the one figure that does not change from run to run.
    fn instructions(&self, table: &mut Table) -> Outcome {
        if checkout::on_path("valgrind").is_none() {
            println!("skipped: instructions a rule (valgrind is not installed)");
            return Ok(());
        }
        let mut counted = Vec::new();
        for size in self.sizes.iter().filter(|size| size.rules == 10_000 || size.rules == 100_000) {
            counted.push((size.rules, instructions(&size.policy, self.scratch.path())?));
        }
        if let [(few, less), (many, more)] = counted.as_slice() {
            let rules = many.saturating_sub(*few).max(1);
            table.count("instructions a rule, full parse", more.saturating_sub(*less) / rules as u64, 150);
        }
        Ok(())
    }

    fn audit_append(&self, table: &mut Table) -> Outcome {
        // Beside the build, not in memory: an fsync in tmpfs costs nothing.
        let directory = checkout::target_dir().join(format!("bench-audit-{}", std::process::id()));
        std::fs::create_dir_all(&directory)
            .map_err(Failure::of(format_args!("make the directory {}", directory.display())))?;
        let output = Command::new(example("append"))
            .arg(&directory)
            .arg(self.rounds(200).to_string())
            .output()
            .map_err(Failure::of("run the append program"));
        std::fs::remove_dir_all(&directory)
            .map_err(Failure::of(format_args!("remove {}", directory.display())))?;
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let nanos: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [append, one_sync, all_syncs] = nanos.as_slice() else {
            return Err(Failure::new(format!("append: {}", String::from_utf8_lossy(&output.stderr))));
        };
        let [append, one_sync, all_syncs] =
            [append, one_sync, all_syncs].map(|nanos| std::time::Duration::from_nanos(*nanos));
        table.ratio("audit append / its two syncs alone, same bytes, by the clock", append, all_syncs, 2.0);
        table.ratio_for_information("  audit append / one fsync of the line", append, one_sync);
        Ok(())
    }
}

/// Nanoseconds that each further rule costs between one size and the next.
fn per_rule(costs: &[(usize, Cost)]) -> Vec<f64> {
    let large: Vec<&(usize, Cost)> = costs.iter().filter(|(rules, _)| *rules >= 10_000).collect();
    large
        .windows(2)
        .filter_map(|pair| match pair {
            [(few, less), (many, more)] => {
                let rules = many.saturating_sub(*few) as f64;
                Some((more.cpu.as_secs_f64() - less.cpu.as_secs_f64()) * 1e9 / rules)
            }
            _ => None,
        })
        .collect()
}

fn floor(file: Option<&Path>) -> Work<'static> {
    let mut command = vec![example("floor").display().to_string()];
    command.extend(file.map(|file| file.display().to_string()));
    Work { name: "floor", command, exit: 0 }
}

fn example(name: &str) -> PathBuf {
    checkout::built(Profile::Release, &format!("examples/{name}"))
}

/// Instructions that the parse program executes on a file, counted by callgrind.
fn instructions(policy: &Path, scratch: &Path) -> Outcome<u64> {
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", scratch.join("callgrind.out").display()))
        .arg(example("parse"))
        .arg(policy)
        .output()
        .map_err(Failure::of("run valgrind"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse().ok())
        .ok_or_else(|| Failure::new(format!("valgrind counted nothing:\n{said}")))
}
