#[path = "../../../../aegis-audit/tests/ocsf/check.rs"]
mod check;

use self::check::faults;
use super::super::sample::{Sample, context};
use super::super::{KnownPolicy, PolicyText};
use super::*;

/// Every operation, as a program of ours writes it.
fn samples() -> Vec<Sample> {
    let none = (0, 0);
    vec![
        Sample::open(b"/etc/shadow"),
        Sample { operation: 2, file: none, ..Sample::default() },
        Sample { operation: 3, section: 4, hash: Some([0xab; 32]), ..Sample::open(b"/tmp/miner") },
        Sample { operation: 4, ..Sample::open(b"/tmp/lib.so") },
        Sample { operation: 5, ..Sample::open(b"/etc/shadow") },
        Sample { operation: 6, ..Sample::default() },
        Sample::network(7, "192.0.2.1", 443, 1),
        Sample::network(8, "2001:db8::1", 53, 2),
        Sample { section: 10, ..Sample::network(9, "0.0.0.0", 22, 1) },
        Sample { section: 10, family: 0, address: [0; 16], ..Sample::network(10, "::", 22, 1) },
        Sample { operation: 11, section: 20, target: 42, file: none, ..Sample::default() },
        Sample { operation: 12, section: 21, file: none, ..Sample::default() },
        Sample { operation: 13, section: 22, target: 5, file: none, ..Sample::default() },
        Sample { operation: 14, section: 255, line: 0, ..Sample::default() },
        Sample { operation: 14, section: 255, line: 0, file: none, ..Sample::default() },
    ]
}

#[test]
fn every_event_is_valid_by_the_published_schema() {
    for sample in samples() {
        let bare = Sample { parents: Vec::new(), exe: (0, 0), denied: 0, comm: Vec::new(), ..sample.clone() };
        let odd = Sample { family: 0, path_length: -36, protocol: 4, ..sample.clone() };
        for sample in [sample, bare, odd] {
            for host in ["web-1.example", "", "a..b", "-a", "é", &"h".repeat(300)] {
                let value = value(&sample.event(), host);
                assert_eq!(faults(&value), [] as [String; 0], "{value:#}");
            }
        }
    }
}

#[test]
fn a_loss_is_an_event_too() {
    for count in [1, u64::MAX] {
        let value = lost(&Lost { time: Timestamp::UNIX_EPOCH, lost: count }, "web-1.example");
        assert_eq!(faults(&value), [] as [String; 0], "{value:#}");
        assert_eq!(value["unmapped"]["lost"], count);
    }
}

#[test]
fn the_check_finds_what_is_wrong_with_an_event() {
    let good = value(&Sample::open(b"/x").event(), "host");
    for name in ["file", "device", "actor", "action_id", "severity_id", "metadata"] {
        let mut broken = good.clone();
        broken.as_object_mut().unwrap().remove(name);
        assert!(!faults(&broken).is_empty(), "{name}");
    }
    let mut broken = good;
    broken["file"]["type_id"] = json!(77);
    assert!(!faults(&broken).is_empty());
}

#[test]
fn operations_are_in_the_classes_that_are_promised() {
    let classes: Vec<String> = samples()
        .iter()
        .map(|sample| {
            let value = value(&sample.event(), "host");
            format!("{} {} {}", value["metadata"]["event_code"], value["class_uid"], value["activity_name"])
                .replace('"', "")
        })
        .collect();
    let expected = [
        "open 1001 Open",
        "create 1001 Create",
        "exec 1007 Launch",
        "map 1001 Map",
        "receive 1001 Receive",
        "truncate 1001 Update",
        "connect 4001 Open",
        "send 4001 Traffic",
        "bind 4001 Bind",
        "listen 4001 Listen",
        "ptrace 1007 Open",
        "module 1002 Load",
        "bpf 1003 Invoke",
        "tamper 1001 Tamper",
        "tamper 1003 Tamper",
    ];
    assert_eq!(classes, expected);
}

/// Snapshots: what a receiver was promised stays as it is.
#[test]
fn an_event_is_exported_as_it_always_was() {
    let context = context();
    let text = PolicyText::new(b"version=1\n[deny_path]\n\n/etc/shadow\n".to_vec());
    let sha256 = Some(aegis_crypto::sha256(b"policy"));
    context.remember(3, KnownPolicy { version: Some(7), sha256, text: Some(text) });
    let found = |sample: &Sample| {
        let event = Event::from_record(&sample.to_bytes(), &context).unwrap();
        let mut value = value(&event, "web-1.example");
        value["metadata"]["product"]["version"] = json!("VERSION");
        serde_json::to_string_pretty(&value).unwrap() + "\n"
    };
    for (sample, expected) in [
        (Sample::open(b"/etc/shadow"), include_str!("snapshots/open.json")),
        (
            Sample {
                operation: 3,
                section: 4,
                denied: 0,
                hash: Some([0xab; 32]),
                ..Sample::open(b"/tmp/a\x1b")
            },
            include_str!("snapshots/exec.json"),
        ),
        (Sample::network(7, "192.0.2.1", 443, 1), include_str!("snapshots/connect.json")),
        (
            Sample { operation: 13, section: 22, target: 5, file: (0, 0), line: 2, ..Sample::default() },
            include_str!("snapshots/bpf.json"),
        ),
    ] {
        let found = found(&sample);
        assert!(found == expected, "this is exported now:\n{found}");
    }
}
