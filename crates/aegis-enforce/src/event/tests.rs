use std::fs;
use std::os::unix::fs::MetadataExt as _;

use aegis_policy::Section;
use proptest::prelude::*;

use super::sample::{Sample, context};
use super::*;

fn read(bytes: &[u8]) -> Result<Event, RecordError> {
    Event::from_record(bytes, &context())
}

#[test]
fn a_record_becomes_an_event_with_every_field() {
    let event = Sample::open(b"/etc/shadow").event();
    let expected = serde_json::json!({
        "time": "2026-03-01T12:00:01.500Z",
        "operation": "open",
        "outcome": "denied",
        "rule": { "section": "deny_path", "line": 4, "entry": null },
        "policy": { "generation": 3, "version": null, "sha256": null },
        "process": {
            "pid": 700, "tid": 701, "uid": 1000, "gid": 100, "comm": "cat",
            "exe": { "path": null, "device": 2049, "inode": 1234 },
        },
        "parents": [{ "pid": 600, "comm": "bash" }, { "pid": 1, "comm": "systemd" }],
        "cgroup": { "id": 77, "path": null },
        "file": { "path": "/etc/shadow", "device": 66306, "inode": 5678, "sha256": null },
        "network": null,
        "target_pid": null,
        "bpf_command": null,
    });
    assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    assert_eq!(serde_json::from_value::<Event>(expected).unwrap(), event);
    assert_eq!(
        event.to_string(),
        "denied open of /etc/shadow by cat (pid 700, uid 1000): [deny_path] line 4"
    );
}

#[test]
fn sockets_tracing_and_bpf_have_members_of_their_own() {
    let network = |sample: Sample| serde_json::to_value(sample.event().network).unwrap();
    for (sample, expected) in [
        (Sample::network(7, "192.0.2.1", 443, 1), ("192.0.2.1", 443, "tcp")),
        (Sample::network(8, "2001:db8::1", 53, 2), ("2001:db8::1", 53, "udp")),
        (Sample::network(9, "::", 22, 1), ("::", 22, "tcp")),
        (Sample::network(7, "0.0.0.0", 0, 4), ("0.0.0.0", 0, "other")),
    ] {
        let (address, port, protocol) = expected;
        let expected = serde_json::json!({ "address": address, "port": port, "protocol": protocol });
        assert_eq!(network(sample), expected);
    }
    let listen = Sample { family: 0, address: [0; 16], ..Sample::network(10, "::", 22, 1) };
    assert_eq!(network(listen.clone())["address"], serde_json::Value::Null);
    assert_eq!(listen.event().object().unwrap(), "port 22/tcp");
    assert_eq!(listen.event().file, None);

    let ptrace = Sample { operation: 11, section: 20, target: 42, file: (0, 0), ..Sample::default() };
    assert_eq!(ptrace.event().target_pid, Some(42));
    assert_eq!(ptrace.event().object().unwrap(), "process 42");
    let bpf = Sample { operation: 13, section: 22, target: 5, file: (0, 0), ..Sample::default() };
    assert_eq!(bpf.event().bpf_command, Some(BpfCommand { number: 5, name: Some("prog_load".to_owned()) }));
    assert_eq!(Sample { target: 99, ..bpf }.event().object().unwrap(), "command 99");

    let tamper = Sample { operation: 14, section: 255, line: 0, file: (0, 0), ..Sample::default() };
    assert_eq!(tamper.event().rule, RuleRef { section: RuleSection::Agent, line: None, entry: None });
    assert_eq!(tamper.event().file, None);
    assert!(Sample { file: (5, 0), ..tamper }.event().file.is_some());
}

#[test]
fn a_hash_and_the_error_of_a_path_are_told() {
    let exec =
        Sample { operation: 3, section: 4, hash: Some([0xab; 32]), path_length: -36, ..Sample::default() };
    let file = exec.event().file.unwrap();
    assert_eq!(file.sha256.unwrap().to_string(), "ab".repeat(32));
    assert_eq!((file.path, file.path_errno), (None, Some(36)));
    assert_eq!(exec.event().object().unwrap(), "66306:5678");
}

#[test]
fn every_section_and_operation_has_its_number() {
    for (number, section) in Section::ALL.into_iter().enumerate() {
        let sample = Sample { section: u8::try_from(number).unwrap(), ..Sample::default() };
        assert_eq!(sample.event().rule.section, RuleSection::Policy(section));
        assert_eq!(section as usize, number);
        assert_eq!(section.name().parse(), Ok(RuleSection::Policy(section)));
    }
    for (number, operation) in (1..).zip(Operation::ALL) {
        assert_eq!(Sample { operation: number, ..Sample::default() }.event().operation, operation);
        assert_eq!(operation.as_str().parse(), Ok(operation));
        assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
    }
    assert_eq!("agent".parse(), Ok(RuleSection::Agent));
    assert_eq!("deny_paths".parse::<RuleSection>(), Err(UnknownSection));
    assert_eq!("opens".parse::<Operation>(), Err(UnknownOperation));
}

#[test]
fn refuses_records_that_no_program_writes() {
    let good = Sample::open(b"/etc/shadow");
    let long = Sample { path: vec![b'/'; 512], path_length: 513, ..good.clone() };
    let cases = [
        (Sample { operation: 0, ..good.clone() }, RecordError::Operation { found: 0 }),
        (Sample { operation: 15, ..good.clone() }, RecordError::Operation { found: 15 }),
        (Sample { section: 23, ..good.clone() }, RecordError::Section { found: 23 }),
        (Sample { section: 254, ..good.clone() }, RecordError::Section { found: 254 }),
        (Sample { denied: 2, ..good.clone() }, RecordError::Flag { field: "denied", found: 2 }),
        (Sample { family: 5, ..good.clone() }, RecordError::Family { found: 5 }),
        (Sample { family: 4, ..good.clone() }, RecordError::Family { found: 4 }),
        (Sample { family: 6, ..Sample::network(7, "10.0.0.1", 1, 1) }, RecordError::Family { found: 6 }),
        (Sample { protocol: 3, ..good.clone() }, RecordError::Protocol { found: 3 }),
        (long, RecordError::Path { found: 513 }),
        (Sample { path_length: i32::MAX, ..good.clone() }, RecordError::Path { found: i32::MAX }),
        (Sample { path_length: i32::MIN, ..good.clone() }, RecordError::Path { found: i32::MIN }),
        (Sample { path_length: -4096, ..good.clone() }, RecordError::Path { found: -4096 }),
        // The NUL is elsewhere.
        (Sample { path_length: 11, ..good.clone() }, RecordError::Path { found: 11 }),
        (Sample { path_length: 13, ..good.clone() }, RecordError::Path { found: 13 }),
    ];
    for (sample, expected) in cases {
        assert_eq!(read(&sample.to_bytes()), Err(expected), "{sample:?}");
        assert!(expected.help().is_some());
    }
    let mut bytes = good.to_bytes();
    assert_eq!(bytes.len(), RECORD_LEN);
    for len in [0, 1, 8, 279, 280, RECORD_LEN - 1] {
        assert_eq!(read(&bytes[..len]), Err(RecordError::Length { found: len }));
    }
    bytes.push(0);
    assert_eq!(read(&bytes), Err(RecordError::Length { found: RECORD_LEN + 1 }));
}

#[test]
fn a_process_cannot_forge_a_line_or_steer_a_terminal_by_its_name() {
    let sample = Sample {
        comm: b"x\n{\"time\"\x1b[2J".to_vec(),
        parents: vec![(2, b"\xff\x9b31m".to_vec())],
        ..Sample::open("/tmp/a\u{202e}\r\\\u{85}".as_bytes())
    };
    let event = sample.event();
    let line = serde_json::to_string(&event).unwrap();
    assert!(!line.chars().any(aegis_audit::is_dangerous), "{line}");
    assert!(!event.to_string().chars().any(aegis_audit::is_dangerous));
    assert_eq!(event.process.comm, "x\\x0a{\"time\"\\x1b[2J");
    assert_eq!(event.parents[0].comm, "\\xff\\x9b31m");
    assert_eq!(event.file.unwrap().path.unwrap(), "/tmp/a\\xe2\\x80\\xae\\x0d\\\\\\xc2\\x85");
}

#[test]
fn the_policy_gives_its_version_and_the_entry() {
    let context = context();
    let text = PolicyText::new(b"version=1\n[deny_ptrace]\n[deny_path]\n/etc/shadow\n".to_vec());
    let sha256 = Some(aegis_crypto::sha256(b"x"));
    context.remember(3, KnownPolicy { version: Some(7), sha256, text: Some(text) });
    let event = |sample: Sample| Event::from_record(&sample.to_bytes(), &context).unwrap();
    let open = event(Sample::open(b"/etc/shadow"));
    assert_eq!(open.rule.entry.as_deref(), Some("/etc/shadow"));
    assert_eq!(open.policy, PolicyRef { generation: 3, version: Some(7), sha256 });
    // A file that is made has no path yet; its rule has.
    let create = event(Sample { operation: 2, file: (0, 0), ..Sample::default() });
    assert_eq!(create.object().unwrap(), "/etc/shadow");
    assert_eq!(event(Sample { line: 2, section: 20, ..Sample::default() }).rule.entry, None);
    assert_eq!(event(Sample { generation: 4, ..Sample::default() }).policy.version, None);
    // Whoever protects the agent has no line in it.
    assert_eq!(event(Sample { section: 255, ..Sample::default() }).rule.entry, None);
    for generation in 10..20 {
        context.remember(generation, KnownPolicy::default());
    }
    assert_eq!(event(Sample::default()).policy.version, None, "old ones are forgotten");
}

#[test]
fn a_program_has_a_path_only_if_it_is_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "").unwrap();
    fs::create_dir(dir.path().join("700")).unwrap();
    std::os::unix::fs::symlink(&program, dir.path().join("700/exe")).unwrap();
    let found = fs::metadata(&program).unwrap();
    let kernel = crate::layout::FileId::of_stat(found.dev(), found.ino());
    let context = context().with_proc(dir.path());
    let path = |exe| {
        let sample = Sample { exe, ..Sample::default() };
        Event::from_record(&sample.to_bytes(), &context).unwrap().process.exe.unwrap().path
    };
    let expected = Some(printable(program.as_os_str().as_encoded_bytes()));
    assert_eq!(path((kernel.inode, kernel.device)), expected);
    assert_eq!(path((kernel.inode + 1, kernel.device)), None);
    fs::remove_file(dir.path().join("700/exe")).unwrap();
    assert_eq!(path((kernel.inode, kernel.device)), None);
    assert!(Sample { exe: (0, 0), ..Sample::default() }.event().process.exe.is_none());
}

#[test]
fn the_clock_of_this_host_gives_the_time_of_day() {
    let clock = BootClock::measure();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let since_boot = u64::try_from(now.tv_sec).unwrap() * 1_000_000_000;
    let told = clock.time_of_day(since_boot);
    let off = told.duration_since(Timestamp::now()).abs();
    assert!(off.as_secs() < 60, "{told}");
    assert_eq!(
        BootClock::starting_at(Timestamp::MAX).time_of_day(u64::MAX),
        stamp::to_millisecond(Timestamp::MAX)
    );
    // Any time there is can be written and read.
    let sample = Sample { time: u64::MAX, ..Sample::default() };
    let text = serde_json::to_string(&sample.event()).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), sample.event());
}

#[test]
fn the_longest_event_fits_into_a_line() {
    let mut event = Sample { comm: vec![b'\\'; 16], ..Sample::open(&[b'\\'; 511]) }.event();
    event.parents = vec![Parent { pid: u32::MAX, comm: printable(&[0xff; 16]) }; 6];
    event.rule.entry = Some("\\".repeat(4096));
    event.process.exe =
        Some(Program { path: Some(printable(&[0xff; 4096])), device: u32::MAX, inode: u64::MAX });
    event.cgroup.path = Some(printable(&[0xff; 4096]));
    let line = serde_json::to_string(&event).unwrap();
    assert!(line.len() <= LINE_LEN, "{}", line.len());
    // Opened by a path that is longer than the record holds.
    assert!(ocsf::line(&event, "host").len() <= 3 * LINE_LEN);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_become_one_safe_line(
        mut bytes in prop::collection::vec(any::<u8>(), RECORD_LEN),
        operation in 0..16_u32, section in 0..24_u8, path_length in -3..520_i32, small in any::<bool>(),
    ) {
        if small {
            bytes[20] = section;
            bytes[24..28].copy_from_slice(&operation.to_ne_bytes());
            bytes[28..32].copy_from_slice(&1_u32.to_ne_bytes());
            bytes[86] = 6;
            bytes[87] = 1;
            bytes[272..276].copy_from_slice(&0_u32.to_ne_bytes());
            bytes[276..280].copy_from_slice(&path_length.to_ne_bytes());
            if let Ok(end @ 1..) = usize::try_from(path_length - 1) && end < 512 {
                bytes[280..280 + end].iter_mut().for_each(|byte| *byte = (*byte).max(1));
                bytes[280 + end] = 0;
            }
        }
        if let Ok(event) = read(&bytes) {
            let line = serde_json::to_string(&event).unwrap();
            prop_assert!(line.len() <= LINE_LEN);
            prop_assert!(!line.chars().any(aegis_audit::is_dangerous));
            prop_assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event.clone());
            prop_assert!(!ocsf::line(&event, "h").chars().any(aegis_audit::is_dangerous));
            prop_assert!(!event.to_string().chars().any(aegis_audit::is_dangerous));
        }
    }
}

/// `struct event` as the object has it, against the order in which a record is taken apart.
#[test]
fn a_record_is_what_the_programs_were_compiled_with() {
    use libbpf_rs::btf::types::{MemberAttr, Struct};
    use libbpf_rs::btf::{Btf, HasSize as _};

    let object = include_bytes!(concat!(env!("OUT_DIR"), "/aegis.bpf.o"));
    let btf = Btf::from_raw("aegis", object).unwrap().unwrap();
    let event: Struct<'_> = btf.type_by_name("event").unwrap();
    assert_eq!(event.size(), RECORD_LEN);
    let found: Vec<(String, u32)> = event
        .iter()
        .map(|member| match member.attr {
            MemberAttr::Normal { offset } => (member.name.unwrap().to_str().unwrap().to_owned(), offset / 8),
            MemberAttr::BitField { .. } => panic!("{member:?} is a bit field"),
        })
        .collect();
    let expected = [
        ("time", 0),
        ("generation", 8),
        ("rule", 16),
        ("operation", 24),
        ("denied", 28),
        ("pid", 32),
        ("tid", 36),
        ("uid", 40),
        ("gid", 44),
        ("cgroup", 48),
        ("exe_inode", 56),
        ("inode", 64),
        ("exe_device", 72),
        ("device", 76),
        ("target", 80),
        ("port", 84),
        ("family", 86),
        ("protocol", 87),
        ("address", 88),
        ("hash", 104),
        ("comm", 136),
        ("parents", 152),
        ("has_hash", 272),
        ("path_length", 276),
        ("path", 280),
    ];
    assert_eq!(found, expected.map(|(name, offset)| (name.to_owned(), offset)));
}
