//! What lint says about policies that are accepted.

use aegis_policy::{Limits, MAX_REPORTED, Section, WarningKind, lint, normalise};

use crate::accepted::{POLICIES, accept};

fn codes(source: &[u8]) -> Vec<(u32, &'static str)> {
    let report = lint(source, &Limits::default());
    assert_eq!(report.errors.total, 0, "{}", report.render("test.policy", source, false));
    report.warnings.iter().map(|warning| (warning.line, warning.kind.code())).collect()
}

/// What follows `version=6` and its line feed, and the warnings on it.
#[rustfmt::skip]
const WARNINGS: &[(&str, &[(u32, &str)])] = &[
    ("[deny_path]\n/etc/shadow\n", &[]),
    ("[deny_path]\n/b\n/a\n/c\n/b\n", &[(4, "unsorted"), (6, "duplicate")]),
    ("[deny_ip]\n10.0.0.9\n10.0.0.10\n", &[]),
    ("[deny_ip]\n2001:DB8::1\n2001:db8::1\n", &[(3, "not_canonical"), (4, "duplicate")]),
    ("[deny_path]\n/a\n[deny_bpf]\n[deny_path]\n/b\n", &[(5, "repeated_section")]),
    ("[deny_path]\n", &[(2, "empty_section")]),
    ("[scan_paths]\n/opt/bin\n", &[(2, "scan_paths_unused")]),
    ("[deny_path]\n/\n/etc/aegisbpf/keys\n/etc/passwd\n/usr/bin\n/usr/bin/x\n/usr/lib/systemd/systemd\n/var/lib/aegisbpf\n",
        &[(3, "root_directory"), (4, "agent"), (5, "host_needs_this"), (6, "host_needs_this"), (8, "host_needs_this"), (9, "agent")]),
    ("[protect_path]\n/etc/passwd\n", &[]),
    ("[deny_path]\n/a/*/b\n/a/../b\n/b/\n", &[(3, "pattern"), (4, "goes_up"), (5, "not_canonical")]),
    ("[deny_comm]\naegisbpf\nbash\nxmrig\n", &[(3, "agent"), (4, "host_needs_this")]),
    ("[deny_ip]\n127.0.0.1\n::1\n::ffff:10.0.0.1\n", &[(3, "loopback"), (4, "loopback"), (5, "mapped_address")]),
    ("[deny_cidr]\n0.0.0.0/0\n::/0\n", &[(3, "every_address"), (4, "every_address")]),
    ("[deny_cidr]\n10.0.0.0/8\n10.1.0.0/16\n127.0.0.0/8\n::/64\n", &[(4, "covered_by_network"), (5, "loopback"), (6, "loopback")]),
    ("[deny_ip]\n10.1.2.3\n11.0.0.1\n[deny_cidr]\n10.0.0.0/8\n", &[(3, "covered_by_network")]),
    ("[deny_ip]\n10.1.2.3\n[deny_ip_port]\n10.1.2.3:80\n", &[(5, "covered_by_address")]),
    ("[deny_cidr]\n10.0.0.0/8\n[deny_ip_port]\n10.1.2.3:80\n", &[(5, "covered_by_network")]),
    ("[deny_ip_port]\n10.1.2.3:80\n10.1.2.3:80:tcp\n", &[(4, "covered_by_rule")]),
    ("[deny_port]\n80:any:egress\n[deny_ip_port]\n10.1.2.3:80\n10.1.2.3:80:tcp\n", &[(5, "covered_by_rule"), (6, "covered_by_rule")]),
    ("[deny_port]\n80:tcp:bind\n[deny_ip_port]\n10.1.2.3:80\n", &[]),
    ("[deny_port]\n80\n80:tcp\n80:tcp:bind\n81:tcp\n81:udp\n", &[(4, "covered_by_rule"), (5, "covered_by_rule")]),
    ("[deny_path]\n/a\n[protect_path]\n/a\n/b\n", &[(5, "protected_and_denied")]),
    ("[deny_binary_hash]\nsha256:1111111111111111111111111111111111111111111111111111111111111111\n\
      [allow_binary_hash]\nsha256:1111111111111111111111111111111111111111111111111111111111111111\n\
      [trusted_exec_hash]\nsha256:1111111111111111111111111111111111111111111111111111111111111111\n",
        &[(5, "listed_and_denied"), (7, "listed_and_denied")]),
    ("[allow_cgroup]\n/\n/sys/fs/cgroup/\ncgid:1\n", &[(3, "every_cgroup"), (4, "not_canonical"), (4, "every_cgroup"), (5, "every_cgroup")]),
    ("[allow_cgroup]\n/x\n[cgroup_deny_ip]\n/x 10.0.0.1\n/y 10.0.0.1\n", &[(5, "cgroup_is_allowed")]),
    ("[deny_ip]\n10.0.0.1\n[cgroup_deny_ip]\n/x 10.0.0.1\n", &[(5, "covered_by_rule")]),
    ("# caf\u{e9}\n[deny_bpf]\n# caf\u{e9}\n", &[(2, "comment_not_ascii")]),
];

#[test]
fn warns_of_what_is_surely_not_meant() {
    for (rest, expected) in WARNINGS {
        let source = format!("version=6\n{rest}");
        assert_eq!(codes(source.as_bytes()), *expected, "{source}");
        for warning in lint(source.as_bytes(), &Limits::default()).warnings {
            assert!(warning.hint.is_some(), "{warning:?}");
        }
    }
}

#[test]
fn warns_of_long_paths_and_of_networks_in_version_1() {
    let path = format!("/{}", "x".repeat(255));
    assert_eq!(codes(format!("version=1\n[deny_path]\n{path}\n").as_bytes()), [(3, "long_path")]);
    assert_eq!(codes(b"version=1\n[deny_ip]\n10.0.0.1\n"), [(2, "network_in_version_1")]);
}

#[test]
fn warns_before_a_limit_is_reached() {
    let source = b"version=1\n[deny_inode]\n1:1\n1:2\n";
    let near = |max_bytes, max_rules| lint(source, &Limits { max_bytes, max_rules }).warning_total;
    assert_eq!(near(1000, 1000), 0);
    assert_eq!(near(33, 1000), 1);
    assert_eq!(near(1000, 2), 1);
    assert_eq!(lint(source, &Limits { max_bytes: 1000, max_rules: 1 }).errors.total, 1);
}

#[test]
fn warns_of_many_things_up_to_a_limit() {
    let source = format!("version=1\n[deny_path]\n{}", "/a\n".repeat(1001));
    let report = lint(source.as_bytes(), &Limits::default());
    assert_eq!((report.warning_total, report.warnings.len()), (1000, MAX_REPORTED));
    assert!(report.render("p", source.as_bytes(), false).ends_with("... and 900 more warnings\n"));
    assert_eq!(serde_json::to_value(&report).unwrap()["warnings"][0]["code"], "duplicate");
}

#[test]
fn what_fix_can_mend_is_mended() {
    for (_, source) in POLICIES {
        let fixed = normalise(&accept(source));
        for (line, code) in codes(&fixed) {
            assert!(
                !matches!(code, "duplicate" | "unsorted" | "not_canonical" | "repeated_section"),
                "{line}: {code}\n{}",
                fixed.escape_ascii()
            );
        }
    }
}

#[test]
fn errors_come_before_warnings() {
    let report = lint(b"version=1\n[deny_path]\n/\nx\n", &Limits::default());
    assert_eq!((report.errors.total, report.warning_total), (1, 0));
    assert!(!report.is_clean());
}

fn not_enforced(section: Section) -> WarningKind {
    WarningKind::NotEnforcedHere { section, why: "no kernel".to_owned(), help: "boot one".to_owned() }
}

#[test]
fn what_somebody_adds_stands_in_its_place() {
    let source = b"version=1\n# a\n[deny_path]\n/b\n/a\n\n  [deny_bpf]\n";
    let mut report = lint(source, &Limits::default());
    report.add(source, [(7, not_enforced(Section::DenyBpf)), (3, not_enforced(Section::DenyPath))]);
    let places: Vec<_> = report
        .warnings
        .iter()
        .map(|w| (w.line, w.column, w.length, w.kind.code(), w.hint.as_deref()))
        .collect();
    assert_eq!(
        places,
        [
            (3, 1, 11, "not_enforced_here", Some("boot one")),
            (5, 1, 2, "unsorted", Some("policy lint --fix sorts and removes duplicates")),
            (7, 3, 10, "not_enforced_here", Some("boot one")),
        ]
    );
    assert_eq!(report.warning_total, 3);
    let text = report.render("test.policy", source, false);
    assert!(
        text.contains("warning: nothing on this host enforces [deny_bpf]: no kernel\n --> test.policy:7:3"),
        "{text}"
    );
}

#[test]
fn what_is_added_on_no_line_is_told_and_too_much_is_counted() {
    let source = b"version=1\n[deny_path]\n/a\n";
    let mut report = lint(source, &Limits::default());
    report.add(source, (0..200).map(|line| (line, not_enforced(Section::DenyPath))));
    assert_eq!((report.warnings.len(), report.warning_total), (MAX_REPORTED, 200));
    let _ = report.render("test.policy", source, false);
    let broken = b"version=1\n[deny_pth]\n";
    let mut report = lint(broken, &Limits::default());
    report.add(broken, [(2, not_enforced(Section::DenyPath))]);
    assert_eq!((report.errors.total, report.warning_total), (1, 0));
}
