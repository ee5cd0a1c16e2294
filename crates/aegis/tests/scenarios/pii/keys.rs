//! Who can read what.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};

use super::*;

#[test]
fn sealing_needs_the_keyring_alone_and_opening_the_kek() {
    let machine = Machine::set_up();
    let events = sample_text();
    let mut without = machine.copy();
    without.variables.clear();
    fs::remove_file(without.file("passphrase")).unwrap();
    let sealed = encrypt(&without, &[], &events);
    filter(&without, &["pii", "decrypt"], &sealed).refused("which is not configured here");
    same(&decrypt(&machine, &[], &sealed), &events, "sealed elsewhere");
    // The public half alone changes nothing about that.
    let public = machine.variables["AEGIS_MASTER_KEK_PUBLIC"].clone();
    without.variables.insert("AEGIS_MASTER_KEK_PUBLIC".to_owned(), public);
    same(&decrypt(&machine, &[], &encrypt(&without, &[], &events)), &events, "with the public half");
    filter(&without, &["pii", "decrypt"], &sealed)
        .refused("no variable says where the private half of that KEK is");
}

#[test]
fn another_kek_opens_nothing() {
    let machine = Machine::set_up();
    let sealed = encrypt(&machine, &[], &sample_text());
    fs::write(machine.file("s.jsonl"), &sealed).unwrap();
    let other = machine.run_as("b.env", &["pii", "decrypt", "s.jsonl"]);
    assert_eq!((other.code, other.stdout.as_str()), (Some(1), ""));
    assert!(other.stderr.contains("is none of this keyring"), "{}", other.stderr);
    // Nor does the KEK of a machine that has another keyring.
    let stranger = Machine::set_up();
    filter(&stranger, &["pii", "decrypt"], &sealed).refused("cannot decrypt standard input");
    // That a KEK was loaded to decrypt is in the log.
    decrypt(&machine, &[], &sealed);
    let loads = machine.log();
    let loads =
        loads.iter().filter(|entry| entry["action"] == "kek.load" && entry["detail"]["purpose"] == "decrypt");
    assert_eq!(loads.count(), 1);
}

#[test]
fn the_kek_can_be_rotated_and_what_was_sealed_is_read_with_the_new_one() {
    let mut machine = Machine::set_up();
    let events = sample_text();
    let sealed = encrypt(&machine, &[], &events);
    machine.ok(&["kek", "rotate", "--to", "b.env"]);
    same(&decrypt(&machine, &[], &sealed), &events, "in grace");
    machine.take("b.env");
    same(&decrypt(&machine, &[], &sealed), &events, "with the new one");
    machine.ok(&["kek", "retire", "--force"]);
    same(&decrypt(&machine, &[], &encrypt(&machine, &[], &events)), &events, "afterwards");
    machine.take("a.env");
    filter(&machine, &["pii", "decrypt"], &sealed).refused("which is retired");
}

#[test]
fn a_retired_dek_is_opened_by_name_only_and_a_destroyed_one_never() {
    let machine = Machine::set_up();
    let event = |name: &str| format!("{{\"actor_id\":\"{name}\",\"n\":1}}\n").into_bytes();
    let old = encrypt(&machine, &[], &event("old-person"));
    machine.ok(&["dek", "rotate"]);
    let new = encrypt(&machine, &[], &event("new-person"));
    let first = machine.version(0);
    machine.ok(&["dek", "retire", &first]);
    let both = [&old[..], &new].concat();

    let stopped = filter(&machine, &["pii", "decrypt"], &both);
    assert!(stopped.stderr.contains(&format!("`--allow-retired {first}`")), "{}", stopped.stderr);
    assert_eq!(stopped.refused(&format!("{first} is retired")), b"");
    assert_eq!(
        filter(&machine, &["pii", "decrypt", "--on-error", "skip"], &both).refused("1 event"),
        event("new-person")
    );
    let named = decrypt(&machine, &["--allow-retired", &first], &both);
    assert_eq!(named, [event("old-person"), event("new-person")].concat());

    machine.ok(&["dek", "destroy", &first, "--wait", "0s"]);
    filter(&machine, &["pii", "decrypt", "--allow-retired", &first], &both)
        .refused("is marked for destruction");
    machine.ok(&["dek", "destroy", &first]);
    filter(&machine, &["pii", "decrypt", "--allow-retired", &first], &both).refused("was destroyed at");
    // The rest of an archive is read all the same.
    for threads in ["1", "2"] {
        let left =
            filter(&machine, &["pii", "decrypt", "--unopenable", "leave", "--threads", threads], &both);
        assert_eq!(left.code, Some(0));
        assert!(
            left.stderr.starts_with("warning: 1 field left sealed, for want of a key"),
            "{}",
            left.stderr
        );
        let reason = format!("warning: {first} was destroyed at");
        assert!(left.stderr.lines().any(|line| line.starts_with(&reason)), "{}", left.stderr);
        assert_eq!(left.stdout, [&old[..], &event("new-person")].concat());
    }
    // A version that this keyring never had.
    let foreign = String::from_utf8(new).unwrap().replace(&machine.version(1), "dek-v1-20200101");
    filter(&machine, &["pii", "decrypt"], foreign.as_bytes())
        .refused("there is no DEK dek-v1-20200101 in this keyring");
}

#[test]
fn fields_that_are_not_asked_for_stay_sealed() {
    let machine = Machine::set_up();
    let events = sample_text();
    for form in ["full", "compact"] {
        let sealed = encrypt(&machine, &["--envelope", form], &events);
        let part = decrypt(&machine, &["--fields", "actor_id"], &sealed);
        let lines = |bytes: &[u8]| -> Vec<Value> {
            let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
        };
        for (part, event) in lines(&part).iter().zip(lines(&events)) {
            assert_eq!(part["actor_id"], event["actor_id"], "{form}");
            assert!(part["workflow_id"].is_object() || event["workflow_id"].is_null(), "{form}");
        }
        // The rest later, by somebody who may.
        same(&decrypt(&machine, &[], &part), &events, form);
        let medium = decrypt(&machine, &["--min-priority", "high"], &sealed);
        assert_eq!(lines(&medium)[4]["workflow_id"], "wf-7c1e90d4-1");
        assert!(lines(&medium)[4]["signer_id"].is_object(), "{form}");
    }
    filter(&machine, &["pii", "decrypt", "--fields", "/signers/*/signer_id"], b"")
        .refused("which stands for any element");
}

#[test]
fn what_was_sealed_for_a_tenant_or_in_an_event_opens_there_only() {
    let machine = Machine::set_up();
    let events = b"{\"id\":\"e1\",\"actor_id\":\"somebody\"}\n{\"id\":\"e2\",\"actor_id\":\"else\"}\n";
    let bound = ["--tenant", "acme", "--event-id-member", "id"];
    let sealed = encrypt(&machine, &bound, events);
    same(&decrypt(&machine, &bound, &sealed), events, "bound");
    let moved = String::from_utf8(sealed.clone()).unwrap().replace("\"e1\"", "\"e2\"");
    for (options, input) in [
        (&[][..], &sealed[..]),
        (&["--tenant", "other", "--event-id-member", "id"], &sealed),
        (&["--tenant", "acme"], &sealed),
        (&bound, moved.as_bytes()),
    ] {
        let refused = filter(&machine, &[&["pii", "decrypt"], options].concat(), input);
        assert_eq!(refused.refused("it was changed, or moved from where it was sealed"), b"", "{options:?}");
    }
    filter(&machine, &[&["pii", "encrypt"], &bound[..]].concat(), b"{\"actor_id\":1}").refused("id");
}

#[test]
fn a_stream_follows_the_rotation_of_its_dek_and_of_the_kek_while_it_runs() {
    let mut machine = Machine::set_up();
    let mut child = filter::start(&mut machine.command(&["pii", "encrypt", "--threads", "2"]));
    let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    let (mut events, mut sealed) = (Vec::new(), Vec::new());
    // One event in, one event out.
    let mut next = |until: Option<&str>| {
        for number in 0.. {
            let event = format!("{{\"actor_id\":\"person-{number}\"}}\n");
            input.write_all(event.as_bytes()).unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            events.extend_from_slice(event.as_bytes());
            sealed.extend_from_slice(line.as_bytes());
            match until {
                None if number == 20 => return,
                Some(version) if line.contains(&format!("\"{version}\"")) => return,
                _ => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    };
    next(None);
    machine.ok(&["dek", "rotate"]);
    let (first, second) = (machine.version(0), machine.version(1));
    next(Some(&second));
    machine.ok(&["kek", "rotate", "--to", "b.env"]);
    next(None);
    machine.ok(&["dek", "rotate"]);
    let third = machine.version(2);
    next(Some(&third));
    drop(input);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
    assert_eq!(sealed_by_dek(&machine, &sealed).into_keys().collect::<Vec<_>>(), [first, second, third]);
    same(&decrypt(&machine, &[], &sealed), &events, "with the old KEK, in grace");
    machine.take("b.env");
    same(&decrypt(&machine, &["--threads", "2"], &sealed), &events, "with the new KEK");
    // Each use was counted under its DEK.
    let used: u64 = machine.deks().iter().map(|dek| dek["messages"].as_u64().unwrap()).sum();
    assert_eq!(used, events.iter().filter(|byte| **byte == b'\n').count() as u64);
}

#[test]
fn a_named_dek_has_to_be_the_active_one_and_another_scope_has_its_own() {
    let machine = Machine::set_up();
    machine.ok(&["dek", "create", "--scope", "billing"]);
    let event = b"{\"actor_id\":\"somebody\"}\n";
    let deks = machine.deks();
    let of = |scope: &str| {
        let dek = deks.iter().find(|dek| dek["scope"] == scope).unwrap();
        dek["version"].as_str().unwrap().to_owned()
    };
    let billing = encrypt(&machine, &["--scope", "billing"], event);
    assert_eq!(sealed_by_dek(&machine, &billing).into_keys().collect::<Vec<_>>(), [of("billing")]);
    encrypt(&machine, &["--dek-version", &of("default")], event);
    let wrong = of("billing");
    filter(&machine, &["pii", "encrypt", "--dek-version", &wrong], event)
        .refused("is not the active DEK of scope default");
    filter(&machine, &["pii", "encrypt", "--scope", "other"], event).refused("scope other has no active DEK");
    same(&decrypt(&machine, &[], &billing), event, "scopes do not matter to who opens");
}
