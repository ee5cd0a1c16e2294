//! From an empty machine to a restored one, through every rotation.

use std::fs;

use crate::machine::Machine;

fn states(machine: &Machine) -> Vec<String> {
    machine.deks().iter().map(|dek| dek["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_lost_from_init_to_a_restored_backup() {
    let mut machine = Machine::empty();
    machine.refused(&["dek", "rotate"], "there is no keyring");
    machine.ok(&["init"]);
    machine.ok(&["init"]);
    machine.ok(&["dek", "rotate"]);
    machine.ok(&["dek", "rotate"]);
    assert_eq!(states(&machine), ["decrypt_only", "decrypt_only", "active"]);

    // From the file of the embedded default to a file of variables.
    machine.new_kek("new.env");
    let rotated = machine.ok(&["kek", "rotate", "--to", "new.env", "--threads", "2", "--json"]).json();
    assert_eq!((&rotated["rewrapped"], &rotated["verified"]), (&3.into(), &3.into()));
    let again = machine.ok(&["kek", "rotate", "--to", "new.env", "--json"]).json();
    assert_eq!((&again["switched_now"], &again["to"]), (&false.into(), &rotated["to"]));
    // Both open everything, also what is made from now on.
    machine.ok(&["dek", "rotate"]);
    machine.ok(&["kek", "verify"]);
    assert_eq!(machine.run_as("new.env", &["kek", "verify"]).code, Some(0));
    // The old one may not retire itself.
    machine.refused(&["kek", "retire", "--force"], "is not the active one");

    machine.take("new.env");
    machine.refused(&["kek", "retire"], "is in grace until");
    machine.ok(&["kek", "retire", "--force"]);
    machine.ok(&["kek", "verify"]);
    assert_eq!(states(&machine), ["decrypt_only", "decrypt_only", "decrypt_only", "active"]);
    // The key file is still there, and opens nothing any more.
    machine.variables.clear();
    machine.refused(&["kek", "verify"], "4 of 4 DEKs have no wrapping under KEK");
    machine.refused(&["init"], "this machine is set up with KEK");
    machine.ok(&["audit", "verify"]);
}

#[test]
fn a_backup_is_restored_on_an_empty_machine() {
    let machine = Machine::set_up();
    machine.ok(&["dek", "rotate"]);
    machine.ok(&["dek", "create", "--scope", "billing"]);
    machine.ok(&["backup", "create", "keyring.aegis"]);
    machine.ok(&["backup", "verify", "keyring.aegis"]);

    let mut other = Machine::empty();
    fs::copy(machine.file("keyring.aegis"), other.file("keyring.aegis")).unwrap();
    fs::copy(machine.file("a.env"), other.file("a.env")).unwrap();
    other.refused(&["backup", "restore", "keyring.aegis"], "no KEK is configured");
    other.take("a.env");
    let restored = other.ok(&["backup", "restore", "keyring.aegis", "--json"]).json();
    assert_eq!((&restored["deks"], &restored["opened"]), (&3.into(), &3.into()));
    assert_eq!(other.deks(), machine.deks());
    other.ok(&["kek", "verify"]);
    other.refused(&["backup", "restore", "keyring.aegis"], "there is a keyring in it already");
    other.ok(&["dek", "rotate"]);
    other.ok(&["audit", "verify"]);

    // A changed file is refused whole.
    let mut bytes = fs::read(machine.file("keyring.aegis")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let third = Machine::with_variables();
    fs::write(third.file("changed.aegis"), bytes).unwrap();
    third.refused(&["backup", "restore", "changed.aegis"], "changed.aegis");
    third.refused(&["dek", "list"], "there is no keyring");
}

#[test]
fn a_dek_is_destroyed_in_two_steps_and_not_before_its_time() {
    let machine = Machine::set_up();
    machine.ok(&["dek", "rotate"]);
    let first = machine.version(0);
    let active = machine.version(1);
    machine.refused(&["dek", "destroy", &active], "is the active DEK");
    machine.ok(&["dek", "retire", &first]);
    machine.ok(&["dek", "retire", &first, "--undo"]);
    machine.ok(&["dek", "destroy", &first]);
    machine.refused(&["dek", "destroy", &first], "may be destroyed after");
    machine.refused(&["dek", "retire", &first], "is marked for destruction");
    machine.ok(&["dek", "destroy", &first, "--cancel"]);
    machine.ok(&["dek", "destroy", &first, "--wait", "0s"]);
    machine.ok(&["dek", "destroy", &first]);
    machine.refused(&["dek", "destroy", &first], "is destroyed");
    let shown = machine.ok(&["dek", "show", &first, "--json"]).json();
    assert_eq!((&shown["state"], &shown["wrapped_under"]), (&"destroyed".into(), &serde_json::json!([])));
    machine.ok(&["kek", "verify"]);
    assert_eq!(machine.logged("dek.destroy", "marked"), 2);
    assert_eq!(machine.logged("dek.destroy", "destroyed"), 1);
}

#[test]
fn a_rotation_is_given_up_before_its_switch_and_another_one_begins() {
    let machine = Machine::set_up();
    machine.ok(&["kek", "rotate", "--to", "b.env"]);
    machine.refused(&["kek", "rotate", "--abandon"], "no KEK rotation is under way");
    // Back to the one before, while it is in grace.
    assert_eq!(machine.run_as("b.env", &["kek", "rotate", "--to", "a.env"]).code, Some(0));
    machine.ok(&["kek", "verify"]);
}

#[test]
fn what_is_configured_and_does_not_fit_is_refused_before_anything_changes() {
    let machine = Machine::set_up();
    let before = machine.deks();
    let log = machine.log().len();
    // A KEK that this keyring has never seen.
    let other = machine.run_as("b.env", &["kek", "verify"]);
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("is none of this keyring"), "{}", other.stderr);
    assert_eq!(machine.run_as("b.env", &["init"]).code, Some(1));
    assert_eq!(machine.run_as("b.env", &["doctor"]).code, Some(1));
    let rotate = machine.run_as("b.env", &["kek", "rotate", "--to", "b.env"]);
    assert!(rotate.code == Some(1) && rotate.stderr.contains("is none of this keyring"), "{}", rotate.stderr);
    // Half of a setting is a mistake, not a reason to take something weaker.
    let mut half = machine.copy();
    half.variables.remove("AEGIS_MASTER_KEK_PUBLIC");
    half.refused(&["kek", "status"], "AEGIS_MASTER_KEK_PUBLIC");
    half.variables.clear();
    half.refused(&["kek", "status"], "which is not configured here");
    half.refused(&["init"], "which is not configured here");
    // Sealing and making DEKs needs no KEK at all.
    half.ok(&["dek", "rotate"]);
    assert_eq!(machine.deks(), before);
    assert!(machine.log().len() > log, "refusals are logged");
}

#[test]
fn a_state_directory_that_others_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::set_up();
    fs::set_permissions(machine.file("state"), fs::Permissions::from_mode(0o777)).unwrap();
    for arguments in [&["dek", "list"][..], &["dek", "rotate"], &["init"], &["kek", "verify"], &["doctor"]] {
        assert_eq!(machine.run(arguments).code, Some(1), "{arguments:?}");
    }
}
