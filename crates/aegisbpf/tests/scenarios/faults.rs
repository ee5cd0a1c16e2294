//! Stops the program, or lets the disk refuse it, at one chosen system call.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::host::{Host, PROGRAM, Run, clean};

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

/// One system call of a run, told by its name and by how many of that name came before it.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    call: String,
    nth: usize,
    /// As the trace shows it, for messages.
    pub(crate) shown: String,
}

impl Point {
    /// Whether it takes a name away.
    pub(crate) fn removes(&self) -> bool {
        self.call.starts_with("unlink") || self.call == "rmdir"
    }
}

/// What happens there instead of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone, as if the power went.
    Kill,
    /// No space left on device.
    Full,
}

/// Runs the program on `host` and gives every point at which it changed something below its root.
pub(crate) fn points(host: &Host, arguments: &[&str]) -> Vec<Point> {
    let trace = CALLS.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
    let (run, log) = strace(host, arguments, &[&format!("trace={trace}")]);
    assert!(run.code.is_some_and(|code| code < 2), "{arguments:?}: {run:?}");
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    let mut points = Vec::new();
    for line in log.lines() {
        let Some((call, rest)) = shown(line) else { continue };
        let nth = counts.entry(call).or_default();
        *nth += 1;
        if has_effect(call, rest) {
            points.push(Point { call: call.to_owned(), nth: *nth, shown: format!("{call}{rest}") });
        }
    }
    points
}

/// Runs the program on `host` with a fault at a point.
pub(crate) fn run_with(host: &Host, arguments: &[&str], point: &Point, fault: Fault) -> Run {
    let Point { call, nth, shown } = point;
    let what = match fault {
        Fault::Kill => "signal=KILL",
        Fault::Full => "error=ENOSPC",
    };
    let (run, log) =
        strace(host, arguments, &[&format!("trace={call}"), &format!("inject={call}:{what}:when={nth}")]);
    let hit = match fault {
        Fault::Kill => run.code.is_none() && log.contains("+++ killed by SIGKILL +++"),
        Fault::Full => run.code.is_some() && log.contains("(INJECTED)"),
    };
    assert!(hit, "{arguments:?}: the fault at {shown} did not happen: {run:?}\n{log}");
    run
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

/// Runs the program under strace, and gives the trace.
fn strace(host: &Host, arguments: &[&str], expressions: &[&str]) -> (Run, String) {
    let log = host.file("trace");
    let mut command = Command::new("strace");
    clean(&mut command).args(["-f", "-y", "-s", "40", "-o"]).arg(&log);
    for expression in expressions {
        command.args(["-e", expression]);
    }
    command.arg(PROGRAM).arg("--root").arg(host.rooted("")).args(arguments).current_dir(host.dir());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let trace = fs::read_to_string(&log).unwrap_or_default();
    fs::remove_file(&log).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.signal().is_none_or(|signal| signal == 9), "{stderr}");
    (Run { code: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap(), stderr }, trace)
}
