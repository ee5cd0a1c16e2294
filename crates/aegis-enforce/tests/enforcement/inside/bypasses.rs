//! Ways around a rule, each tried, and what became of it. `docs/enforcement.md` has the table.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use aegis_enforce::{Enforcement, Mode};

use super::{EMPTY, Place, Scenario, Start, hash_of, swap};
use crate::probe::{DENIED, DYNAMIC, PROBE, Session, ask};

pub(super) const ALL: &[Scenario] = &[
    ("bypasses of a path", Start::Loaded(of_a_path)),
    ("bypasses by mounts", Start::Loaded(by_mounts)),
    ("bypasses by an overlay", Start::Loaded(by_an_overlay)),
    ("bypasses by a descriptor", Start::Loaded(by_a_descriptor)),
    ("bypasses of a program", Start::Loaded(of_a_program)),
    ("bypasses of an address", Start::Loaded(of_an_address)),
    ("bypasses of a port", Start::Loaded(of_a_port)),
];

fn deny(paths: &[&str]) -> String {
    format!("version=6\n[deny_path]\n{}\n", paths.join("\n"))
}

/// What is known of a way around a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Denied,
    /// And why.
    NotSeen(&'static str),
}
use Known::{Denied, NotSeen};

/// Holds what came of it against what is known, so that no line of the table is out of date.
fn bypass(name: &str, result: i32, known: Known) {
    match known {
        Denied => {
            assert_eq!(result, DENIED, "bypass {name}");
            println!("bypass {name}: denied");
        }
        NotSeen(why) => {
            assert_eq!(result, 0, "bypass {name} is known not to be seen");
            println!("bypass {name}: not seen ({why})");
        }
    }
}

fn of_a_path(enforcement: &Enforcement) {
    let place = Place::new("of_a_path");
    let secret = place.file("secret", "x");
    let (hard, symbolic) = (place.path("hard"), place.path("symbolic"));
    fs::hard_link(&secret, &hard).unwrap();
    symlink(&secret, &symbolic).unwrap();
    let root = place.directory("root");
    fs::hard_link(&secret, format!("{root}/inner")).unwrap();
    swap(enforcement, &deny(&[&secret]), Mode::Enforce);
    let of = |verb: &str, path: &str| ask(&format!("{verb} {path}"));
    bypass("hard link made before", of("open", &hard), Denied);
    assert_eq!(ask(&format!("link {secret} {}", place.path("hard2"))), 0);
    bypass("hard link made after", of("open", &place.path("hard2")), Denied);
    bypass("symbolic link made before", of("open", &symbolic), Denied);
    assert_eq!(ask(&format!("symlink {secret} {}", place.path("symbolic2"))), 0);
    bypass("symbolic link made after", of("open", &place.path("symbolic2")), Denied);
    bypass("openat2", of("openat2", &secret), Denied);
    bypass("truncate(2)", of("truncate", &secret), Denied);
    bypass("O_PATH, then /proc/self/fd", of("opath", &secret), Denied);
    bypass("open_by_handle_at", ask(&format!("handle {secret} {}", place.path(""))), Denied);
    bypass("io_uring openat", of("ring-open", &secret), Denied);
    bypass("io_uring openat, by a thread of the kernel", of("ring-thread-open", &secret), Denied);
    bypass("chroot", ask(&format!("chroot {root} /inner")), Denied);
    assert_eq!(ask(&format!("rename {secret} {}", place.path("moved"))), 0);
    bypass("rename of the file", of("open", &place.path("moved")), Denied);
    assert_eq!(ask(&format!("rename {} {secret}", place.path("moved"))), 0);

    // A directory on the way, replaced by one that was made elsewhere.
    place.directory("above/middle");
    let prepared = place.directory("prepared");
    place.directory("prepared/middle");
    place.file("prepared/middle/secret", "new");
    let (above, gone) = (place.path("above"), place.path("gone"));
    let deep_secret = place.file("above/middle/secret", "x");
    swap(enforcement, &deny(&[&deep_secret]), Mode::Enforce);
    assert_eq!(ask(&format!("rename {above} {gone}")), 0);
    bypass("rename of a directory above it", of("open", &format!("{gone}/middle/secret")), Denied);
    assert_eq!(ask(&format!("rename {prepared} {above}")), 0);
    bypass("another tree renamed to a directory two above the name", of("open", &deep_secret), Denied);
    swap(enforcement, &deny(&[&deep_secret]), Mode::Enforce);
    assert_eq!(of("open", &deep_secret), DENIED);

    // A link on the way.
    let (first, second) = (place.directory("first"), place.directory("second"));
    let (one, two) = (place.file("first/secret", "x"), place.file("second/secret", "x"));
    let current = place.path("current");
    symlink(&first, &current).unwrap();
    swap(enforcement, &deny(&[&format!("{current}/secret")]), Mode::Enforce);
    bypass("the path behind a link on the way", of("open", &one), Denied);
    fs::remove_file(&current).unwrap();
    symlink(&second, &current).unwrap();
    bypass(
        "a link on the way that is switched later",
        of("open", &two),
        NotSeen("links on the way are followed when the policy is resolved: an agent does so at once"),
    );
    assert_ne!(enforcement.moved().unwrap(), enforcement.resolved().unwrap(), "it is told to do so");
    swap(enforcement, &deny(&[&format!("{current}/secret")]), Mode::Enforce);
    bypass("a link that was switched, resolved again", of("open", &two), Denied);
}

fn by_mounts(enforcement: &Enforcement) {
    let place = Place::new("by_mounts");
    let (secret, target) = (place.file("secret", "x"), place.file("target", "y"));
    let (before, after) = (place.directory("before"), place.directory("after"));
    let whole = place.directory("whole");
    fs::write(format!("{whole}/secret"), "x").unwrap();
    let inside = format!("{whole}/secret");
    assert_eq!(ask(&format!("bind-mount {whole} {before}")), 0);
    swap(enforcement, &deny(&[&secret, &inside]), Mode::Enforce);
    bypass("bind mount of its directory, made before", ask(&format!("open {before}/secret")), Denied);
    assert_eq!(ask(&format!("bind-mount {whole} {after}")), 0);
    bypass("bind mount of its directory, made after", ask(&format!("open {after}/secret")), Denied);
    assert_eq!(ask(&format!("bind-mount {secret} {target}")), 0);
    bypass("bind mount of the file", ask(&format!("open {target}")), Denied);
    assert_eq!(ask(&format!("unmount {target}")), 0);
    bypass("mount namespace", ask(&format!("namespace {secret} {target}")), Denied);
    bypass(
        "another file bound over its name",
        ask(&format!("namespace {target} {secret}")),
        NotSeen("it is the other file, which no rule names"),
    );
    assert_eq!((ask(&format!("unmount {before}")), ask(&format!("unmount {after}"))), (0, 0));
}

fn by_an_overlay(enforcement: &Enforcement) {
    let place = Place::new("by_an_overlay");
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| place.directory(name));
    let (secret, other) = (place.file("lower/secret", "x"), place.file("lower/other", "x"));
    let before = place.file("lower/before", "x");
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mount = |at: &str| {
        let status = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options, at]).status();
        assert!(status.unwrap().success());
    };
    mount(&merged);
    assert_eq!(ask(&format!("write {merged}/before")), 0);
    swap(enforcement, &deny(&[&secret, &before]), Mode::Enforce);
    bypass("overlay of its file system", ask(&format!("open {merged}/secret")), Denied);
    bypass("overlay copy-up", ask(&format!("write {merged}/secret")), Denied);
    assert_eq!(ask(&format!("rename {merged}/secret {merged}/moved")), DENIED, "a rename copies up, too");
    bypass(
        "overlay copy-up before the policy",
        ask(&format!("open {merged}/before")),
        NotSeen("the copy is another file, of another name"),
    );
    // A rule for the name in the overlay.
    let (by_merged, copied) = (format!("{merged}/other"), format!("{merged}/before"));
    swap(enforcement, &deny(&[&by_merged, &copied]), Mode::Enforce);
    bypass("the name in an overlay", ask(&format!("open {by_merged}")), Denied);
    bypass("the name in an overlay, of a copy", ask(&format!("open {copied}")), Denied);
    bypass(
        "the layer below a name in an overlay",
        ask(&format!("open {other}")),
        NotSeen("it is another file, of another name"),
    );
    swap(enforcement, EMPTY, Mode::Enforce);
    assert_eq!(ask(&format!("write {by_merged}")), 0);
    swap(enforcement, &deny(&[&by_merged]), Mode::Enforce);
    bypass("the name in an overlay, after copy-up", ask(&format!("open {by_merged}")), Denied);
    assert_eq!(ask(&format!("unmount {merged}")), 0);
}

fn by_a_descriptor(enforcement: &Enforcement) {
    let place = Place::new("by_a_descriptor");
    let secret = place.file("secret", "content");
    let mut session = Session::start();
    assert_eq!(session.ask(&format!("keep {secret}")), 0);
    swap(enforcement, &deny(&[&secret]), Mode::Enforce);
    bypass(
        "reading a descriptor that was opened before",
        session.ask("read"),
        NotSeen("it was allowed when it was opened; nothing is asked at a read"),
    );
    bypass("memory map of a descriptor that was opened before", session.ask("map"), Denied);
    bypass("/proc/self/fd of a descriptor that was opened before", session.ask("reopen"), Denied);
    bypass("a descriptor passed over a socket", session.ask("pass"), Denied);
    bypass("a descriptor taken by pidfd_getfd", session.ask("steal"), Denied);
    swap(enforcement, EMPTY, Mode::Enforce);
    assert_eq!(session.ask("pass"), 0);
    assert_eq!(session.ask("map"), 0);
}

fn of_a_program(enforcement: &Enforcement) {
    let place = Place::new("of_a_program");
    let bad = place.other_probe("bad");
    let script = place.file("script", "exit 0\n");
    let dynamic = place.path("dynamic");
    fs::copy(DYNAMIC, &dynamic).unwrap();
    let loader = "/lib64/ld-linux-x86-64.so.2";
    let shell = format!("exec /bin/sh {script}");
    let load = format!("exec {loader} {dynamic} nothing");
    let listed = |programs: &[&str]| {
        let hashes: Vec<String> = programs.iter().map(|path| hash_of(path)).collect();
        format!("version=6\n[allow_binary_hash]\n{}\n", hashes.join("\n"))
    };
    let hashes = [&bad, &script, &dynamic].map(|path| hash_of(path)).join("\n");

    swap(enforcement, &deny(&[&bad, &script, &dynamic]), Mode::Enforce);
    bypass("execveat of a denied path", ask(&format!("execveat {bad}")), Denied);
    assert_ne!(ask(&shell), 0);
    bypass("interpreter given a script that is denied by path", DENIED, Denied);
    assert_ne!(ask(&format!("exec {loader} {dynamic} nothing")), 0);
    bypass("ld.so given a program that is denied by path", DENIED, Denied);

    swap(enforcement, &format!("version=6\n[deny_binary_hash]\n{hashes}\n"), Mode::Enforce);
    bypass("execveat of a denied hash", ask(&format!("execveat {bad}")), Denied);
    bypass("memfd with a denied hash", ask(&format!("memfd {bad}")), Denied);
    assert_eq!(ask(&format!("exec {dynamic} nothing")), DENIED);
    assert_ne!(ask(&format!("exec {loader} {dynamic} nothing")), 0, "ld.so cannot map it");
    bypass("ld.so given a program that is denied by hash", DENIED, Denied);
    bypass(
        "interpreter given a script that is denied by hash",
        ask(&shell),
        NotSeen("an interpreter reads it as it reads any file; deny its path"),
    );

    swap(enforcement, "version=6\n[deny_comm]\nbad\n", Mode::Enforce);
    assert_eq!(ask(&format!("exec {bad} nothing")), DENIED);
    bypass(
        "memfd with a denied name",
        ask(&format!("memfd {bad}")),
        NotSeen("it has no name; deny its hash"),
    );
    bypass("execveat of a denied name", ask(&format!("execveat {bad}")), Denied);
    let by_script = place.file("by_script", &format!("#!{bad} nothing\n"));
    fs::set_permissions(&by_script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bypass("interpreter of a denied name, of a script", ask(&format!("exec {by_script}")), Denied);
    swap(enforcement, "version=6\n[deny_comm]\ndynamic\n", Mode::Enforce);
    assert_eq!(ask(&format!("exec {dynamic} nothing")), DENIED);
    bypass(
        "ld.so given a program that is denied by name",
        ask(&load),
        NotSeen("the name that is run is the loader's"),
    );
    swap(enforcement, &listed(&[PROBE]), Mode::Enforce);
    bypass("ld.so, not listed, given a program that is not listed", ask(&load), Denied);
    swap(enforcement, &listed(&[PROBE, loader]), Mode::Enforce);
    assert_eq!(ask(&format!("exec {dynamic} nothing")), DENIED);
    bypass(
        "ld.so, listed, given a program that is not listed",
        ask(&load),
        NotSeen("the loader is run, and maps the program; do not list it"),
    );
    swap(enforcement, "version=6\n[deny_comm]\nbad\n", Mode::Enforce);
    let renamed = place.path("renamed");
    fs::copy(&bad, &renamed).unwrap();
    let copy = ask(&format!("exec {renamed} nothing"));
    bypass("a copy by another name", copy, NotSeen("the rule is about names; deny its hash"));
}

fn of_an_address(enforcement: &Enforcement) {
    let mut session = Session::start();
    assert_eq!(session.ask("reach 127.0.0.5 9"), 0);
    let policy = "version=6\n[deny_ip]\n127.0.0.5\n127.0.0.1\n::1\n[deny_cidr]\n127.7.0.0/16\n";
    swap(enforcement, policy, Mode::Enforce);
    for (name, what) in [
        ("connect", "tcp 127.0.0.5 9"),
        ("IPv4-mapped IPv6", "tcp ::ffff:127.0.0.5 9"),
        ("IPv4-mapped IPv6, by network", "udp ::ffff:127.7.3.4 9"),
        ("0.0.0.0 for this host", "tcp 0.0.0.0 9"),
        (":: for this host, from a socket bound to IPv4", "any-six-by-four 9"),
        ("sendto with an address", "sendto 127.0.0.5 9"),
        ("sendto with an address of AF_UNSPEC", "sendto-unspecified 127.0.0.5 9"),
        ("an IPv4 address given to a socket of IPv6", "sendto-four-by-six 127.0.0.5 9"),
        ("sendmsg with an address", "sendmsg 127.0.0.5 9"),
        ("sendmmsg with addresses", "sendmmsg 127.0.0.5 9"),
        ("0.0.0.0 for the address that the socket is bound to", "any-of-bound 127.0.0.5"),
        ("raw socket", "raw 127.0.0.5 9"),
        ("raw socket of IPv4, with an address of AF_UNSPEC", "raw-unspecified 127.0.0.5 9"),
        ("raw socket of IPv6, with an address of AF_UNSPEC", "raw-unspecified ::1 0"),
        ("sctp_connectx", "sctp-connect 127.0.0.5 9"),
        ("MSG_FASTOPEN", "fast-open 127.0.0.5 9"),
        ("io_uring connect", "ring-connect 127.0.0.5 9"),
    ] {
        bypass(name, ask(what), Denied);
    }
    bypass(
        "a connection that was made before",
        session.ask("send"),
        NotSeen("it was allowed when it was made; nothing is asked at a send without an address"),
    );
    bypass(
        "raw socket whose own header names the address",
        ask("raw-header 127.0.0.5 127.0.0.99 9"),
        NotSeen("it needs CAP_NET_RAW; what a header says is not looked at"),
    );
    bypass(
        "packet socket",
        ask("packet 127.0.0.5"),
        NotSeen("it needs CAP_NET_RAW; a frame goes to no address"),
    );
}

fn of_a_port(enforcement: &Enforcement) {
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    let before = fs::read_to_string(range).unwrap();
    fs::write(range, "4240 4241").unwrap();
    let policy = "version=6\n[deny_port]\n4240\n4241\n1005\n";
    swap(enforcement, policy, Mode::Enforce);
    bypass("bind with AF_UNSPEC", ask("bind-unspecified 0.0.0.0 1005"), Denied);
    bypass("listening on a port that bind chose", ask("listen-tcp 127.0.0.1 0"), Denied);
    bypass(
        "listening without bind on a port that listen chooses",
        ask("listen-unbound"),
        NotSeen("the kernel chooses it after it has asked"),
    );
    bypass(
        "a UDP port that the kernel chooses",
        ask("bind-udp 127.0.0.1 0"),
        NotSeen("the kernel chooses it after it has asked"),
    );
    bypass(
        "raw socket for a denied port",
        ask("raw 127.0.0.1 1005"),
        NotSeen("it needs CAP_NET_RAW; a raw socket has no ports"),
    );
    fs::write(range, before).unwrap();
}
