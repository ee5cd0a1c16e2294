//! `events --follow`, which does not end by itself; and logs of events that are none.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use aegis_enforce::event::{Event, Limits, Log};

use test_services::tools;

use crate::program::{VARIABLES, run};

/// An event by the number of its process.
fn event(pid: u32) -> Event {
    serde_json::from_value(serde_json::json!({
        "time": "2026-03-01T12:00:00.000Z",
        "operation": "open",
        "outcome": "denied",
        "rule": { "section": "deny_path", "line": 4, "entry": "/etc/shadow" },
        "policy": { "generation": 1, "version": null, "sha256": null },
        "process": { "pid": pid, "tid": pid, "uid": 0, "gid": 0, "comm": "cat", "exe": null },
        "parents": [],
        "cgroup": { "id": 1, "path": null },
        "file": { "path": "/etc/shadow", "device": 1, "inode": 2, "sha256": null },
        "network": null,
        "target_pid": null,
        "bpf_command": null,
    }))
    .unwrap()
}

#[test]
fn follows_what_an_agent_writes_through_rotations_and_ends_with_its_reader() {
    let dir = tempfile::tempdir().unwrap();
    let events = dir.path().join("host/var/lib/aegisbpf/events");
    // Four lines a file.
    let limits = Limits { file_bytes: 1700, files: 4 };
    let mut log = Log::open(&events, limits).unwrap();
    log.append(&(100..106).map(event).collect::<Vec<_>>()).unwrap();

    let mut command = Command::new(env!("CARGO_BIN_EXE_aegisbpf"));
    command.current_dir(dir.path()).args(["--root", "host", "events", "--follow", "-n", "2", "--json"]);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["process"]["pid"].as_u64().or(line["lost"].as_u64()).unwrap()
    };
    assert_eq!([next(), next()], [104, 105]);
    log.append(&[event(106)]).unwrap();
    assert_eq!(next(), 106);
    log.append(&(107..114).map(event).collect::<Vec<_>>()).unwrap();
    log.append_lost(9).unwrap();
    assert_eq!((107..114).map(|_| next()).collect::<Vec<_>>(), (107..114).collect::<Vec<_>>());
    assert_eq!(next(), 9);
    // Nobody reads any more: the next line that it writes is its last.
    drop(lines);
    log.append(&[event(114)]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A line of an event's JSON.
fn line(pid: u32) -> Vec<u8> {
    let mut line = serde_json::to_vec(&event(pid)).unwrap();
    line.push(b'\n');
    line
}

/// Runs with no more memory than 200 MiB of addresses.
fn run_in_little_memory(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let script = "ulimit -v 204800 && exec \"$@\"";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_aegisbpf")]).args(arguments);
    command.current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_log_that_is_none_is_refused_and_takes_neither_memory_nor_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("host/var/lib/aegisbpf/events/events.jsonl");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(dir.path().join("policy.conf"), "version=1\n[deny_path]\n/x\n").unwrap();
    fs::write(dir.path().join("victim"), line(1)).unwrap();
    let (log, name) = (log.as_path(), log.to_str().unwrap());
    type Make<'a> = Box<dyn Fn() + 'a>;
    let write = |bytes: Vec<u8>| -> Make<'_> { Box::new(move || fs::write(log, &bytes).unwrap()) };
    let cases: Vec<(&str, Make<'_>)> = vec![
        // One line, which takes no room on the disk.
        (
            "line 1 has more than 65536 bytes",
            Box::new(|| File::create(log).unwrap().set_len(256 << 20).unwrap()),
        ),
        ("cannot read 3 lines of", write(b"\0\0\n\xff\xfe\x1b[31m\n{\"time\":1}\n".to_vec())),
        ("is not an event", write((0..=255_u8).cycle().take(300_000).collect())),
        ("is not an event", write([&line(1)[..], b"[[[[[[[[\n"].concat())),
        ("is not an event", write([&b"[".repeat(60_000)[..], b"\n"].concat())),
        ("is a FIFO, not a regular file", {
            Box::new(|| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(rustix::fs::CWD, log, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            })
        }),
    ];
    for (expected, make) in cases {
        make();
        for arguments in [
            &["events"][..],
            &["events", "-n", "3", "--json"],
            &["events", "--format", "ocsf"],
            &["policy", "simulate", name, "policy.conf"],
            &["policy", "simulate", "host/var/lib/aegisbpf/events", "policy.conf", "--json"],
        ] {
            let output = run_in_little_memory(dir.path(), &[&["--root", "host"], arguments].concat());
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}\n{stderr}");
            assert!(
                stderr.contains(expected) || stderr.contains("recursion limit"),
                "{arguments:?}\n{stderr}"
            );
            let named = arguments.first() != Some(&"events");
            assert!(named || !stderr.contains("name a file of events"), "nobody named one: {stderr}");
            assert!(stderr.len() < 2000 && !stderr.contains(['\x1b', '\0']), "{stderr}");
        }
        fs::remove_file(log).unwrap();
    }
    // The host's own log is no link; a file that somebody names may be one.
    symlink(dir.path().join("victim"), log).unwrap();
    let output = run(dir.path(), &["--root", "host", "events"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("is a symbolic link"), "{stderr}");
    let output = run(dir.path(), &["--root", "host", "policy", "simulate", name, "policy.conf"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn who_may_not_read_the_events_is_told_so() {
    let test = "who_may_not_read_the_events_is_told_so";
    if !tools::need(test, &["setpriv"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let events = dir.path().join("host/var/lib/aegisbpf/events");
    fs::create_dir_all(&events).unwrap();
    fs::write(events.join("events.jsonl"), line(1)).unwrap();
    fs::write(dir.path().join("policy.conf"), "version=1\n[deny_path]\n/x\n").unwrap();
    fs::set_permissions(events.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
    // A copy, since others may not be let into the directory of this build.
    let program = dir.path().join("aegisbpf");
    fs::copy(env!("CARGO_BIN_EXE_aegisbpf"), &program).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    for arguments in [
        &["events"][..],
        &["events", "--json"],
        &["events", "--follow"],
        &["policy", "simulate", "host/var/lib/aegisbpf/events", "policy.conf"],
        &["policy", "simulate", "host/var/lib/aegisbpf/events/events.jsonl", "policy.conf"],
    ] {
        let mut command = Command::new(if is_root { "setpriv" } else { "env" });
        if is_root {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.arg(&program).args(["--root", "host"]).args(arguments);
        let output = command.current_dir(dir.path()).stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}\n{stderr}");
        assert!(stderr.contains("Permission denied") && stderr.contains("run it as root"), "{stderr}");
    }
    fs::set_permissions(events.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn follows_through_rubbish_and_an_emptied_file_and_an_interrupt_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("host/var/lib/aegisbpf/events/events.jsonl");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(&log, [&b"rubbish\n".repeat(5000)[..], &line(1)].concat()).unwrap();
    // Who started the test may ignore interrupts, and then so would what it starts: a shell does so in the background.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_aegisbpf")]);
    command.current_dir(dir.path()).args(["--root", "host", "events", "--follow", "--json"]);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: Event = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line.process.pid
    };
    assert_eq!(next(), 1);
    // As `: > events.jsonl` does, with events after it before anybody looks.
    fs::write(&log, [line(2), line(3)].concat()).unwrap();
    assert_eq!([next(), next()], [2, 3]);
    File::options().append(true).open(&log).unwrap().write_all(&line(4)).unwrap();
    assert_eq!(next(), 4);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("line 1 is not an event, and ") && stderr.lines().count() < 5, "{stderr}");
}

#[test]
fn times_that_select_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let times = ["--since", "2026-03-02", "--until", "2026-03-02"];
    let output = run(dir.path(), &[&["--root", "host", "events"], &times[..]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--until is not after"), "{stderr}");
}
