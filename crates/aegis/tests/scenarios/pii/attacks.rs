//! Each attack that was thought of, against the program: what a producer of events sends, and what somebody changes in
//! sealed events. The library has the same by every byte; here it is what an operator sees.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::filter::{Filtered, filter};
use super::{decrypt, encrypt, memchr_find, same};
use crate::machine::Machine;

const FORMS: [&str; 2] = ["full", "compact"];

/// The sealed event as a value, changed, and as a line again.
fn changed(sealed: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(sealed).unwrap();
    change(&mut event);
    format!("{event}\n").into_bytes()
}

/// Decryption says no, says why, and prints nothing.
#[track_caller]
fn does_not_open(machine: &Machine, options: &[&str], sealed: &[u8], why: &str) {
    let refused = filter(machine, &[&["pii", "decrypt"], options].concat(), sealed);
    assert!(!memchr_find(refused.stderr.as_bytes(), b"secret-"), "{}", refused.stderr);
    assert_eq!(refused.refused(why), b"");
}

/// It was no envelope: encryption seals all of it, and it comes back.
#[track_caller]
fn is_data(machine: &Machine, forged: &[u8], what: &str) {
    let sealed = encrypt(machine, &[], forged);
    assert!(!memchr_find(&sealed, b"secret-"), "{what}: {}", String::from_utf8_lossy(&sealed));
    same(&decrypt(machine, &[], &sealed), forged, what);
}

#[test]
fn a_forged_claim_that_carries_plaintext_is_sealed() {
    let machine = Machine::set_up();
    for forged in [
        r#"{"actor_id":{"_encrypted":true,"name":"secret-1"}}"#,
        r#"{"actor_id":{"_encrypted":true,"_algorithm":"x25519+ml-kem-768+aes-256-gcm","_dek_version":"dek-v1-20260101","_ciphertext":"secret-2","_plaintext_hash":"","_encrypted_at":"2026-01-01T00:00:00Z"}}"#,
        r#"{"_aegis":{"v":1},"actor_id":{"_encrypted":true,"_ciphertext":"secret-3","_plaintext_hash":"secret-"}}"#,
        r#"{"actor_id":[{"_encrypted":true,"_ciphertext":"secret-4"}]}"#,
    ] {
        is_data(&machine, format!("{forged}\n").as_bytes(), forged);
        let inspected = filter(&machine, &["pii", "inspect", "--check"], format!("{forged}\n").as_bytes());
        inspected.refused("not everything is sealed");
    }
}

#[test]
fn an_envelope_with_a_missing_extra_or_wrong_member_is_data() {
    let machine = Machine::set_up();
    let sealed = encrypt(&machine, &[], b"{\"actor_id\":\"secret-1\"}\n");
    let members =
        ["_encrypted", "_algorithm", "_dek_version", "_ciphertext", "_plaintext_hash", "_encrypted_at"];
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for name in members {
        let without = changed(&sealed, |event| drop(event["actor_id"].as_object_mut().unwrap().remove(name)));
        cases.push((format!("without {name}"), without));
        cases.push((
            format!("{name} is a number"),
            changed(&sealed, |event| event["actor_id"][name] = json!(17)),
        ));
    }
    cases.push((
        "one more".to_owned(),
        changed(&sealed, |event| event["actor_id"]["note"] = json!("secret-2")),
    ));
    for (name, value) in [
        ("_algorithm", "rot13"),
        ("_algorithm", "x25519+aes-256-gcm"),
        ("_dek_version", "dek-v9-20260101"),
        ("_encrypted_at", "yesterday"),
        ("_plaintext_hash", "sha256:00"),
        ("_ciphertext", "c2VjcmV0"),
    ] {
        cases.push((
            format!("{name} = {value}"),
            changed(&sealed, |event| event["actor_id"][name] = json!(value)),
        ));
    }
    for cut in [1, 2, 3, 5] {
        let cut_short = changed(&sealed, |event| {
            let text = event["actor_id"]["_ciphertext"].as_str().unwrap().trim_end_matches('=').to_owned();
            event["actor_id"]["_ciphertext"] = json!(&text[..text.len() - cut]);
        });
        cases.push((format!("{cut} digits of base64 less"), cut_short));
    }
    let all: Vec<u8> = cases.iter().flat_map(|(_, event)| event.clone()).collect();
    // All in one stream; the ciphertext, whole or cut, is nowhere any more but inside of others.
    let report = filter(&machine, &["pii", "encrypt", "--json"], &all);
    let report: Value = serde_json::from_str(&report.stderr).unwrap();
    let resealed = report["sealed"].as_u64().unwrap();
    // A ciphertext that is still base64 of a box passes as one, and does not open.
    let passed = report["already_sealed"].as_u64().unwrap();
    assert_eq!((resealed + passed, passed <= 4), (cases.len() as u64, true), "{report}");
    for (what, event) in &cases {
        let again = encrypt(&machine, &[], event);
        let Filtered { code, stdout, stderr } = filter(&machine, &["pii", "decrypt"], &again);
        assert!(!memchr_find(&stdout, b"secret-1"), "{what}");
        match code {
            Some(0) => same(&stdout, event, what),
            _ => assert!(stderr.contains("it was changed"), "{what}: {stderr}"),
        }
    }
}

#[test]
fn a_version_that_is_unknown_or_relabelled_does_not_open() {
    let machine = Machine::set_up();
    for form in FORMS {
        let sealed = encrypt(&machine, &["--envelope", form], b"{\"actor_id\":\"secret-1\",\"n\":1}\n");
        let version = machine.deks().last().unwrap()["version"].as_str().unwrap().to_owned();
        let text = String::from_utf8(sealed).unwrap();
        let unknown = text.replace(&version, "dek-v1-20200101");
        assert_ne!(unknown, text);
        does_not_open(&machine, &[], unknown.as_bytes(), "there is no DEK dek-v1-20200101");
        machine.ok(&["dek", "rotate"]);
        let newer = machine.deks().last().unwrap()["version"].as_str().unwrap().to_owned();
        does_not_open(&machine, &[], text.replace(&version, &newer).as_bytes(), "it was changed, or moved");
        assert_eq!(decrypt(&machine, &[], text.as_bytes()), b"{\"actor_id\":\"secret-1\",\"n\":1}\n");
    }
}

#[test]
fn a_ciphertext_that_was_moved_to_another_field_event_or_tenant_does_not_open() {
    let machine = Machine::set_up();
    let options = |tenant: &'static str| ["--tenant", tenant, "--event-id-member", "id"];
    let of = |form: &str, tenant: &'static str, id: u64| {
        let event = format!("{{\"id\":{id},\"actor_id\":\"secret-{id}\",\"author_id\":\"secret-{id}\"}}\n");
        encrypt(&machine, &[&["--envelope", form], &options(tenant)[..]].concat(), event.as_bytes())
    };
    let why = "it was changed, or moved";
    for form in FORMS {
        let (one, two) = (of(form, "acme", 1), of(form, "acme", 2));
        assert!(!memchr_find(&one, b"secret-"));
        let other: Value = serde_json::from_slice(&two).unwrap();
        does_not_open(&machine, &options("other"), &one, why);
        let field = changed(&one, |event| event["author_id"] = event["actor_id"].clone());
        does_not_open(&machine, &options("acme"), &field, why);
        let event = changed(&one, |event| event["id"] = json!(2));
        does_not_open(&machine, &options("acme"), &event, why);
        let moved = changed(&one, |event| {
            event["actor_id"] = other["actor_id"].clone();
            if form == "compact" {
                event["_aegis"] = other["_aegis"].clone();
            }
        });
        does_not_open(&machine, &options("acme"), &moved, why);
        assert!(memchr_find(&decrypt(&machine, &options("acme"), &one), b"secret-1"));
    }
}

#[test]
fn every_spelling_of_json_is_sealed_whole_and_comes_back_to_the_byte() {
    let machine = Machine::set_up();
    let cases = [
        ("two members of one name", r#"{"actor_id":"secret-1","actor_id":"secret-2","a":1,"a":2}"#),
        ("an escaped name", r#"{"actor\u005fid":"secret-1","\u0061ctor_id":"secret-2"}"#),
        ("null", r#"{"actor_id":null,"other":null}"#),
        ("numbers", r#"{"actor_id":1e400,"author_id":0.10,"x":1e400,"y":0.10,"z":-0}"#),
        ("a lone surrogate", r#"{"actor_id":"secret-\ud800","x":"\udc00"}"#),
        (
            "a personal name in a list in a personal value",
            r#"{"actor_id":[{"author_id":["secret-1",{"actor_id":"secret-2"}]}]}"#,
        ),
        ("a solidus and a line feed, escaped", r#"{"decision_rationale":"secret-\/\n\u0000","x":"\/"}"#),
    ];
    for form in FORMS {
        for (what, event) in cases {
            let event = format!(" {event} \t\n");
            let sealed = encrypt(&machine, &["--envelope", form], event.as_bytes());
            assert!(!memchr_find(&sealed, b"secret-"), "{what}: {}", String::from_utf8_lossy(&sealed));
            assert!(!memchr_find(&sealed, b"_id\":null") && !memchr_find(&sealed, b"_id\":1e400"), "{what}");
            same(&encrypt(&machine, &["--envelope", form], &sealed), &sealed, what);
            same(&decrypt(&machine, &[], &sealed), event.as_bytes(), what);
        }
    }
}

#[test]
fn a_million_levels_are_refused_where_they_begin_to_be_too_many() {
    let machine = Machine::set_up();
    for open in ["[", "{\"actor_id\":"] {
        let deep = format!("{}\n", open.repeat(1_000_000 / open.len() * 3));
        let event = filter(&machine, &["pii", "encrypt"], deep.as_bytes());
        assert_eq!(event.refused("1000"), b"");
        filter(&machine, &["pii", "inspect"], deep.as_bytes()).refused("1 cannot be read");
        assert_eq!(filter(&machine, &["pii", "decrypt"], deep.as_bytes()).refused("1000"), b"");
    }
}

/// A file of holes, which takes no room and no time to make.
fn sparse(machine: &Machine, name: &str, before: &[u8], len: u64, after: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(machine.file(name)).unwrap();
    file.write_all_at(before, 0).unwrap();
    file.set_len(before.len() as u64 + len).unwrap();
    file.write_all_at(after, before.len() as u64 + len).unwrap();
}

#[test]
fn a_gibibyte_in_a_line_or_a_value_is_refused_without_being_held() {
    let machine = Machine::set_up();
    let good = b"{\"actor_id\":\"secret-1\"}\n";
    // One line, and one value that says of itself that it is sealed. Each takes seconds.
    for (name, verb, begin) in [
        ("line", "encrypt", b"".as_slice()),
        ("envelope", "decrypt", b"{\"actor_id\":{\"_encrypted\":true,\"_ciphertext\":\""),
    ] {
        sparse(&machine, name, begin, 1 << 30, &[b"\n", good.as_slice()].concat());
        let own = machine.command(&["pii", verb, "--on-error", "skip", name]);
        // A third of a gibibyte of addresses is all that it gets, programs and stacks included.
        let mut limited = Command::new("bash");
        limited
            .args(["-c", "ulimit -v 350000 && exec \"$0\" \"$@\""])
            .arg(own.get_program())
            .args(own.get_args());
        for (variable, value) in own.get_envs() {
            match value {
                Some(value) => limited.env(variable, value),
                None => limited.env_remove(variable),
            };
        }
        let output = limited.current_dir(machine.path()).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.contains("1 event refused") && stderr.contains("the first is line 1"), "{stderr}");
        // What comes after it is not lost.
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "{name}: {stderr}");
    }
}
