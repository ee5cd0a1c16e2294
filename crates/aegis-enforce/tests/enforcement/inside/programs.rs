//! Programs: by their name, by what they hash to, and what verified ones may.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use aegis_enforce::{Enforcement, Mode};

use super::{EMPTY, Place, Scenario, Start, hash_of, judged, swap};
use crate::probe::{DENIED, PROBE, Session, ask};

pub(super) const ALL: &[Scenario] = &[
    ("deny_comm", Start::Loaded(denied_comm)),
    ("deny_binary_hash", Start::Loaded(denied_hash)),
    ("allow_binary_hash and trusted_exec_hash", Start::Loaded(listed_hashes)),
    ("ima_fail_closed", Start::Loaded(unmeasurable)),
    ("protect_connect", Start::Loaded(protected_connect)),
    ("protect_path and PR_SET_MM", Start::Loaded(disguised)),
    ("protect_runtime_deps", Start::Loaded(runtime_dependencies)),
];

fn denied_comm(enforcement: &Enforcement) {
    let place = Place::new("denied_comm");
    let (tool, other) = (place.other_probe("sometool"), place.other_probe("other"));
    let (to_other, to_tool) = (place.directory("x") + "/sometool", place.path("innocent"));
    symlink(&other, &to_other).unwrap();
    symlink(&tool, &to_tool).unwrap();
    let (longest, longer) =
        (place.other_probe("fifteen-letters"), place.other_probe("fifteen-letters-and-more"));
    let run = |program: &str| format!("exec {program} nothing");
    let denied = [run(&tool), run(&to_other), run(&to_tool), run(&longest)];
    let denied: Vec<&str> = denied.iter().map(String::as_str).collect();
    let allowed = [run(&other), run(&longer), format!("open {tool}")];
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    judged(enforcement, "version=6\n[deny_comm]\nsometool\nfifteen-letters\n", &denied, &allowed);
}

fn denied_hash(enforcement: &Enforcement) {
    let place = Place::new("denied_hash");
    let (bad, copy) = (place.other_probe("bad"), place.path("copy"));
    fs::copy(&bad, &copy).unwrap();
    let script = place.file("script", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let policy = format!("version=6\n[deny_binary_hash]\n{}\n{}\n", hash_of(&bad), hash_of(&script));
    let denied = [
        format!("exec {bad} nothing"),
        format!("exec {copy} nothing"),
        format!("exec {script}"),
        format!("load {bad}"),
        format!("execveat {bad}"),
    ];
    let denied: Vec<&str> = denied.iter().map(String::as_str).collect();
    let allowed = [format!("exec {PROBE} nothing"), format!("open {bad}"), format!("load {PROBE}")];
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    judged(enforcement, &policy, &denied, &allowed);
    // What it hashed to yesterday does not count.
    swap(enforcement, &policy, Mode::Enforce);
    assert_eq!(ask(&format!("exec {copy} nothing")), DENIED);
    fs::copy(PROBE, &copy).unwrap();
    assert_eq!(ask(&format!("exec {copy} nothing")), 0);
    fs::copy(&bad, &copy).unwrap();
    assert_eq!(ask(&format!("exec {copy} nothing")), DENIED);
}

fn listed_hashes(enforcement: &Enforcement) {
    let place = Place::new("listed_hashes");
    let (other, copy) = (place.other_probe("other"), place.path("copy"));
    fs::copy(PROBE, &copy).unwrap();
    let (run, run_copy) = (format!("exec {other} nothing"), format!("exec {copy} nothing"));
    let (probe, other) = (hash_of(PROBE), hash_of(&other));
    for list in ["allow_binary_hash", "trusted_exec_hash"] {
        judged(enforcement, &format!("version=6\n[{list}]\n{probe}\n"), &[&run], &[&run_copy]);
        judged(enforcement, &format!("version=6\n[{list}]\n{probe}\n{other}\n"), &[], &[&run, &run_copy]);
    }
    let on_one = format!("version=6\n[allow_binary_hash]\n{probe}\n{other}\n[trusted_exec_hash]\n{probe}\n");
    judged(enforcement, &on_one, &[&run], &[&run_copy]);
    let denied_too =
        format!("version=6\n[allow_binary_hash]\n{probe}\n{other}\n[deny_binary_hash]\n{other}\n");
    judged(enforcement, &denied_too, &[&run], &[&run_copy]);
}

/// A file system that serves one script which cannot be read to its end.
struct Unreadable {
    server: Child,
    at: String,
}

impl Unreadable {
    fn new(place: &Place) -> Self {
        let at = place.directory("unreadable");
        let server = Command::new(PROBE).args(["serve-unreadable", &at]).spawn().unwrap();
        let this = Self { server, at };
        let end = Instant::now() + Duration::from_secs(20);
        while fs::metadata(this.script()).is_err() {
            assert!(Instant::now() < end, "the file system does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    fn script(&self) -> String {
        format!("{}/script", self.at)
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        let _ = ask(&format!("unmount {}", self.at));
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn unmeasurable(enforcement: &Enforcement) {
    let place = Place::new("unmeasurable");
    let unreadable = Unreadable::new(&place);
    let run = format!("exec {}", unreadable.script());
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let list = format!("[trusted_exec_hash]\n{}\n{}\n", hash_of(PROBE), hash_of(shell.to_str().unwrap()));
    let before = enforcement.counters().unwrap().unmeasured;
    judged(enforcement, &format!("version=6\n{list}"), &[], &[&run]);
    assert!(enforcement.counters().unwrap().unmeasured > before, "the kernel cannot read it");
    judged(enforcement, &format!("version=6\n{list}[ima_fail_closed]\n"), &[&run], &[]);
    // What only listed programs may do, nobody can do unmeasured.
    let allow = list.replace("trusted_exec_hash", "allow_binary_hash");
    judged(enforcement, &format!("version=6\n{allow}"), &[&run], &[]);
}

fn protected_connect(enforcement: &Enforcement) {
    let place = Place::new("protected_connect");
    let mut before = Session::of(&place.other_probe("unlisted"));
    let policy = format!("version=6\n[protect_connect]\n[allow_binary_hash]\n{}\n", hash_of(PROBE));
    for (mode, refused) in [(Mode::Enforce, DENIED), (Mode::Audit, 0)] {
        swap(enforcement, &policy, mode);
        let counted = enforcement.counters().unwrap();
        assert_eq!(before.ask("udp 127.0.0.1 9"), refused);
        assert_eq!(before.ask("tcp 127.0.0.1 9"), refused);
        assert_eq!(before.ask("sendto ::1 9"), refused);
        let after = enforcement.counters().unwrap();
        assert_eq!(after.denied - counted.denied + after.audited - counted.audited, 3);
        assert_eq!(before.ask("bind-udp 127.0.0.1 4242"), 0, "it is about connecting");
        assert_eq!(ask("udp 127.0.0.1 9"), 0);
        assert_eq!(ask("tcp 127.0.0.1 9"), 0);
    }
    // Without a list nobody is verified.
    swap(enforcement, "version=6\n[protect_connect]\n", Mode::Enforce);
    assert_eq!(ask("udp 127.0.0.1 9"), DENIED);
}

/// Who is not the program that was run, and says so by PR_SET_MM.
fn disguised(enforcement: &Enforcement) {
    let place = Place::new("disguised");
    let secret = place.file("secret", "x");
    let listed = format!("[protect_path]\n{secret}\n[allow_binary_hash]\n{}\n", hash_of(PROBE));
    let read = format!("open {secret}");
    let mut other = Session::of(&place.other_probe("other"));
    swap(enforcement, &format!("version=6\n{listed}"), Mode::Enforce);
    assert_eq!((ask(&read), other.ask(&read)), (0, DENIED));
    assert_eq!(other.ask(&format!("disguise {PROBE}")), 0);
    assert_eq!(other.ask(&read), DENIED, "it does not run the program of that file");
    assert_eq!(other.ask(&format!("fork {read}")), DENIED, "nor does a child");
    other.tell(&format!("become {PROBE} serve"));
    assert_eq!(other.ask(&read), 0, "now it does");
}

fn runtime_dependencies(enforcement: &Enforcement) {
    let place = Place::new("runtime_dependencies");
    let (secret, library) = (place.file("secret", "x"), place.file("library", "unlisted"));
    let (read, load) = (format!("open {secret}"), format!("load {library}"));
    let lists = format!("[protect_path]\n{secret}\n[allow_binary_hash]\n{}\n", hash_of(PROBE));
    swap(enforcement, &format!("version=6\n{lists}[protect_runtime_deps]\n"), Mode::Enforce);
    let mut session = Session::start();
    assert_eq!(session.ask(&read), 0);
    assert_eq!(session.ask(&format!("load {PROBE}")), 0);
    assert_eq!(session.ask(&read), 0, "what it mapped is listed");
    assert_eq!(session.ask(&format!("fork {load}")), 0);
    assert_eq!(session.ask(&read), 0, "a child did it, not this process");
    assert_eq!(session.ask(&load), 0, "mapping is not denied");
    assert_eq!(session.ask(&read), DENIED, "it runs code that is on no list");
    assert_eq!(session.ask(&format!("fork {read}")), DENIED, "a child runs the same");
    assert_eq!(session.ask(&format!("fork fork {read}")), DENIED);
    assert_eq!(session.ask(&format!("exec {PROBE} {read}")), 0, "what it runs starts clean");
    session.tell(&format!("become {PROBE} serve"));
    assert_eq!(session.ask(&read), 0, "so does what it becomes");
    swap(enforcement, &format!("version=6\n{lists}"), Mode::Enforce);
    let mut session = Session::start();
    assert_eq!(session.ask(&load), 0);
    assert_eq!(session.ask(&read), 0, "without the section it does not matter");
    swap(enforcement, EMPTY, Mode::Enforce);
}
