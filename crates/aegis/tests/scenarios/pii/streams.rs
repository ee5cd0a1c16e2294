//! What may stand in a stream, and what is refused in it.

use std::fs;

use super::*;

#[test]
fn what_is_no_event_is_copied_and_comes_back() {
    let machine = Machine::set_up();
    let cases: &[&[u8]] = &[
        b"",
        b"\n",
        b" \t\r\n\n\n",
        b"{\"actor_id\":\"somebody\"}",
        b"{\"actor_id\":\"somebody\"}\r\n{}\r\n",
        b"\xef\xbb\xbf{\"actor_id\":\"somebody\"}\n",
        b"\n\n  {\"actor_id\" : [1, 2]}  \n\n",
        b"7\n\"text\"\nnull\n[]\n",
        b"{\"actor_id\":\"\\ud800\",\"actor_id\":1e400,\"actor_id\":0.10}\n",
    ];
    for case in cases {
        let sealed = encrypt(&machine, &[], case);
        same(&decrypt(&machine, &[], &sealed), case, &String::from_utf8_lossy(case));
    }
}

#[test]
fn an_event_that_is_refused_is_named_and_nothing_of_it_is_written() {
    let machine = Machine::set_up();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!("{{\"actor_id\":\"{}\"}}", "x".repeat(5 << 20));
    let many = format!("[{}]", vec!["{\"actor_id\":1}"; 1025].join(","));
    let cases: &[(&[u8], &str)] = &[
        (b"{\"actor_id\":\"secret-name\"", "it ends before its JSON does"),
        (b"{\"actor_id\":\"secret\0name\"}", "a control character in a string has to be escaped"),
        (b"{\"actor_id\":\"secret-\xff\"}", "a string is not UTF-8"),
        (b"\0", "this byte cannot stand here in JSON"),
        (b"\xff\xfe{\0}\0", "this byte cannot stand here in JSON"),
        (b"\xef\xbb\xbf{}", "this byte cannot stand here in JSON"),
        (b"{\"actor_id\":\"secret-name\"} {}", "something follows the value"),
        (b"{\"actor_id\":\"secret-name\\x\"}", "no escape of JSON"),
        (b"{'actor_id':'secret-name'}", "this byte cannot stand here in JSON"),
        (b"{\"actor_id\":01}", "cannot stand here"),
        (deep.as_bytes(), "more than 1000 objects and arrays inside one another"),
        (many.as_bytes(), "more than 1024 fields"),
        (long.as_bytes(), "it has more than 4194304 bytes"),
    ];
    let good = b"{\"actor_id\":\"somebody\"}\n";
    for (bad, why) in cases {
        let what = String::from_utf8_lossy(&bad[..bad.len().min(40)]).into_owned();
        let input = [&good[..], bad, b"\n", good].concat();
        for threads in ["1", "3"] {
            let stopped = filter(&machine, &["pii", "encrypt", "--threads", threads], &input);
            assert!(stopped.stderr.contains("line 2, at byte 24"), "{what}: {}", stopped.stderr);
            let before = stopped.refused(why);
            assert_eq!(decrypt(&machine, &[], &before), good, "{what}");

            let out = filter(&machine, &["pii", "encrypt", "--threads", threads, "-o", "out"], &input);
            out.refused(why);
            assert!(!machine.file("out").exists(), "{what}: a part of the stream has the name of the whole");

            let skipped =
                filter(&machine, &["pii", "encrypt", "--threads", threads, "--on-error", "skip"], &input);
            let rest = skipped.refused("1 event refused, and not in the output");
            assert_eq!(decrypt(&machine, &[], &rest), good.repeat(2), "{what}");
        }
    }
}

#[test]
fn longer_events_are_taken_if_that_is_asked_for() {
    let machine = Machine::set_up();
    let small = b"{\"actor_id\":\"somebody\"}\n".as_slice();
    let long = format!("{{\"actor_id\":\"{}\"}}\n", "x".repeat(7 << 20));
    let input = [small, long.as_bytes(), small, long.as_bytes()].concat();
    let of = |verb: &str, size: &str, input: &[u8]| {
        filter(&machine, &["pii", verb, "--threads", "2", "--max-event-size", size], input)
    };
    let stopped = filter(&machine, &["pii", "encrypt"], &input);
    assert!(stopped.stderr.contains("take longer ones: `--max-event-size"), "{}", stopped.stderr);
    stopped.refused("it has more than 4194304 bytes");
    let sealed = of("encrypt", "8MiB", &input).done();
    filter(&machine, &["pii", "decrypt"], &sealed).refused("it has more than 8388608 bytes");
    same(&of("decrypt", "16MiB", &sealed).done(), &input, "long events");
    filter(&machine, &["pii", "inspect", "--check"], &sealed).refused("2 cannot be read");
    filter(&machine, &["pii", "inspect", "--check", "--max-event-size", "16MiB"], &sealed).done();
    // A smaller limit holds as well.
    of("encrypt", "1KiB", &input).refused("it has more than 1024 bytes");
    let wrong = of("encrypt", "512MiB", b"");
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("from 1KiB to 256MiB"), "{}", wrong.stderr);
}

#[test]
fn a_line_without_end_takes_no_memory_and_no_time_to_refuse() {
    let machine = Machine::set_up();
    let line = vec![b'x'; 64 << 20];
    let skipped = filter(&machine, &["pii", "encrypt", "--on-error", "skip"], &line);
    assert_eq!(skipped.refused("1 event refused"), b"");
    filter(&machine, &["pii", "encrypt"], &line).refused("it has more than 4194304 bytes");
    filter(&machine, &["pii", "inspect"], &line).refused("1 cannot be read, the first of them number 1");
}

#[test]
fn dead_letters_hold_what_was_refused_and_no_word_of_it_in_the_clear() {
    let machine = Machine::set_up();
    let bad: &[&[u8]] = &[
        b"{\"actor_id\":\"secret-name-1\"\n",
        b"{\"actor_id\":\"secret-name-2\xff\"}\n",
        b"secret-name-3\n",
        b"{\"note\":\"\",\"decision_rationale\":\"secret-name-4\",}",
    ];
    let good = b"{\"actor_id\":\"secret-name-5\"}\n";
    let input = [bad[0], good, bad[1], bad[2], good, bad[3]].concat();
    let arguments =
        ["pii", "encrypt", "--on-error", "dead-letter", "dead.jsonl", "--tenant", "acme", "-o", "out"];
    let done = filter(&machine, &[&arguments[..], &["--threads", "2", "--json"]].concat(), &input);
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["events"], &report["refused"]), (&2.into(), &4.into()));
    assert!(done.stderr.contains("dead.jsonl says why each was refused"), "{}", done.stderr);
    done.refused("4 events refused");

    let letters = fs::read(machine.file("dead.jsonl")).unwrap();
    let sealed = fs::read(machine.file("out")).unwrap();
    for text in [b"secret".as_slice(), b"name-", b"c2VjcmV0", b"NlY3JldC", b"zZWNyZXQt"] {
        assert!(
            !memchr_find(&letters, text) && !memchr_find(&sealed, text),
            "{}",
            String::from_utf8_lossy(text)
        );
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(machine.file("dead.jsonl")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    // Whoever has the KEK can bring it all back.
    let opened = decrypt(&machine, &["--tenant", "acme"], &letters);
    let opened: Vec<Value> = opened
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    use base64ct::{Base64, Encoding as _};
    let back: Vec<Vec<u8>> = opened
        .iter()
        .map(|letter| Base64::decode_vec(letter["event_base64"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(back, bad);
    let places: Vec<_> = opened.iter().map(|letter| letter["line"].as_u64().unwrap()).collect();
    assert_eq!(places, [1, 3, 4, 6]);
    for letter in &opened {
        assert!(
            letter["because"][0].as_str().unwrap().starts_with("the event is refused at byte"),
            "{letter}"
        );
        let (offset, length) = (letter["offset"].as_u64().unwrap(), letter["length"].as_u64().unwrap());
        let range = usize::try_from(offset).unwrap()..usize::try_from(offset + length).unwrap();
        assert!(bad.contains(&&input[range]), "{letter}");
    }

    // The next run appends; what is too long to be held has its digest.
    let long = [b"{\"actor_id\":\"", vec![b'x'; 5 << 20].as_slice(), b"\"}\n"].concat();
    filter(&machine, &arguments, &long).refused("1 event refused");
    let both = fs::read(machine.file("dead.jsonl")).unwrap();
    assert!(both.starts_with(&letters));
    let last: Value = serde_json::from_slice(&both[letters.len()..]).unwrap();
    assert_eq!(last["sha256"], aegis_crypto::sha256(&long).to_string());
    assert_eq!((&last["length"], last.get("event_base64")), (&(long.len() as u64).into(), None));
}

#[test]
fn the_log_has_nothing_personal_at_any_level() {
    let machine = Machine::set_up();
    let events = sample_text();
    let broken = [&events[..], b"{\"actor_id\":\"mara.lindqvist@example.org\"\n"].concat();
    let run = |arguments: &[&str], input: &[u8]| {
        let ended = filter::of(machine.command(arguments).env("AEGIS_LOG", "trace"), input);
        nothing_personal(&events, ended.stderr.as_bytes(), &format!("{arguments:?}"));
        ended
    };
    run(&["pii", "encrypt", "--on-error", "skip"], &broken).refused("1 event refused");
    run(&["pii", "encrypt"], &broken).refused("line 13");
    let sealed = run(&["pii", "encrypt"], &events).stdout;
    run(&["pii", "decrypt"], &sealed);
    run(&["pii", "decrypt", "--tenant", "other"], &sealed).refused("it was changed, or moved");
    run(&["pii", "inspect"], &broken).refused("1 cannot be read");
}

#[test]
fn what_does_not_open_goes_to_dead_letters_without_its_content() {
    let machine = Machine::set_up();
    let events = sample_text();
    let sealed = encrypt(&machine, &[], &events);
    let mut lines: Vec<Vec<u8>> = sealed.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    // A bit of a ciphertext, and an event that ends too soon.
    let at = lines[3].windows(13).position(|part| part == b"\"_ciphertext\"").unwrap() + 15 + 1492 + 5;
    lines[3][at] = if lines[3][at] == b'A' { b'B' } else { b'A' };
    lines[5].truncate(100);
    lines[5].push(b'\n');
    let arguments = ["pii", "decrypt", "--on-error", "dead-letter", "dead.jsonl"];
    let rest = filter(&machine, &arguments, &lines.concat()).refused("2 events refused");
    let expected: Vec<&[u8]> = events.split_inclusive(|byte| *byte == b'\n').collect();
    let expected: Vec<u8> = [&expected[..3], &expected[4..5], &expected[6..]].concat().concat();
    same(&rest, &expected, "the rest");
    let letters = fs::read_to_string(machine.file("dead.jsonl")).unwrap();
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((letters.len(), &letters[0]["line"], &letters[1]["line"]), (2, &4.into(), &6.into()));
    assert_eq!(letters[0]["sha256"], aegis_crypto::sha256(&lines[3]).to_string());
    assert!(letters[0]["because"][1].as_str().unwrap().contains("it was changed, or moved"), "{letters:?}");
}

#[test]
fn inspection_counts_without_a_key() {
    let machine = Machine::set_up();
    let sealed = encrypt(&machine, &["--without", "actor_id"], &sample_text());
    let mut keyless = machine.copy();
    keyless.variables.clear();
    let look = |input: &[u8], more: &[&str]| {
        filter(&keyless, &[&["pii", "inspect", "--json"], more].concat(), input)
    };
    let report: Value = serde_json::from_slice(&look(&sealed, &[]).done()).unwrap();
    assert_eq!(report["events"]["read"], 12);
    assert_eq!(report["clear_by_field"], serde_json::json!({"actor_id": 5}));
    assert_eq!(report["sealed_by_field"]["workflow_id"], 9);
    look(&sealed, &["--check"]).refused("5 personal fields are in the clear, 0 are malformed");
    // By the same catalogue, everything is sealed.
    look(&sealed, &["--check", "--without", "actor_id"]).done();
    let forged = br#"{"actor_id":{"_encrypted":true,"_ciphertext":"plain"}}"#;
    look(forged, &["--check"]).refused("1 are malformed");
    look(&[&sealed[..], b"{\n"].concat(), &[]).refused("1 cannot be read, the first of them number 13");
    // What sealing twice leaves alone, it seals if it is forged.
    let sealed = encrypt(&machine, &[], forged);
    assert!(!memchr_find(&sealed, b"plain\""));
    same(&decrypt(&machine, &[], &sealed), forged, "forged");
}

#[test]
fn the_fields_are_those_that_were_asked_for() {
    let machine = Machine::set_up();
    let listed = machine.ok(&["pii", "fields", "--json"]).json();
    let names: Vec<_> =
        listed["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
    assert_eq!(names, FIELDS);
    fs::write(
        machine.file("fields.json"),
        r#"{"extend":[{"name":"email","priority":"medium"}],"min_priority":"medium"}"#,
    )
    .unwrap();
    let event = br#"{"actor_id":"somebody-1","signer_id":"somebody-2","decision_actor":"somebody-3","email":"somebody-4"}"#;
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["actor_id", "signer_id", "decision_actor"]),
        (&["--min-priority", "critical"], &["decision_actor"]),
        (&["--min-priority", "high"], &["actor_id", "decision_actor"]),
        (&["--fields", "actor_id,signer_id"], &["actor_id", "signer_id"]),
        (&["--without", "actor_id"], &["signer_id", "decision_actor"]),
        (&["--also", "email", "--min-priority", "critical"], &["decision_actor", "email"]),
        (&["--also", "/email", "--fields", "actor_id"], &["actor_id", "email"]),
        (&["--catalogue", "fields.json", "--without", "decision_actor"], &["actor_id", "signer_id", "email"]),
    ];
    for (options, sealed) in cases {
        let output: Value = serde_json::from_slice(&encrypt(&machine, options, event)).unwrap();
        for field in ["actor_id", "signer_id", "decision_actor", "email"] {
            assert_eq!(output[field].is_object(), sealed.contains(&field), "{options:?} {field}");
        }
        assert_eq!(output["email"].is_string(), !sealed.contains(&"email"));
    }
    // A name mistyped would leave a field in the clear.
    for (options, why) in [
        (&["--fields", "actor_idd"][..], "has no field \"actor_idd\""),
        (&["--without", "nobody"], "has no field \"nobody\""),
        (&["--also", "_encrypted"], "is a member of envelopes"),
        (&["--also", "/a/~7"], "is no JSON Pointer"),
        (&["--catalogue", "missing.json"], "missing.json"),
        (&["--catalogue", "passphrase"], "no JSON"),
        (&["--token", "nobody", "--token-key", "fields.json"], "can be read or written by others"),
        (&["--tenant", ""], "the tenant's name is empty"),
        (&["--event-id-member", "actor_id"], "cannot be the member that holds the event's id"),
    ] {
        let output = filter(&machine, &[&["pii", "encrypt"], options].concat(), event).refused(why);
        assert_eq!(output, b"", "{options:?}");
    }
}
