//! The file: who may read it, what may stand in its place, and what else may be in it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aegis_keyring::{Damage, DatabaseError, SqliteStore, Store as _, StoreError};
use rusqlite::Connection;
use test_services::scratch;

use crate::child;
use crate::fixture::{filled, kek, nth_version, told};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(path: &Path) -> StoreError {
    match SqliteStore::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// A sound keyring of two DEKs, closed.
fn sound(dir: &Path) -> PathBuf {
    let path = dir.join("keyring.db");
    filled(&SqliteStore::open(&path).unwrap(), 2);
    path
}

#[test]
fn nobody_else_can_read_what_it_makes() {
    let dir = scratch::dir();
    let path = dir.path().join("keyring.db");
    let store = SqliteStore::open(&path).unwrap();
    filled(&store, 2);
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // The last one to close it leaves one file.
    drop(store);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_strange_umask_changes_nothing() {
    for umask in ["000", "777", "277"] {
        let dir = scratch::dir();
        let path = dir.path().join("keyring.db");
        let program = child::command("first steps", path.to_str().unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(program.get_program());
        command.args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().unwrap();
        let said = child::said(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(said, ["done open", "done enrol"], "{umask}");
        assert_eq!(mode(&path), 0o600, "{umask}");
    }
}

#[test]
fn the_mode_of_a_file_of_somebody_else_is_left_alone() {
    let dir = scratch::dir();
    let path = dir.path().join("passwd");
    fs::write(&path, "root:x:0:0:root:/root:/bin/sh\n".repeat(40)).unwrap();
    set_mode(&path, 0o644);
    let error = refused(&path);
    assert!(matches!(error, StoreError::Database(DatabaseError::Foreign { .. })), "{error:?}");
    assert!(!told(&error).contains("chmod"), "{}", told(&error));
}

#[test]
fn refuses_what_others_can_read_or_change() {
    let dir = scratch::dir();
    let path = sound(dir.path());
    for bad in [0o640, 0o604, 0o644, 0o660, 0o606, 0o666] {
        set_mode(&path, bad);
        let error = refused(&path);
        assert!(
            matches!(&error, StoreError::Database(DatabaseError::Insecure { path: found, .. }) if *found == path),
            "{error:?}"
        );
        assert!(told(&error).contains("chmod 600"), "{}", told(&error));
        assert_eq!(mode(&path), bad);
    }
    set_mode(&path, 0o600);
    for companion in ["-wal", "-shm", "-journal"] {
        let companion = dir.path().join(format!("keyring.db{companion}"));
        fs::write(&companion, b"").unwrap();
        set_mode(&companion, 0o644);
        assert!(
            matches!(refused(&path), StoreError::Database(DatabaseError::Insecure { path, .. }) if path == companion)
        );
        fs::remove_file(&companion).unwrap();
    }
    for bad in [0o770, 0o707, 0o777, 0o1777] {
        set_mode(dir.path(), bad);
        assert!(matches!(refused(&path), StoreError::Database(DatabaseError::Insecure { .. })), "{bad:o}");
        let new = refused(&dir.path().join("new.db"));
        assert!(matches!(&new, StoreError::Database(DatabaseError::Insecure { .. })), "{bad:o}");
        assert!(told(&new).contains("chmod 700"), "{}", told(&new));
    }
    set_mode(dir.path(), 0o700);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    SqliteStore::open(&path).unwrap();
}

#[test]
fn refuses_the_file_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        test_services::tools::skip("the file of another user", "only root can give a file away");
        return;
    }
    let dir = scratch::dir();
    let path = sound(dir.path());
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert!(told(&refused(&path)).contains("belongs to user 12345"));
    assert_eq!(fs::metadata(&path).unwrap().uid(), 12345);
}

#[test]
fn refuses_what_is_no_file() {
    let dir = scratch::dir();
    let sound = sound(dir.path());
    let at = |name: &str| dir.path().join(name);
    symlink(&sound, at("link")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let cases = [
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("directory", "a directory"),
        ("fifo", "a FIFO"),
    ];
    for (name, expected) in cases {
        match refused(&at(name)) {
            StoreError::Database(DatabaseError::NotAFile { path, kind }) => {
                assert_eq!((path, kind), (at(name), expected));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    symlink(at("elsewhere"), at("keyring.db-wal")).unwrap();
    assert!(matches!(
        refused(&sound),
        StoreError::Database(DatabaseError::NotAFile { kind: "a symbolic link", .. })
    ));
    assert!(!at("elsewhere").exists());
    assert!(matches!(refused(&at("none/keyring.db")), StoreError::Database(DatabaseError::NoPlace { .. })));
    assert!(matches!(
        refused(&sound.join("keyring.db")),
        StoreError::Database(DatabaseError::NoPlace { .. })
    ));
    for nameless in ["", "/", "..", "dir/.."] {
        assert!(
            matches!(refused(Path::new(nameless)), StoreError::Database(DatabaseError::Address { .. })),
            "{nameless}"
        );
    }
}

#[test]
fn no_name_is_more_than_a_name() {
    let dir = scratch::dir();
    for name in ["file:x?mode=memory", "a b%00?#.db", ":memory:", "-wal", "'; DROP"] {
        let path = dir.path().join(name);
        filled(&SqliteStore::open(&path).unwrap(), 1);
        assert!(fs::metadata(&path).unwrap().len() > 0, "{name}");
        assert!(SqliteStore::open(&path).unwrap().dek(nth_version(1)).unwrap().is_some(), "{name}");
    }
}

#[test]
fn says_that_it_can_only_be_read() {
    let dir = scratch::dir();
    let path = sound(dir.path());
    set_mode(&path, 0o400);
    let mut program = child::command("first steps", path.to_str().unwrap());
    // No mode stops root, so another user tries.
    if rustix::process::geteuid().is_root() {
        if !test_services::tools::need("says that it can only be read", &["setpriv"]) {
            return;
        }
        for object in [path.as_path(), dir.path()] {
            std::os::unix::fs::chown(object, Some(65534), Some(65534)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        program = command;
    }
    let output = program.output().unwrap();
    let said = child::said(&String::from_utf8(output.stdout).unwrap());
    assert!(
        matches!(said.as_slice(), [failed] if failed.starts_with("failed Database(ReadOnly")),
        "{said:?}"
    );
}

#[test]
fn leaves_the_database_of_another_program_alone() {
    let dir = scratch::dir();
    let cases = [
        ("tables", "CREATE TABLE other (a)"),
        ("an application id", "PRAGMA application_id = 42"),
        ("a version", "PRAGMA user_version = 1"),
        ("our table names", "CREATE TABLE keks (id INTEGER); CREATE TABLE deks (ordinal INTEGER)"),
    ];
    for (name, sql) in cases {
        let path = dir.path().join(name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        set_mode(&path, 0o600);
        let before = fs::read(&path).unwrap();
        let error = refused(&path);
        assert!(matches!(error, StoreError::Database(DatabaseError::Foreign { .. })), "{name}: {error:?}");
        assert_eq!(fs::read(&path).unwrap(), before, "{name}");
    }
}

#[test]
fn refuses_what_is_no_database() {
    let dir = scratch::dir();
    let path = dir.path().join("keyring.db");
    for bytes in [&b"-----BEGIN PRIVATE KEY-----\n".repeat(200)[..], &[0; 5000], b"x", b"SQLite format 3\0"] {
        fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o600);
        let error = refused(&path);
        let not_one = matches!(
            error,
            StoreError::Database(DatabaseError::Damaged { damage: Damage::NotADatabase, .. })
        );
        assert!(not_one || matches!(error, StoreError::Database(DatabaseError::Damaged { .. })), "{error:?}");
        assert!(error.help().unwrap().contains("restore"));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    // Nothing yet, as `touch` leaves it.
    fs::write(&path, b"").unwrap();
    SqliteStore::open(&path).unwrap();
}

#[test]
fn no_damage_to_a_page_makes_it_panic_or_answer_wrongly() {
    let dir = scratch::dir();
    let path = sound(dir.path());
    let good = fs::read(&path).unwrap();
    let other = dir.path().join("other.db");
    let (mut found, mut opened) = (0, 0);
    for at in (0..good.len()).step_by(1009) {
        let mut bad = good.clone();
        for byte in &mut bad[at..(at + 8).min(good.len())] {
            *byte ^= 0x5a;
        }
        fs::write(&other, &bad).unwrap();
        set_mode(&other, 0o600);
        let Ok(store) = SqliteStore::open(&other) else {
            found += 1;
            continue;
        };
        opened += 1;
        let outcomes = [
            store.check().is_err(),
            store.keks().is_err(),
            store.dek(nth_version(1)).is_err(),
            store.wrapping(nth_version(1), kek(0).key_id()).is_err(),
            store.dump(&mut |_| std::ops::ControlFlow::Continue(())).is_err(),
            store.add_usage(&[(nth_version(1), aegis_keyring::Usage::default())]).is_err(),
        ];
        found += usize::from(outcomes.contains(&true));
    }
    assert!(found > 0 && opened > 0, "{found} of {opened}");
    // Cut short at a page.
    for pages in 1..good.len() / 16384 {
        fs::write(&other, &good[..pages * 16384]).unwrap();
        let is_found = match SqliteStore::open(&other) {
            Err(error) => matches!(error, StoreError::Database(DatabaseError::Damaged { .. })),
            Ok(store) => matches!(store.check(), Err(StoreError::Database(DatabaseError::Damaged { .. }))),
        };
        assert!(is_found, "{pages} pages");
    }
}

#[test]
fn says_how_long_it_waited_for_another_writer() {
    let dir = scratch::dir();
    let path = sound(dir.path());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let store = SqliteStore::open_patiently(&path, Duration::from_millis(50)).unwrap();
    let error = store.add_usage(&[]).unwrap_err();
    assert!(
        matches!(error, StoreError::Database(DatabaseError::Busy { .. })) && error.is_transient(),
        "{error:?}"
    );
    // Readers wait for nobody.
    assert_eq!(store.keks().unwrap().len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    store.add_usage(&[]).unwrap();
}

#[test]
fn does_not_go_on_with_a_file_that_was_taken_away() {
    let dir = scratch::dir();
    let path = sound(dir.path());
    let aside = dir.path().join("aside");
    let store = SqliteStore::open(&path).unwrap();
    store.keks().unwrap();
    let is_refused = |store: &SqliteStore| {
        let read = store.keks().err();
        let write = store.add_usage(&[]).err();
        matches!(
            (read, write),
            (
                Some(StoreError::Database(DatabaseError::Replaced { .. })),
                Some(StoreError::Database(DatabaseError::Replaced { .. }))
            )
        )
    };
    fs::rename(&path, &aside).unwrap();
    assert!(is_refused(&store));
    // Another one in its place is no better, be it a copy.
    Command::new("cp").arg(&aside).arg(&path).status().unwrap();
    assert!(is_refused(&store));
    fs::rename(&aside, &path).unwrap();
    store.add_usage(&[]).unwrap();
}

#[test]
fn a_trigger_or_a_view_in_the_file_is_not_run() {
    let dir = scratch::dir();
    let path = sound(dir.path());
    let schemes = [
        "CREATE TRIGGER evil AFTER UPDATE ON deks BEGIN DELETE FROM boxes; END",
        "CREATE VIEW evil AS SELECT 1",
        "DROP INDEX one_active_dek",
        "DROP INDEX one_active_dek; CREATE INDEX one_active_dek ON deks (scope)",
        "ALTER TABLE deks ADD COLUMN more TEXT",
        "DROP TABLE wrappings",
    ];
    for sql in schemes {
        let other = dir.path().join("other.db");
        fs::copy(&path, &other).unwrap();
        Connection::open(&other).unwrap().execute_batch(sql).unwrap();
        let error = refused(&other);
        assert!(
            matches!(
                &error,
                StoreError::Database(DatabaseError::Damaged { damage: Damage::Structure { .. }, .. })
            ),
            "{sql}: {error:?}"
        );
        // Also if it comes while the store is open.
        fs::copy(&path, &other).unwrap();
        let store = SqliteStore::open(&other).unwrap();
        Connection::open(&other).unwrap().execute_batch(sql).unwrap();
        assert!(matches!(store.check(), Err(StoreError::Database(DatabaseError::Damaged { .. }))), "{sql}");
        store.keks().unwrap();
    }
}

/// What a process does that is to be forked: it looks into the store before and after, in parent and child.
pub(crate) fn fork_and_look(address: &str) {
    let path = Path::new(address);
    let store = SqliteStore::open(path).unwrap();
    store.keks().unwrap();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let is_refused = |error| matches!(error, Err(StoreError::Database(DatabaseError::Forked { .. })));
            let inherited = is_refused(store.keks().map(drop)) && is_refused(store.add_usage(&[]));
            let again = is_refused(SqliteStore::open(path).map(drop));
            drop(store);
            // Another file is none of the parent's.
            let other = SqliteStore::open(&path.with_extension("other")).is_ok();
            std::process::exit(i32::from(!(inherited && again && other)));
        }
        fork::Fork::Parent(child) => {
            println!("said: child {}", fork::waitpid(child).unwrap());
            filled(&store, 1);
            store.check().unwrap();
            drop(store);
        }
    }
    // The parent's own bookkeeping is as it should be: after the last one is closed, a fork inherits nothing.
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let found = SqliteStore::open(path).and_then(|store| store.keks()).unwrap().len();
            std::process::exit(i32::from(found != 1));
        }
        fork::Fork::Parent(child) => println!("said: child {}", fork::waitpid(child).unwrap()),
    }
}

#[test]
fn a_forked_process_is_refused() {
    let dir = scratch::dir();
    let path = dir.path().join("keyring.db");
    let output = child::command("fork", path.to_str().unwrap()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(child::said(&text), ["child 0", "child 0"]);
    SqliteStore::open(&path).unwrap().check().unwrap();
}
