//! The rule is turned on, used, replaced and turned off; what was used stays used, also over a backup.

use std::fs;

use aegis_approval::{Quorum, Subject};
use serde_json::Value;

use crate::custodians::new_directory;
use crate::host::{CUSTODIANS, Host, KEYS, STATE};
use crate::people::{Asked, People, Person, key_id, put};

/// A host with the key `first`, in the charge of two people.
pub(crate) fn in_charge() -> (Host, People) {
    let (host, people) = (Host::in_force(&[5]), People::new());
    people.take_charge(&host);
    (host, people)
}

pub(crate) fn trusted(host: &Host) -> Vec<(String, bool)> {
    let listing = host.ok(&["keys", "list", "--json"]).json();
    let keys = listing["trusted"].as_array().unwrap().iter();
    keys.map(|key| (key["name"].as_str().unwrap().to_owned(), key["approved"].as_bool().unwrap())).collect()
}

fn digest(host: &Host) -> aegis_crypto::Digest {
    host.ok(&["custodians", "list", "--json"]).json()["rule"]["digest"].as_str().unwrap().parse().unwrap()
}

fn last(host: &Host, action: &str) -> Value {
    host.changes_logged(action).pop().unwrap()
}

#[test]
fn one_person_changes_nothing_and_two_can() {
    let (host, people) = in_charge();
    let second = host.new_key("second");
    let add = ["keys", "add", "signer/second.pub"];
    host.refuses(
        &add,
        &format!(
            "keys.add {second} needs an approval by 1 of risk_lead and 1 of security_lead for host:web-1"
        ),
    );

    people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
    let added = host.ok(&[&add[..], &["--approval", "add.approval", "--json"]].concat()).json();
    assert_eq!(trusted(&host), [("first".to_owned(), true), ("second".to_owned(), true)]);
    let entry = last(&host, "keys.add");
    assert_eq!(entry["detail"]["approval"], added["approval"]);
    assert_eq!(entry["detail"]["requested_by"], "operator");
    assert_eq!(
        entry["detail"]["approved_by"],
        serde_json::json!(["ana as risk_lead", "bo as security_lead"])
    );
    // Trusted for use, too.
    host.sign(6, "second");
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);

    let first = crate::forge::key(&host, "first").public_key().key_id();
    host.refuses(&["keys", "remove", &first.to_string()], "keys.remove");
    host.refuses(
        &["keys", "remove", &first.to_string(), "--approval", "add.approval"],
        "it approves keys.add",
    );
    people.approve(&host, "remove.approval", Subject::KeysRemove(first));
    let removed = host.ok(&["keys", "remove", &first.to_string()[..16], "--approval", "remove.approval"]);
    assert!(removed.stdout.contains("\n  used: req-"), "{}", removed.stdout);
    // Put back by hand, it is what nobody approved.
    fs::copy(host.file("signer/first.pub"), host.rooted(KEYS).join("first.pub")).unwrap();
    assert_eq!(trusted(&host), [("first".to_owned(), false), ("second".to_owned(), true)]);
    host.refuses(&["keys", "add", "signer/first.pub"], "needs an approval");

    let stolen = key_id(&second);
    let revoke = ["keys", "revoke", &second, "--reason", "stolen", "--force-lockout"];
    host.refuses(&revoke, "keys.revoke");
    people.approve(&host, "revoke.approval", Subject::KeysRevoke(stolen));
    host.ok(&[&revoke[..], &["--approval", "revoke.approval"]].concat());
    // Once more changes nothing, and needs nobody.
    host.ok(&revoke);
    assert_eq!(host.ok(&["custodians", "list", "--json"]).json()["used_approvals"], 3);
    assert_eq!(host.health()["approved_keys"]["status"], "degraded", "the file that came back by hand");
}

#[test]
fn a_higher_epoch_takes_two_people() {
    let (host, people) = in_charge();
    fs::write(host.file("last.conf"), crate::host::policy(9)).unwrap();
    // A thief has signed the highest version there is.
    let sign = |version: &str, epoch: &str, out: &str| {
        host.ok(&[
            "policy",
            "sign",
            "last.conf",
            "-o",
            out,
            "--policy-version",
            version,
            "--epoch",
            epoch,
            "--key",
            "signer/first.key",
        ]);
    };
    sign(&u64::MAX.to_string(), "0", "thief.signed");
    host.ok(&["policy", "apply", "thief.signed", "--require-signature"]);
    sign("1", "1", "back.signed");
    let apply = ["policy", "apply", "back.signed", "--require-signature"];
    host.refuses(&apply, "policy.epoch 1 needs an approval");
    people.approve(&host, "two.approval", Subject::PolicyEpoch(2));
    let with = |file: &'static str| [&apply[..], &["--approval", file]].concat();
    host.refuses(&with("two.approval"), "it approves policy.epoch 2, not policy.epoch 1");
    people.approve(&host, "one.approval", Subject::PolicyEpoch(1));
    // A dry run uses nothing.
    host.ok(&[&with("one.approval")[..], &["--dry-run"]].concat());
    host.ok(&with("one.approval"));
    assert_eq!(host.state("version_counter").unwrap()[..2], *b"1\n");
    assert!(last(&host, "policy.apply")["detail"]["approval"].is_string());
    // Within the epoch, versions count as ever, and no approval is needed or used.
    sign("2", "1", "next.signed");
    let run =
        host.ok(&["policy", "apply", "next.signed", "--require-signature", "--approval", "two.approval"]);
    assert!(run.stderr.contains("no approval was needed"), "{}", run.stderr);
    sign("3", "2", "further.signed");
    host.ok(&["policy", "apply", "further.signed", "--require-signature", "--approval", "two.approval"]);
    host.is_sound("after two epochs");
}

#[test]
fn the_first_policy_of_a_host_is_of_epoch_0_unless_two_people_agree() {
    let (host, people) = (Host::with_key(), People::new());
    people.take_charge(&host);
    let sign = ["policy", "sign", "policy.conf", "-o", "e.signed", "--policy-version", "1", "--epoch", "3"];
    host.ok(&[&sign[..], &["--key", "signer/first.key"]].concat());
    let apply = ["policy", "apply", "e.signed", "--require-signature"];
    host.refuses(&apply, "policy.epoch 3 needs an approval");
    people.approve(&host, "epoch.approval", Subject::PolicyEpoch(3));
    host.ok(&[&apply[..], &["--approval", "epoch.approval"]].concat());
    assert_eq!(host.ok(&["custodians", "list", "--json"]).json()["used_approvals"], 1);
}

#[test]
fn without_custodians_an_approval_is_nothing_and_an_epoch_stays() {
    let (host, people) = (Host::in_force(&[5]), People::new());
    let second = host.new_key("second");
    people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
    host.refuses(
        &["keys", "add", "signer/second.pub", "--approval", "add.approval"],
        "this host has no custodians",
    );
    host.ok(&["keys", "add", "signer/second.pub"]);
    host.ok(&[
        "policy",
        "sign",
        "policy.conf",
        "-o",
        "e.signed",
        "--policy-version",
        "1",
        "--epoch",
        "1",
        "--key",
        "signer/first.key",
    ]);
    host.refuses(
        &["policy", "apply", "e.signed", "--require-signature"],
        "no approval by two custodians came with it",
    );
    people.approve(&host, "epoch.approval", Subject::PolicyEpoch(1));
    host.refuses(
        &["policy", "apply", "e.signed", "--require-signature", "--approval", "epoch.approval"],
        "this host has no custodians",
    );
    let list = host.ok(&["custodians", "list"]).stdout;
    assert_eq!(list, "this host has no custodians: one person can change its keys\n");
    host.refuses(&["custodians", "off", "--approval", "add.approval"], "this host has no custodians");
}

#[test]
fn custodians_themselves_change_only_by_the_ones_before() {
    let (host, people) = in_charge();
    let others =
        People { ana: Person::new("cleo", &["risk_lead"]), bo: Person::new("dan", &["security_lead"]) };
    let before = digest(&host);
    let next = new_directory(
        &host,
        "next",
        &others.both(),
        "# new people\n1 of risk_lead\n1 of security_lead\ngroup:edge\n",
    );
    let set = ["custodians", "set", "next"];
    host.refuses(&set, &format!("custodians.set {next} needs an approval"));
    // The new ones cannot put themselves in charge, and an approval is for one rule.
    others.approve(&host, "own.approval", Subject::CustodiansSet(next));
    host.refuses(
        &[&set[..], &["--approval", "own.approval"]].concat(),
        "the approval own.approval does not hold",
    );
    people.approve(&host, "other.approval", Subject::CustodiansSet(before));
    host.refuses(&[&set[..], &["--approval", "other.approval"]].concat(), "it approves custodians.set");
    people.approve(&host, "set.approval", Subject::CustodiansSet(next));
    let threshold = fs::read(host.file("next/threshold")).unwrap();
    fs::write(host.file("next/threshold"), "2 of risk_lead\n").unwrap();
    host.refuses(
        &[&set[..], &["--approval", "set.approval"]].concat(),
        "these custodians cannot be 2 of risk_lead",
    );
    fs::write(host.file("next/threshold"), threshold).unwrap();
    host.ok(&[&set[..], &["--approval", "set.approval"]].concat());
    assert_eq!(digest(&host), next);
    let entry = last(&host, "custodians.set");
    assert_eq!(
        (&entry["detail"]["custodians"], &entry["detail"]["replaced"]),
        (&next.to_string().into(), &before.to_string().into())
    );
    // The host keeps its name, and the keys that were approved.
    let listing = host.ok(&["custodians", "list", "--json"]).json();
    assert_eq!(
        (listing["host"].as_str(), listing["approved_keys"].as_array().unwrap().len()),
        (Some("host:web-1"), 1)
    );

    // The old ones decide nothing any more.
    let second = host.new_key("second");
    let subject = || Subject::KeysAdd(key_id(&second));
    people.approve(&host, "old.approval", subject());
    let add = ["keys", "add", "signer/second.pub", "--approval"];
    host.refuses(&[&add[..], &["old.approval"]].concat(), "not enough people approve it");
    others.approve(&host, "new.approval", subject());
    host.ok(&[&add[..], &["new.approval"]].concat());

    // Off, by two people, for the rule that is on; then one person is enough again.
    people.approve(&host, "off.approval", Subject::CustodiansOff(next));
    host.refuses(&["custodians", "off", "--approval", "off.approval"], "not enough people");
    others.approve(&host, "off.approval", Subject::CustodiansOff(before));
    host.refuses(&["custodians", "off", "--approval", "off.approval"], "it approves custodians.off");
    others.approve(&host, "off.approval", Subject::CustodiansOff(next));
    host.refuses(&["custodians", "off"], "custodians.off");
    host.ok(&["custodians", "off", "--approval", "off.approval"]);
    assert!(!host.rooted(CUSTODIANS).exists());
    host.new_key("third");
    host.ok(&["keys", "add", "signer/third.pub"]);
    // On again, with what was used still used.
    others.take_charge(&host);
    host.ok(&["keys", "list"]);
    assert_eq!(host.ok(&["custodians", "list", "--json"]).json()["used_approvals"], 3);
    host.refuses(&["custodians", "off", "--approval", "off.approval"], "it approves custodians.off");
    host.is_sound("after set, off and on");
}

#[test]
fn a_used_approval_is_used_also_after_an_older_backup_is_restored() {
    let (host, people) = in_charge();
    let second = host.new_key("second");
    host.ok(&["backup", "create", "older.tar"]);
    people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
    let add = ["keys", "add", "signer/second.pub", "--approval", "add.approval"];
    host.ok(&add);
    host.ok(&["backup", "create", "newer.tar"]);
    people.approve(&host, "remove.approval", Subject::KeysRemove(key_id(&second)));
    host.ok(&["keys", "remove", &second, "--approval", "remove.approval"]);
    host.ok(&["backup", "restore", "older.tar"]);
    host.refuses(&add, "and each is used once");
    // Nor does a newer backup bring the removed key back.
    let restored = host.ok(&["backup", "restore", "newer.tar"]);
    assert!(restored.stdout.contains("no custodian approved it for this host"), "{}", restored.stdout);
    assert_eq!(trusted(&host), [("first".to_owned(), true)]);

    // A machine that has lost everything takes the rule, and all that was used.
    let host_key = host.ok(&["audit", "verify", "--json"]).json()["host_key"].as_str().unwrap().to_owned();
    host.ok(&["backup", "create", "last.tar"]);
    let empty = host.copy();
    for dir in [STATE, "etc"] {
        fs::remove_dir_all(empty.rooted(dir)).unwrap();
    }
    let restored = empty.ok(&["backup", "restore", "last.tar", "--host-key", &host_key]);
    assert!(restored.stdout.contains("restored  custodians/ (digest "), "{}", restored.stdout);
    assert_eq!(digest(&empty), digest(&host));
    empty.refuses(&add, "and each is used once");
    let third = empty.new_key("third");
    people.approve(&empty, "third.approval", Subject::KeysAdd(key_id(&third)));
    empty.refuses(&["keys", "add", "signer/third.pub"], "needs an approval");
    empty.ok(&["keys", "add", "signer/third.pub", "--approval", "third.approval"]);

    // Only the directory was lost: the restore puts it back, and so does naming the same people again.
    for command in [
        &["backup", "restore", "last.tar"][..],
        &[
            "custodians",
            "init",
            "ana.custodian",
            "bo.custodian",
            "--require",
            "1:risk_lead",
            "--require",
            "1:security_lead",
            "--host",
            "web-1",
            "--group",
            "edge",
        ],
    ] {
        fs::remove_dir_all(host.rooted(CUSTODIANS)).unwrap();
        host.refuses(&["keys", "add", "signer/second.pub"], "custodians is gone");
        host.ok(command);
        host.refuses(&["keys", "add", "signer/second.pub"], "needs an approval");
    }
    host.is_sound("after the restores");
}

#[test]
fn an_approval_for_a_group_is_used_once_on_each_host() {
    let (host, people) = in_charge();
    let second = host.new_key("second");
    let asked = Asked { audience: "group:edge", ..Asked::new(Subject::KeysAdd(key_id(&second))) };
    put(&host, "add.approval", &asked.signed_by(&people.both()));
    let other = host.copy();
    let add = ["keys", "add", "signer/second.pub", "--approval", "add.approval"];
    for host in [&host, &other] {
        host.ok(&add);
        people.approve(host, "remove.approval", Subject::KeysRemove(key_id(&second)));
        host.ok(&["keys", "remove", &second, "--approval", "remove.approval"]);
        host.refuses(&add, "and each is used once");
    }
}

#[test]
fn a_post_quantum_custodian_counts_like_any_other() {
    let host = Host::with_key();
    let hybrid = aegis_crypto::CustodianAlgorithm::Ed25519MlDsa65;
    let people =
        People { ana: Person::by(hybrid, "ana", &["risk_lead"]), bo: Person::new("bo", &["security_lead"]) };
    people.take_charge(&host);
    let second = host.new_key("second");
    people.approve(&host, "add.approval", Subject::KeysAdd(key_id(&second)));
    host.ok(&["keys", "add", "signer/second.pub", "--approval", "add.approval"]);
}

#[test]
fn the_quorum_of_the_host_counts_beside_that_of_the_request() {
    let host = Host::with_key();
    let people = [
        Person::new("ana", &["risk_lead"]),
        Person::new("bo", &["security_lead"]),
        Person::new("cleo", &["security_lead"]),
    ];
    let [ana, bo, cleo] = &people;
    let mut init: Vec<String> = vec!["custodians".into(), "init".into()];
    init.extend(people.iter().map(|person| person.register(&host)));
    init.extend(
        ["--require", "1:risk_lead", "--require", "2:security_lead", "--host", "web-1"].map(str::to_owned),
    );
    host.ok(&init);
    let second = host.new_key("second");
    let asked = || Asked::new(Subject::KeysAdd(key_id(&second)));
    let add = ["keys", "add", "signer/second.pub", "--approval", "add.approval"];
    put(&host, "add.approval", &asked().signed_by(&[ana, bo]));
    host.refuses(
        &add,
        "the rule here asks for 1 of risk_lead and 2 of security_lead: 1 of security_lead missing",
    );
    let strict = Asked {
        quorum: Quorum::new([("risk_lead".parse().unwrap(), 1), ("security_lead".parse().unwrap(), 2)])
            .unwrap(),
        ..asked()
    };
    put(&host, "add.approval", &strict.signed_by(&[ana, bo, cleo]));
    host.ok(&add);
}
