//! Killed, or refused by the disk, at every system call that writes, syncs, renames, links or removes: what is left is
//! old or new, every DEK opens, the same command finishes it, and the log has it once.

#![allow(clippy::print_stderr, reason = "how many points were tried is said")]

use std::fs;

use serde_json::Value;
use test_services::faults::{Fault, Point};
use test_services::tools;

use crate::machine::Machine;

/// A command, and the machine that it is run on.
struct Case<'a> {
    before: Machine,
    arguments: &'a [&'a str],
    /// As the log calls what it does: action and step.
    changes: &'a [(&'a str, &'a str)],
    /// How it ends if it was done already.
    again: i32,
    /// The KEKs that open every DEK before, and after.
    opened_by: (&'a [&'a str], &'a [&'a str]),
    /// Which points are tried.
    pick: fn(usize, &Point) -> bool,
}

/// What a machine decides by, without names that differ from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    deks: Vec<(String, String, bool)>,
    keks: Vec<(String, String)>,
}

impl State {
    /// `None` before there is a keyring.
    fn of(machine: &Machine, what: &str) -> Option<Self> {
        let listed = machine.run(&["dek", "list", "--json"]);
        if listed.code == Some(1) && listed.stderr.contains("there is no keyring") {
            return None;
        }
        assert_eq!(listed.code, Some(0), "{what}: {}", listed.stderr);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let deks = listed.json()["deks"].as_array().unwrap().clone();
        let dek = |dek: &Value| (text(&dek["scope"]), text(&dek["state"]), dek["destroy_after"].is_string());
        let status = machine.ok(&["kek", "status", "--offline", "--json"]).json();
        let keks = status["keks"].as_array().unwrap().clone();
        Some(Self {
            deks: deks.iter().map(dek).collect(),
            keks: keks.iter().map(|kek| (text(&kek["provider"]), text(&kek["state"]))).collect(),
        })
    }
}

impl Case<'_> {
    fn run(self) {
        let name = self.arguments.join(" ");
        let clean = self.before.copy();
        clean.ok(self.arguments);
        let (old, new) = (State::of(&self.before, &name), State::of(&clean, &name));
        assert!(old != new, "{name} changes nothing");
        let points = self.before.copy().traced(self.arguments).points();
        assert!(points.len() > 10, "{name}: {points:?}");
        let picked: Vec<_> =
            points.iter().enumerate().filter(|(at, point)| (self.pick)(*at, point)).collect();
        eprintln!("{name}: {} of {} points", picked.len(), points.len());
        for (at, point) in picked {
            for fault in [Fault::Kill, Fault::Full] {
                let what = format!("{name}: {fault:?} at {} of {}, {}", at + 1, points.len(), point.shown);
                self.disturb(point, fault, (&old, &new), &what);
            }
        }
    }

    fn disturb(&self, point: &Point, fault: Fault, (old, new): (&Option<State>, &Option<State>), what: &str) {
        let machine = self.before.copy();
        let run = machine.traced(self.arguments).run_with(point, fault);
        assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
        let state = State::of(&machine, what);
        match run.code {
            Some(0) => assert_eq!(&state, new, "{what}: it said that it was done"),
            Some(1) => assert!(
                run.stderr.starts_with("error: ") || run.stderr.contains("\nerror: "),
                "{what}: {run:?}"
            ),
            code => assert!(code.is_none(), "{what}: {run:?}"),
        }
        self.is_between(&machine, &state, (old, new), what);

        // A command that is refused for another reason puts the log right.
        if state.is_some() {
            machine.refused(&["dek", "retire", "dek-v1-20200101"], "there is no DEK");
            if state == *new {
                self.is_logged_once(&machine, what);
            }
        }
        // And the same command finishes the rest.
        if state != *new {
            let again = machine.run(self.arguments);
            assert_eq!(again.code, Some(0), "{what}: {}", again.stderr);
        } else if self.again >= 0 {
            let again = machine.run(self.arguments);
            assert_eq!(again.code, Some(self.again), "{what}: {}", again.stderr);
        }
        assert_eq!(&State::of(&machine, what), new, "{what}: run again");
        self.is_logged_once(&machine, what);
        for kek in self.opened_by.1 {
            assert_eq!(machine.run_as(kek, &["kek", "verify"]).code, Some(0), "{what}: {kek}");
        }
        machine.ok(&["audit", "verify"]);
        let left: Vec<_> = left_over(&machine);
        // What the disk would not remove stays, under a name that nobody reads.
        assert!(left.is_empty() || (fault == Fault::Full && point.removes()), "{what}: left over: {left:?}");
    }

    /// No instant in which a DEK does not open with what is configured.
    fn is_between(
        &self,
        machine: &Machine,
        state: &Option<State>,
        (old, new): (&Option<State>, &Option<State>),
        what: &str,
    ) {
        let opened_by = if state == new { self.opened_by.1 } else { self.opened_by.0 };
        let (Some(state), Some(old), Some(new)) = (state, old, new) else { return };
        // A KEK that is being rotated to is neither.
        let settled = |state: &State| {
            let keks = state.keks.iter().filter(|(_, state)| state != "incoming");
            (state.deks.clone(), keks.cloned().collect::<Vec<_>>())
        };
        let now = settled(state);
        assert!(now == settled(old) || now == settled(new), "{what}: neither old nor new: {state:?}");
        for kek in opened_by {
            let run = machine.run_as(kek, &["kek", "verify"]);
            assert_eq!(run.code, Some(0), "{what}: {kek}: {}", run.stderr);
        }
    }

    fn is_logged_once(&self, machine: &Machine, what: &str) {
        for (action, step) in self.changes {
            let logged = machine.logged(action, step) - self.before.logged(action, step);
            assert_eq!(logged, 1, "{what}: {action} {step}: {:#?}", machine.log());
        }
    }
}

/// Names that no finished command leaves.
fn left_over(machine: &Machine) -> Vec<String> {
    let mut left = Vec::new();
    let mut open = vec![machine.file("state")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".tmp") || path.parent().unwrap().ends_with("pending") {
                left.push(name);
            }
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    left
}

fn every(_: usize, _: &Point) -> bool {
    true
}

#[test]
fn during_init() {
    if !tools::need("during_init", &["strace"]) {
        return;
    }
    Case {
        before: Machine::with_variables(),
        arguments: &["init"],
        changes: &[("kek.enrol", "enrolled"), ("dek.create", "created")],
        again: 0,
        opened_by: (&[], &["a.env"]),
        pick: every,
    }
    .run();
}

/// A passphrase takes a third of a second each time that it is stretched. So every call that touches the key file is
/// disturbed, and of the others, which are those above, every 25th.
#[test]
fn during_init_with_a_key_file() {
    if !tools::need("during_init_with_a_key_file", &["strace"]) {
        return;
    }
    Case {
        before: Machine::empty(),
        arguments: &["init"],
        changes: &[("kek.enrol", "enrolled"), ("dek.create", "created")],
        again: 0,
        opened_by: (&[], &[]),
        pick: |at, point| point.shown.contains("kek.age") || at % 25 == 0,
    }
    .run();
}

#[test]
fn during_dek_rotate() {
    if !tools::need("during_dek_rotate", &["strace"]) {
        return;
    }
    Case {
        before: Machine::set_up(),
        arguments: &["dek", "rotate"],
        changes: &[("dek.rotate", "rotated")],
        // It would make another one.
        again: -1,
        opened_by: (&["a.env"], &["a.env"]),
        pick: every,
    }
    .run();
}

#[test]
fn during_kek_rotate() {
    if !tools::need("during_kek_rotate", &["strace"]) {
        return;
    }
    let before = Machine::set_up();
    before.ok(&["dek", "rotate"]);
    Case {
        before,
        arguments: &["kek", "rotate", "--to", "b.env", "--threads", "1"],
        changes: &[("kek.rotate", "begun"), ("kek.rotate", "switched")],
        again: 0,
        opened_by: (&["a.env"], &["a.env", "b.env"]),
        pick: every,
    }
    .run();
}

#[test]
fn during_kek_retire() {
    if !tools::need("during_kek_retire", &["strace"]) {
        return;
    }
    let mut before = Machine::set_up();
    before.ok(&["dek", "rotate"]);
    before.ok(&["kek", "rotate", "--to", "b.env"]);
    let old =
        before.ok(&["kek", "status", "--offline", "--json"]).json()["key_id"].as_str().unwrap().to_owned();
    before.take("b.env");
    Case {
        before,
        arguments: &["kek", "retire", &old, "--force"],
        changes: &[("kek.retire", "retired")],
        again: 1,
        opened_by: (&["a.env", "b.env"], &["b.env"]),
        pick: every,
    }
    .run();
}

#[test]
fn during_dek_destroy() {
    if !tools::need("during_dek_destroy", &["strace"]) {
        return;
    }
    let before = Machine::set_up();
    before.ok(&["dek", "rotate"]);
    let first = before.version(0);
    before.ok(&["dek", "destroy", &first, "--wait", "0s"]);
    Case {
        before,
        arguments: &["dek", "destroy", &first],
        changes: &[("dek.destroy", "destroyed")],
        again: 1,
        opened_by: (&["a.env"], &["a.env"]),
        pick: every,
    }
    .run();
}

#[test]
fn during_backup_restore() {
    if !tools::need("during_backup_restore", &["strace"]) {
        return;
    }
    let machine = Machine::set_up();
    machine.ok(&["dek", "rotate"]);
    machine.ok(&["backup", "create", "keyring.aegis"]);
    fs::remove_dir_all(machine.file("state")).unwrap();
    Case {
        before: machine,
        arguments: &["backup", "restore", "keyring.aegis"],
        changes: &[("keyring.restore", "restored")],
        again: 1,
        opened_by: (&[], &["a.env"]),
        pick: every,
    }
    .run();
}
