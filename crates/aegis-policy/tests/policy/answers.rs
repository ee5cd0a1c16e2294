//! `diff` and `explain`.

use aegis_policy::{Query, QueryError, Verdict, VersionChange, diff, explain};

use crate::accepted::{POLICIES, accept};

#[test]
fn diff_compares_meaning_and_not_spelling() {
    let before =
        b"version=2\n[deny_ip]\n10.0.0.1\n2001:DB8::1\n10.0.0.2\n[deny_bpf]\n[deny_port]\n443\n443\n";
    let after = b"version=6\n# x\n[deny_port]\n443:any:both\n80\n[deny_ip]\n10.0.0.1\n2001:db8:0::1\n[deny_ptrace]\n[protect_path]\n";
    let found = diff(&accept(before), &accept(after));
    assert_eq!(found.version_change, Some(VersionChange { from: 2, to: 6 }));
    let rules = |rules: &[aegis_policy::DiffRule]| -> Vec<(String, Option<String>, u32)> {
        rules.iter().map(|rule| (rule.section.to_string(), rule.entry.clone(), rule.line)).collect()
    };
    assert_eq!(
        rules(&found.added),
        [("deny_port".into(), Some("80".into()), 5), ("deny_ptrace".into(), None, 9)]
    );
    assert_eq!(
        rules(&found.removed),
        [("deny_ip".into(), Some("10.0.0.2".into()), 5), ("deny_bpf".into(), None, 6)]
    );
    assert_eq!(serde_json::to_value(&found).unwrap()["added"][0]["section"], "deny_port");
}

#[test]
fn every_policy_equals_itself() {
    for (_, source) in POLICIES {
        assert!(diff(&accept(source), &accept(source)).is_empty());
    }
}

const POLICY: &[u8] = b"version=6
[deny_path]
/etc/shadow
/etc/ssh
[protect_path]
/etc/shadow
/root/.kube/config
[deny_comm]
xmrig
[deny_ip]
10.1.2.3
[deny_cidr]
10.0.0.0/8
10.1.0.0/16
2001:db8::/32
[deny_port]
22:tcp:bind
25:tcp:egress
53:udp
[deny_ip_port]
10.1.2.3:443:tcp
[2001:db9::1]:80
[deny_inode]
5:6
[deny_binary_hash]
sha256:1111111111111111111111111111111111111111111111111111111111111111
[allow_binary_hash]
sha256:1111111111111111111111111111111111111111111111111111111111111111
sha256:2222222222222222222222222222222222222222222222222222222222222222
";

/// Question, verdict, line of the deciding rule, lines of all that match.
#[rustfmt::skip]
const ANSWERS: &[(&str, Verdict, u32, &[u32])] = &[
    ("/etc/shadow", Verdict::Deny, 3, &[3, 6]),
    ("//etc/./shadow/", Verdict::Deny, 3, &[3, 6]),
    ("/etc/shadow2", Verdict::NoRule, 0, &[]),
    ("/etc/ssh/ssh_host_rsa_key", Verdict::NoRule, 0, &[4]),
    ("/etc/sshd", Verdict::NoRule, 0, &[]),
    ("/root/.kube/config", Verdict::DenyUnlessVerified, 7, &[7]),
    ("/tmp/xmrig", Verdict::Deny, 9, &[9]),
    ("5:6", Verdict::Deny, 24, &[24]),
    ("5:7", Verdict::NoRule, 0, &[]),
    ("10.1.2.3:443", Verdict::Deny, 21, &[21, 11, 14, 13]),
    ("10.1.2.3:443/udp", Verdict::Deny, 11, &[11, 14, 13, 21]),
    ("10.1.2.3", Verdict::Deny, 11, &[11, 14, 13]),
    ("10.1.9.9:80", Verdict::Deny, 14, &[14, 13]),
    ("10.9.9.9:80/tcp", Verdict::Deny, 13, &[13]),
    ("192.0.2.1:25", Verdict::Deny, 18, &[18]),
    ("192.0.2.1:25/udp", Verdict::NoRule, 0, &[18]),
    ("192.0.2.1:22", Verdict::NoRule, 0, &[17]),
    ("192.0.2.1:53", Verdict::Deny, 19, &[19]),
    ("192.0.2.1:54", Verdict::NoRule, 0, &[]),
    ("[2001:db9::1]:80", Verdict::Deny, 22, &[22]),
    ("[2001:DB8::9]:80", Verdict::Deny, 15, &[15]),
    ("2001:db8::9", Verdict::Deny, 15, &[15]),
    ("sha256:1111111111111111111111111111111111111111111111111111111111111111", Verdict::Deny, 26, &[26, 28]),
    ("sha256:2222222222222222222222222222222222222222222222222222222222222222", Verdict::Allow, 29, &[29]),
    ("sha256:3333333333333333333333333333333333333333333333333333333333333333", Verdict::Deny, 27, &[27]),
];

#[test]
fn explains_which_rule_decides() {
    let policy = accept(POLICY);
    for (question, verdict, deciding, lines) in ANSWERS {
        let answer = explain(&policy, &Query::parse(question).unwrap());
        assert_eq!(answer.verdict, *verdict, "{question}: {answer:#?}");
        assert_eq!(
            answer.deciding.as_ref().map_or(0, |rule| rule.line),
            *deciding,
            "{question}: {answer:#?}"
        );
        let found: Vec<u32> = answer.matches.iter().map(|rule| rule.line).collect();
        assert_eq!(found, *lines, "{question}: {answer:#?}");
    }
}

#[test]
fn says_that_a_question_with_parent_directories_is_compared_as_written() {
    let policy = accept(b"version=1\n[deny_path]\n/etc/shadow\n");
    let noted = |question| {
        let answer = explain(&policy, &Query::parse(question).unwrap());
        (
            answer.verdict,
            answer.notes.iter().any(|note| note.starts_with("`..` is compared as it is written")),
        )
    };
    assert_eq!(noted("/etc/ssh/../shadow"), (Verdict::NoRule, true));
    assert_eq!(noted("/etc/shadow"), (Verdict::Deny, false));
    assert_eq!(noted("/etc/..shadow"), (Verdict::NoRule, false));
}

#[test]
fn explains_what_the_text_alone_cannot_tell() {
    let source = b"version=6\n[protect_connect]\n[allow_cgroup]\n/a\n[cgroup_deny_ip]\ncgid:2 10.0.0.1\n[deny_ip]\n10.0.0.2\n";
    let policy = accept(source);
    let answer = explain(&policy, &Query::parse("10.0.0.1:80").unwrap());
    assert_eq!(answer.verdict, Verdict::DenyUnlessVerified);
    assert_eq!(answer.deciding.unwrap().entry, None);
    assert!(
        answer.notes.iter().any(|note| note.contains("[cgroup_deny_ip] has 1 rules")),
        "{:?}",
        answer.notes
    );
    assert!(answer.notes.iter().any(|note| note.contains("[allow_cgroup]")), "{:?}", answer.notes);
    // A denial for all stands before one for unverified programs.
    assert_eq!(explain(&policy, &Query::parse("10.0.0.2:80").unwrap()).verdict, Verdict::Deny);
    let answer = explain(&policy, &Query::parse("[::ffff:10.0.0.2]:80").unwrap());
    assert!(answer.notes.iter().any(|note| note.contains("10.0.0.2 in IPv6 form")), "{:?}", answer.notes);
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["verdict"], "deny_unless_verified");
    assert_eq!(json["query"], "[::ffff:10.0.0.2]:80");
}

#[test]
fn refuses_a_question_that_it_does_not_understand() {
    let cases = [
        ("", QueryError::NotUnderstood),
        ("etc/shadow", QueryError::NotUnderstood),
        ("10.0.0.1:", QueryError::BadPort),
        ("10.0.0.1:0", QueryError::BadPort),
        ("10.0.0.1:65536", QueryError::BadPort),
        ("10.0.0.1:http", QueryError::BadPort),
        ("10.0.0.1:80/sctp", QueryError::BadPort),
        ("10.0.0.256:80", QueryError::NotUnderstood),
        ("[::1]", QueryError::NotUnderstood),
        ("sha256:12", QueryError::BadHash),
    ];
    for (question, error) in cases {
        assert_eq!(Query::parse(question), Err(error.clone()), "{question}");
        assert!(error.help().is_some());
    }
    assert_eq!(Query::parse(&"/".repeat(4097)), Err(QueryError::TooLong { bytes: 4097 }));
}
