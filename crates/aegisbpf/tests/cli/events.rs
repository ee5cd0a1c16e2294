//! `events --follow`, which does not end by itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use aegis_enforce::event::{Event, Limits, Log};

use crate::program::VARIABLES;

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
