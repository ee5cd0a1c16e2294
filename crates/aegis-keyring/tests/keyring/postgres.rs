//! The same on a server that several machines share, and that may be restarted at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aegis_keyring::{BackupKey, BackupRecipient, KekState, Keyring, Scope};
use test_services::postgres::Postgres;

use crate::child::{Ended, Kill, give_kek, run, said, start, wait};
use crate::fixture::{
    Ring, TestClock, all_deks, assert_all_open, assert_opens, assert_whole, kek, open, rotate_kek, seal,
};
use crate::hooked::{Hooked, When};
use crate::secrets::{assert_absent, needles_of};

#[test]
fn a_keyring_on_a_server_rotates_and_is_restored_into_a_file() {
    let Some(server) = Postgres::shared("a keyring on a server") else { return };
    let ring = Ring::on_server(&server.database(), 3);
    let sealed = seal(&ring.keyring.active(&Scope::default()).unwrap());
    let new = kek();
    let rotated = ring.rotate_kek(&ring.kek, &new).unwrap();
    assert_eq!((rotated.rewrapped, rotated.verified), (3, 3));
    for kek in [&ring.kek, &new] {
        assert_opens(&ring.keyring, kek, &sealed);
    }
    assert_whole(&ring.keyring);

    let mut backup = Vec::new();
    ring.keyring.backup(&BackupRecipient::ActiveKek, &mut backup).unwrap();
    let dir = test_services::scratch::dir();
    let in_a_file = Keyring::new(open(dir.path()), ring.clock.clone());
    in_a_file.restore(&mut backup.as_slice(), BackupKey::Kek(&new), None).unwrap();
    assert_opens(&in_a_file, &new, &sealed);
    assert_eq!(all_deks(&in_a_file), all_deks(&ring.keyring));
}

#[test]
fn a_server_that_is_restarted_or_killed_in_the_middle_of_a_rotation_holds_it_up_and_no_more() {
    let Some(server) = Postgres::start("a server that is restarted in a rotation") else { return };
    let server = Arc::new(server);
    let ring = Ring::on_server(&server.database(), 5);
    let mut current = ring.kek.clone();
    for nth in [2, 5, 8, 11] {
        let (calls, restarted) = (AtomicU32::new(0), Arc::clone(&server));
        let keyring = ring.on(Arc::new(Hooked::new(ring.store()).on_call(move |_, when| {
            if when == When::Before && calls.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                if nth % 2 == 0 {
                    restarted.restart();
                } else {
                    restarted.kill();
                    restarted.start_again();
                }
            }
            Ok(())
        })));
        let new = kek();
        let rotated = rotate_kek(&keyring, &current, &new).unwrap();
        assert!(rotated.switched_now);
        assert_whole(&ring.keyring);
        for kek in [&current, &new] {
            assert_eq!(assert_all_open(&ring.keyring, kek).len(), 5);
        }
        current = new;
    }
}

#[test]
fn eight_processes_on_a_server_finish_one_kek_rotation_together() {
    let Some(server) = Postgres::shared("eight processes on a server") else { return };
    let ring = Ring::on_server(&server.database(), 4);
    let new = kek();
    let dir = ring.dir.path();
    give_kek(dir, "old.kek", &ring.kek);
    give_kek(dir, "new.kek", &new);
    let mut running: Vec<_> = (0..8).map(|number| start(dir, "rotate the KEK", number, None)).collect();
    running.push(start(dir, "rotate the DEK five times", 8, None));
    for child in running {
        assert_eq!(wait(child), Ended::Done);
    }
    let said: Vec<String> = (0..8).map(|number| said(dir, number)).collect();
    assert_eq!(said.iter().filter(|said| *said == "switched").count(), 1, "{said:?}");
    assert!(said.iter().all(|said| matches!(said.as_str(), "switched" | "found it switched")), "{said:?}");
    assert_whole(&ring.keyring);
    for kek in [&ring.kek, &new] {
        assert_eq!(assert_all_open(&ring.keyring, kek).len(), 9);
    }
}

#[test]
fn a_rotation_on_a_server_that_is_killed_anywhere_is_finished_by_the_next_run() {
    let Some(server) = Postgres::shared("a rotation on a server that is killed") else { return };
    let mut kills = 0;
    for at in 1..100 {
        let ring = Ring::on_server(&server.database(), 3);
        let new = kek();
        let dir = ring.dir.path();
        give_kek(dir, "old.kek", &ring.kek);
        give_kek(dir, "new.kek", &new);
        let when = if at % 2 == 0 { When::Before } else { When::After };
        let ended = run(dir, "rotate the KEK", Some(Kill { at, when }));
        let left = Keyring::new(open(dir), TestClock::at("2026-01-15T12:00:00Z"));
        assert_whole(&left);
        assert_all_open(&left, &ring.kek);
        if ended == Ended::Done {
            break;
        }
        kills += 1;
        assert_eq!(run(dir, "rotate the KEK", None), Ended::Done);
        let keks = left.keks().unwrap();
        assert_eq!(keks[1].record.state, KekState::Active);
        assert_all_open(&left, &new);
    }
    assert!((5..99).contains(&kills), "killed {kills} times");
}

#[test]
fn no_private_key_is_in_a_dump_of_the_database() {
    let Some(server) = Postgres::shared("secrets in a dump") else { return };
    let database = server.database();
    let ring = Ring::on_server(&database, 3);
    let new = kek();
    ring.rotate_kek(&ring.kek, &new).unwrap();
    let dump = server.dump(&database.name);
    let id = new.key_id().to_string();
    assert!(dump.windows(id.len()).any(|window| window == id.as_bytes()), "the dump is of something else");
    assert_absent(&needles_of(&[&ring.kek, &new], &ring, &new), "a dump of the database", &dump);
}
