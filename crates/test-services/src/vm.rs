//! A throw-away virtual machine with a kernel that has BPF LSM, for what cannot be tested on the host: `vm/run-in-vm`.
//!
//! `cargo xtask setup` and `cargo xtask test` fetch the kernels before any test runs. A test uses what is there and
//! downloads nothing; without it, [`need`] skips the test, aloud and counted. At most two machines run at once.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::{scratch, tools};

/// Which kernel boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// 6.1, the oldest that is supported: Debian 12.
    Old,
    /// The newest that Debian builds; most kfuncs are only here.
    New,
}

impl Kernel {
    /// Both, oldest first.
    pub const ALL: [Self; 2] = [Self::Old, Self::New];

    /// As `run-in-vm --kernel` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Old => "6.1",
            Self::New => "newest",
        }
    }
}

/// Whether a machine can be started here without installing or downloading anything; if not, why.
///
/// # Errors
///
/// What is missing, a sentence.
pub fn available(kernel: Kernel) -> Result<(), String> {
    static OLD: OnceLock<Result<(), String>> = OnceLock::new();
    static NEW: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = match kernel {
        Kernel::Old => &OLD,
        Kernel::New => &NEW,
    };
    answer
        .get_or_init(|| {
            let mut command = Command::new("bash");
            command.arg(script()).args(["--offline", "--prepare", "--kernel", kernel.name()]);
            match command.stdin(Stdio::null()).output() {
                Ok(output) if output.status.success() => Ok(()),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).trim().replace("run-in-vm: ", "");
                    Err(format!("no VM with kernel {}: {}", kernel.name(), said.replace('\n', "; ")))
                }
                Err(error) => Err(format!("no VM: cannot run bash: {error}")),
            }
        })
        .clone()
}

/// Whether the test can go on, as [`tools::need`] says it for programs.
#[track_caller]
pub fn need(test: &str, kernel: Kernel) -> bool {
    match available(kernel) {
        Ok(()) => true,
        Err(why) => tools::skip(test, &why),
    }
}

/// A machine to be: nothing runs before [`run`](Self::run). No disk, no network, one CPU and three minutes, unless asked
/// for otherwise. What the command finds in it is in the header of `vm/run-in-vm`.
#[derive(Debug, Clone)]
pub struct Machine {
    kernel: Kernel,
    options: Vec<OsString>,
}

impl Machine {
    /// A machine that will boot this kernel.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, options: Vec::new() }
    }

    /// Copies a file or directory to an absolute path in the machine, with its modes and, for a program, the shared
    /// libraries that it needs.
    pub fn file(self, source: impl AsRef<Path>, destination: &str) -> Self {
        let source = source.as_ref().as_os_str();
        assert!(!source.as_bytes().contains(&b':'), "{} has a colon in it", source.display());
        let mut pair = source.to_owned();
        pair.push(":");
        pair.push(destination);
        self.option("--file", pair)
    }

    /// Loads a kernel module, such as `overlay` or `veth`, and those that it needs.
    pub fn module(self, name: &str) -> Self {
        self.option("--module", name)
    }

    /// An empty ext4 file system with fs-verity at `/disk`.
    pub fn disk(self, mebibytes: u32) -> Self {
        self.option("--disk", mebibytes.to_string())
    }

    /// The memory, where the default (768 MiB, more with large files) is not enough.
    pub fn memory(self, mebibytes: u32) -> Self {
        self.option("--memory", mebibytes.to_string())
    }

    /// Sets a variable for the command, which gets none of the host's.
    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut pair = OsString::from(name);
        pair.push("=");
        pair.push(value);
        self.option("--env", pair)
    }

    /// How many CPUs it has. More than one only makes sense for races between them: they are emulated.
    pub fn cpus(self, count: u32) -> Self {
        self.option("--cpus", count.to_string())
    }

    /// Which security modules the kernel starts, instead of `landlock,lockdown,yama,integrity,bpf`.
    pub fn lsm(self, list: &str) -> Self {
        self.option("--lsm", list)
    }

    /// Its clock counts instructions, one a nanosecond, so that a timing repeats within 1 %. Slower, and one CPU only.
    pub fn icount(mut self) -> Self {
        self.options.push("--icount".into());
        self
    }

    /// The longest that boot and command may take together. The wait for other machines is not counted.
    pub fn timeout(self, limit: Duration) -> Self {
        self.option("--timeout", limit.as_secs().max(1).to_string())
    }

    /// Boots, runs a command as root with `/t` as its directory, and gives what it printed.
    ///
    /// # Panics
    ///
    /// If the machine cannot start, dies, or is stopped by its timeout before the command has ended: with what the command
    /// and the kernel printed until then.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, command: &[S]) -> Outcome {
        let output = self.output(command);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let status = output.status.code().filter(|code| !(stopped(*code) && ends_in_a_message(&stderr)));
        let Some(status) = status else {
            panic!(
                "the VM (kernel {}) gave no result: {}\n{stdout}\n{stderr}",
                self.kernel.name(),
                output.status
            );
        };
        Outcome { status, stdout, stderr }
    }

    fn output<S: AsRef<OsStr>>(&self, command: &[S]) -> Output {
        let directory = scratch::target_dir().join("tmp");
        std::fs::create_dir_all(&directory).unwrap();
        // If the test is killed, the script is told, and ends QEMU and removes its files.
        let mut script_run = Command::new("setpriv");
        script_run.args(["--pdeathsig", "TERM", "bash"]).arg(script());
        script_run.args(["--offline", "--kernel", self.kernel.name()]).args(&self.options);
        script_run.arg("--").args(command);
        script_run.env("TMPDIR", directory).stdin(Stdio::null()).output().unwrap()
    }

    fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([OsString::from(name), value.into()]);
        self
    }
}

/// How a command in a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status; 128 and the signal's number if one ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Outcome {
    /// What the command printed, if it ended well.
    ///
    /// # Panics
    ///
    /// If it did not: with all that it printed.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.status == 0, "exit status {}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// The script's own statuses: a timeout, and a machine that could not be set up or died.
fn stopped(status: i32) -> bool {
    status == 124 || status == 125
}

/// The script says why it stopped last. A command may end with the same status, but not with such a line.
fn ends_in_a_message(stderr: &str) -> bool {
    stderr.lines().next_back().is_some_and(|line| line.starts_with("run-in-vm: "))
}

fn script() -> std::path::PathBuf {
    scratch::workspace().join("vm/run-in-vm")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_command_runs_under_bpf_lsm_and_its_output_and_status_come_back() {
        let test = "a_command_runs_under_bpf_lsm_and_its_output_and_status_come_back";
        if !need(test, Kernel::Old) {
            return;
        }
        let dir = scratch::dir();
        let file = dir.path().join("it's a file");
        std::fs::write(&file, "from the host\n").unwrap();
        let script = "cat /sys/kernel/security/lsm; echo; cat \"$1\"; printf '%s\\n' \"$NAME\"; pwd; echo bad >&2; exit 42";
        let outcome = Machine::new(Kernel::Old)
            .file(&file, "/t/copy of it")
            .env("NAME", "it's \"quoted\" $HOME")
            .run(&["sh", "-c", script, "sh", "/t/copy of it"]);
        let Some((modules, rest)) = outcome.stdout.split_once('\n') else { panic!("{outcome:?}") };
        assert!(modules.split(',').any(|module| module == "bpf"), "{modules}");
        assert_eq!(rest, "from the host\nit's \"quoted\" $HOME\n/t\n");
        assert_eq!(outcome.stderr, "bad\n");
        assert_eq!(outcome.status, 42);
    }

    #[test]
    fn a_machine_that_takes_too_long_is_stopped_and_fails_the_test() {
        if !need("a_machine_that_takes_too_long_is_stopped_and_fails_the_test", Kernel::Old) {
            return;
        }
        let run = std::panic::catch_unwind(|| {
            Machine::new(Kernel::Old).timeout(Duration::from_secs(1)).run(&["sleep", "600"])
        });
        let message = *run.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("stopped after 1 s"), "{message}");
    }

    const CHILD: &str = "AEGIS_TEST_VM_CHILD";

    #[test]
    fn a_machine_and_its_files_go_with_a_test_that_is_killed() {
        if !need("a_machine_and_its_files_go_with_a_test_that_is_killed", Kernel::Old) {
            return;
        }
        let dir = scratch::dir();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "vm::tests::starts_a_machine_that_would_not_end", "--ignored"])
            .env(CHILD, "1")
            .env("CARGO_TARGET_DIR", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let marker = dir.path().to_str().unwrap().to_owned();
        wait_until("QEMU was started", || processes(&marker).iter().any(|line| line.contains("qemu-system")));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("nothing of it runs", || processes(&marker).is_empty());
        wait_until("its files are gone", || {
            std::fs::read_dir(dir.path().join("tmp")).unwrap().next().is_none()
        });
    }

    #[test]
    #[ignore = "run by another test, in a process of its own"]
    fn starts_a_machine_that_would_not_end() {
        if std::env::var_os(CHILD).is_some() {
            Machine::new(Kernel::Old).run(&["sleep", "600"]);
        }
    }

    /// The command lines in which a text occurs.
    fn processes(text: &str) -> Vec<String> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .filter(|line| line.contains(text))
            .collect()
    }

    fn wait_until(what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !done() {
            assert!(Instant::now() < end, "not so: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn only_the_script_s_own_messages_count_as_its_failure() {
        assert!(stopped(125) && ends_in_a_message("some console\nrun-in-vm: stopped after 3 s\n"));
        assert!(!ends_in_a_message("run-in-vm: stopped after 3 s\nand the command went on\n"));
        assert!(!ends_in_a_message(""));
        assert!(!stopped(1) && !stopped(42) && stopped(124));
    }
}
