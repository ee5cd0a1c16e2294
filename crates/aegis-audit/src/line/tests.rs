use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::event::{Action, Actor, Event, Outcome};

const LINE: &str = r#"{"seq":7,"time":"2026-01-02T03:04:05.006Z","actor":{"uid":0,"user":"root","program":"aegisbpf","pid":42},"action":"policy.apply","object":"v6.signed","outcome":"refused","reason":"policy version 6 is older than 7","detail":{"policy_version":6,"refusal":"rollback"},"transaction":null}"#;

fn event() -> Event {
    let actor = Actor { uid: 0, user: Some("root".into()), program: "aegisbpf".into(), pid: 42 };
    Event::new("2026-01-02T03:04:05.006789Z".parse().unwrap(), actor, Action::PolicyApply, "v6.signed")
        .outcome(Outcome::Refused)
        .reason("policy version 6 is older than 7")
        .detail("refusal", "rollback")
        .detail("policy_version", 6)
}

#[test]
fn an_entry_is_this_line() {
    let entry = Entry::of(7, &event());
    assert_eq!(String::from_utf8(print_entry(&entry)).unwrap(), LINE);
    assert_eq!(parse_entry(LINE.as_bytes()).unwrap(), entry);
}

#[test]
fn refuses_a_line_with_one_thing_wrong() {
    let malformed = [
        ("unknown field", LINE.replacen("\"transaction\":null", "\"transaction\":null,\"x\":1", 1)),
        ("unknown actor field", LINE.replacen("\"pid\":42", "\"pid\":42,\"x\":1", 1)),
        ("missing field", LINE.replacen("\"object\":\"v6.signed\",", "", 1)),
        ("repeated field", LINE.replacen("\"seq\":7,", "\"seq\":7,\"seq\":7,", 1)),
        ("negative number", LINE.replacen("\"seq\":7", "\"seq\":-7", 1)),
        ("number as text", LINE.replacen("\"seq\":7", "\"seq\":\"7\"", 1)),
        ("20 digits", LINE.replacen("\"seq\":7", "\"seq\":99999999999999999999", 1)),
        ("uid over 32 bits", LINE.replacen("\"uid\":0", "\"uid\":4294967296", 1)),
        ("unknown action", LINE.replacen("policy.apply", "policy.applied", 1)),
        ("unknown outcome", LINE.replacen("refused\"", "Refused\"", 1)),
        ("another time zone", LINE.replacen(".006Z", ".006+00:00", 1)),
        ("trailing bytes", format!("{LINE}}}")),
        ("empty", String::new()),
        ("an array", "[]".to_owned()),
        ("deep", "[".repeat(10_000)),
    ];
    for (name, line) in malformed {
        assert!(matches!(parse_entry(line.as_bytes()), Err(EntryError::Malformed { .. })), "{name}");
    }
    let other_spelling = [
        ("white space", LINE.replacen("\"seq\":7", "\"seq\": 7", 1)),
        ("white space after", format!("{LINE} ")),
        (
            "another order",
            LINE.replacen("\"seq\":7,", "", 1).replacen("\"transaction\"", "\"seq\":7,\"transaction\"", 1),
        ),
        ("another escape", LINE.replacen("root", "\\u0072oot", 1)),
        ("absent for null", LINE.replacen(",\"transaction\":null", "", 1)),
        ("repeated detail", LINE.replacen("\"refusal\"", "\"policy_version\":6,\"refusal\"", 1)),
        ("a raw direction mark", LINE.replacen("root", "ro\u{202e}ot", 1)),
    ];
    for (name, line) in other_spelling {
        assert!(matches!(parse_entry(line.as_bytes()), Err(EntryError::NotCanonical)), "{name}");
    }
    assert!(matches!(parse_entry(&vec![b' '; LINE_LEN + 1]), Err(EntryError::TooLong { .. })));
}

#[test]
fn what_would_reach_a_terminal_is_escaped() {
    let line = print_entry(&Entry::of(0, &{
        let mut event = event();
        event.object = "a\u{1b}[2J\u{9b}31m\0\n\r\u{7f}\u{202e}\u{2028}\u{feff}|=\\]\"é".to_owned();
        event
    }));
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(!text.chars().any(is_dangerous), "{text}");
    assert!(text.contains("é"));
    assert_eq!(
        parse_entry(&line).unwrap().object,
        "a\u{1b}[2J\u{9b}31m\0\n\r\u{7f}\u{202e}\u{2028}\u{feff}|=\\]\"é"
    );
}

#[test]
fn the_longest_event_fits_a_line() {
    let mut event = event();
    event.object = "\u{1}".repeat(1 << 20);
    event.reason = Some("\u{9b}".repeat(1 << 20));
    event.transaction = Some("\u{1}".repeat(1 << 20));
    event.actor.program = "\\".repeat(1000);
    event.actor.user = Some("\"".repeat(1000));
    event.actor.uid = u32::MAX;
    for at in 0..1000 {
        event.detail.insert(format!("{}{at}", "\u{1}".repeat(100)), Value::from("\u{1}".repeat(2000)));
    }
    event.detail.insert("deep".into(), (0..100).fold(json!(1), |inner, _| json!([inner])));
    event.detail.insert("fraction".into(), json!(0.1));
    let entry = Entry::of(u64::MAX, &event);
    let line = print_entry(&entry);
    assert!(line.len() <= LINE_LEN, "{}", line.len());
    assert_eq!(parse_entry(&line).unwrap(), entry);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(12, 64, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".*", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_logged_reads_back(
        object in ".*",
        reason in proptest::option::of(".*"),
        detail in btree_map(".*", any_value(), 0..6),
        seconds in -377_000_000_000_i64..253_000_000_000,
    ) {
        let mut event = event();
        event.time = Timestamp::from_second(seconds).unwrap();
        event.object = object;
        event.reason = reason;
        event.detail = BTreeMap::from_iter(detail);
        let entry = Entry::of(1, &event);
        prop_assert_eq!(parse_entry(&print_entry(&entry)).unwrap(), entry);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..512)) {
        if let Ok(entry) = parse_entry(&bytes) {
            prop_assert_eq!(print_entry(&entry), bytes);
        }
    }
}
