//! Stopped at any instant, the log goes on: every state between two appends, and processes that are really killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use aegis_audit::{Action, AppendError, AuditLog, Entry, StorageError};

use crate::sample::{Files, Sample, event};

/// The files before and after one append.
fn before_and_after(count: u64) -> (Files, Files) {
    let sample = Sample::with(count);
    let before = sample.files();
    sample.log.append(&event(count)).unwrap();
    (before, sample.files())
}

/// The next append works, the log is whole, and these are the last entries.
#[track_caller]
fn recovers(files: &Files, what: &str) -> Vec<Entry> {
    let sample = Sample::of(files);
    sample.verify(&[files.get("checkpoint").to_vec()]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    sample.log.quick_check().unwrap_or_else(|error| panic!("{what}: {error:?}"));
    sample.log.append(&event(77)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let report = sample.verify(&[files.get("checkpoint").to_vec()]).unwrap();
    assert_eq!((report.unsealed, report.torn_bytes), (0, 0), "{what}");
    assert!(!sample.files().0.keys().any(|name| name.ends_with(".tmp")), "{what}");
    assert_eq!(sample.log.quick_check().unwrap().size, report.size, "{what}");
    sample.log.entries().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_line_torn_at_any_byte_is_cut_off_and_reported() {
    for count in [0, 3] {
        let (before, after) = before_and_after_from(count);
        let (short, long) = (before.get("log.jsonl").len(), after.get("log.jsonl").len());
        // Each is an append with its fsyncs, so not every byte; the ends and a step that meets every kind of byte.
        for len in (short + 1..long).filter(|len| len - short < 3 || long - len < 3 || len % 23 == 0) {
            let torn = before.clone().set("log.jsonl", &after.get("log.jsonl")[..len]);
            let entries = recovers(&torn, &format!("{len} bytes of {long}"));
            let [.., recovery, last] = entries.as_slice() else { panic!("{len}") };
            assert_eq!(last.object, "object-77");
            assert_eq!((recovery.action, recovery.seq), (Action::Recovery, count));
            assert_eq!(recovery.detail["bytes_cut_off"], len - short);
            assert_eq!(recovery.detail["entries_taken_in"], 0);
            let cut = aegis_crypto::sha256(&after.get("log.jsonl")[short..len]);
            assert_eq!(recovery.detail["bytes_cut_off_sha256"], cut.to_string());
        }
    }
}

fn before_and_after_from(count: u64) -> (Files, Files) {
    if count > 0 {
        return before_and_after(count);
    }
    let sample = Sample::new();
    sample.log.host_key().unwrap();
    let before = sample.files();
    sample.log.append(&event(0)).unwrap();
    (before, sample.files())
}

#[test]
fn a_line_before_its_checkpoint_is_taken_in_and_reported() {
    for count in [0, 1, 2, 7, 8] {
        let (before, after) = before_and_after_from(count);
        let entries = recovers(&before.set("log.jsonl", after.get("log.jsonl")), &format!("{count} entries"));
        let [.., taken_in, recovery, last] = entries.as_slice() else { panic!("{count}") };
        assert_eq!((&*taken_in.object, &*last.object), (&*format!("object-{count}"), "object-77"));
        assert_eq!((recovery.action, &recovery.detail["entries_taken_in"]), (Action::Recovery, &1.into()));
    }
}

#[test]
fn each_step_of_an_append_can_be_the_last_one() {
    let (before, after) = before_and_after(6);
    let sealed =
        before.clone().set("log.jsonl", after.get("log.jsonl")).set("checkpoint", after.get("checkpoint"));
    let half = |name: &str| after.get(name)[..after.get(name).len() / 2].to_vec();
    let states = [
        (
            "checkpoint begun",
            before.clone().set("log.jsonl", after.get("log.jsonl")).set("checkpoint.tmp", half("checkpoint")),
        ),
        (
            "checkpoint written",
            before
                .clone()
                .set("log.jsonl", after.get("log.jsonl"))
                .set("checkpoint.tmp", after.get("checkpoint")),
        ),
        ("checkpoint in place", sealed.clone()),
        ("frontier begun", sealed.clone().set("frontier.tmp", half("frontier"))),
        ("frontier written", sealed.clone().set("frontier.tmp", after.get("frontier"))),
        ("all done", after.clone()),
        ("power loss: frontier empty", after.clone().set("frontier", "")),
        ("power loss: frontier gone", after.clone().without("frontier")),
        (
            "power loss: frontier in place, checkpoint not",
            after.clone().set("checkpoint", before.get("checkpoint")),
        ),
        ("frontier of another log", after.clone().set("frontier", Sample::with(6).files().get("frontier"))),
        ("frontier too large", after.clone().set("frontier", vec![b'['; 1 << 20])),
        (
            "frontier with more hashes than fit",
            after.set("frontier", r#"{"frontier":{"size":3,"hashes":[]},"offset":18446744073709551615}"#),
        ),
    ];
    for (what, files) in states {
        let entries = recovers(&files, what);
        let objects: Vec<&str> = entries.iter().map(|entry| &*entry.object).collect();
        assert_eq!(
            &objects[..7],
            ["object-0", "object-1", "object-2", "object-3", "object-4", "object-5", "object-6"]
        );
        assert_eq!(objects.last(), Some(&"object-77"), "{what}");
    }
}

#[test]
fn a_block_that_never_reached_the_disk_is_a_torn_line() {
    let (before, after) = before_and_after(3);
    let short = before.get("log.jsonl").len();
    let mut zeros = after.get("log.jsonl").to_vec();
    zeros[short..short + 40].fill(0);
    let entries = recovers(&before.clone().set("log.jsonl", zeros.clone()), "zeros, newline kept");
    assert_eq!(entries[3].detail["bytes_cut_off"], zeros.len() - short);
    zeros[short..].fill(0);
    recovers(&before.clone().set("log.jsonl", zeros), "zeros only");

    // Before the end, and under the checkpoint, zeros are damage.
    let mut covered = after.get("log.jsonl").to_vec();
    covered[short..short + 40].fill(0);
    let sample = Sample::of(&after.set("log.jsonl", covered));
    assert!(matches!(sample.log.append(&event(0)), Err(AppendError::Damaged { .. })));
}

#[test]
fn each_step_of_the_first_use_can_be_the_last_one() {
    let sample = Sample::new();
    sample.log.host_key().unwrap();
    let begun = sample.files();
    let key_only = begun.clone().without("checkpoint").without("log.jsonl").without("host.pub");
    let states = [
        ("lock", key_only.clone().without("host.key")),
        ("key begun", key_only.clone().without("host.key").set("host.key.tmp", "-----BEGIN")),
        ("key", key_only.clone()),
        ("log", key_only.clone().set("log.jsonl", "")),
        ("checkpoint begun", key_only.set("log.jsonl", "").set("checkpoint.tmp", "aegis")),
        ("checkpoint", begun.clone().without("host.pub")),
        ("all", begun.clone()),
    ];
    for (what, files) in states {
        let sample = Sample::of(&files);
        assert_eq!(sample.log.append(&event(0)).unwrap().seq, 0, "{what}");
        assert_eq!(sample.log.entries().unwrap().count(), 1, "{what}");
        sample.verify(&[]).unwrap();
        assert_eq!(sample.files().0.len(), 6, "{what}");
    }
    // After it, what is gone was taken away.
    for name in ["checkpoint", "log.jsonl", "host.key"] {
        let sample = Sample::of(&begun.clone().without(name));
        sample.log.append(&event(0)).expect_err(name);
        assert_eq!(sample.files(), begun.clone().without(name), "{name}");
    }
}

#[test]
fn a_torn_line_is_not_an_entry_for_readers() {
    let (before, after) = before_and_after(3);
    let log = after.get("log.jsonl");
    let sample = Sample::of(&before.set("log.jsonl", &log[..log.len() - 1]));
    assert_eq!(sample.log.entries().unwrap().map(Result::unwrap).count(), 3);
    assert!(!sample.log.has_transaction("tx-3", 10).unwrap());
    let report = sample.verify(&[]).unwrap();
    assert!(report.size == 3 && report.torn_bytes > 0);
    assert_eq!(sample.log.quick_check().unwrap().torn_bytes, report.torn_bytes);
}

const CHILD: &str = "AEGIS_AUDIT_TEST_CHILD";

/// Runs this test binary again, doing [`appends_in_a_child_process`] only.
fn child(shell_prefix: &str, log: &AuditLog, appends: u64) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell_prefix} exec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::appends_in_a_child_process",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, format!("{appends} {}", log.dir().display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[test]
#[ignore = "the other process of the tests below"]
fn appends_in_a_child_process() {
    let task = env::var(CHILD).expect("started by another test");
    let (appends, dir) = task.split_once(' ').unwrap();
    let log = AuditLog::new(dir);
    for number in 0..appends.parse().unwrap() {
        match log.append(&event(number)) {
            Ok(appended) => println!("\nlogged {}", appended.seq),
            Err(AppendError::Storage(StorageError::Io { action, .. })) => println!("\nfailed to {action}"),
            Err(error) => println!("\nfailed {error:?}"),
        }
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_to_a_kill() {
    let sample = Sample::new();
    let mut acknowledged = 0;
    for round in 0..20_u64 {
        let mut running = child("", &sample.log, u64::MAX).spawn().unwrap();
        let output = BufReader::new(running.stdout.take().unwrap());
        let mut logged = output
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("logged ")?.parse::<u64>().ok());
        // Some appends, and then some way into the next.
        let mut last = logged.by_ref().nth(usize::try_from(round % 4).unwrap());
        thread::sleep(Duration::from_micros(round * 311));
        running.kill().unwrap();
        running.wait().unwrap();
        last = logged.last().or(last);
        acknowledged = acknowledged.max(last.unwrap() + 1);
        let report = sample.verify(&[]).unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        let there = report.size + report.unsealed;
        assert!(there >= acknowledged, "round {round}: {there} of {acknowledged}");
    }
    assert!(acknowledged > 20, "the children logged {acknowledged} entries");
    sample.log.append(&event(0)).unwrap();
    assert_eq!(sample.verify(&[]).unwrap().unsealed, 0);
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    // The largest file that the child may write ends in the middle of some entry: the write comes up short.
    let sample = Sample::with(1);
    let output = child("trap '' XFSZ; ulimit -f 12;", &sample.log, 40).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
    assert!(count("logged ") > 5 && count("failed to write") > 5, "{text}");
    assert_eq!(count("logged ") + count("failed to write"), 40, "{text}");
    let report = sample.verify(&[]).unwrap();
    assert_eq!(report.size, 1 + count("logged ") as u64);
    assert_eq!((report.unsealed, report.torn_bytes), (0, 0));
    // With room again, the next append has nothing to recover.
    assert_eq!(sample.log.append(&event(0)).unwrap().seq, report.size);
}

#[test]
fn a_checkpoint_that_cannot_be_written_takes_the_line_back() {
    // Nothing can be renamed over a directory that is not empty, so the append fails after its line was written.
    let sample = Sample::with(4);
    let before = sample.files();
    let keep = sample.path("kept");
    let reader = fs::read(sample.path("checkpoint")).unwrap();
    fs::rename(sample.path("checkpoint"), &keep).unwrap();
    fs::create_dir(sample.path("checkpoint")).unwrap();
    assert!(matches!(sample.log.append(&event(4)), Err(AppendError::Storage(StorageError::NotAFile { .. }))));
    fs::remove_dir(sample.path("checkpoint")).unwrap();
    fs::rename(&keep, sample.path("checkpoint")).unwrap();
    assert_eq!(fs::read(sample.path("checkpoint")).unwrap(), reader);
    assert_eq!(sample.files(), before);
}
