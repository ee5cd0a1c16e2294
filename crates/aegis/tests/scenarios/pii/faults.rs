//! Killed, full, cut off, left by its reader.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use test_services::faults::Fault;
use test_services::tools;

use super::*;

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let machine = Machine::set_up();
    let sealed = encrypt(&machine, &[], &sample_text().repeat(50));
    fs::write(machine.file("s.jsonl"), &sealed).unwrap();
    for arguments in [
        &["pii", "decrypt", "s.jsonl"][..],
        &["pii", "encrypt", "s.jsonl"],
        &["pii", "encrypt", "--threads", "3", "s.jsonl"],
        &["pii", "inspect", "s.jsonl"],
    ] {
        let mut child = filter::start(&mut machine.command(arguments));
        // Its input has no end, for all it knows.
        let _input = child.stdin.take();
        child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), String::from_utf8(ended.stderr).unwrap()),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let machine = Machine::set_up();
    for threads in ["1", "2"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let samples = samples();
        let mut command =
            machine.command(&["pii", "encrypt", "--threads", threads, samples.to_str().unwrap()]);
        let ended = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(String::from_utf8(ended.stderr).unwrap().contains("cannot write to standard output"));
    }
}

#[test]
fn a_program_that_is_killed_leaves_no_file_that_looks_whole() {
    let machine = Machine::set_up();
    for name in ["out.jsonl", "out.jsonl.zst", "out.jsonl.gz"] {
        let mut child = filter::start(&mut machine.command(&["pii", "encrypt", "-o", name]));
        let mut input = child.stdin.take().unwrap();
        input.write_all(&sample_text().repeat(20)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!machine.file(name).exists(), "{name}");
    }
}

#[test]
fn killed_or_refused_by_the_disk_at_any_call_the_output_is_whole_or_absent() {
    if !tools::need("killed_or_refused_by_the_disk_at_any_call", &["strace"]) {
        return;
    }
    let origin = Machine::set_up();
    let events = sample_text();
    fs::write(origin.file("events.jsonl"), &events).unwrap();
    let arguments = ["pii", "encrypt", "events.jsonl", "-o", "out.jsonl.zst"];
    let points = origin.copy().traced(&arguments).points();
    assert!(points.len() >= 4, "{points:?}");
    for point in points {
        for fault in [Fault::Kill, Fault::Full] {
            let machine = origin.copy();
            fs::write(machine.file("out.jsonl.zst"), "what was there").unwrap();
            let run = machine.traced(&arguments).run_with(&point, fault);
            let what = format!("{fault:?} at {}: {run:?}", point.shown);
            let found = fs::read(machine.file("out.jsonl.zst")).unwrap();
            let is_old = found == b"what was there";
            if !is_old {
                same(&filter(&machine, &["pii", "decrypt", "out.jsonl.zst"], b"").done(), &events, &what);
            }
            match run.code {
                Some(0) => assert!(!is_old, "{what}"),
                Some(1) => {
                    assert!(run.stderr.starts_with("error: ") || run.stderr.contains("\nerror: "), "{what}");
                }
                code => assert!(code.is_none() && fault == Fault::Kill, "{what}"),
            }
            // And the next run does what is left to do.
            machine.ok(&arguments);
            same(&filter(&machine, &["pii", "decrypt", "out.jsonl.zst"], b"").done(), &events, &what);
        }
    }
}

#[test]
fn the_output_may_replace_the_input_and_goes_nowhere_else() {
    let machine = Machine::set_up();
    let events = sample_text();
    fs::write(machine.file("events.jsonl"), &events).unwrap();
    machine.ok(&["pii", "encrypt", "events.jsonl", "-o", "events.jsonl"]);
    nothing_personal(&events, &fs::read(machine.file("events.jsonl")).unwrap(), "in place");
    machine.ok(&["pii", "decrypt", "events.jsonl", "-o", "events.jsonl"]);
    same(&fs::read(machine.file("events.jsonl")).unwrap(), &events, "and back");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(machine.file(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("events.jsonl"), 0o600, "what is in the clear is for its owner");
    std::os::unix::fs::symlink("state/keyring.sqlite", machine.file("link")).unwrap();
    for (out, why) in [
        ("state/keyring.sqlite", "this host keeps its own files there"),
        ("state/new", "this host keeps its own files there"),
        ("link", "this host keeps its own files there"),
        ("/dev/null", "is not a regular file"),
        ("missing/out", "No such file"),
    ] {
        filter(&machine, &["pii", "encrypt", "events.jsonl", "-o", out], b"").refused(why);
        let dead = ["pii", "encrypt", "events.jsonl", "--on-error", "dead-letter", out];
        filter(&machine, &dead, b"").refused(if out == "/dev/null" { "it is no regular file" } else { why });
    }
    machine.ok(&["kek", "verify"]);
    // What is refused does not go where it would be replaced, or read again.
    std::os::unix::fs::symlink("events.jsonl", machine.file("same")).unwrap();
    for (out, dead, why) in [
        ("new", "new", "it is OUT"),
        ("events.jsonl", "same", "it is a FILE that is read"),
        ("other", "events.jsonl", "it is a FILE that is read"),
    ] {
        let arguments = ["pii", "encrypt", "events.jsonl", "-o", out, "--on-error", "dead-letter", dead];
        filter(&machine, &arguments, b"").refused(why);
    }
    same(&fs::read(machine.file("events.jsonl")).unwrap(), &events, "untouched");
}

#[test]
fn a_keyring_that_cannot_be_reached_any_more_does_not_stop_the_stream() {
    let machine = Machine::set_up();
    let mut child = filter::start(&mut machine.command(&["pii", "encrypt"]));
    let mut input = child.stdin.take().unwrap();
    let event = b"{\"actor_id\":\"somebody\"}\n";
    input.write_all(event).unwrap();
    let mut first = [0; 20];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    fs::rename(machine.file("state"), machine.file("away")).unwrap();
    // Longer than it takes to look.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    input.write_all(event).unwrap();
    drop(input);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    fs::rename(machine.file("away"), machine.file("state")).unwrap();
    let sealed = [&first[..], &ended.stdout].concat();
    same(&decrypt(&machine, &[], &sealed), &event.repeat(2), "both");
}

#[test]
fn a_full_disk_costs_no_dead_letter_but_the_one_that_it_did_not_take() {
    if !tools::need("dead letters on a full disk", &["sh"]) {
        return;
    }
    let machine = Machine::set_up();
    let bad = "{\"actor_id\":\"mara\n".repeat(500);
    fs::write(machine.file("bad.jsonl"), bad).unwrap();
    let arguments = ["pii", "encrypt", "bad.jsonl", "--on-error", "dead-letter", "dead.jsonl"];
    let list = || machine.run(&["pipeline", "dead-letters", "list", "dead.jsonl"]);
    // Room for a part of them, and then writing fails.
    let own = machine.command(&arguments);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 600; exec \"$@\"", "sh"]).arg(own.get_program());
    limited.args(own.get_args()).current_dir(machine.path());
    for (name, value) in own.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let run = crate::machine::Run::of(&mut limited);
    assert!(run.code == Some(1) && run.stderr.contains("cannot be kept"), "{}", run.stderr);
    let letters = fs::read(machine.file("dead.jsonl")).unwrap();
    assert!(letters.len() > 1000 && letters.ends_with(b"\n"), "{}", letters.len());
    let kept = letters.iter().filter(|byte| **byte == b'\n').count();
    assert!(list().stdout.contains(&format!("{kept} letters")), "{:?}", list());
    // Half a letter, of one that was killed, takes no other one with it.
    fs::write(machine.file("dead.jsonl"), [&letters[..], b"{\"file\":\"bad.js"].concat()).unwrap();
    machine.refused(&arguments, "500 events refused");
    let listed = list();
    assert!(listed.stdout.contains(&format!("{} letters", kept + 500)), "{listed:?}");
    assert!(listed.stderr.contains("1 line is no dead letter"), "{listed:?}");
}
