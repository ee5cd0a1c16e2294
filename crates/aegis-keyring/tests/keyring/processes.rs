//! Eight processes at once: whatever races, there is one active KEK, one active DEK a scope, and everything opens.

use aegis_keyring::{KekState, Scope};

use crate::child::{Ended, give_kek, said, start, wait};
use crate::fixture::{Ring, all_deks, assert_all_open, assert_opens, assert_whole, kek, seal};

const PROCESSES: u32 = 8;

/// Runs a job in eight processes, and `others` beside them, and gives what the eight had to say.
fn all_at_once(ring: &Ring, job: &str, others: &[&str]) -> Vec<String> {
    let dir = ring.dir.path();
    let mut running: Vec<_> = (0..PROCESSES).map(|number| start(dir, job, number, None)).collect();
    for (number, other) in (100..).zip(others) {
        running.push(start(dir, other, number, None));
    }
    for child in running {
        assert_eq!(wait(child), Ended::Done);
    }
    (0..PROCESSES).map(|number| said(dir, number)).collect()
}

#[test]
fn eight_processes_that_rotate_the_dek_make_one_version_each_time() {
    let ring = Ring::with_deks(1);
    let said = all_at_once(&ring, "rotate the DEK five times", &[]);
    let mut versions: Vec<String> = said.iter().flat_map(|said| said.lines().map(str::to_owned)).collect();
    assert_eq!(versions.len(), 40);
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 40, "each version was made once");
    assert_eq!(all_deks(&ring.keyring).len(), 41);
    assert_whole(&ring.keyring);
    assert_all_open(&ring.keyring, &ring.kek);
}

#[test]
fn of_eight_processes_that_find_a_dek_due_one_rotates() {
    let ring = Ring::with_deks(1);
    let said = all_at_once(&ring, "rotate the DEK if it is due", &[]);
    assert_eq!(said.iter().filter(|said| *said == "rotated").count(), 1, "{said:?}");
    assert_eq!(all_deks(&ring.keyring).len(), 2);
    assert_whole(&ring.keyring);
}

#[test]
fn eight_processes_at_one_kek_rotation_finish_it_together() {
    let ring = Ring::with_deks(6);
    let sealed = seal(&ring.keyring.active(&Scope::default()).unwrap());
    let new = kek();
    give_kek(ring.dir.path(), "old.kek", &ring.kek);
    give_kek(ring.dir.path(), "new.kek", &new);
    let said =
        all_at_once(&ring, "rotate the KEK", &["rotate the DEK five times", "rotate the DEK five times"]);
    assert_eq!(said.iter().filter(|said| *said == "switched").count(), 1, "{said:?}");
    assert!(said.iter().all(|said| matches!(said.as_str(), "switched" | "found it switched")), "{said:?}");
    assert_whole(&ring.keyring);
    for kek in [&ring.kek, &new] {
        assert_eq!(assert_all_open(&ring.keyring, kek).len(), 16);
        assert_opens(&ring.keyring, kek, &sealed);
    }
}

#[test]
fn of_eight_processes_with_eight_new_keks_one_wins_and_the_others_are_told() {
    let ring = Ring::with_deks(4);
    give_kek(ring.dir.path(), "old.kek", &ring.kek);
    let new: Vec<_> = (0..PROCESSES).map(|_| kek()).collect();
    for (number, new) in new.iter().enumerate() {
        give_kek(ring.dir.path(), &format!("own.{number}.kek"), new);
    }
    let said = all_at_once(&ring, "rotate to a KEK of its own", &["rotate the DEK five times"]);
    let winners: Vec<usize> = (0..said.len()).filter(|number| said[*number] == "switched").collect();
    assert_eq!(winners.len(), 1, "{said:?}");
    for said in said.iter().filter(|said| *said != "switched") {
        let is_told = said.contains("is under way") || said.contains("is grace; the keyring is under");
        assert!(said.starts_with("refused: ") && is_told, "{said}");
    }
    let keks = ring.keyring.keks().unwrap();
    assert_eq!(keks.len(), 2, "those that lost were not enrolled");
    assert_eq!(keks[1].record.state, KekState::Active);
    assert_eq!(keks[1].record.key_id(), new[winners[0]].key_id());
    assert_whole(&ring.keyring);
    for kek in [&ring.kek, &new[winners[0]]] {
        assert_eq!(assert_all_open(&ring.keyring, kek).len(), 9);
    }
}
