//! A log that nobody can rewrite unseen: whatever is done to it, a checkpoint that was kept elsewhere tells.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::{Host, STATE};
use test_services::scratch::copy_tree;

fn apply(bundle: &str) -> [&str; 4] {
    ["policy", "apply", bundle, "--require-signature"]
}

/// Ten entries, the checkpoint kept after the sixth, and the log as it was then.
fn logged() -> (Host, PathBuf) {
    let host = Host::in_force(&[1, 2, 3, 4]);
    host.run(&apply("v1.signed"));
    host.ok(&["audit", "checkpoint", "-o", "kept"]);
    fs::create_dir(host.file("older")).unwrap();
    copy_tree(&host.rooted(STATE).join("audit"), &host.file("older"));
    for _ in 0..3 {
        host.run(&apply("v2.signed"));
    }
    host.ok(&["audit", "verify", "--checkpoint", "kept"]);
    let log = host.rooted(STATE).join("audit/log.jsonl");
    (host, log)
}

/// Writes another log in place of the real one, and expects that it is found against the checkpoint that was kept.
#[track_caller]
fn is_found(host: &Host, log: &Path, bytes: &[u8], what: &str) {
    fs::write(log, bytes).unwrap();
    let run = host.run(&["audit", "verify", "--checkpoint", "kept"]);
    assert_eq!(run.code, Some(1), "{what}: {run:?}");
    assert!(run.stdout.is_empty() && run.stderr.contains("  because: "), "{what}: {run:?}");
}

#[test]
fn whatever_is_done_to_the_log_is_found_against_a_kept_checkpoint() {
    let (host, path) = logged();
    let good = fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 9);
    for at in 0..lines.len() {
        let replaced = |line: &[u8]| {
            let mut all = lines.clone();
            all[at] = line;
            all.concat()
        };
        let mut flipped = lines[at].to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        is_found(&host, &path, &replaced(&flipped), &format!("entry {at} flipped"));
        let changed = String::from_utf8(lines[at].to_vec()).unwrap();
        let changed = changed.replace("\"uid\":", "\"uid\":1").replace("refused", "accepted");
        is_found(&host, &path, &replaced(changed.as_bytes()), &format!("entry {at} edited"));
        is_found(&host, &path, &replaced(b""), &format!("entry {at} dropped"));
        is_found(&host, &path, &replaced(&[lines[at], lines[at]].concat()), &format!("entry {at} repeated"));
        is_found(&host, &path, &lines[..at].concat(), &format!("cut before entry {at}"));
        is_found(
            &host,
            &path,
            &[lines[..at].concat(), lines[at][..10].to_vec()].concat(),
            &format!("cut within entry {at}"),
        );
        for other in at + 1..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            is_found(&host, &path, &swapped.concat(), &format!("entries {at} and {other} swapped"));
        }
    }
    fs::write(&path, &good).unwrap();
    host.ok(&["audit", "verify", "--checkpoint", "kept"]);
}

#[test]
fn an_older_or_another_log_is_found_against_a_kept_checkpoint() {
    let (host, _) = logged();
    let audit = host.rooted(STATE).join("audit");
    host.ok(&["audit", "checkpoint", "-o", "latest"]);
    let put = |from: &Path| {
        fs::remove_dir_all(&audit).unwrap();
        fs::create_dir(&audit).unwrap();
        copy_tree(from, &audit);
    };
    // The whole folder as it was: sound in itself, and older than what is known of it.
    put(&host.file("older"));
    host.ok(&["audit", "verify"]);
    host.ok(&["audit", "verify", "--checkpoint", "kept"]);
    let run = host.run(&["audit", "verify", "--checkpoint", "latest"]);
    run.is_refusal("an older copy", "");
    // Grown again to the same length, it is another log.
    for _ in 0..3 {
        host.run(&apply("v2.signed"));
    }
    host.run(&["audit", "verify", "--checkpoint", "latest"]).is_refusal("rewritten since", "");
    // Another host's log.
    let stranger = Host::in_force(&[1, 2, 3, 4]);
    for _ in 0..8 {
        stranger.run(&apply("v1.signed"));
    }
    put(&stranger.rooted(STATE).join("audit"));
    host.run(&["audit", "verify", "--checkpoint", "kept"]).is_refusal("another log", "");
    // None at all.
    fs::remove_dir_all(&audit).unwrap();
    host.run(&["audit", "verify", "--checkpoint", "kept"]).is_refusal("no log", "");
    assert_eq!(host.health()["audit_log"]["status"], "degraded");
}

#[test]
fn nothing_is_put_in_force_while_the_log_is_damaged() {
    let (host, path) = logged();
    host.sign(5, "first");
    let good = fs::read(&path).unwrap();
    let last = good[..good.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&path, &good[..last]).unwrap();
    let before = host.snapshot_without_log();
    for arguments in [&apply("v5.signed")[..], &["keys", "add", "signer/first.pub"], &["policy", "rollback"]]
    {
        host.run(arguments).is_refusal(&format!("{arguments:?}"), "log");
    }
    crate::snapshot::same(&before, &host.snapshot_without_log(), "a damaged log");
    assert_eq!(host.health()["audit_log"]["status"], "failed");
    fs::write(&path, &good).unwrap();
    host.ok(&apply("v5.signed"));
    host.is_sound("the log is back");
}

#[test]
fn one_bad_line_hides_nothing_else() {
    let (host, path) = logged();
    let good = fs::read_to_string(&path).unwrap();
    // A forged number, and a line that is no entry: what comes before and after is shown, and the exit code says so.
    for (what, bad) in [
        ("a later number", good.replacen("\"seq\":3,", "\"seq\":9,", 1)),
        ("no entry", good.replacen("{\"seq\":3,", "[\"seq\":3,", 1)),
    ] {
        assert_ne!(bad, good, "{what}");
        fs::write(&path, bad).unwrap();
        for command in [&["audit", "show", "-n", "100"][..], &["audit", "export", "--format", "json"]] {
            let run = host.run(command);
            assert_eq!(run.code, Some(1), "{what}, {command:?}: {run:?}");
            assert!(run.stdout.contains("v2.signed") && run.stdout.lines().count() >= 7, "{what}: {run:?}");
            assert!(run.stderr.contains("cannot read"), "{what}: {run:?}");
        }
    }
}
