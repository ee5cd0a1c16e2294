//! Commands at once: they wait for each other, one order comes out, and nothing is lost.

use std::process::{Child, Stdio};

use serde_json::Value;

use crate::forge::{Forgery, key};
use crate::host::{Host, Run};

/// Starts a command and does not wait for it.
fn start(host: &Host, arguments: &[&str]) -> Child {
    let mut command = host.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for commands, and counts those that were done and those that were refused.
fn finish(children: Vec<Child>) -> (usize, usize) {
    let (mut done, mut refused) = (0, 0);
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => done += 1,
            Some(1) => refused += 1,
            code => panic!("{code:?}: {stderr}"),
        }
        assert!(
            !stderr.contains("panicked") && !stderr.contains("this refusal is not in the log"),
            "{stderr}"
        );
    }
    (done, refused)
}

/// Writes bundles `1.signed` to `count.signed` by a key.
fn bundles(host: &Host, versions: std::ops::RangeInclusive<u64>, name: &str) {
    let key = key(host, name);
    for version in versions {
        std::fs::write(host.file(&format!("{version}.signed")), Forgery::new(version).signed_by(&[&key]))
            .unwrap();
    }
}

fn version(entry: &Value) -> u64 {
    entry["detail"]["policy_version"].as_u64().unwrap()
}

/// An order of 0 to `count` that is no order, the same in every run.
fn shuffled(count: u64) -> Vec<u64> {
    let mut all: Vec<u64> = (1..=count).collect();
    all.sort_by_key(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20);
    all
}

#[test]
fn fifty_applies_at_once_come_to_one_order_and_none_is_lost() {
    let host = Host::with_key();
    bundles(&host, 1..=50, "first");
    let begun = host.log().len();
    let children = shuffled(50)
        .iter()
        .map(|number| start(&host, &["policy", "apply", &format!("{number}.signed"), "--require-signature"]))
        .collect();
    let (done, refused) = finish(children);
    assert_eq!(done + refused, 50);
    assert_eq!(host.counter(), Some(50));
    assert_eq!(host.state("policy.applied"), std::fs::read(host.file("50.signed")).ok());
    // Each is in the log once, and those that were accepted came in the order of their versions.
    let log = host.log().split_off(begun);
    assert_eq!(log.len(), 50);
    let accepted: Vec<u64> = log.iter().filter(|entry| entry["outcome"] == "accepted").map(version).collect();
    assert_eq!(accepted.len(), done);
    assert!(accepted.is_sorted_by(|a, b| a < b), "{accepted:?}");
    assert_eq!(accepted.last(), Some(&50));
    // The one before it is the previous one.
    let previous = accepted
        .iter()
        .rev()
        .nth(1)
        .map(|number| std::fs::read(host.file(&format!("{number}.signed"))).unwrap());
    assert_eq!(host.state("policy.applied.prev"), previous);
    let mut seen: Vec<u64> = log.iter().map(version).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    host.is_sound("after fifty applies");
}

#[test]
fn nothing_that_a_key_signed_is_accepted_after_its_revocation() {
    let host = Host::with_key();
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    bundles(&host, 1..=20, "first");
    bundles(&host, 21..=30, "second");
    let first = key(&host, "first").public_key().key_id().to_string();
    let mut children = Vec::new();
    for number in 1..=20_u64 {
        children.push(start(&host, &["policy", "apply", &format!("{number}.signed"), "--require-signature"]));
        if number == 8 {
            children.push(start(&host, &["keys", "revoke", &first, "--reason", "stolen while applying"]));
        }
    }
    let (_, refused) = finish(children);
    let log = host.log();
    let revoked = log.iter().position(|entry| entry["action"] == "keys.revoke").unwrap();
    for entry in &log[revoked..] {
        assert!(entry["action"] != "policy.apply" || entry["outcome"] == "refused", "{entry}");
    }
    assert!(refused > 0, "the revocation came last, so nothing was shown");
    let accepted =
        log.iter().filter(|entry| entry["action"] == "policy.apply" && entry["outcome"] == "accepted");
    assert_eq!(host.counter(), accepted.map(version).max());
    assert_eq!(finish(vec![start(&host, &["policy", "apply", "30.signed", "--require-signature"])]), (1, 0));
    host.is_sound("after the race with a revocation");
}

#[test]
fn applies_and_rollbacks_at_once_leave_a_policy_that_was_accepted() {
    let host = Host::with_key();
    bundles(&host, 1..=21, "first");
    for number in ["1.signed", "2.signed"] {
        host.ok(&["policy", "apply", number, "--require-signature"]);
    }
    let mut children = Vec::new();
    for number in 3..=20_u64 {
        children.push(start(&host, &["policy", "apply", &format!("{number}.signed"), "--require-signature"]));
        if number % 3 == 0 {
            children.push(start(&host, &["policy", "rollback"]));
        }
    }
    finish(children);
    // Replaying the log gives what is there.
    let (mut counter, mut applied, mut previous) = (0, None, None);
    for entry in host.log().iter().filter(|entry| entry["outcome"] == "accepted") {
        match entry["action"].as_str().unwrap() {
            "policy.apply" => {
                assert!(version(entry) > counter, "{entry}");
                counter = version(entry);
                (previous, applied) = (applied, Some(counter));
            }
            "policy.rollback" => {
                assert_eq!(Some(version(entry)), previous, "{entry}");
                (applied, previous) = (previous, None);
            }
            _ => {}
        }
    }
    assert_eq!(host.counter(), Some(counter));
    assert_eq!(counter, 20, "no apply of the highest version is ever lost");
    let file = |version: Option<u64>| {
        version.and_then(|number| std::fs::read(host.file(&format!("{number}.signed"))).ok())
    };
    assert_eq!(host.state("policy.applied"), file(applied));
    assert_eq!(host.state("policy.applied.prev"), file(previous));
    host.ok(&["policy", "apply", "21.signed", "--require-signature"]);
    host.is_sound("after the race with rollbacks");
}

#[test]
fn keys_added_and_removed_at_once_are_all_there_and_all_logged() {
    let host = Host::with_key();
    let names: Vec<String> = (0..12).map(|number| format!("key-{number}")).collect();
    let ids: Vec<String> = names.iter().map(|name| host.new_key(name)).collect();
    let add = |name: &String| start(&host, &["keys", "add", &format!("signer/{name}.pub")]);
    assert_eq!(finish(names.iter().map(add).collect()), (12, 0));
    assert_eq!(listed(&host, "trusted"), 13);
    // Half is removed, half revoked, and every id is asked for twice.
    let mut children = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        for _ in 0..2 {
            children.push(match number % 2 {
                0 => start(&host, &["keys", "remove", id]),
                _ => start(&host, &["keys", "revoke", id, "--reason", "all at once"]),
            });
        }
    }
    // A removed key is not there the second time; a revoked one stays revoked.
    assert_eq!(finish(children), (18, 6));
    assert_eq!((listed(&host, "trusted"), listed(&host, "revoked")), (1, 6));
    assert_eq!(host.changes_logged("keys.remove").len(), 6);
    host.is_sound("after many key changes");
}

fn listed(host: &Host, which: &str) -> usize {
    host.ok(&["keys", "list", "--json"]).json()[which].as_array().unwrap().len()
}

#[test]
fn readers_at_any_time_see_a_whole_host() {
    let host = Host::with_key();
    bundles(&host, 1..=15, "first");
    let applies: Vec<Child> = (1..=15)
        .map(|number| start(&host, &["policy", "apply", &format!("{number}.signed"), "--require-signature"]))
        .collect();
    for _ in 0..15 {
        let list = Run::of(host.command(&["keys", "list", "--json"]));
        assert_eq!(list.code, Some(0), "{list:?}");
        let counter = Run::of(host.command(&["policy", "counter", "show", "--json"]));
        assert_eq!(counter.code, Some(0), "{counter:?}");
        let verified = Run::of(host.command(&["audit", "verify"]));
        assert_eq!(verified.code, Some(0), "{verified:?}");
        let health = host.health();
        for name in ["keys", "policy", "audit_log"] {
            assert_ne!(health[name]["status"], "failed", "{}", health[name]["message"]);
        }
    }
    finish(applies);
    assert_eq!(host.counter(), Some(15));
}
