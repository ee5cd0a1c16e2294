//! Killed, or refused by the disk, at every system call that writes, syncs, renames, links or removes: what is left is
//! old or new and whole, the counter is never lower, and the next command puts the rest right and logs it once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use aegis_approval::Subject;
use serde_json::Value;

use crate::faults::{self, Fault, Point};
use crate::host::{CUSTODIANS, Host, KEYS, STATE};
use crate::people::{People, Person, key_id};
use crate::tools;

/// A command, and the host that it is run on.
struct Case<'a> {
    /// Where it begins.
    before: Host,
    arguments: &'a [&'a str],
    /// As the log calls it.
    action: &'a str,
    /// How it ends if it was done already.
    again: i32,
    /// Whether doing it again is one more change in the log.
    repeats: bool,
}

/// Everything that a host decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    counter: Option<Vec<u8>>,
    policies: BTreeMap<&'static str, Option<Vec<u8>>>,
    keys: BTreeMap<String, Vec<u8>>,
    revoked: BTreeSet<String>,
    /// The files of custodians.
    custodians: BTreeMap<String, Vec<u8>>,
    /// The rule that is on, the keys that were approved, and the approvals that were used.
    approvals: Option<(Value, Value, Vec<Value>)>,
}

const POLICIES: [&str; 3] = ["policy.applied", "policy.applied.prev", "policy.applied.rolled-back"];

impl State {
    fn of(host: &Host) -> Self {
        let mut keys = BTreeMap::new();
        for entry in fs::read_dir(host.rooted(KEYS)).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            // A hidden name is a file on its way; nobody reads it as a key.
            if name.ends_with(".pub") && !name.starts_with('.') {
                keys.insert(name, fs::read(entry.path()).unwrap());
            }
        }
        let lists = [host.state("revoked"), fs::read(host.rooted(KEYS).join("revoked")).ok()];
        let mut revoked = BTreeSet::new();
        for list in lists.into_iter().flatten() {
            // The time of a revocation differs from run to run.
            let list = String::from_utf8(list).unwrap();
            revoked.extend(list.lines().map(|line| line.split(' ').next().unwrap().to_owned()));
        }
        let policies = POLICIES.iter().map(|name| (*name, host.state(name))).collect();
        let mut custodians = BTreeMap::new();
        for entry in fs::read_dir(host.rooted(CUSTODIANS)).into_iter().flatten() {
            let entry = entry.unwrap();
            custodians.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        }
        // Its times differ from run to run.
        let approvals = host.state("custodians.json").map(|bytes| {
            let record: Value = serde_json::from_slice(&bytes).unwrap();
            let used = record["used"].as_array().unwrap().iter().map(|used| used["id"].clone());
            (record["rule"]["digest"].clone(), record["approved_keys"].clone(), used.collect())
        });
        Self { counter: host.state("version_counter"), policies, keys, revoked, custodians, approvals }
    }

    fn version(&self) -> u64 {
        let text = self.counter.as_deref().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        text.map_or(0, |text| text.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0))
    }
}

impl Case<'_> {
    fn run(self) {
        let name = self.arguments.join(" ");
        let clean = self.before.copy();
        assert_eq!(clean.run(self.arguments).code, Some(0), "{name}");
        let (old, new) = (State::of(&self.before), State::of(&clean));
        assert!(old != new, "{name} changes nothing");
        let (files, healthy) = (names(&clean), clean.health());
        let points = faults::points(&self.before.copy(), self.arguments);
        assert!(points.len() > 10, "{name}: {points:?}");
        for (at, point) in points.iter().enumerate() {
            for fault in [Fault::Kill, Fault::Full] {
                let what = format!("{name}: {fault:?} at {} of {}, {}", at + 1, points.len(), point.shown);
                let host = self.before.copy();
                self.disturb(&host, point, fault, (&old, &new), &what);
                // A command that is refused puts right what the other one left, and so does the same command again.
                if at % 2 == 0 {
                    self.refused_command(&host, fault, (&old, &new), &what);
                }
                self.run_again(&host, &new, &what);
                let left: Vec<_> = names(&host).into_iter().filter(|name| !files.contains(name)).collect();
                // What the disk would not remove stays, under a name that nobody reads.
                let kept = |name: &PathBuf| point.removes() && fault == Fault::Full && hidden(name);
                assert!(left.iter().all(kept), "{what}: left over: {left:?}");
                let missing: Vec<_> = files.difference(&names(&host)).cloned().collect();
                assert!(missing.is_empty(), "{what}: missing: {missing:?}");
                let health = host.health();
                for (name, check) in &health {
                    let worse = check["status"] == "failed" && healthy[name]["status"] != "failed";
                    assert!(!worse, "{what}: {name}: {}", check["message"]);
                }
                assert_eq!(health["interrupted_change"]["status"], "ok", "{what}");
                if at % 4 == 1 {
                    let verified = host.run(&["audit", "verify"]);
                    assert_eq!(verified.code, Some(0), "{what}: {}", verified.stderr);
                }
            }
        }
    }

    fn disturb(&self, host: &Host, point: &Point, fault: Fault, (old, new): (&State, &State), what: &str) {
        let run = faults::run_with(host, self.arguments, point, fault);
        if run.code.is_some() {
            assert!(!run.stderr.contains("panicked"), "{what}: {}", run.stderr);
        }
        match run.code {
            Some(0) => assert_eq!(&State::of(host), new, "{what}: it said that it was done"),
            Some(1) => run.is_refusal_for_any_reason(what),
            code => assert!(code.is_none(), "{what}: {run:?}"),
        }
        is_between(host, old, new, what);
        if fault == Fault::Kill {
            // Whoever looks now gets an answer.
            assert_eq!(host.run(&["keys", "list"]).code, Some(0), "{what}");
        }
    }

    /// Runs a command that is refused for another reason. Afterwards the change was made, or was not.
    fn refused_command(&self, host: &Host, fault: Fault, (old, new): (&State, &State), what: &str) {
        let run = host.run(&["policy", "apply", "no such file", "--require-signature"]);
        assert_eq!(run.code, Some(1), "{what}");
        assert!(run.stderr.contains("No such file"), "{what}: {}", run.stderr);
        let state = State::of(host);
        let mut whole = state == *old || state == *new;
        let mut logged_right = self.logged(host) == usize::from(state == *new);
        if fault == Fault::Full {
            // The counter went up and the disk refused what comes next: the old policy stays, and the change has failed,
            // which is what the log says.
            let only_counter =
                State { counter: new.counter.clone(), approvals: new.approvals.clone(), ..old.clone() };
            whole |= state == only_counter;
            logged_right |= state == only_counter && self.logged(host) == 0;
        }
        assert!(whole, "{what}: neither old nor new: {state:?}\n{old:?}\n{new:?}");
        assert!(logged_right, "{what}: logged {} times", self.logged(host));
        assert!(host.state("journal.json").is_none(), "{what}");
    }

    /// Runs the same command. Afterwards everything is as if it had never been disturbed.
    fn run_again(&self, host: &Host, new: &State, what: &str) {
        let done_before = State::of(host) == *new;
        let run = host.run(self.arguments);
        let expected = run.code == Some(0) || run.code == Some(self.again);
        assert!(expected && !(done_before && run.code != Some(self.again)), "{what}: {run:?}");
        assert_eq!(&State::of(host), new, "{what}");
        let logged = self.logged(host);
        assert!(logged == 1 || (self.repeats && logged == 2), "{what}: logged {logged} times");
    }

    /// How often the log has the change.
    fn logged(&self, host: &Host) -> usize {
        host.changes_logged(self.action).len() - self.before.changes_logged(self.action).len()
    }
}

/// Each part is old or new, whole, and the counter comes before what it counts.
fn is_between(host: &Host, old: &State, new: &State, what: &str) {
    let State { counter, policies, keys, revoked, custodians, approvals } = State::of(host);
    assert!(custodians == old.custodians || custodians == new.custodians, "{what}: {custodians:?}");
    assert!(approvals == old.approvals || approvals == new.approvals, "{what}: {approvals:?}");
    assert!(counter == old.counter || counter == new.counter, "{what}: counter {counter:?}");
    let now = State { counter, policies, keys, revoked, custodians, approvals };
    assert!(now.version() >= old.version() || new.version() == 0, "{what}: the counter was lowered");
    for name in POLICIES {
        let (was, is, will) = (&old.policies[name], &now.policies[name], &new.policies[name]);
        // What is about to be the previous policy is the one in force.
        assert!(is == was || is == will, "{what}: {name} is neither old nor new");
    }
    let applied = "policy.applied";
    assert!(
        now.policies[applied].is_some() || old.policies[applied].is_none(),
        "{what}: no policy is in force"
    );
    if now.policies[applied] == new.policies[applied] && new.policies[applied] != old.policies[applied] {
        assert_eq!(now.counter, new.counter, "{what}: in force before its counter");
    }
    for (name, bytes) in &now.keys {
        assert!(old.keys.get(name) == Some(bytes) || new.keys.get(name) == Some(bytes), "{what}: key {name}");
    }
    for name in old.keys.keys().filter(|name| new.keys.contains_key(*name)) {
        assert!(now.keys.contains_key(name), "{what}: key {name} is gone");
    }
    assert!(now.revoked == old.revoked || now.revoked == new.revoked, "{what}: revoked {:?}", now.revoked);
    // A key goes from trusted to refused without an instant in which it could come back.
    for id in new.revoked.difference(&now.revoked) {
        assert_eq!(now.keys, old.keys, "{what}: {id} is removed before it is refused");
    }
}

/// The names of all files but those of the log; the temporary ones of the log are left over like any other.
fn names(host: &Host) -> BTreeSet<PathBuf> {
    let audit = PathBuf::from(STATE).join("audit");
    let all = crate::snapshot::snapshot(&host.rooted(""));
    all.into_keys()
        .filter(|path| !path.starts_with(&audit) || path.extension().is_some_and(|end| end == "tmp"))
        .collect()
}

/// Whether a name is a temporary one, which no command reads.
fn hidden(path: &std::path::Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.ends_with(".tmp")
        || name == "policy.staged"
        || path.components().any(|part| part.as_os_str() == "restore.staging")
}

/// A host with a second trusted key.
fn with_two_keys() -> Host {
    let host = Host::in_force(&[4, 5]);
    host.new_key("second");
    host.ok(&["keys", "add", "signer/second.pub"]);
    host
}

fn id(host: &Host, name: &str) -> String {
    crate::forge::key(host, name).public_key().key_id().to_string()
}

fn case(test: &str, case: impl FnOnce() -> Host, arguments: &[&str], action: &str, again: i32) {
    if tools::need(test, &["strace"]) {
        Case { before: case(), arguments, action, again, repeats: false }.run();
    }
}

const APPLY: &[&str] = &["policy", "apply", "v6.signed", "--require-signature"];

#[test]
fn during_the_first_apply() {
    let host = || {
        let host = Host::with_key();
        host.sign(6, "first");
        host
    };
    case("during_the_first_apply", host, APPLY, "policy.apply", 0);
}

#[test]
fn during_a_later_apply() {
    let host = || {
        let host = Host::in_force(&[4, 5]);
        host.sign(6, "first");
        host
    };
    case("during_a_later_apply", host, APPLY, "policy.apply", 0);
}

#[test]
fn during_the_apply_of_a_version_1_bundle() {
    let host = || {
        let host = Host::with_key();
        let sign =
            ["policy", "sign", "policy.conf", "-o", "old.signed", "--policy-version", "7", "--format", "v1"];
        host.ok(&[&sign[..], &["--key", "signer/first.key"]].concat());
        host
    };
    let apply = ["policy", "apply", "old.signed", "--require-signature", "--allow-v1"];
    case("during_the_apply_of_a_version_1_bundle", host, &apply, "policy.apply", 0);
}

#[test]
fn during_the_apply_of_an_unsigned_policy() {
    let host = || {
        let host = Host::empty();
        host.ok(&["policy", "apply", "policy.conf"]);
        fs::write(host.file("next.conf"), crate::host::policy(2)).unwrap();
        host
    };
    case(
        "during_the_apply_of_an_unsigned_policy",
        host,
        &["policy", "apply", "next.conf"],
        "policy.apply",
        0,
    );
}

#[test]
fn during_the_apply_that_ends_a_rollback() {
    let host = || {
        let host = Host::in_force(&[4, 5]);
        host.ok(&["policy", "rollback"]);
        host.sign(6, "first");
        host
    };
    case("during_the_apply_that_ends_a_rollback", host, APPLY, "policy.apply", 0);
}

#[test]
fn during_a_rollback() {
    case("during_a_rollback", || Host::in_force(&[4, 5]), &["policy", "rollback"], "policy.rollback", 1);
}

#[test]
fn during_the_first_keys_add() {
    let host = || {
        let host = Host::empty();
        host.new_key("second");
        host
    };
    case("during_the_first_keys_add", host, &["keys", "add", "signer/second.pub"], "keys.add", 0);
}

#[test]
fn during_keys_add() {
    let host = || {
        let host = Host::in_force(&[5]);
        host.new_key("second");
        host
    };
    case("during_keys_add", host, &["keys", "add", "signer/second.pub"], "keys.add", 0);
}

#[test]
fn during_keys_remove() {
    let host = with_two_keys();
    let second = id(&host, "second");
    case("during_keys_remove", || host, &["keys", "remove", &second], "keys.remove", 1);
}

#[test]
fn during_keys_revoke() {
    let host = with_two_keys();
    let first = id(&host, "first");
    let revoke = ["keys", "revoke", &first, "--reason", "laptop stolen"];
    if tools::need("during_keys_revoke", &["strace"]) {
        Case { before: host, arguments: &revoke, action: "keys.revoke", again: 0, repeats: true }.run();
    }
}

#[test]
fn during_counter_repair() {
    let host = || {
        let host = Host::in_force(&[4, 5]);
        fs::write(host.rooted(STATE).join("version_counter"), "5\njunk\n").unwrap();
        host
    };
    let repair = ["policy", "counter", "repair", "--reason", "bit rot"];
    case("during_counter_repair", host, &repair, "policy.counter_repair", 1);
}

#[test]
fn during_backup_restore_on_an_older_host() {
    if !tools::need("during_backup_restore_on_an_older_host", &["strace"]) {
        return;
    }
    let older = Host::in_force(&[4]);
    let newer = older.copy();
    newer.new_key("second");
    newer.ok(&["keys", "add", "signer/second.pub"]);
    newer.sign(6, "first");
    newer.ok(APPLY);
    newer.ok(&["keys", "revoke", &"ab".repeat(32), "--reason", "seen elsewhere"]);
    newer.ok(&["backup", "create", "backup.tar"]);
    fs::copy(newer.file("backup.tar"), older.file("backup.tar")).unwrap();
    let arguments = ["backup", "restore", "backup.tar"];
    Case { before: older, arguments: &arguments, action: "backup.restore", again: 0, repeats: true }.run();
}

#[test]
fn during_backup_restore_on_an_empty_machine() {
    if !tools::need("during_backup_restore_on_an_empty_machine", &["strace"]) {
        return;
    }
    let lost = with_two_keys();
    People::new().take_charge(&lost);
    lost.ok(&["backup", "create", "backup.tar"]);
    let host_key = lost.ok(&["audit", "verify", "--json"]).json()["host_key"].as_str().unwrap().to_owned();
    let empty = Host::empty();
    fs::copy(lost.file("backup.tar"), empty.file("backup.tar")).unwrap();
    let arguments = ["backup", "restore", "backup.tar", "--host-key", &host_key];
    Case { before: empty, arguments: &arguments, action: "backup.restore", again: 0, repeats: true }.run();
}

/// A host in the charge of two people, with a key that is not added yet.
fn in_charge() -> (Host, People, String) {
    let (host, people) = (Host::in_force(&[5]), People::new());
    people.take_charge(&host);
    let second = host.new_key("second");
    (host, people, second)
}

#[test]
fn during_keys_add_by_approval() {
    let host = || {
        let (host, people, second) = in_charge();
        people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
        host
    };
    let add = ["keys", "add", "signer/second.pub", "--approval", "add.approval"];
    case("during_keys_add_by_approval", host, &add, "keys.add", 0);
}

#[test]
fn during_keys_revoke_by_approval() {
    let (host, people, second) = in_charge();
    people.approve(&host, "revoke.approval", Subject::KeysRevoke(key_id(&second)));
    people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
    host.ok(&["keys", "add", "signer/second.pub", "--approval", "add.approval"]);
    let revoke = ["keys", "revoke", &second, "--reason", "stolen", "--approval", "revoke.approval"];
    case("during_keys_revoke_by_approval", || host, &revoke, "keys.revoke", 0);
}

#[test]
fn during_the_apply_of_a_higher_epoch() {
    let host = || {
        let (host, people, _) = in_charge();
        people.approve(&host, "epoch.approval", Subject::PolicyEpoch(1));
        let sign =
            ["policy", "sign", "policy.conf", "-o", "v6.signed", "--policy-version", "6", "--epoch", "1"];
        host.ok(&[&sign[..], &["--key", "signer/first.key"]].concat());
        host
    };
    let apply = [APPLY, &["--approval", "epoch.approval"]].concat();
    case("during_the_apply_of_a_higher_epoch", host, &apply, "policy.apply", 0);
}

#[test]
fn during_custodians_init() {
    let host = || {
        let (host, people) = (Host::in_force(&[5]), People::new());
        for person in people.both() {
            person.register(&host);
        }
        host
    };
    let init = ["custodians", "init", "ana.custodian", "bo.custodian", "--host", "web-1"];
    let init = [&init[..], &["--require", "1:risk_lead", "--require", "1:security_lead"]].concat();
    case("during_custodians_init", host, &init, "custodians.init", 0);
}

#[test]
fn during_custodians_set_and_off() {
    let (host, people, _) = in_charge();
    let others = [Person::new("cleo", &["risk_lead"]), Person::new("dan", &["security_lead"])];
    let threshold = "1 of risk_lead\n1 of security_lead\n";
    let next = crate::custodians::new_directory(&host, "next", &others.each_ref(), threshold);
    people.approve(&host, "set.approval", Subject::CustodiansSet(next));
    let now =
        host.ok(&["custodians", "verify", "--json"]).json()["digest"].as_str().unwrap().parse().unwrap();
    people.approve(&host, "off.approval", Subject::CustodiansOff(now));
    let set = ["custodians", "set", "next", "--approval", "set.approval"];
    case("during_custodians_set_and_off", || host.copy(), &set, "custodians.set", 0);
    let off = ["custodians", "off", "--approval", "off.approval"];
    case("during_custodians_set_and_off", || host, &off, "custodians.off", 1);
}

/// Two changes in one command: the key goes, and then the rotation is done. Between them it goes on like any other.
#[test]
fn during_the_last_step_of_a_rotation() {
    if !tools::need("during_the_last_step_of_a_rotation", &["strace"]) {
        return;
    }
    let (host, people, second) = in_charge();
    let first = id(&host, "first");
    people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
    people.approve(&host, "remove.approval", Subject::KeysRemove(key_id(&first)));
    host.sign(6, "second");
    let rotate =
        ["keys", "rotate", "signer/second.pub", "--bundle", "v6.signed", "--approval", "add.approval"];
    host.ok(&rotate);
    let finish = ["keys", "rotate", "--approval", "remove.approval"];
    let clean = host.copy();
    clean.ok(&finish);
    let (old, new) = (State::of(&host), State::of(&clean));
    let points = faults::points(&host.copy(), &finish);
    assert!(points.len() > 20, "{points:?}");
    for point in points {
        let what = format!("killed at {}", point.shown);
        let host = host.copy();
        faults::run_with(&host, &finish, &point, Fault::Kill);
        is_between(&host, &old, &new, &what);
        let run = host.run(&finish);
        // Killed after its last step it had nothing left to do.
        let over = run.code == Some(1) && run.stderr.contains("no rotation is under way");
        assert!(run.code == Some(0) || over, "{what}: {run:?}");
        assert_eq!(State::of(&host), new, "{what}");
        assert!(host.state("rotation.json").is_none(), "{what}");
        assert_eq!(host.changes_logged("keys.remove").len(), 1, "{what}");
        let done = host
            .changes_logged("keys.rotate")
            .iter()
            .filter(|entry| entry["detail"]["step"] == "done")
            .count();
        assert_eq!(done, 1, "{what}");
    }
}

/// The command that puts things right is killed in its turn, at each of its own system calls.
#[test]
fn during_the_recovery_itself() {
    if !tools::need("during_the_recovery_itself", &["strace"]) {
        return;
    }
    let host = with_two_keys();
    host.sign(6, "first");
    let first = id(&host, "first");
    let revoke = ["keys", "revoke", &first, "--reason", "laptop stolen"];
    let cases: [(&[&str], &str, &str); 3] = [
        (APPLY, "policy.apply", "version_counter"),
        (&["policy", "rollback"], "policy.rollback", "policy.applied"),
        (&revoke, "keys.revoke", "revoked"),
    ];
    for (arguments, action, renamed) in cases {
        let case = Case { before: host.copy(), arguments, action, again: 0, repeats: false };
        let clean = case.before.copy();
        clean.ok(arguments);
        let (old, new) = (State::of(&case.before), State::of(&clean));
        let end = format!("{renamed}\") = 0");
        let points = faults::points(&case.before.copy(), arguments);
        // Stopped half-way: just before the rename that matters.
        let half_way = points
            .iter()
            .find(|point| point.shown.starts_with("rename") && point.shown.ends_with(&end))
            .unwrap();
        let stopped = case.before.copy();
        faults::run_with(&stopped, arguments, half_way, Fault::Kill);
        let next = ["policy", "apply", "no such file", "--require-signature"];
        let recovery = faults::points(&stopped.copy(), &next);
        assert!(recovery.len() > 10, "{recovery:?}");
        for point in recovery {
            let what = format!("recovery of {}: killed at {}", arguments.join(" "), point.shown);
            let host = stopped.copy();
            faults::run_with(&host, &next, &point, Fault::Kill);
            is_between(&host, &old, &new, &what);
            case.refused_command(&host, Fault::Kill, (&old, &new), &what);
            assert_eq!(State::of(&host), new, "{what}: what was begun is finished");
            host.is_sound(&what);
        }
    }
}
