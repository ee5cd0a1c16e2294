//! Each job is killed before and after each of its calls of the store, and then run again: nothing is lost, nothing is
//! done by halves.

use std::path::Path;

use aegis_kek::Kek;
use aegis_keyring::{DekState, KekState, Keyring, Retired, Scope};

use crate::child::{Ended, Kill, give_kek, run, said};
use crate::fixture::{
    Ring, Sealed, TestClock, all_deks, assert_all_open, assert_opens, assert_whole, kek, open, seal, version,
};
use crate::hooked::When;

/// A keyring that each run starts from.
struct Template {
    dir: tempfile::TempDir,
    old: Kek,
    new: Kek,
    sealed: Vec<Sealed>,
}

impl Template {
    fn new(prepare: impl FnOnce(&Ring, &Kek)) -> Self {
        let ring = Ring::new();
        let mut sealed = vec![seal(&ring.keyring.create(&Scope::default()).unwrap())];
        for _ in 0..2 {
            sealed.push(seal(&ring.keyring.rotate(&Scope::default()).unwrap().active));
        }
        let new = kek();
        give_kek(ring.dir.path(), "old.kek", &ring.kek);
        give_kek(ring.dir.path(), "new.kek", &new);
        prepare(&ring, &new);
        // The store is closed, so that its file is whole.
        let Ring { dir, kek: old, keyring, .. } = ring;
        drop(keyring);
        Self { dir, old, new, sealed }
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = test_services::scratch::dir();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    /// Kills the job at each call in turn. `after_kill` looks at what was left, `after_all` at what a second run made of it.
    fn kill_everywhere(
        &self,
        job: &str,
        after_kill: impl Fn(&Keyring, &Path),
        after_all: impl Fn(&Keyring, &Path, &str),
    ) {
        for when in [When::Before, When::After] {
            let mut kills = 0;
            for at in 1..200 {
                let copy = self.copy();
                let ended = run(copy.path(), job, Some(Kill { at, when }));
                if ended == Ended::Killed {
                    kills += 1;
                    let left = reopened(copy.path());
                    after_kill(&left, copy.path());
                    drop(left);
                    assert_eq!(run(copy.path(), job, None), Ended::Done);
                }
                after_all(&reopened(copy.path()), copy.path(), &said(copy.path(), 0));
                if ended == Ended::Done {
                    break;
                }
            }
            assert!((2..199).contains(&kills), "{job} was killed {kills} times");
        }
    }

    fn assert_reads_everything(&self, keyring: &Keyring, kek: &Kek) {
        for sealed in &self.sealed {
            assert_opens(keyring, kek, sealed);
        }
        assert_all_open(keyring, kek);
    }
}

fn reopened(dir: &Path) -> Keyring {
    Keyring::new(open(dir), TestClock::at("2026-01-15T12:00:00Z"))
}

fn active_kek(keyring: &Keyring) -> aegis_crypto::KeyId {
    let keks = keyring.keks().unwrap();
    keks.iter().find(|kek| kek.record.state == KekState::Active).unwrap().record.key_id()
}

#[test]
fn a_kek_rotation_that_is_killed_anywhere_is_finished_by_the_next_run() {
    let template = Template::new(|_, _| {});
    template.kill_everywhere(
        "rotate the KEK",
        |left, _| {
            assert_whole(left);
            template.assert_reads_everything(left, &template.old);
            if active_kek(left) == template.new.key_id() {
                template.assert_reads_everything(left, &template.new);
            }
        },
        |done, _, said| {
            assert_whole(done);
            assert!(matches!(said, "switched" | "found it switched"), "{said}");
            assert_eq!(active_kek(done), template.new.key_id());
            template.assert_reads_everything(done, &template.new);
            template.assert_reads_everything(done, &template.old);
        },
    );
}

#[test]
fn a_retirement_that_is_killed_anywhere_is_finished_by_the_next_run() {
    let template = Template::new(|ring, new| {
        ring.rotate_kek(&ring.kek, new).unwrap();
    });
    template.kill_everywhere(
        "retire the old KEK",
        |left, _| {
            assert_whole(left);
            template.assert_reads_everything(left, &template.new);
            if left.keks().unwrap()[0].record.state == KekState::Grace {
                template.assert_reads_everything(left, &template.old);
            }
        },
        |done, _, said| {
            assert_whole(done);
            assert!(said == "retired" || said.ends_with("is retired, not in grace"), "{said}");
            assert_eq!(done.keks().unwrap()[0].record.state, KekState::Retired);
            template.assert_reads_everything(done, &template.new);
        },
    );
}

#[test]
fn a_dek_rotation_that_is_killed_anywhere_leaves_one_active_dek() {
    let template = Template::new(|_, _| {});
    template.kill_everywhere(
        "rotate the DEK",
        |left, _| {
            assert_whole(left);
            template.assert_reads_everything(left, &template.old);
        },
        |done, _, said| {
            assert_whole(done);
            assert_eq!(done.active(&Scope::default()).unwrap().version, version(said));
            assert!((4..=5).contains(&all_deks(done).len()));
            template.assert_reads_everything(done, &template.old);
        },
    );
}

#[test]
fn a_destruction_that_is_killed_anywhere_is_done_or_not() {
    let template = Template::new(|_, _| {});
    let first = version("dek-v1-20260115");
    template.kill_everywhere(
        "destroy the first DEK",
        |left, _| {
            assert_whole(left);
            let record = left.show(first).unwrap().unwrap();
            match (record.state, record.destroy_after) {
                (DekState::DecryptOnly, None) => {
                    left.open(first, &template.old, Retired::Refuse).unwrap();
                }
                // Marked: it comes back whole if that is taken back.
                (DekState::Retired, Some(_)) => {
                    assert!(left.open(first, &template.old, Retired::Allow).is_err());
                    assert!(left.store().wrapping(first, template.old.key_id()).unwrap().is_some());
                }
                (DekState::Destroyed, _) => {
                    assert_eq!(left.store().wrapping(first, template.old.key_id()).unwrap(), None);
                }
                state => panic!("{state:?}"),
            }
        },
        |done, _, said| {
            assert_whole(done);
            assert!(matches!(said, "destroyed" | "refused: dek-v1-20260115 is destroyed"), "{said}");
            assert_eq!(done.show(first).unwrap().unwrap().state, DekState::Destroyed);
            for sealed in &template.sealed[1..] {
                assert_opens(done, &template.old, sealed);
            }
        },
    );
}

#[test]
fn a_backup_that_is_killed_is_no_file() {
    let template = Template::new(|_, _| {});
    template.kill_around_the_one_call("back up", |dir| {
        assert!(!dir.join("backup").exists());
    });
}

#[test]
fn a_restore_that_is_killed_leaves_an_empty_keyring() {
    let template = Template::new(|ring, _| {
        let path = ring.dir.path().join("backup");
        ring.keyring.backup_to_file(&aegis_keyring::BackupRecipient::ActiveKek, &path).unwrap();
    });
    for when in [When::Before, When::After] {
        let copy = template.copy();
        std::fs::remove_file(copy.path().join("keyring.db")).unwrap();
        assert_eq!(run(copy.path(), "restore", Some(Kill { at: 1, when })), Ended::Killed);
        let left = reopened(copy.path());
        assert_eq!(left.keks().unwrap().len(), usize::from(when == When::After));
        drop(left);
        assert_eq!(run(copy.path(), "restore", None), Ended::Done);
        let said = said(copy.path(), 0);
        assert_eq!(
            said,
            if when == When::Before { "restored" } else { "refused: cannot restore the keyring" }
        );
        template.assert_reads_everything(&reopened(copy.path()), &template.old);
    }
}

impl Template {
    /// For a job of one call: killed before it and after it.
    fn kill_around_the_one_call(&self, job: &str, after_kill: impl Fn(&Path)) {
        for when in [When::Before, When::After] {
            let copy = self.copy();
            assert_eq!(run(copy.path(), job, Some(Kill { at: 1, when })), Ended::Killed);
            after_kill(copy.path());
            assert_eq!(run(copy.path(), job, None), Ended::Done);
            assert_eq!(said(copy.path(), 0), "made");
        }
    }
}
