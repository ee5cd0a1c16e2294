//! Killed at every system call that changes the file, and refused room at every one of them.

use std::ops::ControlFlow;
use std::path::Path;

use aegis_keyring::{DekRecord, Dumped, KekRecord, NewWrapping, SqliteStore, Store};
use test_services::faults::{Fault, Traced};
use test_services::{scratch, tools};

use crate::child::{self, STEPS, said};

type Whole = (Vec<KekRecord>, Vec<(DekRecord, Vec<NewWrapping>)>, Vec<u64>);

/// Everything in the file, and how far its KEKs are verified.
fn whole(path: &Path) -> Whole {
    let store = SqliteStore::open(path).unwrap();
    store.check().unwrap();
    let (mut keks, mut deks) = (Vec::new(), Vec::new());
    store
        .dump(&mut |next| {
            match next {
                Dumped::Keks(found) => keks = found,
                Dumped::Dek(dek, wrappings) => deks.push((*dek, wrappings)),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let verified = keks.iter().map(|kek| store.wrap_progress(kek.key_id()).unwrap().verified).collect();
    (keks, deks, verified)
}

/// The keyring before the steps, in `dir`, and what is in it after none, one, … all of them.
fn prepared(dir: &Path) -> Vec<Whole> {
    let path = dir.join("keyring.db");
    child::before_the_steps(&SqliteStore::open(&path).unwrap());
    let working = scratch::dir();
    scratch::copy_tree(dir, working.path());
    let path = working.path().join("keyring.db");
    let mut states = vec![whole(&path)];
    for (_, step) in STEPS {
        step(&SqliteStore::open(&path).unwrap()).unwrap();
        states.push(whole(&path));
    }
    states
}

fn traced(task: &str, dir: &Path) -> Traced {
    let path = dir.join("keyring.db");
    Traced { command: child::command(task, path.to_str().unwrap()), trace: dir.join("trace") }
}

#[test]
fn a_kill_at_any_write_leaves_what_was_there_or_what_is_new() {
    if !tools::need("a kill at any write", &["strace"]) {
        return;
    }
    let start = scratch::dir();
    let states = prepared(start.path());
    at_every_point(&start, &states, Fault::Kill);
}

#[test]
fn a_full_disk_at_any_write_is_named_and_changes_nothing() {
    if !tools::need("a full disk at any write", &["strace"]) {
        return;
    }
    let start = scratch::dir();
    let states = prepared(start.path());
    at_every_point(&start, &states, Fault::Full);
}

fn at_every_point(start: &tempfile::TempDir, states: &[Whole], fault: Fault) {
    let copy = || {
        let dir = scratch::dir();
        scratch::copy_tree(start.path(), dir.path());
        dir
    };
    let points = traced("steps", copy().path()).points();
    assert!(points.len() > STEPS.len() * 2, "{points:?}");
    for point in &points {
        // The test runner opens files on a thread of its own, where such a refusal has nothing to do with a keyring.
        if fault == Fault::Full && point.shown.starts_with("open") {
            continue;
        }
        let dir = copy();
        let run = traced("steps", dir.path()).run_with(point, fault);
        let said = said(&run.stdout);
        let done = said.iter().filter(|said| said.starts_with("done ")).count();
        let found = whole(&dir.path().join("keyring.db"));
        let reached = states.iter().position(|state| *state == found);
        // What was reported is there; what was not may be there whole.
        let allowed = [Some(done), Some(done + 1)];
        assert!(allowed.contains(&reached), "{}: {said:?}, but state {reached:?}", point.shown);
        if fault == Fault::Full {
            let failed = said.iter().find(|said| said.starts_with("failed "));
            let is_named = |failed: &String| {
                ["failed Database(Full", "failed Database(OutcomeUnknown", "failed Database(Failed"]
                    .iter()
                    .any(|name| failed.starts_with(name))
            };
            // Some refusals SQLite can do without: the WAL is moved into the file another time.
            assert!(failed.is_none_or(is_named), "{}: {said:?}", point.shown);
            assert!(failed.is_some() || done == STEPS.len(), "{}: {said:?}", point.shown);
            if failed.is_some_and(|failed| failed.starts_with("failed Database(Full")) {
                assert_eq!(reached, Some(done), "{}: {said:?}", point.shown);
            }
        }
    }
}

#[test]
fn a_kill_while_it_is_made_leaves_nothing_that_the_next_one_cannot_use() {
    if !tools::need("a kill while it is made", &["strace"]) {
        return;
    }
    let points = traced("first steps", scratch::dir().path()).points();
    for point in &points {
        let dir = scratch::dir();
        let run = traced("first steps", dir.path()).run_with(point, Fault::Kill);
        let store = SqliteStore::open(&dir.path().join("keyring.db")).unwrap();
        store.check().unwrap();
        let keks = store.keks().unwrap();
        if said(&run.stdout).contains(&"done enrol".to_owned()) {
            assert_eq!(keks.len(), 1, "{}", point.shown);
        } else if keks.is_empty() {
            store.enrol_first_kek(&crate::fixture::kek(1)).unwrap();
        }
        drop(store);
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "keyring.db" && !name.ends_with(".tmp"))
            .collect();
        assert!(left.is_empty(), "{}: {left:?}", point.shown);
    }
}
