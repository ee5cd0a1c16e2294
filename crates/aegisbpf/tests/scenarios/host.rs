//! A host below a directory of its own, and the program run on it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use serde_json::Value;
use tempfile::TempDir;
use test_services::scratch::copy_tree;

use crate::snapshot::{Snapshot, same, snapshot};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_aegisbpf");
/// The variables that the program reads.
pub(crate) const VARIABLES: [&str; 6] = [
    "AEGIS_CONFIG_DIR",
    "AEGIS_KEYS_DIR",
    "AEGIS_CUSTODIANS_DIR",
    "AEGIS_STATE_DIR",
    "AEGIS_VERSION_COUNTER_PATH",
    "AEGIS_PKCS11_PIN",
];
/// Where the state is, below the root.
pub(crate) const STATE: &str = "var/lib/aegisbpf";
/// Where the custodians are, below the root.
pub(crate) const CUSTODIANS: &str = "etc/aegisbpf/custodians";
/// Where the trusted keys are, below the root.
pub(crate) const KEYS: &str = "etc/aegisbpf/keys";

static UMASK: Once = Once::new();

/// A working directory with files, keys in `signer/`, and the host's root in `root/`.
pub(crate) struct Host {
    dir: TempDir,
}

/// What a run of the program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    /// An empty machine.
    pub(crate) fn empty() -> Self {
        // Files that a test itself puts on a host are like those of an administrator, whatever the developer's umask.
        UMASK.call_once(|| {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        });
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("policy.conf"), policy(0)).unwrap();
        Self { dir }
    }

    /// A host that trusts key `first`, whose private half is in `signer/first.key`.
    pub(crate) fn with_key() -> Self {
        let host = Self::empty();
        host.new_key("first");
        host.ok(&["keys", "add", "signer/first.pub"]);
        host
    }

    /// A host that trusts `first` and has put `versions` in force one after the other, from `v1.signed` and so on.
    pub(crate) fn in_force(versions: &[u64]) -> Self {
        let host = Self::with_key();
        for version in versions {
            host.sign(*version, "first");
            host.ok(&["policy", "apply", &format!("v{version}.signed"), "--require-signature"]);
        }
        host
    }

    /// The same files in another directory; in memory, where there is one: what is killed there needs no real disk.
    pub(crate) fn copy(&self) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        copy_tree(self.dir.path(), dir.path());
        Self { dir }
    }

    /// The working directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in the working directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file below the root.
    pub(crate) fn rooted(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    /// A file of the state, if it is there.
    pub(crate) fn state(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.rooted(STATE).join(name)).ok()
    }

    /// Makes a key pair in `signer/`, and gives its id.
    pub(crate) fn new_key(&self, name: &str) -> String {
        let run = self.ok(&["keys", "generate", "--out", "signer", "--name", name, "--json"]);
        run.json()["id"].as_str().unwrap().to_owned()
    }

    /// Signs a policy that only this version has as `vN.signed`.
    pub(crate) fn sign(&self, version: u64, key: &str) -> PathBuf {
        let (policy_file, out) = (format!("policy-{version}.conf"), format!("v{version}.signed"));
        fs::write(self.file(&policy_file), policy(version)).unwrap();
        self.ok(&[
            "policy",
            "sign",
            &policy_file,
            "-o",
            &out,
            "--policy-version",
            &version.to_string(),
            "--key",
            &format!("signer/{key}.key"),
        ]);
        self.file(&out)
    }

    /// The program with `--root`, not yet started.
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(PROGRAM);
        clean(&mut command).arg("--root").arg(self.rooted("")).args(arguments).current_dir(self.dir.path());
        command
    }

    /// Runs it with nothing on its standard input.
    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Run {
        Run::of(self.command(arguments))
    }

    /// Runs it with `input` on its standard input.
    pub(crate) fn run_with(&self, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Run {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may refuse and be gone before it has read all of this.
        let _ = child.stdin.take().unwrap().write_all(input);
        Run::from(child.wait_with_output().unwrap())
    }

    /// Runs it, and expects success.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[impl AsRef<OsStr> + std::fmt::Debug]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}\n{}{}", run.stdout, run.stderr);
        run
    }

    /// Runs it, and expects that it refuses for this reason, says so, changes nothing, and logs it once.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[impl AsRef<OsStr> + std::fmt::Debug], because: &str) -> Run {
        self.refuses_run(|| self.run(arguments), &format!("{arguments:?}"), because)
    }

    /// The same for any way to run it.
    #[track_caller]
    pub(crate) fn refuses_run(&self, run: impl FnOnce() -> Run, what: &str, because: &str) -> Run {
        let (before, logged) = (self.snapshot_without_log(), self.log().len());
        let run = run();
        run.is_refusal(what, because);
        same(&before, &self.snapshot_without_log(), what);
        let log = self.log();
        assert_eq!(log.len(), logged + 1, "{what}: there must be one entry more\n{}", run.stderr);
        let entry = log.last().unwrap();
        assert!(entry["outcome"] == "refused" || entry["outcome"] == "failed", "{what}: {entry}");
        assert!(entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{what}: {entry}");
        run
    }

    /// Everything below the root but the log.
    pub(crate) fn snapshot_without_log(&self) -> Snapshot {
        let audit = Path::new(STATE).join("audit");
        let mut all = snapshot(&self.rooted(""));
        all.retain(|path, _| !path.starts_with(&audit));
        all
    }

    /// The entries of the log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = self.state("audit/log.jsonl").unwrap_or_default();
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    /// The entries of one action that changed something.
    pub(crate) fn changes_logged(&self, action: &str) -> Vec<Value> {
        let mut log = self.log();
        log.retain(|entry| {
            let detail = &entry["detail"];
            entry["action"] == action
                && entry["outcome"] == "accepted"
                && detail["result"] != "unchanged"
                && detail["already"] != true
        });
        log
    }

    /// The version counter's first line.
    pub(crate) fn counter(&self) -> Option<u64> {
        let text = String::from_utf8(self.state("version_counter")?).unwrap();
        Some(text.lines().next().unwrap().parse().unwrap())
    }

    /// Health, by the name of its checks.
    pub(crate) fn health(&self) -> BTreeMap<String, Value> {
        let run = self.run(&["health", "--json"]);
        let mut checks = BTreeMap::new();
        for check in run.json()["checks"].as_array().unwrap() {
            checks.insert(check["name"].as_str().unwrap().to_owned(), check.clone());
        }
        let worst = match run.code {
            Some(0) => "ok",
            Some(1) => "degraded",
            Some(2) => "failed",
            code => panic!("health ended with {code:?}"),
        };
        assert_eq!(run.json()["status"], worst);
        checks
    }

    /// No check of health has failed, no change is under way, and the log is whole.
    #[track_caller]
    pub(crate) fn is_sound(&self, what: &str) {
        for (name, check) in self.health() {
            assert_ne!(check["status"], "failed", "{what}: {name}: {}", check["message"]);
            if name == "interrupted_change" || name == "audit_log" {
                assert_eq!(check["status"], "ok", "{what}: {name}: {}", check["message"]);
            }
        }
        let verified = self.run(&["audit", "verify"]);
        assert_eq!(verified.code, Some(0), "{what}: {}", verified.stderr);
    }
}

impl Run {
    /// Runs a command to its end, with nothing on its standard input.
    pub(crate) fn of(mut command: Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().unwrap())
    }

    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It failed: exit 1, and what and why on standard error.
    #[track_caller]
    pub(crate) fn is_refusal_for_any_reason(&self, what: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{what}\n{}", self.stderr);
        assert!(
            self.stderr.contains("error: ") && self.stderr.contains("\n  because: "),
            "{what}:\n{}",
            self.stderr
        );
    }

    /// It refused: exit 1, nothing on standard output, and what, why and what to do on standard error.
    #[track_caller]
    pub(crate) fn is_refusal(&self, what: &str, because: &str) {
        assert_eq!(self.code, Some(1), "{what}\n{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "{what}");
        let starts =
            |start: &str| self.stderr.lines().any(|line| line.starts_with(start) && line.len() > start.len());
        assert!(starts("error: ") && starts("  because: ") && starts("  help: "), "{what}:\n{}", self.stderr);
        let steering = |c: char| c.is_control() && c != '\n';
        assert!(!self.stderr.contains(steering), "{what}: {:?}", self.stderr);
        assert!(self.stderr.contains(because), "{what}: {because:?} is not in\n{}", self.stderr);
    }
}

/// A policy that no other version has.
pub(crate) fn policy(version: u64) -> String {
    format!("version=1\n[deny_path]\n/etc/shadow\n/opt/release-{version}\n")
}

/// Takes away what a developer's own environment could change.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    // The test runner's library path would make the loader look in many places first.
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUST_BACKTRACE")
}
