//! Any bytes as a record of the ring buffer, and as lines of the log of events.

use std::sync::LazyLock;

use aegis_policy::{Limits, Policy};

use super::event::{BootClock, Context, Event, LINE_LEN, Line, Lines, RECORD_LEN, Simulator, ocsf};

/// A candidate with rules of every kind, so that every question is asked.
const CANDIDATE: &[u8] = b"version=6\n[deny_path]\n/etc/shadow\n[deny_inode]\n66306:5678\n[protect_path]\n/etc/keys\n\
    [deny_comm]\nnc\n[deny_binary_hash]\nsha256:abababababababababababababababababababababababababababababababab\n\
    [deny_ip]\n192.0.2.1\n[deny_cidr]\n10.0.0.0/8\n2001:db8::/32\n[deny_port]\n22:tcp\n[deny_ip_port]\n192.0.2.2:443\n\
    [allow_cgroup]\n/trusted\n[cgroup_deny_inode]\n/web 66306:91\n[cgroup_deny_ip]\ncgid:77 192.0.2.3\n\
    [cgroup_deny_port]\n/web 80\n[protect_connect]\n[deny_ptrace]\n[deny_bpf]\n";

static POLICY: LazyLock<Policy<'static>> =
    LazyLock::new(|| aegis_policy::parse(CANDIDATE, &Limits::default()).expect("a good policy"));

/// What is taken as an event is one line that steers no terminal, and is read back as the same.
pub(crate) fn run(bytes: &[u8]) {
    record(bytes);
    // Most inputs have another length; the rest of a record is then empty.
    let mut whole = bytes.to_vec();
    whole.resize(RECORD_LEN, 0);
    record(&whole);
    lines(bytes);
}

fn record(bytes: &[u8]) {
    let context = Context::of_clock(BootClock::starting_at("2026-03-01T12:00:00Z".parse().expect("a time")));
    let event = match Event::from_record(bytes, &context) {
        Ok(event) => event,
        Err(error) => {
            assert!(error.help().is_some());
            return;
        }
    };
    let line = serde_json::to_string(&event).expect("an event is JSON");
    assert!(line.len() <= LINE_LEN);
    for text in [&line, &event.to_string(), &ocsf::line(&event, "host")] {
        assert!(!text.chars().any(aegis_audit::is_dangerous), "{text:?}");
    }
    match Line::parse(line.as_bytes()) {
        Ok(Line::Event(again)) => assert_eq!(*again, event),
        other => panic!("an event is read back as {other:?}"),
    }
}

fn lines(bytes: &[u8]) {
    let mut simulator = Simulator::new(&POLICY);
    let (mut events, mut judged) = (0, 0);
    for line in Lines::new(bytes) {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                assert!(error.help().is_some());
                continue;
            }
        };
        simulator.add(&line);
        let text = serde_json::to_vec(&line).expect("a line is JSON");
        assert_eq!(Line::parse(&text).expect("what we write, we read"), line);
        if let Line::Event(event) = &line {
            events += 1;
            let _ = event.to_string();
            assert!(ocsf::value(event, "host").is_object());
        }
    }
    let found = simulator.finish();
    for count in [found.deny, found.deny_unless_verified, found.pass, found.unknown, found.agent] {
        judged += count;
    }
    assert_eq!((found.events, judged), (events, events));
}
