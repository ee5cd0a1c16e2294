//! Files and programs by fanotify, natively: each test marks nothing but what is in a directory of its own.

mod files;
mod inside;
mod programs;
mod supervised;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_enforce::Mode;
use aegis_enforce::fanotify::{Decision, Fanotify, FanotifyRules, Filesystems, RuleOptions, RunError, Stop};
use aegis_policy::Limits;
use test_services::tools;

/// A policy in force, answered by a thread of this process.
struct Watch {
    fanotify: Option<Arc<Fanotify>>,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    decisions: Arc<Mutex<Vec<Decision>>>,
}

impl Watch {
    fn start(policy: &str, mode: Mode, filesystems: Filesystems) -> Self {
        let fanotify = Arc::new(Fanotify::start(rules(policy, mode, filesystems)).unwrap());
        let stop = Stop::new().unwrap();
        let decisions = Arc::new(Mutex::new(Vec::new()));
        let (running, until, told) = (Arc::clone(&fanotify), stop.clone(), Arc::clone(&decisions));
        let thread =
            std::thread::spawn(move || running.run(&until, &|decision| told.lock().unwrap().push(decision)));
        Self { fanotify: Some(fanotify), stop, thread: Some(thread), decisions }
    }

    /// Files that are named by path alone.
    fn files(policy: &str, mode: Mode) -> Self {
        Self::start(policy, mode, Filesystems::Of(Vec::new()))
    }

    /// What was decided, once `count` decisions are there.
    fn decisions(&self, count: usize) -> Vec<Decision> {
        wait_until("decisions were told", || self.decisions.lock().unwrap().len() >= count);
        self.decisions.lock().unwrap().clone()
    }

    fn fanotify(&self) -> &Fanotify {
        self.fanotify.as_deref().unwrap()
    }

    /// Nobody answers any more, and who asks waits.
    fn into_fanotify(mut self) -> Fanotify {
        self.end();
        Arc::into_inner(self.fanotify.take().unwrap()).unwrap()
    }

    fn end(&mut self) {
        self.stop.request();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

fn rules(policy: &str, mode: Mode, filesystems: Filesystems) -> FanotifyRules {
    let policy = aegis_policy::parse(policy.as_bytes(), &Limits::default()).unwrap();
    FanotifyRules::from_policy(&policy, RuleOptions { mode, filesystems, exempt_programs: Vec::new() })
}

/// Whether this process may ask for permission events, and the kernel has them.
#[track_caller]
fn supported(test: &str) -> bool {
    if !tools::need(test, &["cat", "sh"]) {
        return false;
    }
    match Fanotify::start(rules("version=1\n", Mode::Enforce, Filesystems::Of(Vec::new()))) {
        Ok(_) => true,
        Err(error) => tools::skip(test, &format!("{error}; it takes root")),
    }
}

/// Another process reads the file.
fn reads(path: &Path) -> bool {
    runs(Command::new("cat").arg(path))
}

fn runs(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A shell's command, with `$1` and so on.
fn shell(script: &str, arguments: &[&Path]) -> bool {
    runs(Command::new("sh").args(["-c", script, "sh"]).args(arguments))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sha256_of(path: &Path) -> String {
    aegis_crypto::sha256(&fs::read(path).unwrap()).to_string()
}
