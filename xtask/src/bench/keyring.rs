//! The keyring: a KEK rotation beside the cryptography it cannot do without, its memory, and how a KEK is loaded.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::table::Table;
use super::{Effort, example};
use crate::checkout;
use crate::failure::{Failure, Outcome};
use crate::measure::{Work, peak_memory_kib};

/// The target is 80 % of the rate that decapsulating and encapsulating alone would have.
const MOST: f64 = 1.25;

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    // Beside the build, not in memory: a sync in tmpfs costs nothing.
    let directory = Directory::new()?;
    let (few, many) = match effort {
        Effort::Full => (10_000, 100_000),
        Effort::Quick => (1_000, 10_000),
    };
    for count in [few, many] {
        run("make the keyring", keyring(&["make", &directory.of(count)?, &count.to_string()]))?;
    }
    rotation(&directory, many, table)?;
    memory(&directory, few, many, effort, table)?;
    let loaded = run("load a KEK", keyring(&["provider", &effort.rounds(101).to_string()]))?;
    let [loaded] = loaded.as_slice() else { return Err(Failure::new("no load was measured")) };
    table.at_most_ms("get_kek_provider from environment and load, new process, by the clock", *loaded, 2.0);
    Ok(())
}

/// One core first, to which this program is bound already; then two, if the machine has them.
fn rotation(directory: &Directory, count: u32, table: &mut Table) -> Outcome {
    let measured = |name: &str, command: Command| match run(name, command)?.as_slice() {
        [wall, cpu, floor] => Ok((*wall, *cpu, *floor * count)),
        _ => Err(Failure::new(format!("{name}: no figures"))),
    };
    let one = directory.copy(count)?;
    let (wall, cpu, floor) = measured("rotate on one core", keyring(&["rotate", &one, "1"]))?;
    let what = format!("KEK rotation of {count} DEKs, all of it / decapsulate + encapsulate");
    table.ratio(&what, cpu, floor, MOST);
    table.ratio_for_information("  the same by the clock", wall, floor);

    let cores = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    if cores.trim() == "0" || checkout::on_path("taskset").is_none() {
        println!("skipped: KEK rotation on two cores (there is one, or taskset is missing)");
        return Ok(());
    }
    let two = directory.copy(count)?;
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores.trim()]).arg(example("keyring")).args(["rotate", &two, "2"]);
    let (wall_of_two, ..) = measured("rotate on two cores", command)?;
    // Other load on the machine makes it smaller, so it is no target here: 1.6 on an idle machine of two cores.
    table.ratio_for_information(
        "  one thread on one core / two on all cores, by the clock",
        wall,
        wall_of_two,
    );
    Ok(())
}

/// Ten times as many DEKs must not take more memory.
fn memory(directory: &Directory, few: u32, many: u32, effort: Effort, table: &mut Table) -> Outcome {
    let peak = |count: u32| {
        let copy = directory.copy(count)?;
        let command =
            vec![example("keyring").display().to_string(), "rotate".to_owned(), copy, "2".to_owned()];
        peak_memory_kib(&Work { name: "KEK rotation", command, exit: 0 }).map(|kib| kib.saturating_mul(1024))
    };
    let what = format!("peak memory of a KEK rotation, {many} DEKs / {few}");
    // A thousand do not fill the caches and queues that ten thousand fill.
    let most = (effort == Effort::Full).then_some(1.2);
    table.memory(&what, peak(many)?, peak(few)?, most);
    Ok(())
}

fn keyring(arguments: &[&str]) -> Command {
    let mut command = Command::new(example("keyring"));
    command.args(arguments);
    command
}

/// Runs it, and reads the nanoseconds that it prints.
fn run(name: &str, mut command: Command) -> Outcome<Vec<Duration>> {
    let output = command.output().map_err(Failure::of(format_args!("{name}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("cannot {name}: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(printed.split_whitespace().filter_map(|word| word.parse().ok()).map(Duration::from_nanos).collect())
}

/// A private directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Outcome<Self> {
        let path = checkout::target_dir().join(format!("bench-keyring-{}", std::process::id()));
        make_private(&path)?;
        Ok(Self(path))
    }

    /// Of the keyring of so many DEKs.
    fn of(&self, count: u32) -> Outcome<String> {
        let path = self.0.join(count.to_string());
        make_private(&path)?;
        Ok(path.display().to_string())
    }

    /// A copy of that keyring, in the place of the copy before.
    fn copy(&self, count: u32) -> Outcome<String> {
        let copy = self.0.join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        make_private(&copy)?;
        std::fs::copy(self.0.join(count.to_string()).join("keyring.db"), copy.join("keyring.db"))
            .map_err(Failure::of(format_args!("copy the keyring of {count} DEKs")))?;
        Ok(copy.display().to_string())
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
