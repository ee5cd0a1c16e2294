//! What is finished after a kill, and what may no longer be: the world can change between the two commands.

use std::fs;

use crate::faults::{self, Fault, Point};
use crate::forge::{Forgery, key};
use crate::host::{Host, KEYS, STATE};
use crate::tools;

const APPLY: &[&str] = &["policy", "apply", "v6.signed", "--require-signature"];

/// Version 5 in force, version 6 stopped just before the rename to `file`, which is in the state directory.
fn stopped(test: &str, arguments: &[&str], file: &str) -> Option<Host> {
    if !tools::need(test, &["strace"]) {
        return None;
    }
    let host = Host::in_force(&[4, 5]);
    host.sign(6, "first");
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    let points = faults::points(&host.copy(), arguments);
    let end = format!("/{file}\") = 0");
    let is_it = |point: &&Point| point.shown.starts_with("rename") && point.shown.ends_with(&end);
    let point =
        points.iter().find(is_it).unwrap_or_else(|| panic!("nothing is renamed to {file}: {points:#?}"));
    faults::run_with(&host, arguments, point, Fault::Kill);
    assert_eq!(host.health()["interrupted_change"]["status"], "degraded");
    Some(host)
}

/// A command that changes nothing itself, and puts right what another one left.
fn next_command(host: &Host) {
    let run = host.run(&["policy", "apply", "no such file"]);
    run.is_refusal("no such file", "No such file");
}

/// Version 5 is still in force, nothing is under way, and the log says that version 6 was given up.
#[track_caller]
fn was_given_up(host: &Host, action: &str) {
    assert_eq!(host.state("policy.applied"), fs::read(host.file("v5.signed")).ok());
    for name in ["journal.json", "policy.staged"] {
        assert!(host.state(name).is_none(), "{name} is left");
    }
    let log = host.log();
    let last =
        log.iter().rfind(|entry| entry["action"] == action && entry["detail"]["recovered"] == true).unwrap();
    assert_eq!(last["outcome"], "failed", "{last}");
    assert!(host.counter() >= Some(5));
    let health = host.health();
    for name in ["policy", "version_counter", "enforcement", "interrupted_change", "audit_log"] {
        assert_ne!(health[name]["status"], "failed", "{name}: {}", health[name]["message"]);
    }
    host.ok(&["audit", "verify"]);
}

#[test]
fn an_apply_is_finished_in_the_name_of_who_began_it() {
    let test = "an_apply_is_finished_in_the_name_of_who_began_it";
    let Some(host) = stopped(test, APPLY, "policy.applied") else { return };
    next_command(&host);
    assert_eq!(host.state("policy.applied"), fs::read(host.file("v6.signed")).ok());
    let changes = host.changes_logged("policy.apply");
    let last = changes.last().unwrap();
    assert_eq!((&last["detail"]["recovered"], &last["object"]), (&true.into(), &"v6.signed".into()));
    host.is_sound("finished");
}

#[test]
fn an_apply_whose_key_was_taken_away_is_given_up() {
    let test = "an_apply_whose_key_was_taken_away_is_given_up";
    for file in ["version_counter", "policy.applied"] {
        let Some(host) = stopped(test, APPLY, file) else { return };
        // By hand, as configuration management would.
        fs::remove_file(host.rooted(KEYS).join("first.pub")).unwrap();
        next_command(&host);
        was_given_up(&host, "policy.apply");
    }
}

#[test]
fn an_apply_whose_staged_file_was_changed_is_given_up() {
    let test = "an_apply_whose_staged_file_was_changed_is_given_up";
    let Some(host) = stopped(test, APPLY, "version_counter") else { return };
    let staged = host.rooted(STATE).join("policy.staged");
    let honest = fs::read_to_string(&staged).unwrap();
    let forged = honest.replacen("/etc/shadow", "/etc/motd12", 1);
    host.new_key("stranger");
    let strangers = Forgery::new(6).signed_by(&[&key(&host, "stranger")]);
    let journal = host.rooted(STATE).join("journal.json");
    let written = fs::read_to_string(&journal).unwrap();
    let digest = |bytes: &[u8]| aegis_crypto::sha256(bytes).to_string();
    for (name, bytes) in [
        ("forged", forged.into_bytes()),
        ("a stranger's", strangers),
        ("older", fs::read(host.file("v4.signed")).unwrap()),
        ("unsigned", fs::read(host.file("policy.conf")).unwrap()),
        ("cut", honest.as_bytes()[..200].to_vec()),
        ("empty", Vec::new()),
    ] {
        let copy = host.copy();
        fs::write(copy.rooted(STATE).join("policy.staged"), &bytes).unwrap();
        next_command(&copy);
        was_given_up(&copy, "policy.apply");
        // Also if the journal says that it is the right one: the signature is asked again.
        let copy = host.copy();
        fs::write(copy.rooted(STATE).join("policy.staged"), &bytes).unwrap();
        let agreed = written.replace(&digest(honest.as_bytes()), &digest(&bytes));
        assert_ne!(agreed, written, "{name}");
        fs::write(copy.rooted(STATE).join("journal.json"), agreed).unwrap();
        next_command(&copy);
        assert_ne!(copy.state("policy.applied"), Some(bytes), "{name} is in force");
        was_given_up(&copy, "policy.apply");
    }
    // Gone altogether.
    fs::remove_file(staged).unwrap();
    next_command(&host);
    was_given_up(&host, "policy.apply");
    host.ok(APPLY);
    host.is_sound("applied after all");
}

#[test]
fn a_rollback_whose_signer_was_taken_away_is_given_up() {
    let test = "a_rollback_whose_signer_was_taken_away_is_given_up";
    let Some(host) = stopped(test, &["policy", "rollback"], "policy.applied") else { return };
    fs::remove_file(host.rooted(KEYS).join("first.pub")).unwrap();
    next_command(&host);
    was_given_up(&host, "policy.rollback");
    assert_eq!(host.counter(), Some(5));
}

#[test]
fn a_revocation_that_was_begun_is_finished_whatever_else_happens() {
    let test = "a_revocation_that_was_begun_is_finished_whatever_else_happens";
    if !tools::need(test, &["strace"]) {
        return;
    }
    let first = {
        let host = Host::in_force(&[5]);
        (key(&host, "first").public_key().key_id().to_string(), host)
    };
    let (id, host) = first;
    host.sign(6, "first");
    let revoke = ["keys", "revoke", &id, "--reason", "stolen", "--force-lockout"];
    let points = faults::points(&host.copy(), &revoke);
    let begun = points.iter().position(|point| point.shown.ends_with("/journal.json\") = 0")).unwrap();
    for point in &points[begun + 1..] {
        let copy = host.copy();
        faults::run_with(&copy, &revoke, point, Fault::Kill);
        // The very next command is the thief's.
        let run = copy.run(APPLY);
        run.is_refusal(&point.shown, "");
        assert_eq!(copy.state("policy.applied"), fs::read(copy.file("v5.signed")).ok(), "{}", point.shown);
        let list = copy.ok(&["keys", "list", "--json"]).json();
        assert_eq!(list["revoked"][0]["id"], id.as_str(), "{}", point.shown);
        assert_eq!(copy.changes_logged("keys.revoke").len(), 1, "{}", point.shown);
    }
}

#[test]
fn a_damaged_journal_stops_every_change_and_says_so() {
    let test = "a_damaged_journal_stops_every_change_and_says_so";
    let Some(host) = stopped(test, APPLY, "version_counter") else { return };
    let journal = host.rooted(STATE).join("journal.json");
    let good = fs::read_to_string(&journal).unwrap();
    let bad = [
        String::new(),
        "{}".to_owned(),
        good[..good.len() / 2].to_owned(),
        good.replacen("{", "{\"more\":1,", 1),
        "[".repeat(100_000),
        "\0".repeat(100),
        " ".repeat(2 << 20),
    ];
    for text in bad {
        fs::write(&journal, &text).unwrap();
        let before = host.snapshot_without_log();
        for arguments in [APPLY, &["policy", "rollback"], &["keys", "add", "signer/second.pub"]] {
            let run = host.run(arguments);
            run.is_refusal_for_any_reason(&format!("{arguments:?}"));
            assert!(run.stderr.contains("journal"), "{}", run.stderr);
        }
        crate::snapshot::same(&before, &host.snapshot_without_log(), "a damaged journal");
        assert_eq!(host.health()["interrupted_change"]["status"], "failed");
    }
    fs::write(&journal, good).unwrap();
    host.ok(APPLY);
    host.is_sound("the journal is back");
}

/// Files that are written for the operator: absent, old or new, never half, and the same command works afterwards.
fn writes_whole(
    test: &str,
    host: &Host,
    out: &str,
    arguments: &[&str],
    whole: impl Fn(&Host, &[u8]) -> bool,
) {
    if !tools::need(test, &["strace"]) {
        return;
    }
    let old = fs::read(host.file(out)).ok();
    let points = faults::points(&host.copy(), arguments);
    assert!(points.len() > 4, "{points:?}");
    for point in &points {
        for fault in [Fault::Kill, Fault::Full] {
            let what = format!("{}: {fault:?} at {}", arguments.join(" "), point.shown);
            let copy = host.copy();
            let run = faults::run_with(&copy, arguments, point, fault);
            let now = fs::read(copy.file(out)).ok();
            let new = now.as_ref().is_some_and(|bytes| Some(bytes) != old.as_ref());
            assert!(now == old || whole(&copy, now.as_deref().unwrap_or_default()), "{what}: half");
            assert!(run.code != Some(0) || new, "{what}: it said that it was done");
            // A backup never overwrites, so the file that is there is the one.
            if !(new && arguments[0] == "backup") {
                copy.ok(arguments);
            }
            let bytes = fs::read(copy.file(out)).unwrap();
            assert!(whole(&copy, &bytes), "{what}");
        }
    }
}

#[test]
fn a_bundle_is_written_whole() {
    let host = Host::in_force(&[5]);
    fs::write(host.file("out.signed"), "what was there").unwrap();
    let sign = [
        "policy",
        "sign",
        "policy.conf",
        "-o",
        "out.signed",
        "--policy-version",
        "6",
        "--key",
        "signer/first.key",
    ];
    writes_whole("a_bundle_is_written_whole", &host, "out.signed", &sign, |host, _| {
        host.run(&["policy", "verify", "out.signed"]).code == Some(0)
    });
}

#[test]
fn a_fixed_policy_is_written_whole() {
    let host = Host::empty();
    fs::write(host.file("policy.conf"), "version=1\n[deny_path]\n/b\n/a\n/b\n").unwrap();
    let fix = ["policy", "lint", "policy.conf", "--fix"];
    writes_whole("a_fixed_policy_is_written_whole", &host, "policy.conf", &fix, |_, bytes| {
        bytes == b"version=1\n\n[deny_path]\n/a\n/b\n" || bytes == b"version=1\n[deny_path]\n/a\n/b\n"
    });
}

#[test]
fn a_backup_is_written_whole() {
    let host = Host::in_force(&[4, 5]);
    let create = ["backup", "create", "backup.tar"];
    writes_whole("a_backup_is_written_whole", &host, "backup.tar", &create, |host, _| {
        host.run(&["backup", "verify", "backup.tar"]).code == Some(0)
    });
}

#[test]
fn a_key_pair_is_written_whole() {
    let host = Host::empty();
    fs::create_dir(host.file("signer")).unwrap();
    if !tools::need("a_key_pair_is_written_whole", &["strace"]) {
        return;
    }
    let generate = ["keys", "generate", "--out", "signer", "--name", "new"];
    for point in faults::points(&host.copy(), &generate) {
        let copy = host.copy();
        faults::run_with(&copy, &generate, &point, Fault::Kill);
        for entry in fs::read_dir(copy.file("signer")).unwrap() {
            use std::os::unix::fs::PermissionsExt as _;
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert!(!name.contains(".key") || mode == 0o600, "{}: {name} has mode {mode:o}", point.shown);
        }
        if copy.file("signer/new.key").exists() {
            // A private half that is there is whole, and its public half can be had from it.
            key(&copy, "new");
        }
    }
}
