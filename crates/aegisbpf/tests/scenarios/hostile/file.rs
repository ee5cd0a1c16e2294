//! Files that are no files, are not there, are too large or may not be read.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::host::{Host, PROGRAM, Run, clean};
use crate::tools;

/// One byte more than 64 MiB of policy and the largest header.
const TOO_LARGE: u64 = 65 << 20;

fn fifo(host: &Host, name: &str) {
    mknodat(CWD, host.file(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn refuses_what_is_no_file_without_waiting_for_it() {
    let host = Host::in_force(&[5]);
    fifo(&host, "fifo");
    fs::create_dir(host.file("directory")).unwrap();
    File::create(host.file("large")).unwrap().set_len(TOO_LARGE).unwrap();
    symlink("loop", host.file("loop")).unwrap();
    symlink("/dev/zero", host.file("link-to-zero")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(host.file("socket")).unwrap();
    let begun = Instant::now();
    for (name, because) in [
        ("missing", "No such file"),
        ("fifo", "FIFO"),
        ("directory", "a directory"),
        ("socket", "a socket"),
        ("/dev/zero", "a device"),
        ("link-to-zero", "a device"),
        ("loop", ""),
        ("large", "more than the limit"),
        ("fifo/below", ""),
    ] {
        host.refuses(&["policy", "apply", name, "--require-signature"], because);
        host.refuses(&["policy", "apply", name, "--allow-unsigned"], because);
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "something waited");
    host.ok(&["policy", "apply", "v5.signed", "--require-signature"]);
}

#[test]
fn every_reader_of_files_refuses_what_is_no_file() {
    let host = Host::in_force(&[5]);
    fifo(&host, "fifo");
    File::create(host.file("large")).unwrap().set_len(TOO_LARGE).unwrap();
    let before = host.snapshot_without_log();
    for bad in ["missing", "fifo", ".", "/dev/zero", "large"] {
        let sign = ["policy", "sign", bad, "-o", "out", "--policy-version", "6", "--key", "signer/first.key"];
        let sign_with = ["policy", "sign", "policy.conf", "-o", "out", "--policy-version", "6", "--key", bad];
        let reissue = [
            "policy",
            "reissue",
            "--from",
            bad,
            "-o",
            "out",
            "--policy-version",
            "6",
            "--key",
            "signer/first.key",
        ];
        let commands: [&[&str]; 14] = [
            &["keys", "add", bad],
            &["keys", "challenge", bad],
            &["policy", "lint", bad],
            &["policy", "show", bad],
            &["policy", "diff", "policy.conf", bad],
            &["policy", "diff", bad, "policy.conf"],
            &["policy", "explain", bad, "/etc/shadow"],
            &["policy", "verify", bad],
            &["policy", "cosign", bad, "--key", "signer/first.key"],
            &["audit", "verify", "--checkpoint", bad],
            &["backup", "verify", bad],
            &sign,
            &sign_with,
            &reissue,
        ];
        for command in commands {
            let run = host.run(command);
            assert_eq!(run.code, Some(1), "{command:?}: {run:?}");
            assert!(run.stdout.is_empty() && run.stderr.contains("  because: "), "{command:?}: {run:?}");
            assert!(!host.file("out").exists(), "{command:?}");
        }
        let restore = host.run(&["backup", "restore", bad]);
        assert_eq!(restore.code, Some(1), "{bad}: {restore:?}");
    }
    crate::snapshot::same(&before, &host.snapshot_without_log(), "only readers ran");
}

#[test]
fn refuses_on_standard_input_what_it_refuses_in_a_file() {
    let host = Host::in_force(&[5]);
    let good = fs::read(host.sign(6, "first")).unwrap();
    let apply = ["policy", "apply", "-", "--require-signature"];
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    host.refuses_run(|| host.run_with(&apply, &forged), "forged", "signed digest");
    host.refuses_run(|| host.run_with(&apply, b""), "nothing", "not signed");
    host.refuses_run(|| host.run_with(&apply, b"version=1\n"), "unsigned", "not signed");
    host.refuses_run(|| host.run_with(&apply, &vec![b'a'; 65 << 20]), "too much", "more than the limit");
    // A stream without end is cut off, not swallowed.
    let zero = || {
        let mut command = host.command(&apply);
        command.stdin(File::open("/dev/zero").unwrap()).stdout(std::process::Stdio::piped());
        let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    };
    host.refuses_run(zero, "/dev/zero", "more than the limit");
    let run = host.run_with(&apply, &good);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(host.counter(), Some(6));
}

#[test]
fn another_user_changes_nothing_and_is_told_so() {
    if !tools::need_root("another_user_changes_nothing_and_is_told_so")
        || !tools::need("another_user_changes_nothing_and_is_told_so", &["setpriv"])
    {
        return;
    }
    let host = Host::in_force(&[5]);
    host.sign(6, "first");
    // The program may lie in a directory that others cannot enter.
    fs::copy(PROGRAM, host.file("aegisbpf")).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        clean(&mut command)
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(host.file("aegisbpf"));
        command.arg("--root").arg(host.rooted("")).args(arguments).current_dir(host.dir());
        Run::of(command)
    };
    let before = crate::snapshot::snapshot(&host.rooted(""));
    let id = host.ok(&["keys", "list", "--json"]).json()["trusted"][0]["id"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 8] = [
        &["policy", "apply", "v6.signed", "--require-signature"],
        &["policy", "apply", "policy.conf", "--allow-unsigned"],
        &["policy", "rollback"],
        &["policy", "counter", "repair", "--reason", "because"],
        &["keys", "add", "signer/first.pub"],
        &["keys", "remove", &id, "--force-lockout"],
        &["keys", "revoke", &id, "--reason", "because", "--force-lockout"],
        &["keys", "drill"],
    ];
    for command in commands {
        let run = nobody(command);
        run.is_refusal(&format!("{command:?}"), "ermission denied");
    }
    crate::snapshot::same(&before, &crate::snapshot::snapshot(&host.rooted("")), "another user");
    // What is public can be read.
    assert_eq!(nobody(&["keys", "list"]).code, Some(0));
    assert_eq!(nobody(&["policy", "verify", "v6.signed"]).code, Some(0));
    // A private key that others may read is refused, whoever asks.
    fs::set_permissions(host.file("signer/first.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let sign =
        ["policy", "sign", "policy.conf", "-o", "out", "--policy-version", "7", "--key", "signer/first.key"];
    host.run(&sign).is_refusal("open private key", "can be read by others");
    assert!(!host.file("out").exists());
}
