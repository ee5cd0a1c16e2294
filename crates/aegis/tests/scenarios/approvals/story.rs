//! The whole story: two custodians, an override, a stolen key, and everything that follows from it.

use std::fs;

use test_services::faults::Fault;
use test_services::tools;

use crate::machine::Machine;

/// Signs with a key file, as people do.
fn sign(machine: &Machine, id: &str, key: &str) -> crate::machine::Run {
    machine.run(&["approval", "sign", id, "--key", key, "--passphrase-file", "passphrase"])
}

fn ask(machine: &Machine, subject: &str) -> String {
    let run = machine.ok(&[
        "override",
        "request",
        subject,
        "--gate",
        "drift",
        "--requester",
        "ann",
        "--justification",
        "known",
    ]);
    run.stdout.lines().next().unwrap().to_owned()
}

fn generate(machine: &Machine, person: &str, role: &str, out: &str) -> String {
    let made = machine.ok(&[
        "custodian",
        "generate",
        "--person",
        person,
        "--role",
        role,
        "--out",
        out,
        "--passphrase-file",
        "passphrase",
        "--json",
    ]);
    made.json()["key_id"].as_str().unwrap().to_owned()
}

#[test]
fn from_two_custodians_to_a_stolen_key_and_back() {
    if !tools::need("from_two_custodians_to_a_stolen_key_and_back", &["strace"]) {
        return;
    }
    let machine = Machine::set_up();
    let stolen = generate(&machine, "rita", "risk_lead", "rita.key");
    generate(&machine, "sam", "security_lead", "sam.key");
    machine.ok(&["custodian", "register", "rita.custodian", "sam.custodian"]);

    let used = ask(&machine, "PROP-1");
    assert_eq!(sign(&machine, &used, "rita.key").code, Some(0));
    assert_eq!(sign(&machine, &used, "sam.key").code, Some(0));
    machine.ok(&["override", "use", &used, "--for-what", "deploy"]);
    let pending = ask(&machine, "PROP-2");
    assert_eq!(sign(&machine, &pending, "rita.key").code, Some(0));
    let approved = ask(&machine, "PROP-3");
    assert_eq!(sign(&machine, &approved, "rita.key").code, Some(0));
    assert_eq!(sign(&machine, &approved, "sam.key").code, Some(0));

    generate(&machine, "rita", "risk_lead", "rita-2.key");
    let before = machine.deks().len();
    let emergency = [
        "emergency",
        "rotate-custodian",
        &stolen[..16],
        "--reason",
        "Laptop was stolen",
        "--registration",
        "rita-2.custodian",
        "--rotate-deks",
        "--report",
        "report.json",
        "--format",
        "json",
    ];
    // Killed at a tenth of all points at which it could be, each on a copy, and run again.
    let points = machine.copy().traced(&emergency).points();
    assert!(points.len() > 40, "{}", points.len());
    for point in points.iter().step_by(points.len() / 10) {
        let copy = machine.copy();
        copy.traced(&emergency).run_with(point, Fault::Kill);
        // From its first step on, the stolen key approves nothing, killed or not; run again, all is done, once.
        copy.ok(&emergency);
        let status = copy.ok(&["emergency", "status", "--all", "--json"]).json();
        assert_eq!(status["rotations"][0]["step"], "done", "{}", point.shown);
        assert_eq!(copy.deks().len(), before + 1, "{}", point.shown);
        let revoked = |entry: &&serde_json::Value| entry["action"] == "custodian.revoke";
        assert_eq!(copy.log().iter().filter(revoked).count(), 1, "{}", point.shown);
        copy.ok(&["audit", "verify"]);
    }

    machine.ok(&emergency);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(machine.file("report.json")).unwrap()).unwrap();
    let remedies: Vec<_> = report["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            (found["request"].as_str().unwrap().to_owned(), found["remedy"].as_str().unwrap().to_owned())
        })
        .collect();
    for (id, remedy) in [(&used, "undo"), (&pending, "sign_again"), (&approved, "sign_again")] {
        assert!(remedies.contains(&(id.clone(), remedy.to_owned())), "{id} {remedy}: {remedies:?}");
    }
    assert_eq!(remedies.len(), 3);
    assert_eq!(machine.deks().len(), before + 1);

    // The stolen key is good for nothing; its holder signs again.
    assert_eq!(machine.run(&["override", "use", &approved]).code, Some(1));
    let refused = sign(&machine, &pending, "rita.key");
    assert!(refused.code == Some(1) && refused.stderr.contains("revoked"), "{refused:?}");
    assert_eq!(sign(&machine, &approved, "rita-2.key").code, Some(0));
    machine.ok(&["override", "use", &approved]);
    machine.ok(&["audit", "verify"]);
}
