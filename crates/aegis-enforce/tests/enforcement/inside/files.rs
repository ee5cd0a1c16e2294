//! Files: by path and by number.

use std::fs;

use aegis_enforce::{Enforcement, Mode};

use super::{EMPTY, Place, Scenario, Start, hash_of, inode_of, judged, swap};
use crate::probe::{DENIED, PROBE, Session, ask};

pub(super) const ALL: &[Scenario] = &[
    ("deny_path", Start::Loaded(denied_path)),
    ("deny_path of names to come", Start::Loaded(names_to_come)),
    ("deny_path of directories to come", Start::Loaded(directories_to_come)),
    ("deny_path of a replaced directory", Start::Loaded(replaced_directory)),
    ("deny_path of short and long names", Start::Loaded(names_of_any_length)),
    ("deny_path with many files to come", Start::Loaded(many_files_to_come)),
    ("deny_inode", Start::Loaded(denied_inode)),
    ("protect_path", Start::Loaded(protected_path)),
    ("policies in turn", Start::Loaded(policies_in_turn)),
];

fn deny(paths: &[&str]) -> String {
    format!("version=6\n[deny_path]\n{}\n", paths.join("\n"))
}

fn denied_path(enforcement: &Enforcement) {
    let place = Place::new("denied_path");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "y"));
    let program = place.other_probe("program");
    let of = |verb: &str, path: &str| format!("{verb} {path}");
    let verbs = ["open", "write", "openat2", "truncate"];
    let denied = verbs.map(|verb| of(verb, &secret));
    let mut denied: Vec<&str> = denied.iter().map(String::as_str).collect();
    let run = format!("exec {program} nothing");
    denied.push(&run);
    let (allowed, other, stat) =
        (verbs.map(|verb| of(verb, &open)), of("exec", "/t/probe nothing"), of("stat", &secret));
    let mut allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    allowed.extend([other.as_str(), stat.as_str()]);
    judged(enforcement, &deny(&[&secret, &program]), &denied, &allowed);
}

fn names_to_come(enforcement: &Enforcement) {
    let place = Place::new("names_to_come");
    let name = |index: usize| place.path(&format!("later{index}"));
    let names: Vec<String> = (0..8).map(name).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    swap(enforcement, &deny(&all), Mode::Enforce);
    let [created, made, renamed, linked, symbolic, moved_symbolic, nameless, exchanged] = all[..] else {
        panic!()
    };

    assert_eq!(ask(&format!("create {created}")), DENIED);
    assert!(!fs::exists(created).unwrap(), "nothing is left behind");

    assert_eq!(ask(&format!("mknod {made}")), DENIED);

    let one = place.file("one", "x");
    assert_eq!(ask(&format!("rename {one} {renamed}")), 0);
    assert_eq!(ask(&format!("open {renamed}")), DENIED);
    assert_eq!(ask(&format!("rename {renamed} {one}")), 0);
    assert_eq!(ask(&format!("open {one}")), DENIED, "known by its inode");

    let two = place.file("two", "x");
    assert_eq!(ask(&format!("open {two}")), 0);
    assert_eq!(ask(&format!("link {two} {linked}")), 0);
    assert_eq!(ask(&format!("open {linked}")), DENIED);
    assert_eq!(ask(&format!("open {two}")), DENIED, "the other name of the same file");

    let three = place.file("three", "x");
    assert_eq!(ask(&format!("symlink {three} {symbolic}")), DENIED);
    let link = place.path("link");
    assert_eq!(ask(&format!("symlink {three} {link}")), 0);
    assert_eq!(ask(&format!("rename {link} {moved_symbolic}")), DENIED);
    assert_eq!(ask(&format!("open {three}")), 0);

    assert_eq!(ask(&format!("tmpfile {} {nameless}", place.path(""))), 0);
    assert_eq!(ask(&format!("open {nameless}")), DENIED);

    fs::write(exchanged, "x").expect_err("the agent, too, creates nothing by a denied name");
    let (four, five) = (place.file("four", "x"), place.file("five", "x"));
    assert_eq!(ask(&format!("rename {four} {exchanged}")), 0);
    assert_eq!(ask(&format!("exchange {five} {exchanged}")), 0);
    assert_eq!(ask(&format!("open {exchanged}")), DENIED);
    assert_eq!(ask(&format!("open {five}")), DENIED, "what had the name before");

    assert_eq!(ask(&format!("create {}", place.path("neighbour"))), 0);
    let counted = enforcement.counters().unwrap();
    assert_eq!((counted.lost, counted.unmarked), (0, 0));
}

fn directories_to_come(enforcement: &Enforcement) {
    let place = Place::new("directories_to_come");
    let (one, two) = (place.path("one"), place.path("one/two"));
    let (shallow, deep) = (place.path("one/secret"), place.path("one/two/secret"));
    swap(enforcement, &deny(&[&shallow, &deep]), Mode::Enforce);
    assert_eq!(ask(&format!("mkdir {one}")), 0);
    assert_eq!(ask(&format!("create {shallow}")), DENIED);
    assert_eq!(ask(&format!("mkdir {two}")), 0);
    assert_eq!(ask(&format!("create {deep}")), DENIED);
    assert_eq!(ask(&format!("create {}", place.path("one/two/other"))), 0);
    assert_eq!(ask(&format!("rename {} {deep}", place.path("one/two/other"))), 0);
    assert_eq!(ask(&format!("open {deep}")), DENIED);
    assert_eq!(ask(&format!("create {}", place.path("secret"))), 0, "the name in another directory");
}

fn replaced_directory(enforcement: &Enforcement) {
    let place = Place::new("replaced_directory");
    let directory = place.directory("directory");
    let (secret, old) = (place.file("directory/secret", "x"), place.path("old"));
    let new = place.directory("new");
    place.file("new/secret", "x");
    place.file("new/open", "x");
    swap(enforcement, &deny(&[&secret]), Mode::Enforce);
    assert_eq!(ask(&format!("rename {directory} {old}")), 0);
    assert_eq!(ask(&format!("open {old}/secret")), DENIED);
    assert_eq!(ask(&format!("open {new}/secret")), 0);
    assert_eq!(ask(&format!("rename {new} {directory}")), 0);
    assert_eq!(ask(&format!("open {secret}")), DENIED);
    assert_eq!(ask(&format!("open {directory}/open")), 0);
    assert_eq!(ask(&format!("unlink {secret}")), 0);
    assert_eq!(ask(&format!("create {secret}")), DENIED);
}

fn names_of_any_length(enforcement: &Enforcement) {
    let place = Place::new("names_of_any_length");
    for length in [0, 1, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 128, 254] {
        let name = |last: &str| "n".repeat(length) + last;
        let (here, later) = (place.file(&name("a"), "x"), place.path(&name("b")));
        let other = place.file(&name("c"), "x");
        swap(enforcement, &deny(&[&here, &later]), Mode::Enforce);
        assert_eq!(ask(&format!("open {here}")), DENIED);
        assert_eq!(ask(&format!("create {later}")), DENIED);
        assert_eq!(ask(&format!("open {other}")), 0);
        assert_eq!(ask(&format!("rename {other} {later}")), 0);
        assert_eq!(ask(&format!("open {later}")), DENIED);
    }
}

/// The name holds again and again, and the entries of files that are gone do not.
fn many_files_to_come(enforcement: &Enforcement) {
    let place = Place::new("many_files_to_come");
    let (secret, source) = (place.path("secret"), place.path("source"));
    swap(enforcement, &deny(&[&secret]), Mode::Enforce);
    let mut session = Session::start();
    for _ in 0..300 {
        assert_eq!(session.ask(&format!("create {source}")), 0);
        assert_eq!(session.ask(&format!("rename {source} {secret}")), 0);
        assert_eq!(session.ask(&format!("open {secret}")), DENIED);
        assert_eq!(session.ask(&format!("unlink {secret}")), 0);
    }
    assert_eq!(enforcement.counters().unwrap().unmarked, 0);
}

fn denied_inode(enforcement: &Enforcement) {
    let place = Place::new("denied_inode");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "x"));
    let link = place.path("link");
    fs::hard_link(&secret, &link).unwrap();
    let policy = format!("version=6\n[deny_inode]\n{}\n", inode_of(&secret));
    let denied = [format!("open {secret}"), format!("open {link}"), format!("write {secret}")];
    let denied: Vec<&str> = denied.iter().map(String::as_str).collect();
    judged(enforcement, &policy, &denied, &[&format!("open {open}")]);
    swap(enforcement, &policy, Mode::Enforce);
    assert_eq!(ask(&format!("rename {secret} {open}")), 0);
    assert_eq!(ask(&format!("open {open}")), DENIED);
}

/// Either list makes a program one that may. Nothing else can be started then, so who may not runs already.
fn protected_path(enforcement: &Enforcement) {
    let place = Place::new("protected_path");
    let (secret, open) = (place.file("secret", "x"), place.file("open", "x"));
    let later = place.path("later");
    let unlisted = place.other_probe("unlisted");
    let (read, read_other) = (format!("open {secret}"), format!("open {open}"));
    for list in ["allow_binary_hash", "trusted_exec_hash"] {
        swap(enforcement, EMPTY, Mode::Enforce);
        let mut before = Session::of(&unlisted);
        let mut too_early = Session::start();
        assert_eq!(before.ask(&read), 0);
        let policy = format!("version=6\n[protect_path]\n{secret}\n{later}\n[{list}]\n{}\n", hash_of(PROBE));
        for (mode, refused) in [(Mode::Enforce, DENIED), (Mode::Audit, 0)] {
            swap(enforcement, &policy, mode);
            assert_eq!(before.ask(&read), refused, "{list}: a program that is not listed");
            assert_eq!(before.ask(&read_other), 0);
            assert_eq!(before.ask(&format!("create {later}")), refused);
            let _ = fs::remove_file(&later);
            assert_eq!(too_early.ask(&read), refused, "{list}: nobody measured it when it was started");
            assert_eq!(ask(&read), 0, "{list}: a listed program, started under the policy");
            assert_eq!(ask(&format!("create {later}")), 0);
            let _ = fs::remove_file(&later);
            assert_eq!(ask(&format!("exec {unlisted} open {secret}")), refused, "{list}: not to be run");
        }
    }
    // A denial goes before a protection.
    let both = format!(
        "version=6\n[protect_path]\n{secret}\n[deny_path]\n{secret}\n[allow_binary_hash]\n{}\n",
        hash_of(PROBE)
    );
    swap(enforcement, &both, Mode::Enforce);
    assert_eq!(ask(&read), DENIED);
}

fn policies_in_turn(enforcement: &Enforcement) {
    let place = Place::new("policies_in_turn");
    let (one, two) = (place.file("one", "x"), place.file("two", "y"));
    for _ in 0..3 {
        swap(enforcement, &deny(&[&one]), Mode::Enforce);
        assert_eq!((ask(&format!("open {one}")), ask(&format!("open {two}"))), (DENIED, 0));
        enforcement.verify().unwrap();
        swap(enforcement, &deny(&[&two]), Mode::Enforce);
        assert_eq!((ask(&format!("open {one}")), ask(&format!("open {two}"))), (0, DENIED));
    }
}
