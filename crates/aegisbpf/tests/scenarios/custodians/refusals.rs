//! Approvals that approve nothing here: for something else, somebody else, another time, or changed.

use std::fs;
use std::process::{Child, Command, Stdio};

use aegis_approval::{Decision, Quorum, SignedRequest, Subject};
use jiff::{SignedDuration, Timestamp};

use crate::custodians::story::in_charge;
use crate::host::{Host, Run};
use crate::people::{Asked, Person, key_id, put};

const ADD: [&str; 5] = ["keys", "add", "signer/second.pub", "--approval", "offered.approval"];

#[test]
fn an_approval_holds_for_one_thing_here_and_now_by_those_who_decide_here() {
    let (host, people) = in_charge();
    let (second, third) = (key_id(&host.new_key("second")), key_id(&host.new_key("third")));
    let asked = || Asked::new(Subject::KeysAdd(second));
    let both = people.both();
    let (hours, now) = (SignedDuration::from_hours, Timestamp::now());
    let rejected = || {
        let mut signed = asked().signed_by(&both);
        let no = people.ana.signs(&signed.request, Decision::Reject, now);
        signed.signatures.push(no);
        signed
    };
    // Somebody else with the name and the roles of ana.
    let impostor = Person::new("ana", &["risk_lead"]);
    // A custodian of another host.
    let stranger = Person::new("eve", &["risk_lead"]);
    let other_role = Person { name: "bo", roles: &["risk_lead"], key: crate::people::copy_of(&people.bo) };
    let risk_leads = Quorum::new([("risk_lead".parse().unwrap(), 2)]).unwrap();
    let first_of = |signed: &SignedRequest, n: usize| {
        SignedRequest::new(signed.request.clone(), signed.signatures[..n].to_vec())
    };
    let twice = || {
        let signed = asked().signed_by(&both);
        let one = signed.signatures[0].clone();
        SignedRequest::new(signed.request, vec![one.clone(), one])
    };
    // A signature for another request.
    let borrowed = || {
        let mut signed = asked().signed_by(&both);
        signed.signatures[1] = asked().signed_by(&both).signatures[1].clone();
        signed
    };
    let cases: Vec<(&str, SignedRequest, &str)> = vec![
        ("another key", Asked::new(Subject::KeysAdd(third)).signed_by(&both), "it approves keys.add"),
        ("another kind", Asked::new(Subject::KeysRemove(second)).signed_by(&both), "it approves keys.remove"),
        ("an epoch", Asked::new(Subject::PolicyEpoch(1)).signed_by(&both), "it approves policy.epoch 1"),
        (
            "another host",
            Asked { audience: "host:web-2", ..asked() }.signed_by(&both),
            "it is for host:web-2",
        ),
        (
            "another group",
            Asked { audience: "group:web-1", ..asked() }.signed_by(&both),
            "it is for group:web-1",
        ),
        ("nobody", asked().signed_by(&[]), "not enough people approve it"),
        ("one of two", asked().signed_by(&[&people.ana]), "1 of security_lead missing"),
        ("the same one twice", twice(), "1 of security_lead missing"),
        ("one signature of two", first_of(&asked().signed_by(&both), 1), "1 of security_lead missing"),
        (
            "the requester",
            Asked { requester: "bo", ..asked() }.signed_by(&both),
            "1 of security_lead missing",
        ),
        ("an impostor", asked().signed_by(&[&impostor, &people.bo]), "1 of risk_lead missing"),
        ("another host's custodian", asked().signed_by(&[&stranger, &people.bo]), "1 of risk_lead missing"),
        ("a role not held", asked().signed_by(&[&people.ana, &other_role]), "1 of security_lead missing"),
        (
            "a quorum of its own",
            Asked { quorum: risk_leads, ..asked() }.signed_by(&[&people.ana, &other_role]),
            "not enough people approve it",
        ),
        ("a borrowed signature", borrowed(), "1 of security_lead missing"),
        ("rejected", rejected(), "a custodian rejected it"),
        (
            "expired",
            Asked { created: now - hours(30), lifetime: hours(24), ..asked() }.signed_by(&[&people.ana]),
            "it expired at",
        ),
        (
            "used too late",
            Asked { created: now - hours(30), ..asked() }.signed_by(&both),
            "it could be used until",
        ),
        (
            "used too late, by a short window",
            Asked {
                created: now - SignedDuration::from_mins(10),
                use_within: SignedDuration::from_mins(1),
                ..asked()
            }
            .signed_by(&both),
            "it could be used until",
        ),
        (
            "not made yet",
            Asked { created: now + hours(1), ..asked() }.signed_by(&both),
            "it was requested at",
        ),
    ];
    for (name, signed, because) in cases {
        put(&host, "offered.approval", &signed);
        let run = host.refuses_run(|| host.run(&ADD), name, because);
        assert!(run.stderr.contains("offered.approval does not hold"), "{name}: {}", run.stderr);
    }
    // Signed at a time before there was anything to sign, and at one that has not come.
    for (name, at) in [("before it was made", now - hours(2)), ("in the future", now + hours(2))] {
        let mut signed = asked().signed_by(&[&people.ana]);
        let late = people.bo.signs(&signed.request, Decision::Approve, at);
        signed.signatures.push(late);
        put(&host, "offered.approval", &signed);
        host.refuses_run(|| host.run(&ADD), name, "1 of security_lead missing");
    }
    put(&host, "offered.approval", &asked().signed_by(&both));
    host.ok(&ADD);
    host.is_sound("after the refusals");
}

#[test]
fn what_is_no_approval_is_refused_and_logged() {
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    let good = Asked::new(Subject::KeysAdd(second)).signed_by(&people.both()).to_json();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("junk", b"junk".to_vec()),
        ("a registration", people.ana.registration().to_json().into_bytes()),
        ("without its end", good.trim_end().as_bytes().to_vec()),
        ("with more after it", format!("{good}\n").into_bytes()),
        ("pretty", good.replace(':', ": ").into_bytes()),
        ("twice", [good.clone(), good.clone()].concat().into_bytes()),
        ("too long", vec![b' '; 300 * 1024]),
        ("deep", [vec![b'['; 100_000], vec![b']'; 100_000]].concat()),
    ];
    for (name, bytes) in cases {
        fs::write(host.file("offered.approval"), bytes).unwrap();
        host.refuses_run(|| host.run(&ADD), name, "");
    }
    for (file, because) in [("missing", "No such file"), (".", "a directory"), ("/dev/zero", "a device")] {
        host.refuses(&["keys", "add", "signer/second.pub", "--approval", file], because);
    }
    // From standard input it is as good.
    let add = ["keys", "add", "signer/second.pub", "--approval", "-"];
    host.refuses_run(
        || host.run_with(&add, b"junk"),
        "junk on standard input",
        "standard input is not an approval",
    );
    let run = host.run_with(&add, good.as_bytes());
    assert_eq!(run.code, Some(0), "{run:?}");
}

/// Every byte of the file, by the library: a process for each would take minutes. Some of them by the program as well.
#[test]
fn no_byte_of_an_approval_can_be_another() {
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    let subject = Subject::KeysAdd(second);
    let good = Asked::new(subject.clone()).signed_by(&people.both()).to_json().into_bytes();
    let custodians = aegis_trust::Host::open(aegis_trust::HostPaths::under(&host.rooted(""))).unwrap();
    let custodians = custodians.custodians().unwrap().unwrap();
    let holds = |bytes: &[u8]| {
        let Ok(signed) = SignedRequest::parse(bytes) else { return false };
        let rule = custodians.rule();
        let audiences = custodians.audiences();
        aegis_approval::verify(
            &signed,
            &subject,
            &audiences,
            rule.registry(),
            rule.quorum(),
            Timestamp::now(),
        )
        .is_ok()
    };
    assert!(holds(&good));
    for at in 0..good.len() {
        for bit in [0, 1, 5] {
            let mut changed = good.clone();
            changed[at] ^= 1 << bit;
            assert!(!holds(&changed), "bit {bit} of byte {at}");
            if at % 97 == 0 {
                fs::write(host.file("offered.approval"), &changed).unwrap();
                host.refuses_run(|| host.run(&ADD), &format!("bit {bit} of byte {at}"), "");
            }
        }
    }
    fs::write(host.file("offered.approval"), good).unwrap();
    host.ok(&ADD);
}

#[test]
fn of_many_uses_at_once_one_is_made() {
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    let start = || -> Child {
        let mut command: Command = host.command(&["keys", "revoke", &second.to_string(), "--reason", "race"]);
        command.args(["--approval", "revoke.approval"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    put(&host, "revoke.approval", &Asked::new(Subject::KeysRevoke(second)).signed_by(&people.both()));
    let children: Vec<Child> = (0..8).map(|_| start()).collect();
    for child in children {
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    }
    assert_eq!(host.changes_logged("keys.revoke").len(), 1);
    // Adding likewise, and what was used is of no use after a removal.
    let third = key_id(&host.new_key("third"));
    put(&host, "third.approval", &Asked::new(Subject::KeysAdd(third)).signed_by(&people.both()));
    let add: Vec<Child> = (0..8)
        .map(|number| {
            let name = format!("third-{number}");
            let mut command = host.command(&[
                "keys",
                "add",
                "signer/third.pub",
                "--approval",
                "third.approval",
                "--name",
                &name,
            ]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in add {
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    }
    assert_eq!(host.changes_logged("keys.add").len(), 2, "the first key of the host, and this one once");
    put(&host, "remove.approval", &Asked::new(Subject::KeysRemove(third)).signed_by(&people.both()));
    host.ok(&["keys", "remove", &third.to_string(), "--approval", "remove.approval"]);
    let again: Vec<Child> = (0..8)
        .map(|_| {
            let mut command =
                host.command(&["keys", "add", "signer/third.pub", "--approval", "third.approval"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in again {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("and each is used once"));
    }
    assert_eq!(host.ok(&["custodians", "list", "--json"]).json()["used_approvals"], 3);
    host.is_sound("after the races");
}

/// Runs it with another time, if there is a program that can do that.
fn at(host: &Host, time: &str, arguments: &[&str]) -> Run {
    let plain = host.command(arguments);
    let mut command = Command::new("faketime");
    command.arg("-f").arg(time).arg(plain.get_program()).args(plain.get_args());
    crate::host::clean(&mut command).current_dir(host.dir());
    Run::of(command)
}

#[test]
fn a_clock_that_was_moved_brings_nothing_back() {
    if !crate::tools::need("a_clock_that_was_moved_brings_nothing_back", &["faketime"]) {
        return;
    }
    let (host, people) = in_charge();
    let second = key_id(&host.new_key("second"));
    let old = Asked {
        created: Timestamp::now() - SignedDuration::from_hours(72),
        ..Asked::new(Subject::KeysAdd(second))
    };
    put(&host, "offered.approval", &old.signed_by(&people.both()));
    host.refuses(&ADD, "it could be used until");
    // Set back to when it held, as often as somebody likes.
    for _ in 0..3 {
        let run = at(&host, "-71h", &ADD);
        run.is_refusal("the clock was set back", "no approval can be judged");
    }
    let fresh = Asked::new(Subject::KeysAdd(second)).signed_by(&people.both());
    put(&host, "offered.approval", &fresh);
    at(&host, "+72h", &ADD).is_refusal("the clock was set forward", "it could be used until");
}
