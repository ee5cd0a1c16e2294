//! A machine: a directory, the variables of its KEK, and the program run on it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use test_services::faults::Traced;
use test_services::scratch;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_aegis");
/// What its key file is under, if it has one.
pub(crate) const PASSPHRASE: &str = "seven lonely zebras cross the delta";

/// A working directory; the state is in `state`.
pub(crate) struct Machine {
    dir: TempDir,
    /// The variables of its KEK.
    pub(crate) variables: BTreeMap<String, String>,
}

/// What a run of the program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Machine {
    /// Without a KEK.
    pub(crate) fn empty() -> Self {
        let machine = Self { dir: scratch::dir(), variables: BTreeMap::new() };
        fs::write(machine.file("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        fs::set_permissions(machine.file("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
        machine
    }

    /// With a KEK in variables, which takes no time to load, and nothing under it yet.
    pub(crate) fn with_variables() -> Self {
        let mut machine = Self::empty();
        machine.new_kek("a.env");
        machine.take("a.env");
        machine
    }

    /// Set up, with a KEK in variables, and that of another one in `b.env`.
    pub(crate) fn set_up() -> Self {
        let machine = Self::with_variables();
        machine.ok(&["init"]);
        machine.new_kek("b.env");
        machine
    }

    /// Makes a KEK whose variables are in `file`.
    pub(crate) fn new_kek(&self, file: &str) {
        // Elsewhere, so that this is in no log.
        let elsewhere = scratch::dir();
        let mut command = self.command(&["kek", "provision", "--provider", "environment", "--out", file]);
        let made = command.env("AEGIS_STATE_DIR", elsewhere.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Puts the variables of a file in the place of those that are set.
    pub(crate) fn take(&mut self, file: &str) {
        let text = fs::read_to_string(self.file(file)).unwrap();
        let variables = text.lines().filter_map(|line| line.split_once('='));
        // As a shell takes them: the quotes are not part of the value.
        let unquoted = |value: &str| match value.chars().next() {
            Some(quote @ ('\'' | '"')) => value.trim_matches(quote).to_owned(),
            _ => value.to_owned(),
        };
        self.variables = variables.map(|(name, value)| (name.to_owned(), unquoted(value))).collect();
    }

    /// The same files in another directory; in memory, where there is one: what is killed there needs no real disk.
    pub(crate) fn copy(&self) -> Self {
        let dir = TempDir::new_in("/dev/shm").unwrap_or_else(|_| scratch::dir());
        scratch::copy_tree(self.dir.path(), dir.path());
        Self { dir, variables: self.variables.clone() }
    }

    /// The same machine, as somebody sees it who is configured with another KEK.
    pub(crate) fn run_as(&self, file: &str, arguments: &[&str]) -> Run {
        let mut other = Self { dir: scratch::dir(), variables: BTreeMap::new() };
        fs::copy(self.file(file), other.file(file)).unwrap();
        other.take(file);
        let mut command = self.command(arguments);
        for name in self.variables.keys() {
            command.env_remove(name);
        }
        Run::of(command.envs(&other.variables))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file in the working directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, not yet started. No variable of a developer reaches it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("AEGIS_") {
                command.env_remove(variable);
            }
        }
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("AEGIS_STATE_DIR", self.file("state"))
            .env("AEGIS_PASSPHRASE_FILE", self.file("passphrase"))
            .env_remove("RUST_BACKTRACE")
            .envs(&self.variables)
            .stdin(Stdio::null());
        command
    }

    /// The program under the harness that disturbs it.
    pub(crate) fn traced(&self, arguments: &[&str]) -> Traced {
        Traced { command: self.command(arguments), trace: self.file("trace") }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs it, and expects that it succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}\n{}{}", run.stdout, run.stderr);
        run
    }

    /// Runs it, and expects that it is refused, with a reason that has `why` in it.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], why: &str) {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}\n{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(why), "{arguments:?}\n{}", run.stderr);
    }

    /// The members of each DEK.
    pub(crate) fn deks(&self) -> Vec<Value> {
        self.ok(&["dek", "list", "--json"]).json()["deks"].as_array().unwrap().clone()
    }

    /// The version of the `n`th DEK, the oldest first.
    pub(crate) fn version(&self, n: usize) -> String {
        self.deks()[n]["version"].as_str().unwrap().to_owned()
    }

    /// The entries of the log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file("state/audit/log.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many changes of that kind the log has.
    pub(crate) fn logged(&self, action: &str, step: &str) -> usize {
        let is_it = |entry: &&Value| {
            entry["action"] == action && entry["outcome"] == "accepted" && entry["detail"]["step"] == step
        };
        self.log().iter().filter(is_it).count()
    }
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let mut stderr = String::from_utf8(output.stderr).unwrap();
        if let Some(signal) = output.status.signal() {
            stderr.push_str(&format!("\n(ended by signal {signal})"));
        }
        Self { code: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap(), stderr }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}
