//! Personal fields: `aegis pii` as a whole program between two pipes, and the library in memory.
//!
//! The events are those of `crates/aegis-pii/examples/pii_speed.rs`: 1.1 KB, 8 personal members and 13 others. Beside ours,
//! in the same run: a filter that parses and prints (`jq -c .`), the search and splicing without cryptography (the floor),
//! and one KEM a field (the naive scheme).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::table::Table;
use super::{Effort, example};
use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};
use crate::measure::{Cost, Work, median, medians, peak_memory_kib};

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    let (events, rounds) = match effort {
        Effort::Full => (120_000, 7),
        Effort::Quick => (30_000, 3),
    };
    let bench = Bench::new(events)?;
    bench.whole_program(rounds, table)?;
    bench.memory(effort, table)?;
    bench.two_threads(rounds, table)?;
    bench.compressed(table)?;
    in_memory(effort, table)?;
    instructions(table)
}

/// Events per second of processor.
pub(super) struct WholeProgram {
    pub(super) encrypt: f64,
    pub(super) decrypt: f64,
}

/// `aegis pii` between a file and nothing, for `bench peers`.
pub(super) fn whole_program_rates(events: u32, rounds: usize) -> Outcome<WholeProgram> {
    let bench = Bench::new(events)?;
    let works = [("pii encrypt", ["encrypt", "events.jsonl"]), ("pii decrypt", ["decrypt", "sealed.jsonl"])]
        .map(|(name, arguments)| Work { name, command: bench.command(&arguments), exit: 0 });
    let rate = |cost: &Cost| f64::from(events) / cost.cpu.as_secs_f64();
    match medians(&works, rounds)?.as_slice() {
        [encrypt, decrypt] => Ok(WholeProgram { encrypt: rate(encrypt), decrypt: rate(decrypt) }),
        _ => Err(Failure::new("a measurement is missing")),
    }
}

/// A directory with a keyring, events, and the same events sealed.
struct Bench {
    directory: PathBuf,
    events: u32,
    /// Those of the KEK.
    variables: Vec<(String, String)>,
}

impl Bench {
    fn new(events: u32) -> Outcome<Self> {
        let directory = checkout::target_dir().join(format!("bench-pii-{}", std::process::id()));
        make_private(&directory)?;
        let mut bench = Self { directory, events, variables: Vec::new() };
        bench.quietly(bench.aegis(&["kek", "provision", "--provider", "environment", "--out", "kek.env"]))?;
        let text = std::fs::read_to_string(bench.file("kek.env")).map_err(Failure::of("read kek.env"))?;
        let variables = text.lines().filter_map(|line| line.split_once('='));
        bench.variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        bench.quietly(bench.aegis(&["init"]))?;
        let mut print = Command::new(example("pii_speed"));
        print.args(["--events", &events.to_string()]);
        bench.run(print.stdout(bench.create("events.jsonl")?))?;
        bench.quietly(bench.aegis(&["pii", "encrypt", "events.jsonl", "-o", "sealed.jsonl"]))?;
        let compact = ["pii", "encrypt", "--envelope", "compact", "events.jsonl", "-o", "compact.jsonl"];
        bench.quietly(bench.aegis(&compact))?;
        Ok(bench)
    }

    fn whole_program(&self, rounds: usize, table: &mut Table) -> Outcome {
        let work = |name, arguments: &[&str]| Work { name, command: self.command(arguments), exit: 0 };
        let mut works = vec![
            work("pii encrypt", &["encrypt", "events.jsonl"]),
            work("pii decrypt", &["decrypt", "sealed.jsonl"]),
            work("pii encrypt --envelope compact", &["encrypt", "--envelope", "compact", "events.jsonl"]),
            work("pii decrypt, compact", &["decrypt", "compact.jsonl"]),
        ];
        let jq = checkout::on_path("jq");
        if let Some(jq) = &jq {
            let events = self.file("events.jsonl").display().to_string();
            let command = vec![jq.display().to_string(), "-c".to_owned(), ".".to_owned(), events];
            works.push(Work { name: "jq -c .", command, exit: 0 });
        }
        let costs = medians(&works, rounds)?;
        let rate = |cost: Cost| f64::from(self.events) / cost.cpu.as_secs_f64();
        for (work, (cost, least)) in
            works.iter().zip(costs.iter().zip([Some(120_000.0), Some(120_000.0), None, None]))
        {
            let what = format!("{}, whole program, events per second of processor", work.name);
            match least {
                Some(least) => table.at_least_per_second(&what, rate(*cost), least),
                None => table.information(&what, format!("{:.0}/s", rate(*cost))),
            }
        }
        match costs.as_slice() {
            [encrypt, decrypt, _, _, jq] => {
                let times = |cost: &Cost| jq.cpu.as_secs_f64() / cost.cpu.as_secs_f64();
                table.at_least_times(
                    "`jq -c .` on the same events / pii encrypt, processor",
                    times(encrypt),
                    7.0,
                );
                // Not the same work: what is read is fourteen times what `jq` reads.
                table.information("  the same / pii decrypt", format!("{:.2}x", times(decrypt)));
            }
            _ => println!("skipped: the ratio to `jq -c .` (jq is not installed)"),
        }
        Ok(())
    }

    /// The same file again and again is a long stream.
    fn memory(&self, effort: Effort, table: &mut Table) -> Outcome {
        let sealed_len =
            std::fs::metadata(self.file("sealed.jsonl")).map_err(Failure::of("read sealed.jsonl"))?.len();
        let wanted: u64 = if effort == Effort::Full { 10 << 30 } else { 1 << 30 };
        let times = usize::try_from(wanted.div_ceil(sealed_len.max(1))).unwrap_or(1);
        for (what, threads, file) in [
            ("encrypt", "1", "events.jsonl"),
            ("decrypt", "1", "sealed.jsonl"),
            ("encrypt", "2", "events.jsonl"),
            ("decrypt", "2", "sealed.jsonl"),
        ] {
            let arguments = [&[what, "--threads", threads][..], &vec![file; times]].concat();
            let work = Work { name: "a long stream", command: self.command(&arguments), exit: 0 };
            let gib = wanted >> 30;
            let row = format!("peak memory of pii {what}, {gib} GiB sealed, {threads} thread(s)");
            table.at_most_mib(&row, peak_memory_kib(&work)?.saturating_mul(1024), 32.0);
        }
        self.unusual_events()?;
        for (name, said) in [
            ("large", "events of 4 MiB, 1,000 fields"),
            ("mixed", "events of 4 MiB, one field and 1,000, among small ones"),
            ("tiny", "1,020 fields of a byte an event"),
            ("middle", "events of 230 KiB, 1,000 fields"),
        ] {
            for (what, file) in
                [("encrypt", format!("{name}.jsonl")), ("decrypt", format!("{name}-sealed.jsonl"))]
            {
                for threads in ["1", "2", "8"] {
                    let file = file.as_str();
                    let arguments = [what, "--threads", threads, file, file, file];
                    let work = Work { name: "unusual events", command: self.command(&arguments), exit: 0 };
                    let row = format!("peak memory of pii {what}, {said}, {threads} thread(s)");
                    table.at_most_mib(&row, peak_memory_kib(&work)?.saturating_mul(1024), 32.0);
                }
            }
        }
        Ok(())
    }

    /// Events that are almost as long as they may be, alone and among small ones, or become very long; and what they
    /// become.
    fn unusual_events(&self) -> Outcome {
        let list = |value: &str, count| {
            let fields = vec![format!("{{\"actor_id\":{value}}}"); count];
            format!("{{\"list\":[{}]}}\n", fields.join(","))
        };
        let text = |len| format!("\"{}\"", "x".repeat(len));
        let large = list(&text(4_170), 1_000);
        let one = format!("{{\"actor_id\":{}}}\n", text((4 << 20) - 64));
        let small =
            std::fs::read_to_string(self.file("events.jsonl")).map_err(Failure::of("read events.jsonl"))?;
        let small: String = small.lines().take(600).flat_map(|line| [line, "\n"]).collect();
        for (name, lines) in [
            ("large", large.repeat(8)),
            ("mixed", [large.as_str(), &small, &one, &small].concat().repeat(6)),
            ("tiny", list("1", 1_020).repeat(200)),
            ("middle", list(&text(214), 1_000).repeat(30)),
        ] {
            let plain = format!("{name}.jsonl");
            std::fs::write(self.file(&plain), lines).map_err(Failure::of(format_args!("write {plain}")))?;
            self.quietly(self.aegis(&["pii", "encrypt", &plain, "-o", &format!("{name}-sealed.jsonl")]))?;
        }
        Ok(())
    }

    /// On all cores, however this program is bound.
    fn two_threads(&self, rounds: usize, table: &mut Table) -> Outcome {
        let cores = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        let Some(taskset) = checkout::on_path("taskset").filter(|_| cores.trim() != "0") else {
            println!("skipped: two threads (there is one core, or taskset is missing)");
            return Ok(());
        };
        if checkout::on_path("bash").is_none() {
            println!(
                "skipped: two threads (bash, which counts the processor time of all threads, is missing)"
            );
            return Ok(());
        }
        for (what, file) in [("encrypt", "events.jsonl"), ("decrypt", "sealed.jsonl")] {
            let run = |threads: &str| {
                let files = vec![file; 4];
                let unbound =
                    [taskset.display().to_string(), "--cpu-list".to_owned(), cores.trim().to_owned()];
                let command = self.command(&[&[what, "--threads", threads][..], &files].concat());
                all_threads(&[&unbound[..], &command].concat())
            };
            let (mut one, mut two) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                one.push(run("1")?);
                two.push(run("2")?);
            }
            let middle = |costs: &[Cost], of: fn(&Cost) -> Duration| median(costs.iter().map(of));
            let row = format!("pii {what}, processor of one thread / of two");
            let (cpu_of_one, cpu_of_two) = (middle(&one, |cost| cost.cpu), middle(&two, |cost| cost.cpu));
            table.at_least_times(&row, cpu_of_one.as_secs_f64() / cpu_of_two.as_secs_f64(), 0.95);
            // Other load on the machine makes it smaller, so it is no target here: 1.8 on an idle machine.
            let (wall_of_one, wall_of_two) = (middle(&one, |cost| cost.wall), middle(&two, |cost| cost.wall));
            table.ratio_for_information("  one thread / two, by the clock", wall_of_one, wall_of_two);
        }
        Ok(())
    }

    fn compressed(&self, table: &mut Table) -> Outcome {
        let Some(zstd) = checkout::on_path("zstd") else {
            println!("skipped: output after `zstd -1` (zstd is not installed)");
            return Ok(());
        };
        let events = self.events.min(5_000);
        let lines = self.first_lines("sealed.jsonl", events)?;
        let mut print = Command::new(example("pii_speed"));
        print.args(["--naive", &events.to_string()]);
        self.run(print.stdout(self.create("naive.jsonl")?))?;
        let packed = |name: &Path| -> Outcome<u64> {
            let to = self.file("packed");
            let mut command = Command::new(&zstd);
            self.run(command.args(["-1", "-q", "-f"]).arg(name).arg("-o").arg(&to))?;
            Ok(std::fs::metadata(&to).map_err(Failure::of("read what zstd wrote"))?.len())
        };
        let (ours, naive) = (packed(&lines)?, packed(&self.file("naive.jsonl"))?);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let times = naive as f64 / ours.max(1) as f64;
        table.at_least_times("bytes after `zstd -1`, one KEM a field / ours", times, 7.0);
        Ok(())
    }

    fn first_lines(&self, name: &str, lines: u32) -> Outcome<PathBuf> {
        let to = self.file("first.jsonl");
        let mut head = Command::new("head");
        head.args(["-n", &lines.to_string()]).arg(self.file(name));
        self.run(head.stdout(self.create("first.jsonl")?))?;
        Ok(to)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn create(&self, name: &str) -> Outcome<File> {
        File::create(self.file(name)).map_err(Failure::of(format_args!("make {name}")))
    }

    /// `aegis`, in the directory.
    fn aegis(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(checkout::built(Profile::Release, "aegis"));
        command.args(arguments).current_dir(&self.directory).env("AEGIS_STATE_DIR", self.file("state"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The words that run `aegis pii` in that directory, for whoever takes words: `env` gives it the variables.
    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let mut words = vec!["env".to_owned(), "-C".to_owned(), self.directory.display().to_string()];
        words.push(format!("AEGIS_STATE_DIR={}", self.file("state").display()));
        words.extend(self.variables.iter().map(|(name, value)| format!("{name}={value}")));
        words.extend([checkout::built(Profile::Release, "aegis").display().to_string(), "pii".to_owned()]);
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        words
    }

    fn quietly(&self, mut command: Command) -> Outcome {
        self.run(command.stdout(Stdio::null()))
    }

    fn run(&self, command: &mut Command) -> Outcome {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let output = child.and_then(std::process::Child::wait_with_output);
        let output = output.map_err(Failure::of(format_args!("run {command:?}")))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("{:?}: {}", command, String::from_utf8_lossy(&output.stderr)))),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Runs a command, and reads what all its threads together cost.
fn all_threads(command: &[String]) -> Outcome<Cost> {
    let script = r#"TIMEFORMAT='%R %U %S'; time "$@" > /dev/null"#;
    let output = Command::new("bash")
        .args(["--noprofile", "--norc", "-c", script, "bash"])
        .args(command)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::of("run bash"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let seconds: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match seconds.as_slice() {
        [wall, user, system] if output.status.success() => {
            Ok(Cost { wall: Duration::from_secs_f64(*wall), cpu: Duration::from_secs_f64(user + system) })
        }
        _ => Err(Failure::new(format!("{}: {said}", command.join(" ")))),
    }
}

/// The library alone.
fn in_memory(effort: Effort, table: &mut Table) -> Outcome {
    let seconds = if effort == Effort::Full { "4" } else { "1" };
    let mut command = Command::new(example("pii_speed"));
    let output = command.args([seconds, "--json"]).output().map_err(Failure::of("run pii_speed"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate = |name: &str| -> Outcome<f64> {
        let (_, rest) = printed
            .split_once(&format!("\"{name}\":"))
            .ok_or_else(|| Failure::new(format!("pii_speed measured no {name}: {printed}")))?;
        let number = rest.split([',', '}']).next().unwrap_or_default();
        number.trim().parse().map_err(|error| Failure::new(format!("the rate of {name}: {error}")))
    };
    let (floor, naive) = (rate("floor")?, rate("naive")?);
    let (encrypt, decrypt) = (rate("encrypt")?, rate("decrypt")?);
    table.at_least_times("encrypt in memory / one KEM a field", encrypt / naive, 100.0);
    table.at_least_times(
        "encrypt in memory / search, splice, base64 alone (the floor)",
        encrypt / floor,
        0.2,
    );
    table.at_least_per_second("encrypt in memory", encrypt, 150_000.0);
    table.at_least_per_second("decrypt in memory", decrypt, 150_000.0);
    table.at_least_per_second("decrypt one KEM a field", rate("decrypt naive")?, 1_900.0);
    for name in ["encrypt compact", "decrypt compact", "scan"] {
        table.information(&format!("  {name} in memory"), format!("{:.0}/s", rate(name)?));
    }
    Ok(())
}

/// Instructions of an event: the figure that does not drift.
fn instructions(table: &mut Table) -> Outcome {
    if checkout::on_path("valgrind").is_none() {
        println!("skipped: instructions an event (valgrind is not installed)");
        return Ok(());
    }
    const FEW: u64 = 200;
    // So many that the keys, which are others in each run, make no difference.
    const MANY: u64 = 4_200;
    for (name, most) in [("encrypt", 50_000), ("decrypt", 40_000)] {
        let counted = |events: u64| -> Outcome<u64> {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(example("pii_speed"));
            command.args(["--only", name, &events.to_string()]);
            let output = command.output().map_err(Failure::of("run valgrind"))?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let count =
                said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
            count
                .and_then(|count| count.parse().ok())
                .ok_or_else(|| Failure::new(format!("valgrind counted nothing: {said}")))
        };
        let each = counted(MANY)?.saturating_sub(counted(FEW)?) / (MANY - FEW);
        table.count(&format!("instructions an event, {name} in memory"), each, most);
    }
    Ok(())
}

fn make_private(path: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Failure::of(format_args!("make the directory {}", path.display())))
}
