//! Stops a program, or lets the disk refuse it, at one chosen system call. Needs `strace`.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Every system call that changes what is on the disk, or waits until it is there.
const CALLS: &[&str] = &[
    "open",
    "openat",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "truncate",
    "ftruncate",
    "fallocate",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "utimensat",
    "copy_file_range",
    "sendfile",
];

/// A program with its arguments, variables and directory, to be run again and again.
#[derive(Debug)]
pub struct Traced {
    /// What is run. Its standard input is empty.
    pub command: Command,
    /// A file that is made for the trace and removed again.
    pub trace: PathBuf,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `None` if it was killed.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// One system call of a run, told by its name and by how many of that name came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    call: String,
    nth: usize,
    /// As the trace shows it, for messages.
    pub shown: String,
}

impl Point {
    /// Whether it takes a name away.
    pub fn removes(&self) -> bool {
        self.call.starts_with("unlink") || self.call == "rmdir"
    }
}

/// What happens there instead of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is gone, as if the power went.
    Kill,
    /// No space left on device.
    Full,
}

impl Traced {
    /// Runs it to its end, and gives every point at which it changed something but its standard streams.
    pub fn points(&self) -> Vec<Point> {
        let trace = CALLS.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
        let (run, log) = self.strace(&[&format!("trace={trace}")]);
        assert!(run.code.is_some_and(|code| code < 2), "{:?}: {run:?}", self.command);
        // Counted for each thread, as strace does when it injects.
        let mut counts = std::collections::BTreeMap::<(&str, &str), usize>::new();
        let mut points = Vec::new();
        for line in log.lines() {
            let Some((call, rest)) = shown(line) else { continue };
            let thread = line.split(' ').next().unwrap_or_default();
            let nth = counts.entry((thread, call)).or_default();
            *nth += 1;
            if has_effect(call, rest) {
                points.push(Point { call: call.to_owned(), nth: *nth, shown: format!("{call}{rest}") });
            }
        }
        points
    }

    /// Runs it with a fault at a point.
    pub fn run_with(&self, point: &Point, fault: Fault) -> Run {
        let Point { call, nth, shown } = point;
        let what = match fault {
            Fault::Kill => "signal=KILL",
            Fault::Full => "error=ENOSPC",
        };
        let (run, log) =
            self.strace(&[&format!("trace={call}"), &format!("inject={call}:{what}:when={nth}")]);
        let hit = match fault {
            Fault::Kill => run.code.is_none() && log.contains("+++ killed by SIGKILL +++"),
            Fault::Full => run.code.is_some() && log.contains("(INJECTED)"),
        };
        assert!(hit, "{:?}: the fault at {shown} did not happen: {run:?}\n{log}", self.command);
        run
    }

    /// Runs the program under strace, and gives the trace.
    fn strace(&self, expressions: &[&str]) -> (Run, String) {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "40", "-o"]).arg(&self.trace);
        for expression in expressions {
            command.args(["-e", expression]);
        }
        command.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = self.command.get_current_dir() {
            command.current_dir(dir);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        fs::remove_file(&self.trace).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.signal().is_none_or(|signal| signal == 9), "{stderr}");
        (Run { code: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap(), stderr }, trace)
    }
}

/// The call and the rest of a line of a trace.
fn shown(line: &str) -> Option<(&str, &str)> {
    // With -f each line begins with the process.
    let line = line.split_once(' ').map(|(_, line)| line.trim_start())?;
    let end = line.find('(')?;
    let (call, rest) = line.split_at(end);
    CALLS.contains(&call).then_some((call, rest))
}

fn has_effect(call: &str, rest: &str) -> bool {
    let failed = rest.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with('-'));
    let stream = ["(0<", "(1<", "(2<"].iter().any(|start| rest.starts_with(start));
    let reads = matches!(call, "open" | "openat") && !rest.contains("O_CREAT");
    !failed && !stream && !reads
}
