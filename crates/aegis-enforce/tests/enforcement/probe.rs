//! The probe: compiled from C for each run of the tests, and asked inside the machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// `EPERM`
pub(crate) const DENIED: i32 = 1;
/// Where it is in the machine.
pub(crate) const PROBE: &str = "/t/probe";
/// The same, linked dynamically.
pub(crate) const DYNAMIC: &str = "/t/probe-dynamic";

/// Compiles it, linked statically so that it runs anywhere.
pub(crate) fn compile(into: &Path) -> PathBuf {
    compile_as(into, "probe", &["-static"])
}

/// Compiles it so that it needs a loader.
pub(crate) fn compile_dynamic(into: &Path) -> PathBuf {
    compile_as(into, "probe-dynamic", &[])
}

fn compile_as(into: &Path, name: &str, more: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/enforcement/probe.c");
    let program = into.join(name);
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .args(more)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Asks the probe for something, such as `open /etc/passwd`, and tells the error number, 0 for none.
pub(crate) fn ask(what: &str) -> i32 {
    let status = Command::new(PROBE).args(what.split(' ')).status();
    let status = status.unwrap_or_else(|error| panic!("the probe does not run for {what}: {error}"));
    status.code().unwrap_or_else(|| panic!("the probe died of {what}: {status}"))
}

/// One process that is asked again and again.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    pub(crate) fn start() -> Self {
        Self::of(PROBE)
    }

    pub(crate) fn of(program: &str) -> Self {
        let child = Command::new(program).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{program} does not run: {error}"));
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    pub(crate) fn ask(&mut self, what: &str) -> i32 {
        self.tell(what);
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("{what}: the process said {line:?}"))
    }

    /// Asks for something that has no answer.
    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
