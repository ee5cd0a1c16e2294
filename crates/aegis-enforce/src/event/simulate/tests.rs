use aegis_policy::{Limits, Network, Query, Verdict, explain, parse};
use proptest::prelude::*;

use super::super::sample::Sample;
use super::super::{CgroupRef, FileRef, Lost, NetworkRef, Transport};
use super::*;

fn verdicts(policy: &str, events: &[Event]) -> Vec<(Simulated, Option<u32>)> {
    let policy = parse(policy.as_bytes(), &Limits::default()).unwrap();
    let index = Index::new(&policy);
    events
        .iter()
        .map(|event| match judge::judge(&index, event) {
            Judgement::Agent => (Simulated::Agent, None),
            Judgement::Pass(rule) => (Simulated::Pass, rule.map(|rule| rule.line)),
            Judgement::Unknown(_) => (Simulated::Unknown, None),
            Judgement::UnlessVerified(rule) => (Simulated::DenyUnlessVerified, Some(rule.line)),
            Judgement::Deny(rule) => (Simulated::Deny, Some(rule.line)),
        })
        .collect()
}

/// What a policy says of one event.
fn verdict(policy: &str, event: Event) -> (Simulated, Option<u32>) {
    verdicts(policy, &[event])[0]
}

const DENY: fn(u32) -> (Simulated, Option<u32>) = |line| (Simulated::Deny, Some(line));
const PASS: (Simulated, Option<u32>) = (Simulated::Pass, None);
const UNKNOWN: (Simulated, Option<u32>) = (Simulated::Unknown, None);

fn open(path: &str) -> Event {
    Sample::open(path.as_bytes()).event()
}

/// An event whose recorded rule is in `section`, with this entry.
fn by_rule(event: Event, section: Section, entry: &str) -> Event {
    let rule =
        RuleRef { section: RuleSection::Policy(section), line: Some(9), entry: Some(entry.to_owned()) };
    Event { rule, ..event }
}

fn in_group(event: Event, path: Option<&str>) -> Event {
    Event { cgroup: CgroupRef { id: 77, path: path.map(str::to_owned), above: Vec::new() }, ..event }
}

#[test]
fn files_are_known_by_path_by_number_and_by_the_rule_that_was_recorded() {
    let policy =
        "version=4\n[deny_path]\n/etc/shadow\n/a\\b\n[deny_inode]\n66306:5678\n[protect_path]\n/etc/keys//\n";
    let other = |path: &str| Sample { file: (9, 0), ..Sample::open(path.as_bytes()) }.event();
    for (event, expected) in [
        (other("/etc/shadow"), DENY(3)),
        (other("/etc/shadow (deleted)"), DENY(3)),
        (other("/a\\b"), DENY(4)),
        (other("/etc/shadow2"), PASS),
        (other("/etc"), PASS),
        (open("/elsewhere"), DENY(6)),
        // No list, so no program is verified.
        (other("/etc/keys"), DENY(8)),
        // Another name of the same file.
        (by_rule(other("/mnt/shadow"), Section::DenyPath, "/etc//shadow"), DENY(3)),
        (by_rule(other("/mnt/shadow"), Section::DenyInode, "/etc/shadow"), PASS),
        // No path: what is made, and what is cut.
        (
            by_rule(
                Sample { operation: 2, file: (0, 0), ..Sample::default() }.event(),
                Section::DenyPath,
                "/etc/shadow",
            ),
            DENY(3),
        ),
        (Sample { operation: 6, file: (9, 0), ..Sample::default() }.event(), UNKNOWN),
        (Sample { operation: 6, ..Sample::default() }.event(), DENY(6)),
    ] {
        assert_eq!(verdict(policy, event.clone()), expected, "{event}");
    }
    let with_list = policy.to_owned() + "[allow_binary_hash]\nsha256:" + &"ab".repeat(32) + "\n";
    assert_eq!(verdict(&with_list, other("/etc/keys")), (Simulated::DenyUnlessVerified, Some(8)));
}

#[test]
fn programs_are_known_by_path_by_name_and_by_content() {
    let exec = |path: &str, hash| Sample { operation: 3, hash, ..Sample::open(path.as_bytes()) }.event();
    let deny = format!("version=3\n[deny_comm]\nminer\n[deny_binary_hash]\nsha256:{}\n", "ab".repeat(32));
    for (event, expected) in [
        (exec("/tmp/miner", None), DENY(3)),
        (exec("/tmp/x", Some([0xab; 32])), DENY(5)),
        (exec("/tmp/x", Some([0xac; 32])), PASS),
        (exec("/tmp/x", None), UNKNOWN),
        (by_rule(exec("/tmp/x", None), Section::DenyComm, "miner"), DENY(3)),
        (Sample { operation: 4, hash: Some([0xab; 32]), ..Sample::open(b"/tmp/miner") }.event(), DENY(5)),
        // Only opened.
        (open("/tmp/miner"), PASS),
    ] {
        assert_eq!(verdict(&deny, event.clone()), expected, "{event}");
    }
    let listed = |section: &str| {
        let more = if section == "trusted_exec_hash" { "[ima_fail_closed]\n" } else { "" };
        format!("version=5\n[{section}]\nsha256:{}\n{more}", "ab".repeat(32))
    };
    let unmeasured = by_rule(exec("/tmp/x", None), Section::ImaFailClosed, "");
    for (section, closed) in [("allow_binary_hash", 2), ("trusted_exec_hash", 4)] {
        assert_eq!(verdict(&listed(section), exec("/tmp/x", Some([0xab; 32]))), PASS);
        assert_eq!(verdict(&listed(section), exec("/tmp/x", Some([0xac; 32]))), DENY(2));
        assert_eq!(verdict(&listed(section), unmeasured.clone()), DENY(closed));
    }
    assert_eq!(
        verdict("version=1\n[deny_comm]\nx\n", Sample { operation: 3, ..Sample::default() }.event()),
        UNKNOWN
    );
}

#[test]
fn connections_are_known_by_address_and_port() {
    let policy = "version=4\n[deny_ip]\n192.0.2.1\n::ffff:192.0.2.9\n127.0.0.1\n[deny_cidr]\n10.0.0.0/8\n10.1.0.0/16\n\
                  ::ffff:198.51.100.0/120\n2001:db8::/32\n[deny_port]\n22:tcp:bind\n25:any:egress\n[deny_ip_port]\n\
                  [2001:db9::1]:443:tcp\n";
    for (operation, address, port, protocol, expected) in [
        (7, "192.0.2.1", 80, 1, DENY(3)),
        (8, "192.0.2.1", 53, 2, DENY(3)),
        (7, "192.0.2.2", 80, 1, PASS),
        (7, "192.0.2.9", 80, 1, DENY(4)),
        (7, "0.0.0.0", 80, 1, DENY(5)),
        (7, "10.2.0.1", 80, 1, DENY(7)),
        (7, "10.1.0.1", 80, 1, DENY(8)),
        (7, "198.51.100.7", 80, 1, DENY(9)),
        (7, "2001:db8:ffff::1", 80, 4, DENY(10)),
        (7, "2001:db9::1", 443, 1, DENY(15)),
        (7, "2001:db9::1", 443, 2, PASS),
        (7, "203.0.113.1", 22, 1, PASS),
        (9, "203.0.113.1", 22, 1, DENY(12)),
        (9, "203.0.113.1", 22, 2, PASS),
        (7, "203.0.113.1", 25, 4, DENY(13)),
        (9, "203.0.113.1", 25, 1, PASS),
    ] {
        let event = Sample::network(operation, address, port, protocol).event();
        assert_eq!(verdict(policy, event.clone()), expected, "{event}");
    }
    let connect = Sample::network(7, "192.0.2.1", 80, 1).event();
    assert_eq!(verdict("version=4\n[protect_connect]\n", connect.clone()), DENY(2));
    let list = format!("version=4\n[protect_connect]\n[allow_binary_hash]\nsha256:{}\n", "ab".repeat(32));
    assert_eq!(verdict(&list, connect), (Simulated::DenyUnlessVerified, Some(2)));
    let listen = Sample { family: 0, address: [0; 16], ..Sample::network(10, "::", 22, 1) };
    assert_eq!(verdict(policy, listen.event()), DENY(12));
}

#[test]
fn groups_are_known_by_path_and_by_number() {
    let policy = "version=6\n[allow_cgroup]\n/sys/fs/cgroup/trusted\n[deny_path]\n/x\n[cgroup_deny_inode]\n\
                  /web 66306:5678\n[cgroup_deny_ip]\ncgid:77 192.0.2.1\n[cgroup_deny_port]\n/web/a\\x2db 443:tcp:egress\n";
    let file = Sample::open(b"/y").event();
    for (event, expected) in [
        (in_group(file.clone(), Some("/web")), DENY(7)),
        (in_group(file.clone(), Some("/web/deep/er")), DENY(7)),
        (in_group(file.clone(), Some("/webs")), PASS),
        (in_group(file.clone(), Some("/")), PASS),
        (in_group(file.clone(), None), UNKNOWN),
        (in_group(open("/x"), Some("/trusted/shell")), (Simulated::Pass, Some(3))),
        (in_group(open("/x"), Some("/trusted2")), DENY(5)),
        (in_group(open("/x"), None), UNKNOWN),
        (in_group(Sample::network(7, "192.0.2.1", 80, 1).event(), Some("/z")), DENY(9)),
        (in_group(Sample::network(7, "192.0.2.2", 443, 1).event(), Some("/web/a\\\\x2db")), DENY(11)),
        (in_group(Sample::network(7, "192.0.2.2", 443, 2).event(), Some("/web/a\\\\x2db")), PASS),
        (in_group(Sample::network(9, "192.0.2.2", 443, 1).event(), Some("/web/a\\\\x2db")), PASS),
        (in_group(Sample::network(7, "192.0.2.2", 443, 1).event(), None), UNKNOWN),
        // Deeper than the kernel's programs look.
        (in_group(file.clone(), Some(&("/web".to_owned() + &"/x".repeat(2000)))), DENY(7)),
    ] {
        assert_eq!(verdict(policy, event.clone()), expected, "{event} in {:?}", event.cgroup);
    }
}

#[test]
fn a_number_of_a_group_holds_for_those_below_and_is_never_guessed() {
    let policy =
        "version=6\n[allow_cgroup]\ncgid:5\n[deny_path]\n/x\n[cgroup_deny_inode]\ncgid:6 66306:5678\n";
    let group =
        |id, path: &str, above: &[u64]| CgroupRef { id, path: Some(path.to_owned()), above: above.to_vec() };
    let file = Sample::open(b"/y").event();
    for (cgroup, on_x, on_y) in [
        (group(5, "/a", &[]), (Simulated::Pass, Some(3)), (Simulated::Pass, Some(3))),
        (group(9, "/a/b", &[1, 5]), (Simulated::Pass, Some(3)), (Simulated::Pass, Some(3))),
        (group(6, "/c", &[1]), DENY(5), DENY(7)),
        (group(9, "/c/d", &[1, 6]), DENY(5), DENY(7)),
        (group(9, "/e/f", &[1, 8]), DENY(5), PASS),
        (group(1, "/", &[]), DENY(5), PASS),
        // As an agent before this one recorded it, and as one whose groups are gone.
        (group(9, "/e/f", &[]), UNKNOWN, UNKNOWN),
        (group(9, "/e/f", &[1]), UNKNOWN, UNKNOWN),
        (group(0, "/", &[]), UNKNOWN, UNKNOWN),
    ] {
        let of = |event: Event| verdict(policy, Event { cgroup: cgroup.clone(), ..event });
        let other = Event {
            file: Some(FileRef { path: Some("/x".to_owned()), ..FileRef::default() }),
            ..file.clone()
        };
        assert_eq!((of(other), of(file.clone())), (on_x, on_y), "{cgroup:?}");
        // Without rules that go by a number, none is needed.
        let plain = verdict("version=6\n[deny_path]\n/x\n", Event { cgroup: cgroup.clone(), ..open("/x") });
        assert_eq!(plain, DENY(3), "{cgroup:?}");
    }
}

#[test]
fn flags_hold_for_what_they_name_and_the_agent_protects_itself() {
    let event = |operation, section| Sample { operation, section, file: (0, 0), ..Sample::default() }.event();
    for (flag, operation) in [("deny_ptrace", 11), ("deny_module_load", 12), ("deny_bpf", 13)] {
        assert_eq!(verdict(&format!("version=1\n[{flag}]\n"), event(operation, 20)), DENY(2));
        assert_eq!(verdict("version=1\n", event(operation, 20)), PASS);
    }
    assert_eq!(verdict("version=1\n", event(14, 255)), (Simulated::Agent, None));
}

#[test]
fn tells_what_would_change() {
    let policy = "version=1\n[deny_path]\n/etc/shadow\n/etc/new\n";
    let policy = parse(policy.as_bytes(), &Limits::default()).unwrap();
    let event = |path: &str, denied, time: u64| {
        let sample =
            Sample { denied, time: time * 1_000_000_000, file: (9, 0), ..Sample::open(path.as_bytes()) };
        Line::Event(Box::new(sample.event()))
    };
    let time = "2026-03-01T13:00:00Z".parse().unwrap();
    let lines = vec![
        event("/etc/shadow", 1, 3),
        event("/etc/shadow", 1, 1),
        event("/etc/new", 0, 2),
        event("/etc/old", 1, 4),
        event("/etc/old", 1, 5),
        event("/etc/watched", 0, 6),
        Line::Lost(Lost { time, lost: 7 }),
    ];
    let found = simulate(lines, &policy);
    assert_eq!((found.events, found.lost, found.deny, found.pass), (6, 7, 3, 3));
    assert_eq!((found.newly_denied, found.no_longer_denied, found.unknown, found.agent), (1, 2, 0, 0));
    let rules: Vec<_> =
        found.rules.iter().map(|total| (total.rule.line, total.events, total.newly_denied)).collect();
    assert_eq!(rules, [(Some(3), 2, 0), (Some(4), 1, 1)]);
    let groups: Vec<_> = found
        .groups
        .iter()
        .map(|group| (group.object.as_deref().unwrap(), group.verdict, group.events))
        .collect();
    let expected = [
        ("/etc/old", Simulated::Pass, 2),
        ("/etc/new", Simulated::Deny, 1),
        ("/etc/shadow", Simulated::Deny, 2),
        ("/etc/watched", Simulated::Pass, 1),
    ];
    assert_eq!(groups, expected);
    let shadow = &found.groups[2];
    assert_eq!(stamp::print(shadow.first), "2026-03-01T12:00:01.000Z");
    assert_eq!(stamp::print(shadow.last), "2026-03-01T12:00:03.000Z");
    assert_eq!(shadow.rule.as_ref().unwrap().entry.as_deref(), Some("/etc/shadow"));
    assert!(found.notes.iter().any(|note| note == "7 events were lost when they were recorded"));
}

#[test]
fn memory_has_a_bound_however_many_kinds_of_events_there_are() {
    let policy = parse(b"version=1\n", &Limits::default()).unwrap();
    let mut simulator = Simulator::new(&policy);
    let mut event = open("/");
    for number in 0..MAX_GROUPS + 5 {
        event.file = Some(FileRef { path: Some(format!("/{number}")), ..FileRef::default() });
        simulator.add_event(&event);
    }
    let found = simulator.finish();
    assert_eq!(found.groups.len(), MAX_LISTED);
    assert_eq!(found.groups_left_out, u64::try_from(MAX_GROUPS - MAX_LISTED).unwrap());
    assert!(found.notes.iter().any(|note| note.starts_with("5 events are counted and in no group")));
}

/// A policy with many rules about few things, so that they meet.
fn policies() -> impl Strategy<Value = String> {
    let path = (0..4_u8, 0..3_u8).prop_map(|(a, b)| format!("/p{a}/f{b}"));
    let v4 = (0..3_u8, 0..4_u8).prop_map(|(a, b)| format!("10.{a}.0.{b}"));
    let port = (1..4_u8, 0..3_usize, 0..4_usize).prop_map(|(port, protocol, direction)| {
        let direction = ["", ":egress", ":bind", ":both"][direction];
        let protocol = ["tcp", "udp", "any"][protocol];
        format!("{port}:{protocol}{direction}")
    });
    let hash = (0..4_u8).prop_map(|byte| format!("sha256:{}", format!("{byte:02x}").repeat(32)));
    let network = (0..3_u8, 8..33_u8)
        .prop_map(|(a, prefix)| Network::containing([10, a, 0, 1].into(), prefix).to_string());
    let lines = |section: &'static str, entry: BoxedStrategy<String>| {
        prop::collection::vec(entry, 0..4)
            .prop_map(move |entries| {
                format!(
                    "[{section}]\n{}",
                    entries.iter().map(|entry| format!("{entry}\n")).collect::<String>()
                )
            })
            .boxed()
    };
    (
        lines("deny_path", path.clone().boxed()),
        lines("protect_path", path.boxed()),
        lines("deny_ip", v4.clone().boxed()),
        lines("deny_cidr", network.boxed()),
        lines("deny_port", port.boxed()),
        lines("deny_ip_port", (v4, 1..4_u8).prop_map(|(v4, port)| format!("{v4}:{port}")).boxed()),
        lines("deny_binary_hash", hash.clone().boxed()),
        lines("allow_binary_hash", hash.boxed()),
        prop::sample::select(vec!["", "[protect_connect]\n"]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| format!("version=4\n{a}{b}{c}{d}{e}{f}{g}{h}{i}"))
}

proptest! {
    #[test]
    fn agrees_with_explain(
        policy in policies(),
        (a, b) in (0..4_u8, 0..4_u8), port in 1..4_u16, udp in any::<bool>(),
    ) {
        let parsed = parse(policy.as_bytes(), &Limits::default()).unwrap();
        let index = Index::new(&parsed);
        // Whether a program can be verified explain does not ask.
        let ask = |query: &Query, event: &Event| {
            let told = explain(&parsed, query);
            let line = told.deciding.as_ref().map(|rule| rule.line);
            let expected = match told.verdict {
                Verdict::Deny => (Simulated::Deny, line),
                Verdict::DenyUnlessVerified if index.verifies() => (Simulated::DenyUnlessVerified, line),
                Verdict::DenyUnlessVerified => (Simulated::Deny, line),
                Verdict::Allow | Verdict::NoRule => PASS,
            };
            (expected, verdict(&policy, event.clone()))
        };
        let path = format!("/p{a}/f{b}");
        let event = Sample { file: (9, 0), ..Sample::open(path.as_bytes()) }.event();
        let (expected, found) = ask(&Query::parse(&path).unwrap(), &event);
        prop_assert_eq!(expected, found, "{} in {}", event, policy);

        let (name, transport) = if udp { ("udp", Transport::Udp) } else { ("tcp", Transport::Tcp) };
        let address = [10, a, 0, b].into();
        let network = NetworkRef { address: Some(address), port, protocol: transport };
        let event = Event { network: Some(network), ..Sample::network(7, "::1", 1, 1).event() };
        let (expected, found) = ask(&Query::parse(&format!("{address}:{port}/{name}")).unwrap(), &event);
        prop_assert_eq!(expected, found, "{} in {}", event, policy);

        // A path that no rule names, so that the content alone decides.
        let event = Sample { operation: 3, file: (9, 0), hash: Some([a; 32]), ..Sample::open(b"/q") }.event();
        let digits = format!("{a:02x}").repeat(32);
        let (expected, found) = ask(&Query::parse(&format!("sha256:{digits}")).unwrap(), &event);
        prop_assert_eq!(expected, found, "{} in {}", event, policy);
    }
}
