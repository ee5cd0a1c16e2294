//! Policies that must be accepted, and what is read from them.

use aegis_policy::{Limits, Policy, Section, diff, normalise, parse};

/// Every file of `tests/policies`, by name.
pub(crate) const POLICIES: &[(&str, &[u8])] = &[
    ("minimal-v1", include_bytes!("../policies/minimal-v1.policy")),
    ("packs-v1", include_bytes!("../policies/packs-v1.policy")),
    ("kernel-flags-v1", include_bytes!("../policies/kernel-flags-v1.policy")),
    ("network-v1", include_bytes!("../policies/network-v1.policy")),
    ("network-v2", include_bytes!("../policies/network-v2.policy")),
    ("programs-v3", include_bytes!("../policies/programs-v3.policy")),
    ("protected-v4", include_bytes!("../policies/protected-v4.policy")),
    ("measured-v5", include_bytes!("../policies/measured-v5.policy")),
    ("everything-v6", include_bytes!("../policies/everything-v6.policy")),
];

pub(crate) fn accept(source: &[u8]) -> Policy<'_> {
    parse(source, &Limits::default())
        .unwrap_or_else(|errors| panic!("{}", errors.render("test.policy", source, false)))
}

#[test]
fn accepts_policies_that_are_on_hosts_already() {
    for (name, source) in POLICIES {
        let policy = parse(source, &Limits::default());
        assert!(policy.is_ok(), "{name}: {}", policy.unwrap_err().render(name, source, false));
    }
}

#[test]
fn reads_rules_in_the_order_of_the_file_with_their_places() {
    let policy = accept(POLICIES[0].1);
    let rules: Vec<_> =
        policy.rules().map(|rule| (rule.section.name(), rule.line, rule.column, rule.text)).collect();
    assert_eq!(
        rules,
        [
            ("deny_path", 10, 1, "/etc/shadow"),
            ("deny_path", 11, 1, "/etc/gshadow"),
            ("deny_path", 13, 1, "/etc/shadow-"),
            ("deny_path", 14, 1, "/etc/gshadow-"),
            ("deny_path", 17, 1, "/etc/ssh/ssh_host_ed25519_key"),
            ("deny_path", 18, 1, "/etc/ssh/ssh_host_rsa_key"),
            ("allow_cgroup", 22, 1, "/system.slice/sshd.service"),
            ("allow_cgroup", 23, 3, "/system.slice/systemd-logind.service"),
        ]
    );
    assert_eq!(policy.version(), 1);
    assert_eq!(policy.rule_count(), 8);
    assert_eq!(policy.count(Section::DenyPath), 6);
    assert_eq!(policy.sections().collect::<Vec<_>>(), [Section::DenyPath, Section::AllowCgroup]);
    assert_eq!(policy.source(), POLICIES[0].1);
}

#[test]
fn the_file_with_everything_has_every_section() {
    let policy = accept(POLICIES[8].1);
    assert_eq!(policy.sections().collect::<Vec<_>>(), Section::ALL);
    for section in Section::ALL {
        assert!(policy.count(section) > 0, "{section}");
    }
    assert_eq!(policy.rules().count(), policy.rule_count());
}

/// Section, entry as spelled, canonical form.
const SPELLINGS: &[(Section, &str, &str)] = &[
    (Section::DenyPath, "/", "/"),
    (Section::DenyPath, "/a b/c#d", "/a b/c#d"),
    (Section::DenyPath, "//a///b/./c/", "/a/b/c"),
    (Section::DenyPath, "/.", "/"),
    (Section::DenyPath, "/a //./", "/a /"),
    (Section::DenyPath, "/a/../b", "/a/../b"),
    (Section::DenyPath, "/...", "/..."),
    (Section::DenyInode, "0:0", "0:0"),
    (Section::DenyInode, "4294967295:18446744073709551615", "4294967295:18446744073709551615"),
    (Section::DenyInode, "12345678:123456789", "12345678:123456789"),
    (Section::ScanPaths, "/usr/local/bin/", "/usr/local/bin"),
    (Section::AllowCgroup, "cgid:18446744073709551615", "cgid:18446744073709551615"),
    (Section::AllowCgroup, "/a b//c", "/a b/c"),
    (Section::DenyIp, "0.0.0.0", "0.0.0.0"),
    (Section::DenyIp, "255.255.255.255", "255.255.255.255"),
    (Section::DenyIp, "::", "::"),
    (Section::DenyIp, "2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
    (Section::DenyIp, "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
    (Section::DenyIp, "::ffff:1.2.3.4", "::ffff:1.2.3.4"),
    (Section::DenyCidr, "0.0.0.0/0", "0.0.0.0/0"),
    (Section::DenyCidr, "10.1.2.3/32", "10.1.2.3/32"),
    (Section::DenyCidr, "FD00::/8", "fd00::/8"),
    (Section::DenyCidr, "2001:db8::1/128", "2001:db8::1/128"),
    (Section::DenyCidr, "::/0", "::/0"),
    (Section::DenyPort, "443", "443"),
    (Section::DenyPort, "443:any", "443"),
    (Section::DenyPort, "443:any:both", "443"),
    (Section::DenyPort, "443::both", "443"),
    (Section::DenyPort, "443:tcp:both", "443:tcp"),
    (Section::DenyPort, "443::egress", "443:any:egress"),
    (Section::DenyPort, "443:udp:connect", "443:udp:egress"),
    (Section::DenyPort, "65535:tcp:bind", "65535:tcp:bind"),
    (Section::DenyIpPort, "10.0.0.1:1:any", "10.0.0.1:1"),
    (Section::DenyIpPort, "[2001:DB8::5]:8443:udp", "[2001:db8::5]:8443:udp"),
    (Section::DenyIpPort, "[::]:1", "[::]:1"),
    (
        Section::DenyBinaryHash,
        "sha256:ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
        "sha256:abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
    ),
    (Section::DenyComm, "fifteen-bytes-x", "fifteen-bytes-x"),
    (Section::DenyComm, "Web Content", "Web Content"),
    (Section::CgroupDenyInode, "/sys/fs/cgroup/x/ 100:200", "/sys/fs/cgroup/x 100:200"),
    (Section::CgroupDenyInode, "cgid:7 \t 100:200", "cgid:7 100:200"),
    (Section::CgroupDenyIp, "cgid:7 10.0.0.1", "cgid:7 10.0.0.1"),
    (Section::CgroupDenyPort, "/x 22:tcp:connect", "/x 22:tcp:egress"),
];

#[test]
fn reads_every_spelling_of_an_entry_and_prints_the_canonical_one() {
    for (section, spelling, canonical) in SPELLINGS {
        // Once as the last line, without LF, and once in the middle, where the fast reader sees it.
        for source in [
            format!("version=6\n[{section}]\n{spelling}"),
            format!("version=6\n[{section}]\n{spelling}\n{spelling}\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"),
            format!("version=6\r\n[{section}]\r\n{spelling}\r\n").replace('\r', " "),
            format!("version=6\n[{section}]\n\t {spelling} \t\n"),
        ] {
            let policy = accept(source.as_bytes());
            let rules: Vec<_> = policy.rules().collect();
            assert_eq!(rules.len(), policy.rule_count());
            for rule in rules {
                assert_eq!((rule.section, rule.text), (*section, *spelling));
                assert_eq!(rule.canonical(), *canonical, "{spelling}");
            }
        }
        let canonical = format!("version=6\n[{section}]\n{canonical}\n");
        let spelled = format!("version=6\n[{section}]\n{spelling}\n");
        assert!(diff(&accept(spelled.as_bytes()), &accept(canonical.as_bytes())).is_empty());
    }
}

#[test]
fn the_longest_path_is_accepted() {
    let path = format!("/{}", "x".repeat(4094));
    let source = format!("version=1\n[deny_path]\n{path}\n{path}\n");
    assert_eq!(accept(source.as_bytes()).rules().next().unwrap().text, path);
}

#[test]
fn normalise_sorts_and_keeps_every_comment_with_what_it_stands_above() {
    let source = b"# top\n\nversion=6 \n# about networks\n\n[deny_ip]\n10.0.0.10\n# nine\n10.0.0.9\n::1\n# again\n10.0.0.9\n\
        [deny_bpf]\n[scan_paths]\n# flags above\n[deny_path]\n/b/\n # a\n/a\n[deny_ip]\n# nine\n10.0.0.9\n2.0.0.0\n# end\n";
    let expected = "# top\nversion=6\n\n# flags above\n[deny_path]\n# a\n/a\n/b\n\n[scan_paths]\n\n# about networks\n\
        [deny_ip]\n2.0.0.0\n# nine\n# again\n10.0.0.9\n10.0.0.10\n::1\n\n[deny_bpf]\n\n# end\n";
    assert_eq!(String::from_utf8(normalise(&accept(source))).unwrap(), expected);
}
