//! Policies: signed, verified, applied without effect; the floor is a program that reads, hashes and verifies alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::table::Table;
use super::{Effort, example, policy_file};
use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};
use crate::measure::{Cost, Work, medians, peak_memory_kib};
use crate::scratch::{Keep, Scratch};

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    let bench = Bench::new(effort)?;
    bench.small_bundle(table)?;
    bench.health(table)?;
    bench.policies(table)?;
    bench.memory(table)?;
    bench.newlines(table)?;
    bench.instructions(table)
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
        self.effort.rounds(full)
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
