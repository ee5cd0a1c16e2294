use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::entry::Entry;

/// True if the fast reader takes `entry` as a whole line.
fn takes(section: Section, entry: &str) -> bool {
    takes_before(section, entry, &[b'\n'; 16])
}

/// The same with something after the line that need not be plain.
fn takes_before(section: Section, entry: &str, tail: &[u8]) -> bool {
    let line_len = entry.len() + 1;
    let source = [entry.as_bytes(), b"\n", tail].concat();
    let mut lines = Lines::all(&source, 0);
    let taken = take_entries(section, &mut lines, line_len, 1);
    assert!(taken == 0 || lines.position() == line_len, "{entry}");
    taken == 1
}

#[test]
fn takes_what_policies_are_mostly_made_of() {
    let hash = format!("sha256:{}", "0a".repeat(32));
    let cases = [
        (Section::DenyPath, "/etc/shadow"),
        (Section::ProtectPath, "/opt/My Tools/x"),
        (Section::ScanPaths, "/"),
        (Section::DenyInode, "2049:123456789"),
        (Section::DenyIp, "255.10.0.1"),
        (Section::DenyIp, "2001:db8::1"),
        (Section::DenyIp, "::"),
        (Section::DenyIp, "1:2:3:4:5:6:7:8"),
        (Section::DenyCidr, "10.0.0.0/8"),
        (Section::DenyPort, "443"),
        (Section::DenyPort, "65535:tcp"),
        (Section::DenyPort, "22:any:bind"),
        (Section::DenyIpPort, "10.0.0.1:443"),
        (Section::DenyIpPort, "[2001:db8::1]:443:tcp"),
        (Section::DenyBinaryHash, &hash),
        (Section::AllowBinaryHash, &hash),
        (Section::TrustedExecHash, &hash),
        (Section::DenyComm, "fifteen-bytes-x"),
        (Section::AllowCgroup, "/system.slice/x.service"),
        (Section::AllowCgroup, "cgid:7"),
        (Section::CgroupDenyInode, "/sys/fs/cgroup/x 1:2"),
        (Section::CgroupDenyInode, "cgid:7 1:2"),
        (Section::CgroupDenyIp, "cgid:7 10.0.0.1"),
        (Section::CgroupDenyPort, "cgid:7 443:udp:egress"),
    ];
    for (section, entry) in cases {
        assert!(takes(section, entry), "[{section}] {entry}");
    }
}

#[test]
fn reads_what_large_policies_are_made_of() {
    let hash = format!("sha256:{}", "0a".repeat(32));
    let upper = hash.to_uppercase().replace("SHA", "sha");
    for (section, entry) in [
        (Section::DenyInode, "0:0"),
        (Section::DenyInode, "4294967295:18446744073709551615"),
        (Section::DenyIp, "255.255.255.255"),
        (Section::DenyIp, "0.0.0.0"),
        (Section::DenyCidr, "255.255.255.255/32"),
        (Section::DenyCidr, "0.0.0.0/0"),
        (Section::DenyCidr, "100.100.100.0/24"),
        (Section::TrustedExecHash, &hash),
    ] {
        let expected = Entry::read(section, entry).unwrap();
        assert_eq!(super::entry(section, entry), Some(expected), "[{section}] {entry}");
    }
    for (section, entry) in [
        (Section::DenyIp, "2001:db8::1"),
        (Section::DenyCidr, "2001:db8::/32"),
        (Section::DenyPath, "/a"),
        (Section::AllowBinaryHash, &upper),
    ] {
        assert_eq!(super::entry(section, entry), None, "[{section}] {entry}");
    }
}

#[test]
fn stops_where_it_is_told() {
    let source = b"/a\n/b\n/c\n/d\n/e #\n\xfe\xff\xf5\n\n\n\n\n\n\n";
    let mut lines = Lines::all(source, 0);
    assert_eq!(take_entries(Section::DenyPath, &mut lines, 15, 2), 2);
    assert_eq!(take_entries(Section::DenyPath, &mut lines, 8, 9), 0);
    assert_eq!(take_entries(Section::DenyPath, &mut lines, 15, 9), 2);
    assert_eq!(lines.position(), 12);
    // Only what ends before the `#` at 15 counts, whatever follows.
    assert_eq!(take_entries(Section::DenyPath, &mut lines, 15, 9), 0);
}

#[test]
fn takes_every_port_and_no_other_number() {
    for number in 0..=100_000_u32 {
        let text = number.to_string();
        assert_eq!(takes(Section::DenyPort, &text), (1..=65535).contains(&number), "{text}");
        assert!(!takes(Section::DenyPort, &format!("0{text}")), "0{text}");
    }
}

#[test]
fn takes_every_part_of_an_address_and_no_other_number() {
    for number in 0..=1100_u32 {
        for at in 0..4 {
            let part = |index: usize| if index == at { number.to_string() } else { "19".to_owned() };
            let text = [0, 1, 2, 3].map(part).join(".");
            assert_eq!(takes(Section::DenyIp, &text), number <= 255, "{text}");
            let zero = [0, 1, 2, 3].map(|index| if index == at { format!("0{number}") } else { part(index) });
            assert!(!takes(Section::DenyIp, &zero.join(".")), "{zero:?}");
        }
    }
}

#[test]
fn takes_a_network_with_every_prefix_length_that_its_address_has_room_for() {
    for bits in 0..=32_u32 {
        let first = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0));
        for prefix_len in 0..=1100 {
            let text = format!("{first}/{prefix_len}");
            assert_eq!(takes(Section::DenyCidr, &text), (bits..=32).contains(&prefix_len), "{text}");
            assert!(!takes(Section::DenyCidr, &format!("{first}/0{prefix_len}")), "{first}/0{prefix_len}");
        }
    }
}

#[test]
fn reads_the_address_of_a_network_to_its_last_bit() {
    for bit in 0..32 {
        let address = Ipv4Addr::from_bits(1 << bit);
        for prefix_len in 0..=32 {
            let text = format!("{address}/{prefix_len}");
            assert_eq!(takes(Section::DenyCidr, &text), prefix_len >= 32 - bit, "{text}");
        }
    }
}

/// What an entry of some section may look like, and what nearly looks like one.
const ENTRIES: &str = "[0-9:./]{1,16}|[0-9a-f:]{2,24}\
    |[0-9]{1,3}([.][0-9]{1,3}){3}(/[0-9]{1,2}|:[0-9]{1,6}(:[a-z]{3})?)?\
    |[12]?[0-9]{1,2}([./:][12]?[0-9]{1,2}){2,4}(/[0-3]?[0-9]|:[1-6]?[0-9]{1,4}(:(tcp|udp|any))?)?\
    |(0|00|1|19|2[0-9]{2}|25[0-9]|6553[0-9]|[.:/ ]|::|:tcp|:bind|cgid:|[\\[\\]]){1,12}\
    |\\[[0-9a-f:]{2,12}\\]:[0-9]{1,5}(:tcp)?|cgid:[0-9]{1,20} [0-9.:]{1,12}|[0-9]{1,22}:[0-9]{1,22}\
    |sha256:[0-9a-fA-Fg]{63,65}|/[a-z]{0,3} [0-9.:]{1,12}|[a-z-]{1,17}|cgid:[0-9]{1,21}|/[ -\"$-~]{0,12}\
    |[0-9]{1,6}(:(tcp|udp|any|x)?(:(egress|bind|both|x))?)?|[ -\"$-~]{1,20}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_takes_what_a_closer_look_refuses(entry in ENTRIES) {
        for section in Section::ALL {
            if takes(section, &entry) {
                prop_assert!(Entry::read(section, &entry).is_ok(), "[{section}] {entry:?}");
                prop_assert_eq!(entry.trim(), entry.as_str());
            }
        }
    }

    #[test]
    fn reads_an_entry_as_a_closer_look_does(entry in ENTRIES) {
        for section in Section::ALL {
            if let (Ok(expected), Some(read)) = (Entry::read(section, &entry), super::entry(section, &entry)) {
                prop_assert_eq!(read, expected.into_canonical(), "[{}] {:?}", section, entry);
            }
        }
    }

    #[test]
    fn what_follows_a_line_decides_nothing(entry in ENTRIES, tail in vec(any::<u8>(), 0..40)) {
        for section in Section::ALL {
            let taken = takes_before(section, &entry, &tail);
            // Less than sixteen bytes may be too few to look into, and then the line is not taken.
            let expected = takes(section, &entry) && (taken || tail.len() >= 16);
            prop_assert_eq!(taken, expected, "[{}] {:?}", section, entry);
        }
    }
}
