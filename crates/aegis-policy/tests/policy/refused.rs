//! Everything that must be refused, with its exact reason and place.

use aegis_policy::{
    Companion, EntryError, Field, Limits, MAX_REPORTED, Network, PolicyError, PolicyErrorKind, Section, parse,
};

use PolicyErrorKind::{
    BadVersion, ByteOrderMark, CarriageReturn, ControlCharacter, DuplicateFlag, DuplicateVersion,
    EntryInFlag, InlineComment, InvisibleCharacter, MalformedSection, MissingCompanion, MissingVersion,
    NotAHeader, NotAscii, NotUtf8, SectionTooNew, TooLarge, TooManyRules, UnknownSection, VersionInSection,
};

/// Line, column, length, kind.
type Found = (u32, u32, u32, PolicyErrorKind);

fn refuse(source: &[u8]) -> Vec<PolicyError> {
    let errors = parse(source, &Limits::default()).expect_err("this is to be refused");
    assert_eq!(errors.total, errors.errors.len());
    errors.errors
}

/// The only error of a policy.
fn only(source: &[u8]) -> Found {
    let errors = refuse(source);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let PolicyError { line, column, length, kind, .. } = errors[0].clone();
    (line, column, length, kind)
}

#[test]
fn refuses_a_policy_of_the_wrong_shape() {
    let cases: &[(&str, Found)] = &[
        ("", (1, 1, 1, MissingVersion)),
        ("\n\n\n", (1, 1, 1, MissingVersion)),
        ("# nothing\n", (1, 1, 1, MissingVersion)),
        ("[deny_path]\n/a\n", (1, 1, 1, MissingVersion)),
        ("version=0\n", (1, 9, 1, BadVersion)),
        ("version=7\n", (1, 9, 1, BadVersion)),
        ("version=\n", (1, 9, 1, BadVersion)),
        ("version=+1\n", (1, 9, 2, BadVersion)),
        ("version=01\n", (1, 9, 2, BadVersion)),
        ("version= 1\n", (1, 9, 2, BadVersion)),
        ("  version=1e0\n", (1, 11, 3, BadVersion)),
        ("version=1\nversion=1\n", (2, 1, 9, DuplicateVersion { first_line: 1 })),
        ("[deny_ip]\n1.1.1.1\nversion=1\n", (3, 1, 9, VersionInSection { section: Section::DenyIp })),
        ("version=1\nname=x\n", (2, 1, 6, NotAHeader)),
        ("version=1\n/etc/shadow\n", (2, 1, 11, NotAHeader)),
        ("version=1\n[deny_path\n/a\n", (2, 1, 10, MalformedSection)),
        ("version=1\n[ deny_path ]\n/a\n", (2, 1, 13, MalformedSection)),
        ("version=1\n[]\n", (2, 1, 2, UnknownSection { nearest: None })),
        ("version=1\n[deny_paths]\nx\n", (2, 1, 12, UnknownSection { nearest: Some(Section::DenyPath) })),
        ("version=1\n[DENY_PATH]\nx\n", (2, 1, 11, UnknownSection { nearest: Some(Section::DenyPath) })),
        ("version=1\n[allow_path]\n/a\n", (2, 1, 12, UnknownSection { nearest: None })),
        (
            "version=6\n[deny_bpf]\n\n[deny_bpf]\n",
            (4, 1, 10, DuplicateFlag { section: Section::DenyBpf, first_line: 2 }),
        ),
        ("version=6\n[deny_bpf]\nyes\n", (3, 1, 3, EntryInFlag { section: Section::DenyBpf })),
        ("version=1\n[deny_path] # x\n/a\n", (2, 13, 3, InlineComment)),
        ("version=1 # x\n", (1, 11, 3, InlineComment)),
        ("version=1\n[deny_path]\n/a\t# x\n", (3, 4, 3, InlineComment)),
        ("version=1\n[deny_path]\n/a#b #c\n", (3, 6, 2, InlineComment)),
        (
            "version=4\n[protect_runtime_deps]\n[protect_path]\n",
            (
                2,
                1,
                22,
                MissingCompanion {
                    section: Section::ProtectRuntimeDeps,
                    needs: Companion::ProtectedResource,
                },
            ),
        ),
        (
            "version=5\n[ima_fail_closed]\n[trusted_exec_hash]\n",
            (
                2,
                1,
                17,
                MissingCompanion { section: Section::ImaFailClosed, needs: Companion::TrustedExecHash },
            ),
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(only(source.as_bytes()), *expected, "{source:?}");
    }
}

#[test]
fn refuses_bytes_that_are_no_text() {
    let cases: &[(&[u8], Found)] = &[
        (b"\xef\xbb\xbfversion=1\n", (1, 1, 3, ByteOrderMark)),
        (b"version=1\n[deny_path]\n/a\0b\n", (3, 3, 1, ControlCharacter { byte: 0 })),
        (b"version=1\n[deny_path]\n/a\x1b[2J\n", (3, 3, 1, ControlCharacter { byte: 0x1b })),
        (b"version=1\n[deny_path]\n/a\x7f\n", (3, 3, 1, ControlCharacter { byte: 0x7f })),
        (b"version=1\n[deny_path]\n/a\rb\n", (3, 3, 1, ControlCharacter { byte: b'\r' })),
        (b"version=1\n[deny_path]\n/\xc3\xa9\n", (3, 2, 1, NotAscii { byte: 0xc3 })),
        (b"version=1\n# \x1b[2J\n", (2, 3, 1, ControlCharacter { byte: 0x1b })),
        (b"version=1\n# \0\n", (2, 3, 1, ControlCharacter { byte: 0 })),
        (b"version=1\n# \xff\n", (2, 3, 1, NotUtf8 { byte: 0xff })),
        (b"version=1\n# \xc3", (2, 3, 1, NotUtf8 { byte: 0xc3 })),
        ("version=1\n# é\u{202e}x\n".as_bytes(), (2, 5, 1, InvisibleCharacter { code_point: 0x202e })),
        ("version=1\n# \u{200b}x\n".as_bytes(), (2, 3, 1, InvisibleCharacter { code_point: 0x200b })),
        ("version=1\n# \u{9b}x\n".as_bytes(), (2, 3, 1, InvisibleCharacter { code_point: 0x9b })),
        (b"version=1\r\n[deny_path]\r\n/a\r\n# b\r\n", (1, 10, 1, CarriageReturn { lines: 4 })),
        (b"version=1\n[deny_path]\n/a\r\n", (3, 3, 1, CarriageReturn { lines: 1 })),
        (b"version=1\n\r\n", (2, 1, 1, CarriageReturn { lines: 1 })),
        (b"version=1\n[deny_path]\n/a\r", (3, 3, 1, CarriageReturn { lines: 1 })),
    ];
    for (source, expected) in cases {
        assert_eq!(only(source), *expected, "{}", source.escape_ascii());
    }
}

#[test]
fn refuses_every_section_in_every_version_before_its_own() {
    for section in Section::ALL {
        for version in 1..=6_u8 {
            let source = format!("version={version}\n[{section}]\n");
            let since = section.since_version();
            let too_new = parse(source.as_bytes(), &Limits::default()).is_err_and(|errors| {
                errors.errors.iter().any(|error| error.kind == SectionTooNew { section, since, version })
            });
            assert_eq!(too_new, version < since, "{source}");
        }
    }
}

/// Section, entry, column and length in it, reason.
#[rustfmt::skip]
fn bad_entries() -> Vec<(Section, String, u32, u32, EntryError)> {
    use EntryError::*;
    let hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let network = |address: &str, prefix_len| Network::containing(address.parse().unwrap(), prefix_len);
    let case = |section, entry: &str, column, length, error| (section, entry.to_owned(), column, length, error);
    vec![
        case(Section::DenyPath, "etc/shadow", 1, 10, RelativePath),
        case(Section::DenyPath, "~/x", 1, 3, RelativePath),
        case(Section::ProtectPath, "./x", 1, 3, RelativePath),
        case(Section::ScanPaths, "bin", 1, 3, RelativePath),
        case(Section::DenyPath, &format!("/{}", "x".repeat(4095)), 4096, 1, PathTooLong { bytes: 4096 }),
        case(Section::DenyInode, "123", 1, 3, NotAnInode),
        case(Section::DenyInode, ":1", 1, 1, NotDecimal { field: Field::Device }),
        case(Section::DenyInode, "1:", 3, 1, NotDecimal { field: Field::InodeNumber }),
        case(Section::DenyInode, "1:2:3", 4, 1, NotDecimal { field: Field::InodeNumber }),
        case(Section::DenyInode, "0x1:2", 2, 1, NotDecimal { field: Field::Device }),
        case(Section::DenyInode, "-1:2", 1, 1, NotDecimal { field: Field::Device }),
        case(Section::DenyInode, "+1:2", 1, 1, NotDecimal { field: Field::Device }),
        case(Section::DenyInode, "1: 2", 3, 1, NotDecimal { field: Field::InodeNumber }),
        case(Section::DenyInode, "01:2", 1, 2, LeadingZero { field: Field::Device }),
        case(Section::DenyInode, "1:02", 3, 2, LeadingZero { field: Field::InodeNumber }),
        case(Section::DenyInode, "4294967296:1", 1, 10, TooBig { field: Field::Device, max: 4_294_967_295 }),
        case(Section::DenyInode, "1:18446744073709551616", 3, 20, TooBig { field: Field::InodeNumber, max: u64::MAX }),
        case(Section::DenyInode, "1:99999999999999999999999", 3, 23, TooBig { field: Field::InodeNumber, max: u64::MAX }),
        case(Section::AllowCgroup, "system.slice", 1, 12, NotACgroup),
        case(Section::AllowCgroup, "cgid:", 6, 1, NotDecimal { field: Field::CgroupId }),
        case(Section::AllowCgroup, "cgid: 1", 6, 1, NotDecimal { field: Field::CgroupId }),
        case(Section::AllowCgroup, "cgid:007", 6, 3, LeadingZero { field: Field::CgroupId }),
        case(Section::DenyIp, "10.0.0", 1, 6, NotAnAddress),
        case(Section::DenyIp, "10.0.0.0.1", 1, 10, NotAnAddress),
        case(Section::DenyIp, "10.0.0.256", 8, 3, TooBig { field: Field::Octet, max: 255 }),
        case(Section::DenyIp, "10.0.01.1", 6, 2, LeadingZero { field: Field::Octet }),
        case(Section::DenyIp, "10.0..1", 6, 1, NotDecimal { field: Field::Octet }),
        case(Section::DenyIp, "10.0.0.1.", 1, 9, NotAnAddress),
        case(Section::DenyIp, "10.0.0.x", 8, 1, NotDecimal { field: Field::Octet }),
        case(Section::DenyIp, "example.org", 1, 11, NotAnAddress),
        case(Section::DenyIp, "10.0.0.1:80", 1, 11, NotAnAddress),
        case(Section::DenyIp, "10.0.0.0/8", 9, 1, NotDecimal { field: Field::Octet }),
        case(Section::DenyIp, "[::1]", 1, 5, NotAnAddress),
        case(Section::DenyIp, ":::", 1, 3, NotAnAddress),
        case(Section::DenyIp, "1::2::3", 1, 7, NotAnAddress),
        case(Section::DenyIp, "1:2:3:4:5:6:7", 1, 13, NotAnAddress),
        case(Section::DenyIp, "1:2:3:4:5:6:7:8:9", 1, 17, NotAnAddress),
        case(Section::DenyIp, "1:2:3:4:5:6:7:8::", 1, 17, NotAnAddress),
        case(Section::DenyIp, "12345::", 1, 7, NotAnAddress),
        case(Section::DenyIp, "fe80::1%eth0", 1, 12, NotAnAddress),
        case(Section::DenyCidr, "10.0.0.0", 9, 1, NoPrefixLength),
        case(Section::DenyCidr, "10.0.0.0/", 10, 1, NotDecimal { field: Field::PrefixLength }),
        case(Section::DenyCidr, "10.0.0.0/33", 10, 2, TooBig { field: Field::PrefixLength, max: 32 }),
        case(Section::DenyCidr, "::/129", 4, 3, TooBig { field: Field::PrefixLength, max: 128 }),
        case(Section::DenyCidr, "10.0.0.0/08", 10, 2, LeadingZero { field: Field::PrefixLength }),
        case(Section::DenyCidr, "10.0.0.0/8/8", 11, 1, NotDecimal { field: Field::PrefixLength }),
        case(Section::DenyCidr, "10.0.0.1/8", 1, 8, HostBitsSet { network: network("10.0.0.0", 8) }),
        case(Section::DenyCidr, "10.0.0.1/0", 1, 8, HostBitsSet { network: network("0.0.0.0", 0) }),
        case(Section::DenyCidr, "2001:db8::1/64", 1, 11, HostBitsSet { network: network("2001:db8::", 64) }),
        case(Section::DenyCidr, "10.0.300.0/8", 6, 3, TooBig { field: Field::Octet, max: 255 }),
        case(Section::DenyPort, "0", 1, 1, PortZero),
        case(Section::DenyPort, "65536", 1, 5, TooBig { field: Field::Port, max: 65535 }),
        case(Section::DenyPort, "0443", 1, 4, LeadingZero { field: Field::Port }),
        case(Section::DenyPort, "https", 1, 1, NotDecimal { field: Field::Port }),
        case(Section::DenyPort, ":tcp", 1, 1, NotDecimal { field: Field::Port }),
        case(Section::DenyPort, "443:", 5, 1, UnknownProtocol),
        case(Section::DenyPort, "443:TCP", 5, 3, UnknownProtocol),
        case(Section::DenyPort, "443:sctp", 5, 4, UnknownProtocol),
        case(Section::DenyPort, "443:egress", 5, 6, UnknownProtocol),
        case(Section::DenyPort, "443:tcp:", 9, 1, UnknownDirection),
        case(Section::DenyPort, "443:tcp:ingress", 9, 7, UnknownDirection),
        case(Section::DenyPort, "443:tcp:bind:x", 13, 2, TooManyParts),
        case(Section::DenyPort, "443-445", 4, 1, NotDecimal { field: Field::Port }),
        case(Section::DenyIpPort, "10.0.0.1", 9, 1, NoPort),
        case(Section::DenyIpPort, "10.0.0.1:", 10, 1, NotDecimal { field: Field::Port }),
        case(Section::DenyIpPort, "10.0.0.1:0", 10, 1, PortZero),
        case(Section::DenyIpPort, "10.0.0.1:443:tcp:egress", 17, 7, TooManyParts),
        case(Section::DenyIpPort, "10.0.0.1:443:bind", 14, 4, UnknownProtocol),
        case(Section::DenyIpPort, "10.0.0.256:443", 8, 3, TooBig { field: Field::Octet, max: 255 }),
        case(Section::DenyIpPort, "2001:db8::1:443", 1, 15, NotBracketed),
        case(Section::DenyIpPort, "::1:443:tcp", 1, 11, NotBracketed),
        case(Section::DenyIpPort, "[2001:db8::1]", 14, 1, NoPort),
        case(Section::DenyIpPort, "[2001:db8::1]443", 14, 3, NoPort),
        case(Section::DenyIpPort, "[2001:db8::1", 1, 12, NotAnAddress),
        case(Section::DenyIpPort, "[10.0.0.1]:443", 2, 8, NotAnAddress),
        case(Section::DenyBinaryHash, hash, 1, 7, NotSha256),
        case(Section::DenyBinaryHash, &format!("SHA256:{hash}"), 1, 7, NotSha256),
        case(Section::AllowBinaryHash, &format!("sha512:{hash}"), 1, 7, NotSha256),
        case(Section::AllowBinaryHash, "sha256:", 8, 1, HashLength { digits: 0 }),
        case(Section::TrustedExecHash, &format!("sha256:{hash}0"), 8, 65, HashLength { digits: 65 }),
        case(Section::TrustedExecHash, &format!("sha256:{}", &hash[1..]), 8, 63, HashLength { digits: 63 }),
        case(Section::DenyBinaryHash, &format!("sha256:{}g", &hash[1..]), 71, 1, NotHex),
        case(Section::DenyBinaryHash, &format!("sha256:@{}", &hash[1..]), 8, 1, NotHex),
        case(Section::DenyComm, "sixteen-bytes-xx", 16, 1, CommTooLong { bytes: 16 }),
        case(Section::DenyComm, "/usr/bin/x", 1, 1, CommWithSlash),
        case(Section::DenyComm, "a/b", 2, 1, CommWithSlash),
        case(Section::CgroupDenyInode, "cgid:1", 1, 6, NothingAfterCgroup),
        case(Section::CgroupDenyInode, "1:2", 1, 3, NotACgroup),
        case(Section::CgroupDenyInode, "x.slice 1:2", 1, 7, NotACgroup),
        case(Section::CgroupDenyInode, "cgid:1 5", 8, 1, NotAnInode),
        case(Section::CgroupDenyInode, "cgid:1  1:2 3", 12, 1, NotDecimal { field: Field::InodeNumber }),
        case(Section::CgroupDenyIp, "cgid:1 ::1", 8, 3, Ipv6NotTaken),
        case(Section::CgroupDenyIp, "/x 10.0.0.256", 11, 3, TooBig { field: Field::Octet, max: 255 }),
        case(Section::CgroupDenyIp, "/x 10.0.0.0/8", 12, 1, NotDecimal { field: Field::Octet }),
        case(Section::CgroupDenyPort, "/x 0:tcp", 4, 1, PortZero),
        case(Section::CgroupDenyPort, "cgid:x 80", 6, 1, NotDecimal { field: Field::CgroupId }),
    ]
}

#[test]
fn refuses_a_bad_entry_with_its_reason_and_place() {
    for (section, entry, at_column, at_length, reason) in bad_entries() {
        let good = "\n# padding so that the fast reader sees the entry\n";
        let source = format!("version=6\n[{section}]\n  {entry}\n{good}");
        let (line, column, length, kind) = only(source.as_bytes());
        let PolicyErrorKind::BadEntry { section: found, error, .. } = kind else {
            panic!("{entry}: {kind:?}")
        };
        assert_eq!((found, error), (section, reason), "{entry}");
        assert_eq!((line, column, length), (3, at_column + 2, at_length), "{entry}");
        // Without the indent, where the fast reader looks first.
        let source = format!("version=6\n[{section}]\n{entry}\n{good}");
        let (_, column, _, kind) = only(source.as_bytes());
        assert!(matches!(kind, PolicyErrorKind::BadEntry { error, .. } if error == reason), "{entry}");
        assert_eq!(column, at_column, "{entry}");
    }
}

#[test]
fn every_list_section_is_in_the_table_of_bad_entries() {
    let sections: Vec<Section> = bad_entries().into_iter().map(|(section, ..)| section).collect();
    for section in Section::ALL.into_iter().filter(|section| !section.is_flag()) {
        assert!(sections.contains(&section), "{section}");
    }
}

#[test]
fn says_what_would_be_right() {
    let hints = [
        ("version=6\n[deny_paths]\n", "did you mean [deny_path]?"),
        ("version=2\n[protect_path]\n", "write version=4 in the header"),
        ("version=6\n[deny_cidr]\n10.1.2.3/8\n", "write 10.0.0.0/8"),
        ("version=6\n[deny_ip]\n10.0.0.0/8\n", "this is an entry of [deny_cidr]"),
        ("version=6\n[deny_ip]\n10.0.0.1:80\n", "this is an entry of [deny_ip_port]"),
        (
            "version=6\n[deny_ip]\nexample.org\n",
            "[deny_ip] takes an address without a port, such as 192.0.2.1 or 2001:db8::1",
        ),
        ("version=6\n[deny_ip_port]\n::1:80\n", "write [address]:port"),
        ("version=6\n[cgroup_deny_ip]\n/x ::1\n", "use [deny_ip], which holds for every control group"),
    ];
    for (source, hint) in hints {
        assert_eq!(refuse(source.as_bytes())[0].hint.as_deref(), Some(hint), "{source}");
    }
    for (section, entry, ..) in bad_entries() {
        let source = format!("version=6\n[{section}]\n{entry}\n");
        assert!(refuse(source.as_bytes())[0].hint.is_some(), "{entry}");
    }
}

#[test]
fn says_everything_in_one_pass() {
    let source = b"version=3\n[deny_path]\nx\n/ok\n[nonsense]\nignored\n[deny_ip]\n1.2.3\n[deny_bpf]\nentry\n[deny_bpf]\n\
        [protect_runtime_deps]\n[deny_port]\n0\n99999 # why\n";
    let codes: Vec<_> = refuse(source).iter().map(|error| (error.line, error.kind.code())).collect();
    assert_eq!(
        codes,
        [
            (3, "bad_entry"),
            (5, "unknown_section"),
            (8, "bad_entry"),
            (10, "entry_in_flag"),
            (11, "duplicate_flag"),
            (12, "section_too_new"),
            (12, "missing_companion"),
            (14, "bad_entry"),
            (15, "bad_entry"),
            (15, "inline_comment"),
        ]
    );
}

#[test]
fn refuses_what_is_over_a_limit_and_says_so_once() {
    let limits = Limits { max_bytes: 64, max_rules: 3 };
    let source = b"version=1\n[deny_port]\n1\n2\n3\n";
    assert!(parse(source, &limits).is_ok());
    let source = b"version=1\n[deny_port]\n1\n2\n3\n4\n5\n6\n7\n";
    let errors = parse(source, &limits).unwrap_err();
    assert_eq!((errors.total, errors.errors[0].line), (1, 6));
    assert_eq!(errors.errors[0].kind, TooManyRules { limit: 3 });
    let errors = parse(&[b'\n'; 65], &limits).unwrap_err();
    assert_eq!(errors.errors[0].kind, TooLarge { bytes: 65, limit: 64 });
    assert!(matches!(parse(&[b'\n'; 64], &limits).unwrap_err().errors[0].kind, MissingVersion));
}

#[test]
fn keeps_the_first_errors_of_many_and_counts_the_rest() {
    let source = format!("version=1\n[deny_ip]\n{}[protect_runtime_deps]\n", "x\n".repeat(5000));
    let errors = parse(source.as_bytes(), &Limits::default()).unwrap_err();
    // The last line is too new, and lacks its companion; the latter concerns the whole file and is kept.
    assert_eq!(errors.total, 5002);
    assert_eq!(errors.errors.len(), MAX_REPORTED + 1);
    assert_eq!(errors.errors.last().unwrap().kind.code(), "missing_companion");
    assert!(errors.render("p", source.as_bytes(), false).ends_with("... and 4901 more errors\n"));
    assert!(errors.to_string().starts_with("policy has 5002 errors, the first on line 3, column 1: "));
}

#[test]
fn renders_line_caret_and_help() {
    let source = b"version=2\n[deny_cidr]\n  10.1.2.3/8\n";
    let errors = parse(source, &Limits::default()).unwrap_err();
    let expected = "\
error: [deny_cidr] address has bits set beyond the prefix; the network is 10.0.0.0/8
 --> host.policy:3:3
  |
3 |   10.1.2.3/8
  |   ^^^^^^^^
  = help: write 10.0.0.0/8
";
    assert_eq!(errors.render("host.policy", source, false), expected);
    let colored = errors.render("host.policy", source, true);
    assert!(colored.contains("\x1b[1;31merror\x1b[0m"));
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json["error_total"], 1);
    assert_eq!(json["errors"][0]["code"], "bad_entry");
    assert_eq!(json["errors"][0]["column"], 3);
    assert_eq!(json["errors"][0]["hint"], "write 10.0.0.0/8");
}

#[test]
fn rendering_escapes_hostile_bytes_and_cuts_long_lines() {
    let mut source = b"version=1\n[deny_path]\n/".to_vec();
    source.extend(std::iter::repeat_n(b'a', 5000));
    source.extend(b"\x1b]0;owned\x07\xff\xe2\x80\xae");
    source.extend(std::iter::repeat_n(b'b', 5000));
    let errors = parse(&source, &Limits::default()).unwrap_err();
    let text = errors.render("evil\x1b[2J\nname", &source, false);
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
    assert!(text.lines().all(|line| line.len() < 300), "{text}");
    assert!(text.contains("evil\\x1b[2J\\x0aname:3:5002"), "{text}");
    assert!(text.contains("\\x1b]0;owned\\x07\\xff\\xe2\\x80\\xae"), "{text}");
    let caret = text.lines().find(|line| line.contains('^')).unwrap();
    let shown = text.lines().find(|line| line.starts_with("3 |")).unwrap();
    assert_eq!(&shown[caret.find('^').unwrap()..][..4], "\\x1b");
    // With another source the excerpt is wrong, and nothing worse.
    assert!(!errors.render("x", b"", true).is_empty());
}
