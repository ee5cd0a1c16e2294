//! `keys rotate`: add, prove, cut over, remove; stopped and gone on with anywhere.

use aegis_approval::Subject;

use crate::custodians::story::{in_charge, trusted};
use crate::host::Host;
use crate::people::key_id;

fn stands(host: &Host, step: &str, awaits: Option<&str>) {
    let status = host.ok(&["keys", "rotate", "--status", "--json"]).json();
    assert_eq!((status["step"].as_str(), status["awaits"].as_str()), (Some(step), awaits), "{status}");
}

#[test]
fn a_rotation_stops_wherever_something_is_missing_and_goes_on() {
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    let first = crate::forge::key(&host, "first").public_key().key_id();
    host.refuses(&["keys", "rotate"], "no rotation is under way");
    assert_eq!(host.ok(&["keys", "rotate", "--status"]).stdout, "no rotation is under way\n");
    host.ok(&["keys", "rotate", "signer/second.pub"]);
    stands(&host, "begun", Some("approval_to_add"));
    assert_eq!(host.health()["rotation"]["status"], "degraded");
    assert!(host.ok(&["keys", "rotate"]).stdout.contains(&format!("--approval FILE, of keys.add {second}")));
    // Another one cannot begin meanwhile.
    host.new_key("third");
    host.refuses(&["keys", "rotate", "signer/third.pub"], "is under way");
    people.approve(&host, "other.approval", Subject::PolicyEpoch(1));
    host.refuses(&["keys", "rotate", "--approval", "other.approval"], "which is no step of this rotation");
    people.approve(&host, "add.approval", Subject::KeysAdd(second));
    people.approve(&host, "remove.approval", Subject::KeysRemove(first));
    // The approval for a later step can come along; it is used when its turn comes.
    host.ok(&["keys", "rotate", "--approval", "add.approval", "--approval", "remove.approval"]);
    stands(&host, "added", Some("canary"));
    assert_eq!(host.ok(&["custodians", "list", "--json"]).json()["used_approvals"], 1);

    // A canary by the old key, of a version that was used, or with anything changed proves nothing.
    host.sign(6, "first");
    host.refuses(&["keys", "rotate", "--canary", "v6.signed"], "is not signed by the new key");
    host.sign(4, "second");
    host.refuses(&["keys", "rotate", "--canary", "v4.signed"], "is older than 5");
    let signer = ["keys", "rotate", "--key", "signer/first.key"];
    host.refuses(&signer, "is not signed by the new key");
    let before = (host.state("policy.applied"), host.state("version_counter"));
    host.ok(&["keys", "rotate", "--key", "signer/second.key"]);
    assert_eq!(
        (host.state("policy.applied"), host.state("version_counter")),
        before,
        "a canary changes nothing"
    );
    stands(&host, "proved", Some("bundle"));
    let run = host.ok(&["keys", "rotate", "--approval", "remove.approval"]);
    assert!(
        run.stdout.contains("policy  version 5, signed by") && run.stdout.contains("(the old key)"),
        "{}",
        run.stdout
    );
    host.refuses(&["keys", "rotate", "--bundle", "v6.signed"], "is not signed by the new key");
    host.sign(7, "second");
    host.ok(&["keys", "rotate", "--bundle", "v7.signed"]);
    assert_eq!(host.counter(), Some(7));
    stands(&host, "cut_over", Some("approval_to_remove"));
    let done = host.ok(&["keys", "rotate", "--approval", "remove.approval", "--json"]).json();
    assert_eq!((done["step"].as_str(), done["awaits"].as_str()), (Some("done"), None));
    assert_eq!(trusted(&host), [("second".to_owned(), true)]);
    let steps: Vec<_> =
        host.changes_logged("keys.rotate").iter().map(|entry| entry["detail"]["step"].clone()).collect();
    assert_eq!(steps, ["begun", "added", "proved", "cut_over", "done"]);
    assert_eq!(host.health()["rotation"]["status"], "ok");
    host.is_sound("after the rotation");
}

#[test]
fn without_custodians_a_rotation_takes_one_run() {
    let host = Host::in_force(&[5]);
    host.new_key("second");
    host.sign(6, "second");
    let run = host.ok(&["keys", "rotate", "signer/second.pub", "--bundle", "v6.signed"]);
    assert!(run.stdout.starts_with("done: the old key is not trusted any more\n"), "{}", run.stdout);
    assert_eq!(host.counter(), Some(6));
    let keys = host.ok(&["keys", "list", "--json"]).json();
    assert_eq!(keys["trusted"].as_array().unwrap().len(), 1);
}

#[test]
fn what_other_commands_did_need_not_be_done_again() {
    let host = Host::in_force(&[5]);
    host.new_key("second");
    host.ok(&["keys", "rotate", "signer/second.pub"]);
    stands(&host, "added", Some("canary"));
    host.sign(6, "second");
    host.ok(&["policy", "apply", "v6.signed", "--require-signature"]);
    host.ok(&["keys", "rotate"]);
    assert_eq!(host.ok(&["keys", "list", "--json"]).json()["trusted"].as_array().unwrap().len(), 1);
}

#[test]
fn a_rotation_can_be_given_up_and_the_wrong_one_is_not_begun() {
    let host = Host::in_force(&[5]);
    host.new_key("second");
    host.new_key("third");
    let first = crate::forge::key(&host, "first").public_key().key_id().to_string();
    host.refuses(&["keys", "rotate", "--abandon"], "no rotation is under way");
    host.refuses(&["keys", "rotate", "signer/first.pub"], "which key is to go is not clear: 0");
    host.refuses(&["keys", "rotate", "signer/first.pub", "--old", &first], "is the old key and the new one");
    host.refuses(&["keys", "rotate", "signer/second.key"], "is not a public key that can be trusted");
    host.refuses(&["keys", "rotate", "signer/second.pub", "--old", "00000000"], "no key begins with");
    host.ok(&["keys", "add", "signer/third.pub"]);
    host.refuses(&["keys", "rotate", "signer/second.pub"], "which key is to go is not clear: 2");
    host.ok(&["keys", "rotate", "signer/second.pub", "--old", &first[..16], "--name", "next"]);
    let run = host.ok(&["keys", "rotate", "--abandon"]);
    assert!(run.stdout.starts_with("given up; what was done stays\n"), "{}", run.stdout);
    assert!(host.state("rotation.json").is_none());
    assert_eq!(host.ok(&["keys", "list", "--json"]).json()["trusted"].as_array().unwrap().len(), 3);
    let wrong = host.run(&["keys", "rotate", "--status", "--abandon"]);
    assert_eq!(wrong.code, Some(2));
    host.is_sound("after it was given up");
}
