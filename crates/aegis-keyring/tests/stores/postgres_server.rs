//! The server: restarted, killed, cut off, locked, foreign, strange.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_kek::Variables;
use aegis_keyring::{
    ConflictKind, DatabaseError, DekState, NewWrapping, PostgresStore, Store, StoreError, Usage,
};
use test_services::postgres::Postgres;

use crate::child;
use crate::cut_off::{Lose, Way};
use crate::fixture::{at, conflict, filled, insert, kek, new_dek, nth_version, told, wrapping};
use crate::on::Place;

const USED: Usage = Usage { messages: 1, bytes: 3 };

fn used(store: &dyn Store) -> u64 {
    let usage = store.dek(nth_version(1)).unwrap().unwrap().usage;
    assert_eq!(usage.bytes, usage.messages * 3);
    usage.messages
}

fn open_patiently(address: &str, patience: Duration) -> Result<PostgresStore, StoreError> {
    PostgresStore::open_patiently(address, &Variables::of_pairs([]), patience)
}

#[test]
fn a_server_that_is_restarted_and_killed_loses_nothing_and_does_nothing_twice() {
    let Some(server) = Postgres::start("a server that is restarted") else { return };
    let place = Place::on_server(&server);
    let store = place.open();
    let old = filled(store.as_ref(), 40);
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    let new = kek(1).key_id();
    let ended = AtomicBool::new(false);
    let counted = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut counted = 0_u64;
            while !ended.load(Ordering::SeqCst) {
                store.add_usage(&[(nth_version(1), USED)]).unwrap();
                counted += 1;
            }
            counted
        });
        let wrapping_all = scope.spawn(|| {
            let mut after = None;
            while let made @ [_, ..] = store.wrappings_to_make(old, new, after, 1).unwrap().as_slice() {
                after = made.last().map(|dek| dek.version);
                let made: Vec<_> = made.iter().map(|dek| wrapping(dek.version, new)).collect();
                store.add_wrappings(&made).unwrap();
                let good = store.wrappings_under(new, true, None, 9).unwrap();
                store.mark_verified(new, &good, at(5)).unwrap();
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        for round in 0..4 {
            std::thread::sleep(Duration::from_millis(150));
            if round % 2 == 0 {
                server.stop();
            } else {
                server.kill();
            }
            std::thread::sleep(Duration::from_millis(150));
            server.start_again();
        }
        wrapping_all.join().unwrap();
        ended.store(true, Ordering::SeqCst);
        counting.join().unwrap()
    });
    assert_eq!(used(store.as_ref()), counted);
    let progress = store.wrap_progress(new).unwrap();
    assert_eq!((progress.wrapped, progress.verified), (40, 40));
    store.switch_kek(new, at(6), at(7)).unwrap();
    // Also after it was away while nobody asked.
    server.restart();
    insert(store.as_ref(), 41..=41, &[old, new]);
    store.check().unwrap();
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_done_twice() {
    let Some(server) = Postgres::shared("a commit whose answer is lost") else { return };
    let place = Place::on_server(server);
    let direct = place.open();
    let old = filled(direct.as_ref(), 3);
    let way = Way::to(server.port());
    let around = place.address.replace(&format!(":{}/", server.port()), &format!(":{}/", way.port));
    let store = open_patiently(&around, Duration::from_secs(20)).unwrap();
    let mut counted = 0;
    for (what, times) in [(Lose::Answer, 1), (Lose::Commit, 1), (Lose::Answer, 2), (Lose::Commit, 3)] {
        let lost = way.lost();
        way.lose(what, times);
        store.add_usage(&[(nth_version(1), USED)]).unwrap();
        counted += 1;
        assert!(way.lost() > lost, "{what:?}");
        assert_eq!(used(direct.as_ref()), counted, "{what:?}");
        way.lose(what, 0);
        // What compares first is as it was asked for, too: its own success is no conflict.
        let last = direct.last_version_of(nth_version(1)).unwrap().unwrap();
        way.lose(what, 1);
        let dek = new_dek(last.next().unwrap(), "default", &[old]);
        store.insert_active_dek(&dek, Some(last)).unwrap();
        assert_eq!(direct.active_dek(&dek.scope).unwrap().unwrap().version, dek.version, "{what:?}");
        way.lose(what, 1);
        assert_eq!(conflict(store.insert_active_dek(&dek, Some(last))), ConflictKind::VersionTaken);
        way.lose(what, 0);
    }
    direct.check().unwrap();
}

#[test]
fn an_outcome_that_cannot_be_found_out_is_not_made_up() {
    let Some(server) = Postgres::shared("an outcome that cannot be found out") else { return };
    for what in [Lose::Answer, Lose::Commit] {
        let place = Place::on_server(server);
        let direct = place.open();
        filled(direct.as_ref(), 1);
        let way = Way::to(server.port());
        let around = place.address.replace(&format!(":{}/", server.port()), &format!(":{}/", way.port));
        let store = open_patiently(&around, Duration::from_millis(300)).unwrap();
        way.close_after_it();
        way.lose(what, 1);
        let error = store.add_usage(&[(nth_version(1), USED)]).unwrap_err();
        assert!(matches!(error, StoreError::Database(DatabaseError::OutcomeUnknown { .. })), "{error:?}");
        assert!(!error.is_transient());
        assert_eq!(used(direct.as_ref()), u64::from(what == Lose::Answer));
        // Now it is known that nothing was done.
        let error = store.add_usage(&[(nth_version(1), USED)]).unwrap_err();
        assert!(
            matches!(error, StoreError::Database(DatabaseError::Unavailable { .. })) && error.is_transient(),
            "{error:?}"
        );
        assert!(matches!(store.keks(), Err(StoreError::Database(DatabaseError::Unavailable { .. }))));
    }
}

#[test]
fn a_restore_that_is_cut_off_restores_nothing() {
    let Some(server) = Postgres::shared("a restore that is cut off") else { return };
    let place = Place::on_server(server);
    let direct = place.open();
    let way = Way::to(server.port());
    let around = place.address.replace(&format!(":{}/", server.port()), &format!(":{}/", way.port));
    let store = open_patiently(&around, Duration::from_secs(20)).unwrap();
    let records = || {
        (1..=100).map(|nth| {
            let new = new_dek(nth_version(nth), "default", &[kek(0).key_id()]);
            Ok((crate::fixture::stored(&new, DekState::DecryptOnly), new.wrappings))
        })
    };
    way.lose(Lose::Commit, 1);
    let error = store.restore(&[kek(0)], &mut records()).unwrap_err();
    assert!(matches!(error, StoreError::Database(DatabaseError::Unavailable { .. })), "{error:?}");
    assert!(direct.keks().unwrap().is_empty());
    // Here it was only the answer that was lost.
    way.lose(Lose::Answer, 1);
    store.restore(&[kek(0)], &mut records()).unwrap();
    assert_eq!(direct.wrap_progress(kek(0).key_id()).unwrap().wrapped, 100);
}

#[test]
fn says_why_it_cannot_be_used_and_never_with_the_password() {
    let Some(server) = Postgres::shared("says why it cannot be used") else { return };
    let database = server.database();
    let (name, url) = (&database.name, &database.url);
    server.sql("postgres", &format!("CREATE ROLE {name}_guest LOGIN PASSWORD '{}'", database.password));
    let wrong = url.replace(&database.password, "wr0ng-s3cret");
    let nobody_listens = format!(":{}/", test_services::guarded::free_port());
    type Is = fn(&StoreError) -> bool;
    let cases: [(&str, String, Is); 5] = [
        ("wrong password", wrong, |error| {
            matches!(error, StoreError::Database(DatabaseError::Denied { .. }))
        }),
        ("no password", url.replace(&format!(":{}@", database.password), "@"), |error| {
            matches!(error, StoreError::Database(DatabaseError::Denied { .. }))
        }),
        ("no such database", format!("{url}_none"), |error| {
            matches!(error, StoreError::Database(DatabaseError::NoPlace { .. }))
                && error.help().unwrap().contains("`createdb`")
        }),
        ("may make no schema", url.replace("keeper:", &format!("{name}_guest:")), |error| {
            matches!(error, StoreError::Database(DatabaseError::Denied { .. }))
        }),
        ("no server", url.replace(&format!(":{}/", server.port()), &nobody_listens), |error| {
            matches!(error, StoreError::Database(DatabaseError::Unavailable { .. }))
        }),
    ];
    for (name, address, is_expected) in cases {
        let error = open_patiently(&address, Duration::from_secs(20)).err().unwrap();
        assert!(is_expected(&error), "{name}: {error:?}");
        let all = format!("{error:?} {}", told(&error));
        assert!(!all.contains(&database.password) && !all.contains("s3cret"), "{name}: {all}");
        assert!(!all.contains("keeper:"), "{name}: {all}");
        assert!(error.help().is_some(), "{name}");
    }
    let store = open_patiently(url, Duration::from_secs(20)).unwrap();
    assert_eq!(store.location(), format!("postgres://127.0.0.1:{}/{name}", server.port()));
}

#[test]
fn leaves_the_schema_of_another_program_alone() {
    let Some(server) = Postgres::shared("leaves the schema of another program alone") else { return };
    let foreign = [
        "CREATE SCHEMA aegis; CREATE TABLE aegis.other (a INT)",
        "CREATE SCHEMA aegis; CREATE TABLE aegis.keyring (a INT)",
        "CREATE SCHEMA aegis; CREATE TABLE aegis.keyring (program TEXT, version BIGINT);
         INSERT INTO aegis.keyring VALUES ('other', 1)",
        "CREATE SCHEMA aegis; CREATE VIEW aegis.keyring AS SELECT 'aegis-keyring' AS program, 1 AS version",
    ];
    for sql in foreign {
        let database = server.database();
        server.sql(&database.name, sql);
        server.sql(
            &database.name,
            "GRANT ALL ON SCHEMA aegis TO keeper; GRANT ALL ON ALL TABLES IN SCHEMA aegis TO keeper",
        );
        let before = server.dump(&database.name).len();
        let error = open_patiently(&database.url, Duration::from_secs(20)).err().unwrap();
        assert!(matches!(error, StoreError::Database(DatabaseError::Foreign { .. })), "{sql}: {error:?}");
        assert_eq!(server.dump(&database.name).len(), before, "{sql}");
    }
    // A schema that an administrator has made is filled.
    let database = server.database();
    server.sql(&database.name, "CREATE SCHEMA aegis AUTHORIZATION keeper");
    filled(&open_patiently(&database.url, Duration::from_secs(20)).unwrap(), 1);
}

#[test]
fn refuses_a_newer_schema_also_if_it_comes_later() {
    let Some(server) = Postgres::shared("refuses a newer schema") else { return };
    let place = Place::on_server(server);
    let name = &place.database.as_ref().unwrap().name;
    let store = place.open();
    filled(store.as_ref(), 1);
    server.sql(name, "UPDATE aegis.keyring SET version = 2");
    let is_newer =
        |error| matches!(error, StoreError::Database(DatabaseError::Newer { found: 2, known: 1, .. }));
    assert!(is_newer(open_patiently(&place.address, Duration::from_secs(20)).err().unwrap()));
    assert!(is_newer(store.add_usage(&[(nth_version(1), USED)]).unwrap_err()));
    server.sql(name, "UPDATE aegis.keyring SET version = 1");
    store.add_usage(&[(nth_version(1), USED)]).unwrap();
    server.sql(name, "UPDATE aegis.keyring SET version = 0");
    assert!(matches!(store.add_usage(&[]), Err(StoreError::Database(DatabaseError::Damaged { .. }))));
    server.sql(name, "DELETE FROM aegis.keyring");
    assert!(matches!(store.add_usage(&[]), Err(StoreError::Database(DatabaseError::Damaged { .. }))));
    let error = open_patiently(&place.address, Duration::from_secs(20)).err().unwrap();
    assert!(matches!(error, StoreError::Database(DatabaseError::Damaged { .. })), "{error:?}");
}

#[test]
fn reads_a_keyring_of_schema_1() {
    let Some(server) = Postgres::shared("reads a keyring of schema 1") else { return };
    let database = server.database();
    server.sql(&database.name, &format!("SET ROLE keeper; {}", include_str!("fixtures/postgres-v1.sql")));
    let store = open_patiently(&database.url, Duration::from_secs(20)).unwrap();
    crate::sqlite_schema::is_what_was_frozen(&store);
}

#[test]
fn waits_for_another_writer_and_says_how_long() {
    let Some(server) = Postgres::shared("waits for another writer") else { return };
    let place = Place::on_server(server);
    filled(place.open().as_ref(), 1);
    let store = open_patiently(&place.address, Duration::from_millis(200)).unwrap();
    let mut other = postgres::Client::connect(&place.address, postgres::NoTls).unwrap();
    other.batch_execute("BEGIN; SELECT 1 FROM aegis.keyring FOR UPDATE").unwrap();
    let error = store.add_usage(&[(nth_version(1), USED)]).unwrap_err();
    assert!(
        matches!(error, StoreError::Database(DatabaseError::Busy { .. })) && error.is_transient(),
        "{error:?}"
    );
    assert_eq!(store.keks().unwrap().len(), 1);
    other.batch_execute("ROLLBACK").unwrap();
    store.add_usage(&[(nth_version(1), USED)]).unwrap();
    assert_eq!(used(&store), 1);
}

#[test]
fn a_server_that_may_not_be_written_to_says_so() {
    let Some(server) = Postgres::shared("a server that may not be written to") else { return };
    let place = Place::on_server(server);
    let name = &place.database.as_ref().unwrap().name;
    filled(place.open().as_ref(), 1);
    server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let store = place.open();
    assert_eq!(store.keks().unwrap().len(), 1);
    let error = store.add_usage(&[(nth_version(1), USED)]).unwrap_err();
    assert!(matches!(error, StoreError::Database(DatabaseError::ReadOnly { .. })), "{error:?}");
}

#[test]
fn a_commit_is_on_the_disk_whatever_the_default_is() {
    let Some(server) = Postgres::shared("a commit is on the disk") else { return };
    let database = server.database();
    let name = &database.name;
    server.sql("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let store = open_patiently(&database.url, Duration::from_secs(20)).unwrap();
    filled(&store, 1);
    // Nobody but the server can tell; it is asked through a trigger on what the store writes.
    server.sql(
        name,
        "CREATE TABLE public.seen (setting TEXT); GRANT ALL ON public.seen TO keeper;
         CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
         CREATE TRIGGER see AFTER UPDATE ON aegis.deks EXECUTE FUNCTION public.see()",
    );
    store.add_usage(&[(nth_version(1), USED)]).unwrap();
    assert_eq!(server.sql(name, "SELECT setting FROM public.seen"), "on");
}

#[test]
fn can_be_used_and_dropped_inside_a_runtime() {
    let Some(place) = Place::postgres("can be used inside a runtime") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = place.open();
        filled(store.as_ref(), 3);
        store.dump(&mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        store.check().unwrap();
        drop(store);
    });
}

#[test]
fn more_threads_than_connections_wait_for_each_other() {
    let Some(server) = Postgres::shared("more threads than connections") else { return };
    let place = Place::on_server(server);
    let name = place.database.as_ref().unwrap().name.clone();
    let store = place.open();
    filled(store.as_ref(), 1);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..5 {
                    store.add_usage(&[(nth_version(1), USED)]).unwrap();
                    store.keks().unwrap();
                }
            });
        }
    });
    assert_eq!(used(store.as_ref()), 160);
    let open =
        server.sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"));
    assert!(open.parse::<u32>().unwrap() <= 8, "{open}");
}

#[test]
fn large_batches_go_in_whole_or_not_at_all() {
    let Some(place) = Place::postgres("large batches") else { return };
    let store = place.open();
    let old = filled(store.as_ref(), 2);
    store.enrol_incoming_kek(&kek(1), old).unwrap();
    let new = kek(1).key_id();
    // More than one statement takes, and the last one is refused.
    let mut many: Vec<NewWrapping> = (0..1100).map(|nth| wrapping(nth_version(nth % 2 + 1), new)).collect();
    many.push(wrapping(nth_version(9), new));
    assert_eq!(conflict(store.add_wrappings(&many)), ConflictKind::UnknownVersion);
    assert_eq!(store.wrap_progress(new).unwrap().wrapped, 0);
    many.pop();
    store.add_wrappings(&many).unwrap();
    assert_eq!(store.wrap_progress(new).unwrap().wrapped, 2);
}

/// What a process does that is to be forked: parent and child go on, each with connections of its own.
pub(crate) fn fork_and_look(address: &str) {
    let store = crate::on::open(address);
    filled(store.as_ref(), 1);
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            store.add_usage(&[(nth_version(1), USED)]).unwrap();
            let found = used(store.as_ref());
            drop(store);
            std::process::exit(i32::from(found != 1));
        }
        fork::Fork::Parent(child) => {
            println!("said: child {}", fork::waitpid(child).unwrap());
            store.add_usage(&[(nth_version(1), USED)]).unwrap();
            println!("said: {}", used(store.as_ref()));
            store.check().unwrap();
        }
    }
}

#[test]
fn a_forked_process_connects_anew() {
    let Some(place) = Place::postgres("a forked process connects anew") else { return };
    let output = child::command("fork on a server", &place.address).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(child::said(&text), ["child 0", "2"]);
}
