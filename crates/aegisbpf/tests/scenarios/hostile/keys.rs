//! Keys that must not get in, and a key directory that is not to be trusted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use crate::forge::key;
use crate::host::{Host, KEYS};
use crate::tools;

/// Encodings of the points of small order, and of points that have a second spelling (y ≥ p), little-endian hex.
const BAD_POINTS: &[&str] = &[
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    // y ≥ p and no point of small order: 3 + p.
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    // No point at all: x² has no root.
    "0200000000000000000000000000000000000000000000000000000000000000",
];

#[test]
fn add_refuses_everything_but_a_public_key() {
    let host = Host::in_force(&[5]);
    host.new_key("second");
    let pem = fs::read_to_string(host.file("signer/second.pub")).unwrap();
    let private = fs::read_to_string(host.file("signer/second.key")).unwrap();
    let hex = key(&host, "second").public_key().to_hex();
    let openssh = key(&host, "second").public_key().to_openssh("second");
    let seed = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a private key", private.clone().into_bytes(), "private"),
        ("an OpenSSH private key", seed.as_bytes().to_vec(), "private"),
        ("a public and a private key", format!("{pem}{private}").into_bytes(), ""),
        ("two keys", format!("{pem}{pem}").into_bytes(), ""),
        ("two lines", format!("{openssh}\n{openssh}\n").into_bytes(), ""),
        ("nothing", Vec::new(), ""),
        ("junk", b"junk".to_vec(), ""),
        ("a bundle", fs::read(host.file("v5.signed")).unwrap(), ""),
        ("a policy", fs::read(host.file("policy.conf")).unwrap(), ""),
        ("63 digits", hex.as_bytes()[..63].to_vec(), ""),
        ("65 digits", format!("{hex}0").into_bytes(), ""),
        ("no hex digit", format!("g{}", &hex[1..]).into_bytes(), ""),
        ("NUL", format!("{hex}\0").into_bytes(), ""),
        ("byte-order mark", format!("\u{feff}{pem}").into_bytes(), ""),
        ("a certificate", pem.replace("PUBLIC KEY", "CERTIFICATE").into_bytes(), ""),
        ("an RSA line", b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQC7 someone\n".to_vec(), ""),
        ("options before the key", format!("command=\"true\" {openssh}").into_bytes(), ""),
        ("too long", vec![b'a'; 100_000], ""),
    ];
    for (name, bytes, because) in cases {
        fs::write(host.file("offered.pub"), bytes).unwrap();
        let add = || host.run(&["keys", "add", "offered.pub"]);
        let run = host.refuses_run(add, name, because);
        // Whatever was taken for a key may be a secret.
        assert!(!run.stderr.contains(private.lines().nth(1).unwrap()), "{name}");
    }
    mknodat(CWD, host.file("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for (file, because) in
        [("fifo", "FIFO"), (".", "a directory"), ("/dev/zero", "a device"), ("missing", "No such file")]
    {
        host.refuses(&["keys", "add", file], because);
    }
    let log = fs::read_to_string(host.rooted("var/lib/aegisbpf/audit/log.jsonl")).unwrap();
    assert!(!log.contains(private.lines().nth(1).unwrap()), "the log holds a private key");
    host.ok(&["keys", "add", "signer/second.pub"]);
}

#[test]
fn add_refuses_points_that_make_every_signature_valid() {
    let host = Host::in_force(&[5]);
    for point in BAD_POINTS {
        for (form, text) in [("hex", format!("{point}\n")), ("PEM", spki(point)), ("OpenSSH", openssh(point))]
        {
            fs::write(host.file("offered.pub"), text).unwrap();
            host.refuses_run(|| host.run(&["keys", "add", "offered.pub"]), &format!("{form} {point}"), "");
        }
        // Put there by hand it is an error too, not a key.
        let planted = host.rooted(KEYS).join("planted.pub");
        fs::write(&planted, point).unwrap();
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o644)).unwrap();
        let apply = || host.run(&["policy", "apply", "v5.signed", "--require-signature"]);
        host.refuses_run(apply, point, "planted.pub does not hold a key");
        fs::remove_file(planted).unwrap();
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn spki(point: &str) -> String {
    let der =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &bytes_of(point)]
            .concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", crate::forge::base64(&der))
}

fn openssh(point: &str) -> String {
    let blob = [&[0, 0, 0, 11][..], b"ssh-ed25519", &[0, 0, 0, 32], &bytes_of(point)].concat();
    format!("ssh-ed25519 {} someone\n", crate::forge::base64(&blob))
}

#[test]
fn add_refuses_names_that_are_no_names() {
    let host = Host::in_force(&[5]);
    host.new_key("second");
    for name in ["../evil", "a/b", ".hidden", "", "a b", "a\nb", "ü", "revoked\0"] {
        if name.contains('\0') {
            continue;
        }
        host.refuses_run(
            || host.run(&["keys", "add", "signer/second.pub", "--name", name]),
            &format!("{name:?}"),
            "",
        );
    }
    host.refuses(&["keys", "add", "signer/second.pub", "--name", "first"], "is taken by key");
    host.refuses(&["keys", "add", "signer/second.pub", "--name", &"n".repeat(65)], "");
}

#[test]
fn the_last_usable_key_stays_unless_lockout_is_meant() {
    let host = Host::in_force(&[5]);
    let first = key(&host, "first").public_key().key_id().to_string();
    host.refuses(&["keys", "remove", &first], "it could accept no policy");
    host.refuses(&["keys", "revoke", &first, "--reason", "lost"], "it could accept no policy");
    host.refuses(&["keys", "remove", "00000000"], "no key begins with");
    host.refuses(&["keys", "revoke", "00000000", "--reason", "typo"], "no key begins with");
    for reason in ["", "   ", "two\nlines", "\u{1b}[2J", &"r".repeat(301)] {
        host.refuses_run(
            || host.run(&["keys", "revoke", &first, "--reason", reason]),
            &format!("{reason:?}"),
            "reason",
        );
    }
    host.ok(&["keys", "revoke", &first, "--reason", "all is lost", "--force-lockout"]);
    host.refuses(&["policy", "apply", "v5.signed", "--require-signature"], "no trusted key is installed");
    // Locked out is not open: without any key left, an unsigned policy still needs to be asked for by name.
    host.refuses(&["policy", "apply", "policy.conf", "--require-signature"], "not signed");
}

/// The whole host refuses: nothing may be believed while one key file is wrong, not even that there are no keys.
#[track_caller]
fn believes_nothing(host: &Host, name: &str, because: &str) {
    for arguments in
        [&["policy", "apply", "policy.conf"][..], &["policy", "apply", "policy.conf", "--allow-unsigned"]]
    {
        host.refuses_run(|| host.run(arguments), &format!("{name}: {arguments:?}"), because);
    }
    trusts_nobody(host, name, because);
}

/// Nothing signed is believed, and no key is added.
#[track_caller]
fn trusts_nobody(host: &Host, name: &str, because: &str) {
    for arguments in [
        &["policy", "apply", "v6.signed", "--require-signature"][..],
        &["policy", "apply", "v5.signed", "--require-signature"],
        &["policy", "rollback"],
        &["keys", "add", "signer/second.pub"],
    ] {
        host.refuses_run(|| host.run(arguments), &format!("{name}: {arguments:?}"), because);
    }
    for arguments in [&["keys", "list"][..], &["policy", "verify", "v6.signed"]] {
        host.run(arguments).is_refusal(&format!("{name}: {arguments:?}"), because);
    }
    let health = host.health();
    assert_eq!(health["keys"]["status"], "failed", "{name}");
}

#[test]
fn one_bad_file_in_the_key_directory_is_an_error_that_names_it() {
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    host.new_key("second");
    let (bad, first) = (host.rooted(KEYS).join("bad.pub"), host.rooted(KEYS).join("first.pub"));
    let pem = fs::read(&first).unwrap();

    symlink(host.file("signer/second.pub"), &bad).unwrap();
    believes_nothing(&host, "a link", "bad.pub");
    fs::remove_file(&bad).unwrap();
    symlink("/nowhere", &bad).unwrap();
    believes_nothing(&host, "a dead link", "bad.pub");
    fs::remove_file(&bad).unwrap();
    mknodat(CWD, &bad, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    believes_nothing(&host, "a FIFO", "bad.pub");
    fs::remove_file(&bad).unwrap();
    fs::create_dir(&bad).unwrap();
    believes_nothing(&host, "a directory", "bad.pub");
    fs::remove_dir(&bad).unwrap();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("junk", b"junk".to_vec()),
        ("a private key", fs::read(host.file("signer/second.key")).unwrap()),
        ("too long", vec![b'0'; 1 << 20]),
    ] {
        fs::write(&bad, bytes).unwrap();
        fs::set_permissions(&bad, fs::Permissions::from_mode(0o644)).unwrap();
        believes_nothing(&host, name, "bad.pub");
    }
    File::create(&bad).unwrap().set_len(1 << 40).unwrap();
    believes_nothing(&host, "a terabyte", "bad.pub");
    fs::write(&bad, &pem).unwrap();
    for mode in [0o664, 0o646, 0o666, 0o777] {
        fs::set_permissions(&bad, fs::Permissions::from_mode(mode)).unwrap();
        believes_nothing(&host, &format!("mode {mode:o}"), "bad.pub can be written by others");
    }
    fs::set_permissions(&bad, fs::Permissions::from_mode(0o644)).unwrap();
    if tools::need_root("one_bad_file_in_the_key_directory_is_an_error_that_names_it") {
        chown(&bad, Some(65534), None).unwrap();
        believes_nothing(&host, "of another user", "bad.pub belongs to user 65534");
    }
    fs::remove_file(&bad).unwrap();
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn a_key_directory_that_others_can_change_is_not_believed() {
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    host.new_key("second");
    let keys = host.rooted(KEYS);
    for mode in [0o775, 0o757, 0o1777] {
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        believes_nothing(&host, &format!("mode {mode:o}"), "can be written by others");
    }
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).unwrap();
    if tools::need_root("a_key_directory_that_others_can_change_is_not_believed") {
        chown(&keys, Some(65534), None).unwrap();
        believes_nothing(&host, "of another user", "belongs to user 65534");
        chown(&keys, Some(0), None).unwrap();
    }
    let aside = keys.with_file_name("aside");
    fs::rename(&keys, &aside).unwrap();
    symlink(&aside, &keys).unwrap();
    believes_nothing(&host, "a link", "is a symbolic link or not a directory");
    fs::remove_file(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    believes_nothing(&host, "a file", "is a symbolic link or not a directory");
    fs::remove_file(&keys).unwrap();
    fs::rename(&aside, &keys).unwrap();
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn a_damaged_list_of_revoked_keys_trusts_nobody() {
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    host.new_key("second");
    host.ok(&["keys", "revoke", &"ab".repeat(32), "--reason", "never seen here"]);
    for list in [KEYS, "var/lib/aegisbpf"] {
        let path = host.rooted(list).join("revoked");
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good[..], b"junk\n"].concat()).unwrap();
        trusts_nobody(&host, list, "line 2 of the list of revoked keys");
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        trusts_nobody(&host, list, "can be written by others");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
}

#[test]
fn a_key_directory_swapped_during_load_gives_the_old_keys_or_the_new_never_a_mix() {
    let host = Host::empty();
    let (keys, other) = (host.rooted(KEYS), host.rooted("etc/aegisbpf/other"));
    for (dir, prefix) in [(&keys, "old"), (&other, "new")] {
        fs::create_dir_all(dir).unwrap();
        for number in 0..20 {
            let name = format!("{prefix}-{number}");
            host.new_key(&name);
            // The same file names on both sides, so that only the content tells.
            fs::copy(host.file(&format!("signer/{name}.pub")), dir.join(format!("{number}.pub"))).unwrap();
        }
    }
    let ids = |dir: &Path| -> BTreeSet<String> {
        let list = host.ok(&["keys", "list", "--json"]).json();
        assert!(dir.exists());
        list["trusted"].as_array().unwrap().iter().map(|key| key["id"].to_string()).collect()
    };
    let old = ids(&keys);
    renameat_with(CWD, &keys, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    let new = ids(&keys);
    assert!(old.is_disjoint(&new) && old.len() == 20 && new.len() == 20);
    let stop = AtomicBool::new(false);
    let (mut seen_old, mut seen_new) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &keys, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..200 {
            let seen = ids(&keys);
            assert!(seen == old || seen == new, "a mix of both");
            if seen == old { seen_old += 1 } else { seen_new += 1 }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(seen_old > 0 && seen_new > 0, "it was not swapped: {seen_old} {seen_new}");
}
