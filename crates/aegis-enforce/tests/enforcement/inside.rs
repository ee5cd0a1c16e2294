//! What runs inside the machine, as root, with nobody else there.

mod bypasses;
mod canaries;
mod files;
mod flags;
mod groups;
mod moves;
mod network;
mod pins;
mod programs;
mod scale;
mod swaps;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_enforce::{
    Canary, Compiled, Enforcement, FileId, HostResolver, Label, Mode, Options, Resolver, compile,
};
use aegis_policy::Limits;

use crate::probe::{DENIED, PROBE, ask};

/// Set inside the machine.
pub(crate) const SCENARIOS: &str = "AEGIS_ENFORCE_SCENARIOS";

/// Set inside the machine that is for a million rules.
pub(crate) const MILLION: &str = "AEGIS_ENFORCE_MILLION";

/// A policy that denies nothing.
pub(crate) const EMPTY: &str = "version=6\n";

/// What a scenario starts with.
pub(crate) enum Start {
    /// Programs that are loaded once for all of these; the policy is empty before and after.
    Loaded(fn(&Enforcement)),
    /// Nothing.
    Bare(fn()),
}

pub(crate) type Scenario = (&'static str, Start);

const ALL: &[&[Scenario]] = &[
    files::ALL,
    moves::ALL,
    programs::ALL,
    network::ALL,
    groups::ALL,
    flags::ALL,
    canaries::ALL,
    scale::ALL,
    bypasses::ALL,
    swaps::ALL,
    pins::ALL,
];

pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().copied().flatten()
}

/// In the machine it runs them; elsewhere it sees to it that none is run under another's name.
#[test]
fn scenarios_run_where_they_belong() {
    let mut seen: Vec<&str> = all().map(|(name, _)| *name).collect();
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "two scenarios of one name");
    let Ok(wanted) = std::env::var(SCENARIOS) else { return };
    // A swap waits for the kernel's grace periods, which last long where processors are emulated.
    fs::write("/sys/kernel/rcu_expedited", "1").unwrap();
    let mut failed = Vec::new();
    let begun = Instant::now();
    let loaded = load(&Options::default());
    println!("loaded in {:.1} s", begun.elapsed().as_secs_f64());
    for (name, scenario) in all().filter(|(name, _)| wanted == "all" || name.contains(&wanted)) {
        let begun = Instant::now();
        let held = catch_unwind(AssertUnwindSafe(|| match scenario {
            Start::Loaded(run) => run(&loaded),
            Start::Bare(run) => run(),
        }));
        swap(&loaded, EMPTY, Mode::Enforce);
        let verdict = if held.is_ok() { "held" } else { "FAILED" };
        println!("scenario {name}: {verdict} ({:.1} s)", begun.elapsed().as_secs_f64());
        if held.is_err() {
            failed.push(*name);
        }
    }
    let begun = Instant::now();
    drop(loaded);
    println!("unloaded in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "{failed:?}");
}

/// A directory of its own on tmpfs, gone at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new("/tmp").join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn directory(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A program that does what the probe does and hashes to something else.
    pub(crate) fn other_probe(&self, name: &str) -> String {
        let path = self.path(name);
        fs::copy(PROBE, &path).unwrap();
        let mut content = fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut content, b"other").unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `sha256:…` of a file, as a policy has it.
pub(crate) fn hash_of(path: &str) -> String {
    let content = fs::read(path).unwrap();
    aegis_crypto::sha256(&content).as_bytes().iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// `device:inode` of a file, as a policy has it.
pub(crate) fn inode_of(path: &str) -> String {
    let metadata = fs::metadata(path).unwrap();
    format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Programs leave their hooks when the kernel comes to it, and deadlines pass.
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < end, "not so: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn this_program() -> FileId {
    HostResolver::new().file("/proc/self/exe").unwrap()
}

/// Loads the programs; they stay for as long as the value lives, unless they are pinned.
pub(crate) fn load(options: &Options) -> Enforcement {
    let mut options = options.clone();
    options.lsm = true;
    options.programs.push(this_program());
    Enforcement::load(&options).unwrap_or_else(|error| {
        panic!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
    })
}

pub(crate) fn compiled(policy: &str, mode: Mode, canary: Canary) -> Compiled {
    let parsed = aegis_policy::parse(policy.as_bytes(), &Limits::default());
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}\n{policy}"));
    compile(&parsed, &HostResolver::new(), mode, &canary)
}

pub(crate) const LABEL: Label = Label { version: Some(1), sha256: [7; 32], now: 0 };

pub(crate) fn swap(enforcement: &Enforcement, policy: &str, mode: Mode) {
    let moved = enforcement.moved().unwrap();
    let compiled = compiled(policy, mode, Canary { file: None });
    enforcement.swap(&compiled, &LABEL, None).unwrap();
    enforcement.set_resolved(moved).unwrap();
}

/// Asks under no policy, under `policy`, and under `policy` in audit mode. What is `denied` is denied under the policy and
/// counted, and goes on as usual, counted, in audit mode; what is `allowed` goes on as usual, uncounted.
pub(crate) fn judged(enforcement: &Enforcement, policy: &str, denied: &[&str], allowed: &[&str]) {
    swap(enforcement, EMPTY, Mode::Enforce);
    let usual = |what: &&str| {
        let result = ask(what);
        assert_ne!(result, DENIED, "{what}: without a policy");
        result
    };
    let usually_of_denied: Vec<i32> = denied.iter().map(usual).collect();
    let usually_of_allowed: Vec<i32> = allowed.iter().map(usual).collect();
    for mode in [Mode::Enforce, Mode::Audit] {
        swap(enforcement, policy, mode);
        for (what, usually) in denied.iter().zip(&usually_of_denied) {
            let before = enforcement.counters().unwrap();
            let expected = if mode == Mode::Enforce { DENIED } else { *usually };
            assert_eq!(ask(what), expected, "{what}: {mode:?}\n{policy}");
            let after = enforcement.counters().unwrap();
            let counted = (after.denied > before.denied, after.audited > before.audited);
            assert_eq!(counted, (mode == Mode::Enforce, mode == Mode::Audit), "{what}: counted\n{policy}");
        }
        let before = enforcement.counters().unwrap();
        for (what, usually) in allowed.iter().zip(&usually_of_allowed) {
            assert_eq!(ask(what), *usually, "{what}: {mode:?}\n{policy}");
        }
        let after = enforcement.counters().unwrap();
        assert_eq!(
            (after.denied, after.audited),
            (before.denied, before.audited),
            "{allowed:?}: {mode:?}\n{policy}"
        );
    }
    swap(enforcement, EMPTY, Mode::Enforce);
}
