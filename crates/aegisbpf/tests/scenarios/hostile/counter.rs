//! A version counter that is missing, damaged or not to be trusted is never read as zero.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use crate::host::Host;
use crate::tools;

const COUNTER: &str = "var/lib/aegisbpf/version_counter";

/// Version 5 is in force, 6 waits, 4 is old.
fn host() -> Host {
    let host = Host::in_force(&[5]);
    host.sign(6, "first");
    host.sign(4, "first");
    host
}

/// Whatever is offered is refused, and health has failed.
#[track_caller]
fn accepts_nothing(host: &Host, name: &str, because: &str) {
    for bundle in ["v6.signed", "v4.signed", "v5.signed"] {
        let apply = || host.run(&["policy", "apply", bundle, "--require-signature"]);
        host.refuses_run(apply, &format!("{name}: {bundle}"), because);
    }
    assert_eq!(host.health()["version_counter"]["status"], "failed", "{name}");
    assert_eq!(host.run(&["policy", "counter", "show"]).code, Some(1), "{name}");
}

#[test]
fn refuses_a_counter_with_anything_else_in_it() {
    let host = host();
    let good = String::from_utf8(fs::read(host.rooted(COUNTER)).unwrap()).unwrap();
    let version = |text: &str| good.replacen("5\n", text, 1);
    for (name, text) in [
        ("empty", String::new()),
        ("minus one", version("-1\n")),
        ("only a number", "5\n".to_owned()),
        ("plus", version("+5\n")),
        ("leading zero", version("05\n")),
        ("zero", version("0\n")),
        ("exponent", version("5e0\n")),
        ("twenty digits", version("99999999999999999999\n")),
        ("a space", version("5 \n")),
        ("CRLF", good.replace('\n', "\r\n")),
        ("no last line feed", good.trim_end().to_owned()),
        ("a line too many", format!("{good}\n")),
        ("NUL", version("5\0\n")),
        ("byte-order mark", format!("\u{feff}{good}")),
        ("digest cut", good.replacen("sha256 ", "sha256", 1)),
        ("epoch negative", good.replacen("epoch 0", "epoch -1", 1)),
        ("junk", "junk".to_owned()),
    ] {
        fs::write(host.rooted(COUNTER), text).unwrap();
        accepts_nothing(&host, name, "is malformed");
    }
    fs::write(host.rooted(COUNTER), vec![b'9'; 1 << 20]).unwrap();
    accepts_nothing(&host, "huge", "more than the limit");
    fs::write(host.rooted(COUNTER), good).unwrap();
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn refuses_a_counter_that_is_gone_or_no_file() {
    let host = host();
    let good = fs::read(host.rooted(COUNTER)).unwrap();
    fs::remove_file(host.rooted(COUNTER)).unwrap();
    accepts_nothing(&host, "missing", "is missing, but this host has applied");
    fs::create_dir(host.rooted(COUNTER)).unwrap();
    accepts_nothing(&host, "directory", "a directory");
    fs::remove_dir(host.rooted(COUNTER)).unwrap();
    fs::write(host.file("elsewhere"), &good).unwrap();
    symlink(host.file("elsewhere"), host.rooted(COUNTER)).unwrap();
    accepts_nothing(&host, "link", "link");
    fs::remove_file(host.rooted(COUNTER)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        host.rooted(COUNTER),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    accepts_nothing(&host, "FIFO", "FIFO");
    fs::remove_file(host.rooted(COUNTER)).unwrap();
    // Whoever deletes the policy and the marker with it still meets the log.
    for name in ["policy.applied", "policy.applied.prev", "bundle_format"] {
        let _ = fs::remove_file(host.rooted("var/lib/aegisbpf").join(name));
    }
    accepts_nothing(&host, "all evidence but the log gone", "the audit log says version 5");
    host.ok(&["policy", "counter", "repair", "--reason", "state lost"]);
    assert_eq!(host.counter(), Some(5));
    host.refuses(&["policy", "apply", "v4.signed", "--require-signature"], "is older than 5");
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn refuses_a_counter_that_others_could_change_or_nobody() {
    let host = host();
    for (mode, because) in
        [(0o664, "can be written by others"), (0o646, "can be written by others"), (0o444, "read-only")]
    {
        fs::set_permissions(host.rooted(COUNTER), fs::Permissions::from_mode(mode)).unwrap();
        accepts_nothing(&host, &format!("{mode:o}"), because);
    }
    fs::set_permissions(host.rooted(COUNTER), fs::Permissions::from_mode(0o644)).unwrap();
    if tools::need_root("refuses_a_counter_that_others_could_change_or_nobody") {
        chown(host.rooted(COUNTER), Some(65534), None).unwrap();
        accepts_nothing(&host, "of another user", "not to root");
        chown(host.rooted(COUNTER), Some(0), None).unwrap();
    }
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn refuses_a_counter_in_a_directory_that_others_can_change() {
    let host = host();
    let state = host.rooted("var/lib/aegisbpf");
    for mode in [0o775, 0o757, 0o1777] {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
        for arguments in
            [&["policy", "apply", "v6.signed", "--require-signature"][..], &["policy", "rollback"]]
        {
            host.refuses(arguments, "can be written by others");
        }
        assert_eq!(host.health()["version_counter"]["status"], "failed");
    }
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn repair_never_lowers_it() {
    let host = host();
    host.refuses(&["policy", "counter", "repair", "--reason", "why not", "--at-least", "3"], "");
    assert_eq!(host.counter(), Some(5));
    // Damaged, but its first line still says more than the policy in force proves.
    fs::write(host.rooted(COUNTER), "9\njunk\n").unwrap();
    host.ok(&["policy", "counter", "repair", "--reason", "bit rot"]);
    assert_eq!(host.counter(), Some(9));
    host.refuses(&["policy", "apply", "v6.signed", "--require-signature"], "is older than 9");
    host.ok(&["policy", "counter", "repair", "--reason", "the signers say so", "--at-least", "12"]);
    assert_eq!(host.counter(), Some(12));
    host.sign(13, "first");
    host.ok(&["policy", "apply", "v13.signed", "--require-signature"]);
    host.is_sound("after repairs");
}
