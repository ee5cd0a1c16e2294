//! What is pinned: the agent's own, and what outlives it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aegis_enforce::{Enforcement, FileId, HostResolver, KernelError, Mode, Options, Resolver as _};

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::swaps::Hammers;
use super::{Canary, EMPTY, LABEL, Place, Scenario, Start, compiled, load, swap, until};
use crate::probe::{DENIED, ask};

pub(super) const ALL: &[Scenario] = &[
    ("what is the agent's is changed by nobody else", Start::Bare(own)),
    ("an agent killed at any point leaves enforcement as it was", Start::Bare(killed)),
    ("an unconfirmed policy falls back", Start::Bare(unconfirmed)),
    ("a word that is half written is no hole", Start::Bare(half_written)),
];

const PINS: &str = "/sys/fs/bpf/aegis-test";

fn pinned(more: Options) -> Options {
    Options { pins: Some(PathBuf::from(PINS)), ..more }
}

fn in_place(policy: &str) -> Enforcement {
    let enforcement = load(&pinned(Options::default()));
    swap(&enforcement, policy, Mode::Enforce);
    enforcement.settle().unwrap();
    enforcement
}

fn id(path: &str) -> FileId {
    HostResolver::new().file(path).unwrap()
}

fn deny(path: &str) -> String {
    format!("version=6\n[deny_path]\n{path}\n")
}

fn nothing_else_is_left() {
    for suffix in [".new", ".old"] {
        assert!(!Path::new(&format!("{PINS}{suffix}")).exists(), "{suffix} is left");
    }
}

fn own() {
    let place = Place::new("own");
    let (agent, other) = (place.other_probe("agent"), place.file("other", "x"));
    let state = place.directory("state");
    let file = place.file("state/file", "x");
    let options = Options { programs: vec![id(&agent)], directories: vec![id(&state)], ..Options::default() };
    let enforcement = load(&pinned(options));
    swap(&enforcement, EMPTY, Mode::Audit);
    enforcement.settle().unwrap();
    let control = format!("{PINS}/maps/aegis_control");
    let link = format!("{PINS}/links/aegis_file_open");
    for what in [
        format!("unlink {link}"),
        format!("unlink {control}"),
        format!("rename {link} {PINS}/links/x"),
        format!("rename {PINS} /sys/fs/bpf/elsewhere"),
        format!("rmdir {PINS}/links"),
        format!("rmdir {PINS}"),
        format!("bpf-pin {control} 0"),
        "bpf-by-number aegis_".to_owned(),
        "bpf-by-number .data.aegis_now".to_owned(),
        "bpf-by-number .data.aegis_mov".to_owned(),
        "bpf-by-number .data.aegis_res".to_owned(),
        "unmount /sys/fs/bpf".to_owned(),
        format!("write {agent}"),
        format!("truncate {agent}"),
        format!("unlink {agent}"),
        format!("rename {agent} {}", place.path("x")),
        format!("rename {other} {agent}"),
        format!("write {file}"),
        format!("truncate {file}"),
        format!("create {state}/new"),
        format!("mkdir {state}/new"),
        format!("unlink {file}"),
        format!("rename {file} {other}"),
        format!("rename {other} {file}"),
        format!("rename {state} {}", place.path("x")),
        format!("link {other} {state}/new"),
        format!("symlink {other} {state}/new"),
        format!("attach-to {}", std::process::id()),
    ] {
        let before = enforcement.counters().unwrap().denied;
        assert_eq!(ask(&what), DENIED, "{what}");
        assert!(enforcement.counters().unwrap().denied > before, "{what}: counted");
    }
    for what in [
        format!("open {agent}"),
        format!("exec {agent} nothing"),
        format!("open {file}"),
        format!("bpf-pin {control} 8"),
        "bpf-map".to_owned(),
        format!("write {other}"),
    ] {
        assert_eq!(ask(&what), 0, "{what}");
    }
    assert_ne!(ask(&format!("bpf-detach {link}")), 0, "such a link cannot be detached");
    fs::write(&file, "the agent itself may").unwrap();
    let attached = enforcement.attached().unwrap();
    assert!(attached.iter().any(|name| name == "aegis_file_open"), "{attached:?}");
    drop(enforcement);
    another_build(&place.file("secret", "x"), &other);
    assert!(!Path::new(PINS).exists());
    until("nothing is left of it", || ask(&format!("unlink {file}")) == 0);
}

/// Takes over from what is pinned, and goes.
fn another_build(secret: &str, open: &str) {
    let first = Enforcement::adopt(Path::new(PINS)).unwrap().unwrap();
    assert!(first.is_of_this_build().unwrap());
    swap(&first, &deny(secret), Mode::Enforce);
    let before = first.in_force().unwrap().unwrap().generation;
    drop(first);
    assert_eq!(ask(&format!("open {secret}")), DENIED, "it outlives the handle");
    // As if its programs had fewer maps than this build's: they enforce until others take their place.
    fs::remove_file(format!("{PINS}/maps/aegis_moved")).unwrap();
    let older = Enforcement::adopt(Path::new(PINS)).unwrap().unwrap();
    assert!(!older.is_of_this_build().unwrap());
    assert!(older.moved().is_err() && older.in_force().unwrap().is_some());
    drop(older);
    let mut hammers = Hammers::start(1, secret, open);
    let second = load(&pinned(Options::default()));
    assert_eq!(ask(&format!("open {secret}")), DENIED);
    swap(&second, &deny(secret), Mode::Enforce);
    second.settle().unwrap();
    nothing_else_is_left();
    assert_eq!(ask(&format!("open {secret}")), DENIED);
    let adopted = Enforcement::adopt(Path::new(PINS)).unwrap().unwrap();
    assert!(adopted.in_force().unwrap().unwrap().generation < before, "it is the second one");
    hammers.stop();
    adopted.remove().unwrap();
    until("nothing is left of it", || ask(&format!("open {secret}")) == 0);
}

/// Set in the process that is killed: the file that it denies, and the seed of what it does.
const VICTIM: &str = "AEGIS_ENFORCE_VICTIM";

/// The agent of [`killed`]: does what agents do, over and over.
#[test]
fn an_agent_that_is_killed() {
    let Ok(secret) = std::env::var(VICTIM) else { return };
    let policy = |round: u32| format!("{}[deny_ip]\n192.0.2.{}\n", deny(&secret), round % 250 + 1);
    for round in 0.. {
        let enforcement = Enforcement::adopt(Path::new(PINS)).unwrap().unwrap();
        for swapped in 0..3 {
            swap(&enforcement, &policy(round + swapped), Mode::Enforce);
        }
        if round % 2 == 1 {
            let enforcement = load(&pinned(Options::default()));
            swap(&enforcement, &policy(round), Mode::Enforce);
            enforcement.settle().unwrap();
        }
    }
}

fn victim(secret: &str) -> Child {
    let child = Command::new("/proc/self/exe")
        .args(["inside::pins::an_agent_that_is_killed", "--exact", "--nocapture"])
        .env(VICTIM, secret)
        .env_remove(super::SCENARIOS)
        .stdout(Stdio::null())
        .spawn();
    child.unwrap()
}

fn killed() {
    let place = Place::new("killed");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "x"));
    drop(in_place(&deny(&secret)));
    let mut hammers = Hammers::start(1, &secret, &open);
    // Any sequence will do, and the same one each time can be repeated.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for point in 0..50 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Each tenth is left long enough to load anew.
        let longest = if point % 10 == 0 { 4000 } else { 300 };
        let mut child = victim(&secret);
        std::thread::sleep(Duration::from_millis(random % longest));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ask(&format!("open {secret}")), DENIED, "point {point}: before it is adopted");
        let adopted = Enforcement::adopt(Path::new(PINS)).unwrap().expect("enforcement is found");
        nothing_else_is_left();
        assert!(adopted.in_force().unwrap().is_some());
        adopted.verify().unwrap();
        swap(&adopted, &deny(&secret), Mode::Enforce);
        assert_eq!(ask(&format!("open {secret}")), DENIED, "point {point}: after the next swap");
    }
    hammers.stop();
    Enforcement::adopt(Path::new(PINS)).unwrap().unwrap().remove().unwrap();
    until("nothing is left of it", || ask(&format!("open {secret}")) == 0);
}

fn unconfirmed() {
    let place = Place::new("unconfirmed");
    let (first, second) = (place.file("first", "x"), place.file("second", "x"));
    let denied = || (ask(&format!("open {first}")) == DENIED, ask(&format!("open {second}")) == DENIED);
    let apply = |enforcement: &Enforcement, policy: &str, within: Option<Duration>| {
        enforcement.swap(&compiled(policy, Mode::Enforce, Canary { file: None }), &LABEL, within).unwrap();
    };
    let wait_for = |what: (bool, bool)| until(&format!("{what:?}"), || denied() == what);
    let short = Some(Duration::from_secs(1));
    let enforcement = load(&Options::default());
    assert!(matches!(enforcement.confirm(), Err(KernelError::NothingToConfirm)));
    // The first one, with nothing before it.
    apply(&enforcement, &deny(&first), short);
    assert_eq!(denied(), (true, false));
    wait_for((false, false));
    assert!(matches!(enforcement.confirm(), Err(KernelError::TooLate)));
    assert!(enforcement.in_force().unwrap().is_none_or(|in_force| in_force.fell_back));
    apply(&enforcement, &deny(&first), None);
    assert_eq!(denied(), (true, false));
    assert!(matches!(enforcement.confirm(), Err(KernelError::NothingToConfirm)));
    // One that is not confirmed.
    apply(&enforcement, &deny(&second), short);
    assert_eq!(denied(), (false, true));
    let in_force = enforcement.in_force().unwrap().unwrap();
    assert!(in_force.unconfirmed_for.is_some() && !in_force.fell_back);
    wait_for((true, false));
    assert!(matches!(enforcement.confirm(), Err(KernelError::TooLate)));
    assert!(enforcement.in_force().unwrap().unwrap().fell_back);
    // Another one after that, not confirmed either, and one that is.
    apply(&enforcement, &deny(&second), short);
    assert_eq!(denied(), (false, true));
    wait_for((true, false));
    apply(&enforcement, &deny(&second), Some(Duration::from_secs(2)));
    enforcement.confirm().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(denied(), (false, true), "it stays");
    let in_force = enforcement.in_force().unwrap().unwrap();
    assert!(in_force.unconfirmed_for.is_none() && !in_force.fell_back);
    // Two in a row before either is confirmed.
    apply(&enforcement, &deny(&first), Some(Duration::from_secs(60)));
    apply(&enforcement, &format!("version=6\n[deny_path]\n{first}\n{second}\n"), short);
    assert_eq!(denied(), (true, true));
    wait_for((true, false));
}

/// From one generation to the next the bytes of the word may all be zero, as from 255 to 256. That is not "no policy".
fn half_written() {
    let place = Place::new("half_written");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "x"));
    let enforcement = in_place(&deny(&secret));
    // The zero that may be seen has the next generation's slot.
    swap(&enforcement, &deny(&secret), Mode::Enforce);
    let in_force = enforcement.in_force().unwrap().unwrap();
    assert_eq!(in_force.generation, 2);
    let word = MapHandle::from_pinned_path(format!("{PINS}/maps/aegis_control")).unwrap();
    let key = 0_u32.to_ne_bytes();
    let whole = word.lookup(&key, MapFlags::ANY).unwrap().unwrap();
    word.update(&key, &(1_u64 << 63).to_ne_bytes(), MapFlags::ANY).unwrap();
    assert_eq!(ask(&format!("open {secret}")), DENIED);
    assert_eq!(ask(&format!("open {open}")), 0);
    word.update(&key, &whole, MapFlags::ANY).unwrap();
    assert_eq!(enforcement.in_force().unwrap().unwrap(), in_force);
    enforcement.remove().unwrap();
}
