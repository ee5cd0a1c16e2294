//! Eight processes at once: one order, no loss.

use std::process::Stdio;

use crate::machine::Machine;

const PROCESSES: usize = 8;

fn at_once(machine: &Machine, commands: &[Vec<&str>]) -> Vec<Option<i32>> {
    let children: Vec<_> = commands
        .iter()
        .map(|arguments| {
            machine.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    children.into_iter().map(|mut child| child.wait().unwrap().code()).collect()
}

#[test]
fn eight_processes_rotate_deks_at_once() {
    let machine = Machine::set_up();
    let codes = at_once(&machine, &vec![vec!["dek", "rotate"]; PROCESSES]);
    assert_eq!(codes, [Some(0); PROCESSES]);
    let deks = machine.deks();
    assert_eq!(deks.len(), 1 + PROCESSES);
    assert_eq!(deks.iter().filter(|dek| dek["state"] == "active").count(), 1);
    assert_eq!(machine.logged("dek.rotate", "rotated"), PROCESSES);
    machine.ok(&["kek", "verify"]);
    machine.ok(&["audit", "verify"]);
}

#[test]
fn eight_processes_rotate_one_kek_while_deks_are_made() {
    let machine = Machine::set_up();
    for _ in 0..8 {
        machine.ok(&["dek", "rotate"]);
    }
    let mut commands = vec![vec!["kek", "rotate", "--to", "b.env", "--threads", "1"]; PROCESSES / 2];
    commands.extend(vec![vec!["dek", "rotate"]; PROCESSES / 2]);
    let codes = at_once(&machine, &commands);
    assert_eq!(codes, [Some(0); PROCESSES]);
    machine.ok(&["kek", "verify"]);
    assert_eq!(machine.run_as("b.env", &["kek", "verify"]).code, Some(0));
    let status = machine.ok(&["kek", "status", "--offline", "--json"]).json();
    let states: Vec<_> = status["keks"].as_array().unwrap().iter().map(|kek| &kek["state"]).collect();
    assert_eq!(states, ["grace", "active"]);
    assert_eq!(machine.deks().len(), 1 + 8 + PROCESSES / 2);
    assert_eq!(machine.logged("kek.rotate", "switched"), 1);
    machine.ok(&["audit", "verify"]);
}

#[test]
fn eight_processes_set_one_machine_up() {
    let machine = Machine::with_variables();
    let codes = at_once(&machine, &vec![vec!["init"]; PROCESSES]);
    assert_eq!(codes, [Some(0); PROCESSES]);
    assert_eq!(machine.deks().len(), 1);
    assert_eq!((machine.logged("kek.enrol", "enrolled"), machine.logged("dek.create", "created")), (1, 1));
}

#[test]
fn eight_processes_destroy_one_dek() {
    let machine = Machine::set_up();
    machine.ok(&["dek", "rotate"]);
    let first = machine.version(0);
    machine.ok(&["dek", "destroy", &first, "--wait", "0s"]);
    let codes = at_once(&machine, &vec![vec!["dek", "destroy", &first]; PROCESSES]);
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(1)).count(), PROCESSES - 1, "{codes:?}");
    assert_eq!(machine.logged("dek.destroy", "destroyed"), 1);
}
