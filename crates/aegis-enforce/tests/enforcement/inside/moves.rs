//! Names on the way to what a policy names, when they are given to something else.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use aegis_enforce::{Enforcement, Mode};

use aegis_enforce::event::{BootClock, Context};

use super::{Canary, Place, Scenario, Start, compiled, swap};
use crate::probe::{DENIED, Session, ask};

pub(super) const ALL: &[Scenario] = &[
    ("deny_path by two paths of one directory", Start::Loaded(two_paths)),
    ("deny_path of a tree that was renamed to its way", Start::Loaded(renamed_trees)),
    ("deny_path of a tree that was renamed far above", Start::Loaded(too_deep)),
    ("deny_path of a directory that was another's", Start::Loaded(another_ones)),
    ("deny_path by links", Start::Loaded(by_links)),
    ("what moves is counted", Start::Loaded(counted)),
    ("the first move wakes whoever waits for events", Start::Loaded(wakes)),
];

fn deny(paths: &[&str]) -> String {
    format!("version=6\n[deny_path]\n{}\n", paths.join("\n"))
}

/// As `/bin` is `/usr/bin`: by a link, and by a mount. None of the names exists when the policy is put in force.
fn two_paths(enforcement: &Enforcement) {
    let place = Place::new("two_paths");
    let (real, bound) = (place.directory("real"), place.directory("bound"));
    let link = place.path("link");
    symlink("real", &link).unwrap();
    assert_eq!(ask(&format!("bind-mount {real} {bound}")), 0);
    let paths = [
        format!("{link}/x"),
        format!("{real}/y"),
        format!("{bound}/z"),
        format!("{bound}/new/x"),
        format!("{real}/new/y"),
        format!("{link}/new/z"),
    ];
    let all: Vec<&str> = paths.iter().map(String::as_str).collect();
    let backwards: Vec<&str> = all.iter().rev().copied().collect();
    for paths in [all, backwards] {
        swap(enforcement, &deny(&paths), Mode::Enforce);
        let again = compiled(&deny(&paths), Mode::Enforce, Canary { file: None }).resolution();
        assert_eq!(enforcement.resolution().unwrap(), Some(again), "what an agent compares");
        for name in ["x", "y", "z"] {
            assert_eq!(ask(&format!("create {real}/{name}")), DENIED, "{name}");
            assert_eq!(ask(&format!("create {bound}/{name}")), DENIED, "{name}");
        }
        assert_eq!(ask(&format!("mkdir {link}/new")), 0);
        for name in ["x", "y", "z"] {
            assert_eq!(ask(&format!("create {real}/new/{name}")), DENIED, "new/{name}");
        }
        assert_eq!(ask(&format!("create {real}/new/other")), 0);
        fs::remove_dir_all(format!("{real}/new")).unwrap();
    }
    assert_eq!(ask(&format!("unmount {bound}")), 0);
}

/// No agent looks here: the programs find out by the names above.
fn renamed_trees(enforcement: &Enforcement) {
    let place = Place::new("renamed_trees");
    let long = "n".repeat(100);
    for below in ["b", "b/c", &format!("b/{long}/d"), "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15"] {
        let (way, tree) = (place.path("way"), place.path("tree"));
        let directory = format!("{tree}/{below}");
        place.directory(&format!("tree/{below}"));
        place.file(&format!("tree/{below}/secret"), "x");
        place.file(&format!("tree/{below}/open"), "x");
        let named = |name: &str| format!("{way}/{below}/{name}");
        let (secret, later, protected) = (named("secret"), named("later"), named("link"));
        swap(enforcement, &deny(&[&secret, &later, &protected, &named("new/deep")]), Mode::Enforce);
        assert_eq!(enforcement.moved().unwrap(), enforcement.resolved().unwrap());
        // A file that was opened before, by a process that goes on.
        let mut session = Session::start();
        assert_eq!(session.ask(&format!("keep {directory}/secret")), 0);
        assert_eq!(ask(&format!("rename {tree} {way}")), 0);
        assert_ne!(enforcement.moved().unwrap(), enforcement.resolved().unwrap(), "{below}");
        assert_eq!(ask(&format!("open {secret}")), DENIED, "{below}");
        assert_eq!(session.ask("map"), DENIED, "{below}");
        assert_eq!(session.ask("pass"), DENIED, "{below}");
        assert_eq!(ask(&format!("truncate {secret}")), DENIED, "{below}");
        assert_eq!(ask(&format!("open {}", named("open"))), 0, "{below}");
        assert_eq!(ask(&format!("create {later}")), DENIED, "{below}");
        assert_eq!(ask(&format!("symlink {} {protected}", named("open"))), DENIED, "{below}");
        assert_eq!(ask(&format!("rename {} {later}", named("open"))), 0, "{below}");
        assert_eq!(ask(&format!("open {later}")), DENIED, "{below}");
        assert_eq!(ask(&format!("mkdir {}", named("new"))), 0, "{below}");
        assert_eq!(ask(&format!("create {}", named("new/deep"))), DENIED, "{below}");
        // What was found out stays known when somebody says that nothing has moved.
        enforcement.set_resolved(enforcement.moved().unwrap()).unwrap();
        assert_eq!(ask(&format!("create {}", named("new/deep"))), DENIED, "{below}");
        assert_eq!(ask(&format!("rename {way} {}", place.path("gone"))), 0);
        assert_eq!(ask(&format!("open {}", secret.replace("/way/", "/gone/"))), DENIED, "{below}");
        fs::remove_dir_all(place.path("gone")).unwrap();
    }
}

/// The names of sixteen directories are looked at, and no more.
fn too_deep(enforcement: &Enforcement) {
    let place = Place::new("too_deep");
    let below = "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16";
    place.directory(&format!("tree/{below}"));
    place.file(&format!("tree/{below}/secret"), "x");
    let (way, secret) = (place.path("way"), place.path(&format!("way/{below}/secret")));
    swap(enforcement, &deny(&[&secret]), Mode::Enforce);
    assert_eq!(ask(&format!("rename {} {way}", place.path("tree"))), 0);
    assert_eq!(ask(&format!("open {secret}")), 0);
    assert_ne!(enforcement.moved().unwrap(), enforcement.resolved().unwrap(), "an agent resolves it again");
    swap(enforcement, &deny(&[&secret]), Mode::Enforce);
    assert_eq!(ask(&format!("open {secret}")), DENIED);
}

/// A directory that is known by the names of one tree comes to be one of another.
fn another_ones(enforcement: &Enforcement) {
    let place = Place::new("another_ones");
    place.directory("x/m");
    place.directory("y/m");
    let (one, other) = (place.path("x/m/secret"), place.path("y/m/other"));
    swap(enforcement, &deny(&[&one, &other]), Mode::Enforce);
    assert_eq!(ask(&format!("rename {} {}", place.path("x"), place.path("gone"))), 0);
    assert_eq!(ask(&format!("rename {} {}", place.path("y"), place.path("x"))), 0);
    assert_eq!(ask(&format!("create {one}")), DENIED);
    assert_eq!(ask(&format!("create {}", place.path("x/m/else"))), 0);
}

/// A chain of links, each in a directory of its own, and a link that is denied itself.
fn by_links(enforcement: &Enforcement) {
    let place = Place::new("by_links");
    for directory in ["opt", "srv", "v1", "v2", "lib"] {
        place.directory(directory);
    }
    let (current, middle) = (place.path("opt/current"), place.path("srv/middle"));
    symlink("../srv/middle", &current).unwrap();
    symlink(place.path("v1"), &middle).unwrap();
    let (target, link) = (place.file("lib/release", "x"), place.path("opt/release"));
    symlink("../lib/release", &link).unwrap();
    let policy = deny(&[&format!("{current}/secret"), &link]);
    swap(enforcement, &policy, Mode::Enforce);
    assert_eq!(ask(&format!("create {}", place.path("v1/secret"))), DENIED);
    assert_eq!(ask(&format!("open {link}")), DENIED);
    // Another file by the name that the link leads to.
    let new = place.file("new", "x");
    assert_eq!(ask(&format!("rename {new} {target}")), 0);
    assert_eq!(ask(&format!("open {link}")), DENIED);
    assert_eq!(ask(&format!("create {}", place.path("v2/secret"))), 0);
    let before = enforcement.moved().unwrap();
    assert_eq!(before, enforcement.resolved().unwrap());
    // The link in the middle is in no path of the policy.
    assert_eq!(ask(&format!("unlink {middle}")), 0);
    assert_eq!(ask(&format!("symlink {} {middle}", place.path("v2"))), 0);
    assert!(enforcement.moved().unwrap() > before);
    swap(enforcement, &policy, Mode::Enforce);
    assert_eq!(ask(&format!("open {}", place.path("v2/secret"))), DENIED);
}

fn counted(enforcement: &Enforcement) {
    let place = Place::new("counted");
    place.directory("way/there");
    place.directory("elsewhere/below");
    let secret = place.path("way/there/secret");
    let (file, other) = (place.file("file", "x"), place.path("other"));
    symlink("elsewhere", place.path("link")).unwrap();
    symlink("there", place.path("way/link")).unwrap();
    let paths = [secret.as_str(), &place.path("later/secret"), &place.path("way/link/x")];
    swap(enforcement, &deny(&paths), Mode::Enforce);
    let at = |name: &str| place.path(name);
    for (what, counts) in [
        (format!("open {file}"), false),
        (format!("mkdir {}", at("new")), false),
        (format!("rename {} {}", at("new"), at("other-new")), false),
        (format!("symlink {file} {}", at("new")), false),
        (format!("rename {file} {other}"), false),
        // A new directory is empty, and known.
        (format!("mkdir {}", at("later")), false),
        (format!("rmdir {}", at("later")), false),
        (format!("rename {} {}", at("elsewhere"), at("later")), true),
        (format!("rename {} {}", at("later"), at("elsewhere")), true),
        (format!("symlink elsewhere {}", at("later")), true),
        (format!("stat {}", at("later/below")), false),
        (format!("unlink {}", at("later")), true),
        (format!("link {} {}", at("link"), at("later")), true),
        (format!("rename {} {}", at("later"), at("link2")), true),
        (format!("exchange {} {}", at("elsewhere"), at("way")), true),
        (format!("exchange {} {}", at("elsewhere"), at("way")), true),
        (format!("unlink {}", at("way/link")), true),
        // No directory, and no link.
        (format!("rename {other} {}", at("later")), false),
    ] {
        let before = enforcement.moved().unwrap();
        assert_eq!(ask(&what), 0, "{what}");
        assert_eq!(enforcement.moved().unwrap() > before, counts, "{what}");
    }
    assert_eq!(enforcement.counters().unwrap().lost, 0);
}

/// Where none comes, this waits until the machine's time is over.
fn wakes(enforcement: &Enforcement) {
    let place = Place::new("wakes");
    let (tree, way) = (place.directory("tree"), place.path("way"));
    swap(enforcement, &deny(&[&place.path("way/below/secret")]), Mode::Enforce);
    let context = Context::of_host(BootClock::measure(), None);
    let reader = enforcement.reader().unwrap();
    for round in 0..3 {
        while !reader.next(Duration::ZERO, &context).is_empty() {}
        let moved = enforcement.moved().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                assert_eq!(ask(&format!("rename {tree} {way}")), 0);
            });
            let events = reader.next(Duration::from_secs(3600), &context);
            assert!(events.is_empty(), "it is no event: {events:?}");
        });
        assert!(enforcement.moved().unwrap() > moved, "{round}");
        assert_eq!(ask(&format!("rename {way} {tree}")), 0);
        enforcement.set_resolved(enforcement.moved().unwrap()).unwrap();
    }
}
