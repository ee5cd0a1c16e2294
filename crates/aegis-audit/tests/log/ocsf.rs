//! OCSF events against the published schema, version 1.3.0.

#[path = "../ocsf/check.rs"]
mod check;

use aegis_audit::export::Format;
use aegis_audit::{Action, Event, Outcome};
use serde_json::{Map, Value};

use self::check::faults;
use crate::export::{entry_of, line};
use crate::sample::event;

fn ocsf(event: &Event) -> Value {
    serde_json::from_str(&line(&entry_of(event), Format::Ocsf)).unwrap()
}

/// Every action, ended in every way, for every reason of refusal.
fn all_events() -> Vec<Event> {
    let mut events = Vec::new();
    for action in Action::ALL {
        for outcome in Outcome::ALL {
            for refusal in [None, Some("rollback"), Some("bad_signature"), Some("expired"), Some("malformed")]
            {
                let mut event = Event { action, ..event(3) }.outcome(outcome).reason("because");
                if let Some(refusal) = refusal {
                    event = event.detail("refusal", refusal);
                }
                events.push(event.clone());
                event.transaction = None;
                event.reason = None;
                event.actor.user = None;
                event.detail.clear();
                event.object = "|=\\]\"\n\u{1b}\0".repeat(1000);
                events.push(event);
            }
        }
    }
    events
}

#[test]
fn every_event_is_valid_by_the_published_schema() {
    for event in all_events() {
        let found = ocsf(&event);
        assert_eq!(faults(&found), [] as [String; 0], "{found:#}");
    }
}

#[test]
fn hosts_of_any_name_are_valid() {
    let entry = entry_of(&event(0));
    for host in ["host", "a.example", "", "a..b", "-a", "a-", "a_b", "é", "|", &"h".repeat(300)] {
        let mut out = Vec::new();
        aegis_audit::export::write(&entry, Format::Ocsf, host, &mut out).unwrap();
        let found: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(faults(&found), [] as [String; 0], "{host}");
    }
}

#[test]
fn events_are_in_the_classes_that_are_promised() {
    let class = |action: Action, outcome: Outcome, refusal: &str| {
        let event = Event { action, ..event(3) }.outcome(outcome).detail("refusal", refusal);
        ocsf(&event)["class_uid"].as_u64().unwrap()
    };
    for action in [Action::KeyAdd, Action::KeyRemove, Action::KeyRevoke, Action::AuditHandOver] {
        assert_eq!(class(action, Outcome::Accepted, ""), 3004);
    }
    let keys = Action::ALL.into_iter().filter(|action| ["kek.", "dek."].contains(&&action.as_str()[..4]));
    let mut activities = std::collections::BTreeMap::new();
    for action in keys {
        let found = ocsf(&Event { action, ..event(3) }.outcome(Outcome::Accepted));
        assert_eq!(found["class_uid"], 3004, "{action}");
        activities.insert(action.as_str(), found["activity_name"].as_str().unwrap().to_owned());
    }
    let expected = [
        ("dek.create", "Create"),
        ("dek.destroy", "Delete"),
        ("dek.retire", "Deactivate"),
        ("dek.rotate", "Update"),
        ("kek.enrol", "Enroll"),
        ("kek.load", "Read"),
        ("kek.provision", "Create"),
        ("kek.retire", "Deactivate"),
        ("kek.rotate", "Update"),
    ];
    assert_eq!(activities, expected.map(|(action, activity)| (action, activity.to_owned())).into());
    for action in [Action::KeyringBackup, Action::KeyringRestore] {
        assert_eq!(class(action, Outcome::Accepted, ""), 6003);
    }
    for action in Action::ALL {
        let class = class(action, Outcome::Accepted, "");
        if action.as_str().starts_with("approval.") {
            assert_eq!(class, 6003, "{action}");
        } else if action.as_str().starts_with("custodian") || action == Action::EmergencyRotate {
            assert_eq!(class, 3004, "{action}");
        }
    }
    for action in [
        Action::PolicyApply,
        Action::PolicyRollback,
        Action::PolicyConfirm,
        Action::PolicyFallback,
        Action::CounterRepair,
        Action::EnforcementOff,
        Action::EnforcementOn,
    ] {
        assert_eq!(class(action, Outcome::Accepted, ""), 5019);
        assert_eq!(class(action, Outcome::Refused, "expired"), 5019);
        assert_eq!(class(action, Outcome::Refused, "rollback"), 2004);
        assert_eq!(class(action, Outcome::Refused, "bad_signature"), 2004);
    }
    assert_eq!(class(Action::AuditRead, Outcome::Accepted, ""), 6003);
}

#[test]
fn what_ends_denials_is_more_than_a_note() {
    let severity = |action: Action, format: Format| {
        line(&entry_of(&Event { action, ..event(3) }.outcome(Outcome::Accepted)), format)
    };
    for action in [Action::EnforcementOff, Action::PolicyFallback] {
        let found = ocsf(&Event { action, ..event(3) }.outcome(Outcome::Accepted));
        assert_eq!(found["severity"], "Medium", "{action}");
        assert!(severity(action, Format::Cef).contains("accepted|6|"), "{action}");
        assert!(severity(action, Format::Rfc5424).starts_with("<108>"), "{action}");
    }
    for action in [Action::EnforcementOn, Action::PolicyConfirm] {
        assert!(severity(action, Format::Cef).contains("accepted|3|"), "{action}");
        assert!(severity(action, Format::Rfc5424).starts_with("<109>"), "{action}");
    }
}

#[test]
fn a_finding_names_what_was_offered() {
    for (action, refusal, title, kind) in [
        (Action::PolicyApply, "rollback", "An older policy was offered", "policy"),
        (Action::PolicyApply, "bad_signature", "A policy without a valid signature was offered", "policy"),
        (Action::KeyAdd, "bad_signature", "A key without a valid signature was offered", "key"),
        (
            Action::ApprovalSign,
            "bad_signature",
            "An approval without a valid signature was offered",
            "approval",
        ),
        (Action::BackupRestore, "bad_signature", "A backup without a valid signature was offered", "backup"),
    ] {
        let event = Event { action, ..event(3) }.outcome(Outcome::Refused).detail("refusal", refusal);
        let found = ocsf(&event);
        assert_eq!(found["finding_info"]["title"], title);
        assert_eq!(found["resources"][0]["type"], kind);
    }
}

#[test]
fn the_check_finds_what_is_wrong_with_an_event() {
    let good = ocsf(&event(3));
    let broken = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut event = good.clone();
        change(event.as_object_mut().unwrap());
        faults(&event)
    };
    assert_eq!(good["class_uid"], 3004);
    assert!(!broken(&|event| drop(event.remove("entity"))).is_empty());
    assert!(!broken(&|event| drop(event.remove("severity_id"))).is_empty());
    assert!(!broken(&|event| drop(event.insert("activity_id".into(), 44.into()))).is_empty());
    assert!(!broken(&|event| drop(event.insert("time".into(), "now".into()))).is_empty());
    assert!(!broken(&|event| drop(event.insert("colour".into(), "red".into()))).is_empty());
    assert!(!broken(&|event| drop(event.insert("entity".into(), Value::Object(Map::new())))).is_empty());
    assert!(!broken(&|event| drop(event["metadata"].as_object_mut().unwrap().remove("profiles"))).is_empty());
    assert!(
        !broken(&|event| drop(event["metadata"]["product"].as_object_mut().unwrap().remove("vendor_name")))
            .is_empty()
    );
}
