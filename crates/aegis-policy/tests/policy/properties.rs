//! What holds for every policy.

use aegis_policy::{Limits, Query, Section, diff, explain, lint, normalise, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::accepted::{POLICIES, accept};

/// Entries and comments of every kind, some of them duplicates and odd spellings.
fn line(section: Section) -> BoxedStrategy<String> {
    let comment = "# [ -~é]{0,20}".prop_map(|comment| comment.trim_end().to_owned());
    let blank = select(vec![String::new(), "  ".to_owned(), "\t".to_owned()]);
    let group = prop_oneof![any::<u64>().prop_map(|id| format!("cgid:{id}")), "/[a-c./]{0,6}"];
    let port = prop_oneof![
        (1..=u16::MAX).prop_map(|port| port.to_string()),
        (1..5_u16, select(vec!["tcp", "udp", "any", ""]), select(vec!["egress", "connect", "bind", "both"]))
            .prop_map(|(port, protocol, direction)| format!("{port}:{protocol}:{direction}")),
    ];
    let address = prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string().to_uppercase()),
        select(vec!["10.0.0.1".to_owned(), "::1".to_owned()]),
    ];
    let entry: BoxedStrategy<String> = match section {
        Section::DenyPath | Section::ProtectPath | Section::ScanPaths => {
            "/([a-c./]{0,8}|[!-~]([!-\"$-~ ]{0,20}[!-\"$-~])?)".boxed()
        }
        Section::DenyInode => {
            (any::<u32>(), any::<u64>()).prop_map(|(device, number)| format!("{device}:{number}")).boxed()
        }
        Section::AllowCgroup => group.boxed(),
        Section::DenyIp => address.boxed(),
        Section::DenyCidr => (any::<[u8; 4]>(), 0..=32_u8)
            .prop_map(|(address, bits)| aegis_policy::Network::containing(address.into(), bits).to_string())
            .boxed(),
        Section::DenyPort => port.boxed(),
        Section::DenyIpPort => (any::<[u8; 4]>(), 1..=u16::MAX)
            .prop_map(|([a, b, c, d], port)| format!("{a}.{b}.{c}.{d}:{port}"))
            .boxed(),
        Section::DenyBinaryHash | Section::AllowBinaryHash | Section::TrustedExecHash => {
            "sha256:([0-9a-fA-F]{64}|1{64})".boxed()
        }
        Section::DenyComm => "[a-z]{1,2}|[!\"$-.0-Z^-~]{1,15}".boxed(),
        Section::CgroupDenyInode => {
            (group, 0..3_u32).prop_map(|(group, n)| format!("{group} {n}:{n}")).boxed()
        }
        Section::CgroupDenyIp => {
            (group, 0..3_u32).prop_map(|(group, n)| format!("{group}\t10.0.0.{n}")).boxed()
        }
        Section::CgroupDenyPort => (group, port).prop_map(|(group, port)| format!("{group}  {port}")).boxed(),
        _ => Just(String::new()).boxed(),
    };
    prop_oneof![6 => entry, 1 => comment, 1 => blank].boxed()
}

fn section() -> impl Strategy<Value = String> {
    select(Section::ALL.to_vec()).prop_flat_map(|section| {
        (vec(line(section), 0..8), "(# [a-z]{0,3}\n){0,2}")
            .prop_map(move |(lines, above)| format!("{above}[{section}]\n{}\n", lines.join("\n")))
    })
}

/// A policy of version 6 that is accepted.
fn policy() -> impl Strategy<Value = String> {
    ("(# [a-z]{0,5}\n|\n){0,3}", vec(section(), 0..6)).prop_map(|(top, mut sections)| {
        // A flag comes once, and what it needs comes with it.
        let mut flags: Vec<String> = Vec::new();
        sections.retain(|section| {
            let header = section.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
            let name = header.trim_matches(['[', ']']);
            let again = Section::from_name(name).is_some_and(Section::is_flag)
                && flags.iter().any(|other| other == name);
            flags.push(name.to_owned());
            !again
        });
        let has = |flag: Section| flags.iter().any(|name| name == flag.name());
        if has(Section::ProtectRuntimeDeps) {
            sections.push("[protect_path]\n/x\n".to_owned());
        }
        if has(Section::ImaFailClosed) {
            sections.push(format!("[trusted_exec_hash]\nsha256:{}\n", "2".repeat(64)));
        }
        format!("{top}version=6\n{}", sections.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn normalising_keeps_the_meaning_and_is_done_once(source in policy()) {
        let policy = parse(source.as_bytes(), &Limits::default());
        prop_assert!(policy.is_ok(), "{}", policy.unwrap_err().render("made", source.as_bytes(), false));
        let policy = policy.unwrap();
        let once = normalise(&policy);
        let again = parse(&once, &Limits::default());
        prop_assert!(again.is_ok(), "{}", again.unwrap_err().render("normal", &once, false));
        let again = again.unwrap();
        prop_assert!(diff(&policy, &again).is_empty());
        prop_assert_eq!(policy.sections().collect::<Vec<_>>(), again.sections().collect::<Vec<_>>());
        prop_assert_eq!(String::from_utf8(normalise(&again)).unwrap(), String::from_utf8(once.clone()).unwrap());
        // Every comment is still there.
        let once = std::str::from_utf8(&once).unwrap();
        for comment in source.lines().map(str::trim).filter(|line| line.starts_with('#')) {
            prop_assert!(once.lines().any(|line| line == comment), "{comment:?} is gone from\n{once}");
        }
        prop_assert_eq!(policy.rules().count(), policy.rule_count());
    }

    #[test]
    fn a_changed_byte_never_panics_and_never_hides_a_rule(
        at in any::<Index>(), byte in any::<u8>(), which in any::<Index>(), cut in any::<bool>(),
    ) {
        let (_, source) = POLICIES[which.index(POLICIES.len())];
        let mut source = source.to_vec();
        let at = at.index(source.len());
        source[at] = byte;
        if cut {
            source.truncate(at + 1);
        }
        match parse(&source, &Limits::default()) {
            Ok(policy) => {
                prop_assert_eq!(policy.rules().count(), policy.rule_count());
                prop_assert!(diff(&policy, &accept(&normalise(&policy))).is_empty());
                let report = lint(&source, &Limits::default());
                prop_assert_eq!(report.errors.total, 0);
                let _ = explain(&policy, &Query::parse("10.0.0.1:443").unwrap());
            }
            Err(errors) => {
                prop_assert!(errors.total > 0 && !errors.errors.is_empty());
                let text = errors.render("x", &source, false);
                prop_assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
                let lines = source.split(|byte| *byte == b'\n').count();
                for error in &errors.errors {
                    prop_assert!((1..=lines).contains(&(error.line as usize)) && error.column > 0);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in vec(any::<u8>(), 0..400), header in any::<bool>(), section in select(Section::ALL.to_vec())) {
        if header {
            bytes.splice(0..0, format!("version=6\n[{section}]\n").into_bytes());
        }
        if let Ok(policy) = parse(&bytes, &Limits::default()) {
            prop_assert_eq!(policy.rules().count(), policy.rule_count());
        }
        let _ = lint(&bytes, &Limits::default()).render("x", &bytes, true);
    }

    #[test]
    fn no_question_makes_it_panic(question in "[ -~]{0,40}|[0-9a-f:./\\[\\]]{0,20}(/tcp|/udp)?") {
        if let Ok(query) = Query::parse(&question) {
            let again = Query::parse(&query.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&query));
            let _ = explain(&accept(POLICIES[8].1), &query);
        }
    }
}
