//! Each way to decide alone, or at another time or place, is refused, said and logged.

use std::fs;
use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use test_services::tools;

use super::desk::{Desk, Person};
use crate::machine::Run;

#[track_caller]
fn says(run: &Run, because: &str) {
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains(because), "{}", run.stderr);
}

#[test]
fn refuses_the_requester_and_whoever_is_no_custodian() {
    let (desk, people) = Desk::with_three();
    let ann = Person::new("ann");
    desk.register(&ann, &["risk_lead"]);
    let id = desk.ask("PROP-1");
    says(&desk.try_sign(&id, &ann, &[]), "ann made the request");
    let stranger = Person::new("eve");
    says(&desk.try_sign(&id, &stranger, &[]), "eve");
    // Somebody else's name on a key that is registered.
    let mallory = Person { name: "rita", key: Person::new("x").key };
    says(&desk.try_sign(&id, &mallory, &[]), "no key of rita");
    assert_eq!(desk.state(&id), "pending");
    desk.sign(&id, &people[0]);
    assert_eq!(desk.state(&id), "partial");
    desk.machine.ok(&["audit", "verify"]);
}

#[test]
fn one_person_counts_once_with_two_signatures_two_roles_or_two_keys() {
    let (desk, people) = Desk::with_three();
    let [rita, sam, bo] = &people;
    let id = desk.ask("PROP-1");
    desk.sign(&id, rita);
    says(&desk.try_sign(&id, rita, &[]), "counts once");
    let id = desk.ask("PROP-2");
    let run = desk.try_sign(&id, bo, &["--role", "risk_lead"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    says(&desk.try_sign(&id, bo, &["--role", "security_lead"]), "counts once");
    let second = Person::new("bo");
    desk.register(&second, &["risk_lead", "security_lead"]);
    says(&desk.try_sign(&id, &second, &["--role", "security_lead"]), "counts once");
    assert_eq!(desk.state(&id), "partial");
    desk.sign(&id, sam);
    assert_eq!(desk.state(&id), "approved");
    // One key for two people is not registered.
    let shared = Person { name: "rosa", key: Person::new("x").key };
    desk.register(&shared, &["risk_lead"]);
    let twin = Person { name: "tom", key: shared.key };
    let file = desk.registration(&twin, &["security_lead"]);
    desk.refused(&["custodian", "register", &file], "rosa");
}

#[test]
fn refuses_quorums_that_one_person_could_fill_or_nobody() {
    let (desk, _) = Desk::with_three();
    let ask = |more: &[&str]| {
        let ask =
            ["override", "request", "P", "--gate", "drift", "--requester", "ann", "--justification", "known"];
        desk.machine.run(&[&ask, more].concat())
    };
    for count in ["0", "-1", "-9223372036854775808", "17"] {
        says(&ask(&["--require", &format!("{count}:risk_lead")]), "cannot be asked for");
    }
    says(&ask(&["--require", "5:risk_lead"]), "above the number of custodians");
    says(&ask(&["--require", "1:auditor"]), "1 of auditor missing");
    says(&ask(&["--require", "1:risk_lead", "--require", "2:risk_lead"]), "twice");
    assert_eq!(ask(&["--require", "1"]).code, Some(2));
    // Less than the rules ask for is raised to them.
    let run = ask(&["--require", "1:risk_lead"]);
    assert!(run.stdout.contains("1 of risk_lead and 1 of security_lead"), "{run:?}");
    // Nor can the rules of the deployment ask for less than two people.
    for rules in ["[quorum]\nrisk_lead = 1\n", "[quorum]\n", "[quorum]\nrisk_lead = 0\nsecurity_lead = 2\n"] {
        fs::write(desk.machine.file("state/approval-rules.toml"), rules).unwrap();
        desk.refused(&["approval", "list"], "approval-rules.toml");
    }
}

#[test]
fn refuses_a_signature_for_another_request_role_or_time() {
    let (desk, [rita, ..]) = Desk::with_three();
    let (first, second) = (desk.ask("PROP-1"), desk.ask("PROP-1"));
    let run = desk.try_sign(&first, &rita, &[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    // The file rita.sig is of the first request.
    let now = Timestamp::now();
    says(&desk.bring(&second, &rita, &now.to_string(), "rita.sig", &[]), "not one over this decision");
    for minutes in [-10, 10, 60 * 25] {
        let at = (now + SignedDuration::from_mins(minutes)).to_string();
        assert_eq!(desk.bring(&second, &rita, &at, "rita.sig", &[]).code, Some(1), "{minutes}");
    }
    let shown = desk.machine.run(&[
        "approval",
        "reject",
        &second,
        "--signature",
        "rita.sig",
        "--person",
        "rita",
        "--at",
        &now.to_string(),
    ]);
    says(&shown, "not one over this decision");
    assert_eq!(desk.state(&second), "pending");
}

#[test]
fn refuses_an_approval_elsewhere_changed_or_at_another_time() {
    let (desk, people) = Desk::with_three();
    let id = desk.approved("PROP-1", &people);
    desk.machine.ok(&["approval", "export", &id, "--out", "a.json"]);
    let [rita, sam, _] = &people;
    let (rita, sam) = (desk.registration(rita, &["risk_lead"]), desk.registration(sam, &["security_lead"]));
    let trusted = ["--custodian", &rita, "--custodian", &sam];
    let verify = |file: &str, more: &[&str]| {
        desk.machine.run(&[&["approval", "verify", file][..], &trusted, more].concat())
    };
    assert_eq!(verify("a.json", &["--for", "deployment:default"]).code, Some(0));
    says(&verify("a.json", &["--for", "deployment:staging"]), "deployment:staging");
    says(&verify("a.json", &["--require", "2:security_lead"]), "missing");
    let at = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    says(&verify("a.json", &["--at", &at(-1)]), "the clock here says");
    says(&verify("a.json", &["--at", &at(25)]), "could be used until");
    says(&desk.machine.run(&["approval", "verify", "a.json", "--custodian", &rita]), "missing");
    // One byte changed, anywhere.
    let text = fs::read(desk.machine.file("a.json")).unwrap();
    for index in (0..text.len()).step_by(97) {
        let mut changed = text.clone();
        changed[index] ^= 1;
        fs::write(desk.machine.file("changed.json"), &changed).unwrap();
        assert_eq!(verify("changed.json", &[]).code, Some(1), "byte {index}");
        let imported = desk.machine.run(&["approval", "import", "changed.json"]);
        assert_eq!(imported.code, Some(1), "byte {index}: {imported:?}");
    }
    // The same store under another name is another deployment.
    fs::write(desk.machine.file("state/approval-rules.toml"), "deployment = \"staging\"\n").unwrap();
    desk.refused(&["override", "use", &id], "deployment:staging");
    fs::remove_file(desk.machine.file("state/approval-rules.toml")).unwrap();
    desk.machine.ok(&["override", "use", &id]);
}

#[test]
fn nothing_is_signed_or_used_when_the_clock_was_moved() {
    if !tools::need("nothing_is_signed_or_used_when_the_clock_was_moved", &["faketime"]) {
        return;
    }
    let (desk, people) = Desk::with_three();
    let (open, approved) = (desk.ask("PROP-1"), desk.approved("PROP-2", &people));
    let at = |shift: &str, arguments: &[&str]| {
        let here = desk.machine.command(arguments);
        let mut faked = std::process::Command::new("faketime");
        faked.args(["-f", shift]).arg(here.get_program()).args(arguments).current_dir(desk.machine.path());
        for (name, value) in here.get_envs() {
            match value {
                Some(value) => faked.env(name, value),
                None => faked.env_remove(name),
            };
        }
        let output = faked.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for shift in ["-1h", "-400d", "+25h", "+400d"] {
        let (code, said) = at(shift, &["override", "use", &approved]);
        assert_eq!(code, Some(1), "{shift}: {said}");
    }
    for shift in ["+25h", "+400d"] {
        let (code, said) = at(shift, &["override", "show", &open, "--statement", "rita"]);
        assert_eq!(code, Some(1), "{shift}: {said}");
    }
    // A signature of the hour that has not come here yet.
    let made = desk.try_sign(&open, &people[0], &[]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let (code, said) = at("-1h", &["approval", "show", &open, "--json"]);
    assert_eq!((code, desk.state(&open).as_str()), (Some(0), "partial"), "{said}");
    desk.machine.ok(&["override", "use", &approved]);
}

#[test]
fn refuses_what_a_revoked_or_replaced_key_signed_or_signs() {
    let (desk, people) = Desk::with_three();
    let [rita, sam, bo] = &people;
    let id = desk.approved("PROP-1", &people);
    desk.machine.ok(&["custodian", "revoke", &rita.key_id()[..16]]);
    // Revoked between signing and use.
    desk.refused(&["override", "use", &id], "revoked");
    assert_eq!(desk.state(&id), "partial");
    says(&desk.try_sign(&id, rita, &[]), "revoked");
    let new = Person::new("sam");
    let file = desk.registration(&new, &["security_lead"]);
    desk.machine.ok(&["custodian", "register", &file, "--replaces", &sam.key_id()[..16]]);
    assert_eq!(desk.state(&id), "pending");
    says(&desk.try_sign(&id, sam, &[]), "replaced");
    desk.sign(&id, &new);
    let run = desk.try_sign(&id, bo, &[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(desk.state(&id), "approved");
    desk.machine.ok(&["override", "use", &id]);
    desk.refused(&["custodian", "revoke", &rita.key_id()[..16]], "revoked");
    let again = desk.registration(rita, &["risk_lead"]);
    desk.refused(&["custodian", "register", &again], "rita");
}

#[test]
fn of_two_final_signatures_one_decides() {
    let (desk, people) = Desk::with_three();
    let id = desk.ask("PROP-1");
    desk.sign(&id, &people[0]);
    // Both are made before either arrives.
    let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap().to_string();
    let finals = [&people[1], &people[2]];
    for person in finals {
        let shown =
            ["approval", "show", &id, "--statement", person.name, "--at", &at, "--role", "security_lead"];
        let text = desk.machine.ok(&shown).stdout;
        let signature = person.key.sign(&aegis_crypto::Statement::new(text).unwrap()).unwrap();
        fs::write(desk.machine.file(&format!("{}.sig", person.name)), signature.to_string()).unwrap();
    }
    let children = finals.map(|person| {
        let file = format!("{}.sig", person.name);
        let mut command = desk.machine.command(&[
            "approval",
            "sign",
            &id,
            "--signature",
            &file,
            "--person",
            person.name,
            "--at",
            &at,
            "--role",
            "security_lead",
        ]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    let codes = children.map(|mut child| child.wait().unwrap().code());
    assert!(codes.contains(&Some(0)), "{codes:?}");
    assert_eq!(desk.state(&id), "approved");
    let entries = desk.machine.ok(&["audit", "query", "--action", "approval.decide", "--json"]).json();
    assert_eq!(entries["entries"].as_array().unwrap().len(), 1);
    desk.machine.ok(&["audit", "verify"]);
}

#[test]
fn eight_processes_use_one_approval_and_one_succeeds() {
    let (desk, people) = Desk::with_three();
    let id = desk.approved("PROP-1", &people);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = desk.machine.command(&["override", "use", &id]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(1)).count(), 7, "{codes:?}");
    assert_eq!(desk.state(&id), "consumed");
    desk.machine.ok(&["audit", "verify"]);
}

#[test]
fn what_was_rejected_or_used_is_signed_no_more() {
    let (desk, people) = Desk::with_three();
    let [rita, sam, bo] = &people;
    let id = desk.ask("PROP-1");
    desk.sign(&id, rita);
    reject(&desk, &id, sam);
    assert_eq!(desk.state(&id), "rejected");
    says(&desk.try_sign(&id, bo, &[]), "rejected");
    desk.refused(&["override", "use", &id], "rejected");
    // Taken back after it was approved, before it was used.
    let id = desk.approved("PROP-2", &people);
    reject(&desk, &id, bo);
    assert_eq!(desk.state(&id), "revoked");
    desk.refused(&["override", "use", &id], "taken back");
    let id = desk.approved("PROP-3", &people);
    desk.machine.ok(&["override", "use", &id]);
    says(&desk.try_sign(&id, bo, &[]), "used");
}

fn reject(desk: &Desk, id: &str, person: &Person) {
    let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap().to_string();
    let shown =
        desk.machine.ok(&["approval", "show", id, "--statement", person.name, "--at", &at, "--reject"]);
    assert!(shown.stdout.contains("\ndecision: reject\n"), "{}", shown.stdout);
    let signature = person.key.sign(&aegis_crypto::Statement::new(shown.stdout).unwrap()).unwrap();
    fs::write(desk.machine.file("no.sig"), signature.to_string()).unwrap();
    desk.machine.ok(&[
        "approval",
        "reject",
        id,
        "--signature",
        "no.sig",
        "--person",
        person.name,
        "--at",
        &at,
    ]);
}

#[test]
fn refuses_requests_that_mislead_or_that_nobody_may_decide() {
    let (desk, _) = Desk::with_three();
    let ask = |subject: &str, gate: &str, why: &str| {
        desk.machine.run(&[
            "override",
            "request",
            subject,
            "--gate",
            gate,
            "--requester",
            "ann",
            "--justification",
            why,
        ])
    };
    for gate in ["complexity", "complexity_gate", "gate-complexity"] {
        says(&ask("P", gate, "known"), "cannot be overridden");
    }
    for subject in ["a\u{202e}b", "PRОP-7", "a\nrisk: none", "", " a", &"x".repeat(201)] {
        assert_eq!(ask(subject, "drift", "known").code, Some(2), "{subject:?}");
    }
    for why in ["a\u{202e}b", "a\u{200b}b", "a\u{1b}[2Jb", "a\rb", "", "x\u{2066}"] {
        says(&ask("P", "drift", why), "the justification cannot be used");
    }
    fs::write(desk.machine.file("long"), "x".repeat(1 << 20)).unwrap();
    let ask = ["override", "request", "P", "--gate", "drift", "--requester", "ann", "--justification-file"];
    assert_eq!(desk.machine.run(&[&ask[..], &["long"]].concat()).code, Some(1));
    fs::write(desk.machine.file("lines"), "Erste Zeile: Änderung.\nSecond line.\n").unwrap();
    let run = desk.machine.ok(&[&ask[..], &["lines"]].concat());
    assert!(run.stdout.contains("Änderung") && run.stdout.contains("not all of it is ASCII"), "{run:?}");
    assert_eq!(
        desk.machine
            .run(&[
                "override",
                "request",
                "P",
                "--gate",
                "drift",
                "--requester",
                "Ann",
                "--justification",
                "x"
            ])
            .code,
        Some(2)
    );
}

#[test]
fn every_statement_is_printable_ascii_of_one_kibibyte_and_what_is_shown_is_what_is_signed() {
    let (desk, people) = Desk::with_three();
    let gates: Vec<_> = (10..26).map(|n| format!("{}{n}", "g".repeat(46))).collect();
    let subject = "y".repeat(200);
    let mut ask = vec!["override", "request", &subject, "--requester", "ann", "--justification", "known"];
    for gate in &gates {
        ask.extend(["--gate", gate]);
    }
    let id = desk.machine.ok(&ask).stdout.lines().next().unwrap().to_owned();
    let at = Timestamp::from_second(Timestamp::now().as_second()).unwrap().to_string();
    let text = desk.machine.ok(&["override", "show", &id, "--statement", "rita", "--at", &at]).stdout;
    assert!(text.len() <= 1024 && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
    let signature = people[0].key.sign(&aegis_crypto::Statement::new(text.clone()).unwrap()).unwrap();
    fs::write(desk.machine.file("rita.sig"), signature.to_string()).unwrap();
    assert_eq!(desk.bring(&id, &people[0], &at, "rita.sig", &[]).code, Some(0));
    // Once signed, those bytes are what is shown, to people and to programs.
    assert_eq!(desk.machine.ok(&["override", "show", &id, "--statement", "rita"]).stdout, text);
    assert!(
        desk.machine.ok(&["override", "show", &id]).stdout.contains(&format!("\n{text}\nsignature: smp"))
    );
    let json = desk.machine.ok(&["override", "show", &id, "--json"]).json();
    assert_eq!(json["signatures"][0]["statement"], text);
}

#[test]
fn the_log_tells_of_each_act_and_can_be_asked_for_a_key() {
    let (desk, people) = Desk::with_three();
    let id = desk.approved("PROP-1", &people);
    desk.machine.ok(&["override", "use", &id]);
    desk.refused(&["override", "use", &id], "used");
    let entries = |more: &[&str]| {
        let run = desk.machine.ok(&[&["audit", "query", "--json"][..], more].concat()).json();
        let entries = run["entries"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| {
                (entry["action"].as_str().unwrap().to_owned(), entry["outcome"].as_str().unwrap().to_owned())
            })
            .collect::<Vec<_>>()
    };
    let own = entries(&["--key", &people[0].key_id()[..16]]);
    for (action, outcome) in
        [("custodian.register", "accepted"), ("approval.sign", "accepted"), ("approval.use", "accepted")]
    {
        assert!(own.contains(&(action.to_owned(), outcome.to_owned())), "{action}: {own:?}");
    }
    assert!(entries(&["--key", &people[2].key_id()[..16]]).len() == 1, "only its registration");
    let used = entries(&["--action", "approval.use"]);
    assert_eq!(used.len(), 2, "{used:?}");
    assert!(used.iter().any(|(_, outcome)| outcome == "refused"));
    desk.machine.ok(&["audit", "verify"]);
}
