//! Approvals: the report of what one key took part in, among a million decisions; its memory; one verification.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::table::Table;
use super::{Effort, example};
use crate::checkout;
use crate::failure::{Failure, Outcome};
use crate::measure::{Work, median, peak_memory_kib};

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    let directory = Directory::new()?;
    let (few, many) = match effort {
        Effort::Full => (100_000, 1_000_000),
        Effort::Quick => (10_000, 100_000),
    };
    for count in [few, many] {
        run("make the decisions", &["make", &directory.of(count)?, &count.to_string()])?;
    }
    report(&directory, many, effort, table)?;
    memory(&directory, few, many, table)?;
    let verified = run("verify an approval", &["verify", &effort.rounds(2001).to_string()])?;
    let [verified] = verified.as_slice() else { return Err(Failure::new("no verification was measured")) };
    table.at_most_ms("an approval from its file: read and verify, two BIP-322 signatures", *verified, 1.0);
    Ok(())
}

fn report(directory: &Directory, count: u32, effort: Effort, table: &mut Table) -> Outcome {
    let of_all = directory.of(count)?;
    let mut walls = Vec::new();
    let mut processor = Vec::new();
    for _ in 0..effort.rounds(5) {
        let [wall, cpu] = *run("write a report", &["report", &of_all])?.as_slice() else {
            return Err(Failure::new("no report was measured"));
        };
        walls.push(wall);
        processor.push(cpu);
    }
    let what = format!("report of a key that signed a quarter of {count} decisions, processor time");
    table.at_most_ms(&what, median(processor.into_iter()), 2000.0);
    let milliseconds = walls.into_iter().min().unwrap_or_default().as_secs_f64() * 1e3;
    table.information("  the same by the clock, the best of all runs", format!("{milliseconds:.0} ms"));
    Ok(())
}

/// Ten times as many decisions must not take more memory.
fn memory(directory: &Directory, few: u32, many: u32, table: &mut Table) -> Outcome {
    let peak = |count: u32| {
        let command =
            vec![example("approvals").display().to_string(), "report".to_owned(), directory.of(count)?];
        peak_memory_kib(&Work { name: "report", command, exit: 0 }).map(|kib| kib.saturating_mul(1024))
    };
    let what = format!("peak memory of that report, {many} decisions / {few}");
    table.memory(&what, peak(many)?, peak(few)?, Some(1.2));
    Ok(())
}

/// Runs it, and reads the nanoseconds that it prints.
fn run(name: &str, arguments: &[&str]) -> Outcome<Vec<Duration>> {
    let mut command = Command::new(example("approvals"));
    let output = command.args(arguments).output().map_err(Failure::of(format_args!("{name}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("cannot {name}: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(printed.split_whitespace().filter_map(|word| word.parse().ok()).map(Duration::from_nanos).collect())
}

/// A private directory that is removed at the end. A million decisions take two gigabytes.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Outcome<Self> {
        let path = checkout::target_dir().join(format!("bench-approval-{}", std::process::id()));
        make_private(&path)?;
        Ok(Self(path))
    }

    /// Of the store of so many decisions.
    fn of(&self, count: u32) -> Outcome<String> {
        let path = self.0.join(count.to_string());
        make_private(&path)?;
        Ok(path.display().to_string())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make_private(path: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Failure::of(format_args!("make the directory {}", path.display())))
}
