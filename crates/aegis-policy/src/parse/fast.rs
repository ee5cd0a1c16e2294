//! Accepts the common spellings of entries, a line in a few dozen instructions.
//!
//! Each function looks at the beginning of a line and returns the length of the entry if it is certain that
//! the whole line is a good one; `None` means *look closer*, never *refused*. So this can only be too strict, and
//! then only costs time; that it is never too lax is tested against [`Entry::read`](crate::entry::Entry::read).

use memchr::memchr2;

use crate::entry::{MAX_COMM_LEN, MAX_PATH_LEN};
use crate::line::Lines;
use crate::section::Section;

/// Walks over lines that are certainly good entries of `section`, at most `most`, none beyond offset `until`.
/// Returns how many.
///
/// All bytes before `until` are LF or printable ASCII, and none is `#`.
pub(super) fn take_entries(section: Section, lines: &mut Lines<'_>, until: usize, most: usize) -> usize {
    match section {
        Section::DenyPath | Section::ProtectPath | Section::ScanPaths => {
            lines.take_entries(until, most, path)
        }
        Section::DenyBinaryHash | Section::AllowBinaryHash | Section::TrustedExecHash => {
            lines.take_entries(until, most, sha256)
        }
        Section::DenyIp => lines.take_entries(until, most, address),
        Section::DenyCidr => lines.take_entries(until, most, network),
        Section::DenyPort => lines.take_entries(until, most, |rest| port_rule(rest, 0)),
        Section::DenyIpPort => lines.take_entries(until, most, endpoint),
        Section::DenyInode => lines.take_entries(until, most, |rest| inode(rest, 0)),
        Section::CgroupDenyInode => lines.take_entries(until, most, |rest| inode(rest, cgroup_word(rest)?)),
        Section::CgroupDenyPort => {
            lines.take_entries(until, most, |rest| port_rule(rest, cgroup_word(rest)?))
        }
        Section::CgroupDenyIp => lines.take_entries(until, most, |rest| {
            let (_, end) = ipv4(rest, cgroup_word(rest)?)?;
            end_of_line(rest, end)
        }),
        Section::AllowCgroup => lines.take_entries(until, most, cgroup),
        Section::DenyComm => lines.take_entries(until, most, comm),
        Section::ProtectConnect
        | Section::ProtectRuntimeDeps
        | Section::RequireImaAppraisal
        | Section::ImaFailClosed
        | Section::DenyPtrace
        | Section::DenyModuleLoad
        | Section::DenyBpf => 0,
    }
}

#[inline]
fn path(rest: &[u8]) -> Option<usize> {
    let end = line_len(rest)?;
    // A space at the end is no part of the path.
    let last = *rest.get(end.checked_sub(1)?)?;
    (*rest.first()? == b'/' && last != b' ' && end <= MAX_PATH_LEN).then_some(end)
}

#[inline]
fn comm(rest: &[u8]) -> Option<usize> {
    let window = rest.get(..MAX_COMM_LEN + 1).unwrap_or(rest);
    let end =
        window.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-' && *byte != b'_')?;
    (end > 0).then_some(end).and_then(|end| end_of_line(rest, end))
}

#[inline]
fn cgroup(rest: &[u8]) -> Option<usize> {
    path(rest).or_else(|| end_of_line(rest, cgroup_id(rest)?))
}

/// Finds the LF, eight bytes at a time: most paths are too short for a call to pay.
#[inline]
fn line_len(rest: &[u8]) -> Option<usize> {
    const LINE_FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let (words, _) = rest.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // Adding 0x7f to ASCII sets the top bit of each byte but those that are zero. Another byte, which
        // can only come after the last line that counts, may look like LF; so what was found is compared.
        let other = (u64::from_le_bytes(*word) ^ LINE_FEEDS).wrapping_add(LOW);
        let found = !other & !LOW;
        if found != 0 {
            let offset = usize::try_from(found.trailing_zeros() / 8).ok()?;
            return end_of_line(rest, index * 8 + offset);
        }
    }
    None
}

#[inline]
fn sha256(rest: &[u8]) -> Option<usize> {
    let line: &[u8; 72] = rest.first_chunk()?;
    let (prefix, digits) = line.split_first_chunk::<7>()?;
    let (digits, end) = digits.split_first_chunk::<64>()?;
    // Without a branch for each digit the compiler makes a few vector instructions of this.
    let bad = digits.iter().fold(0, |bad, &byte| {
        let digit = byte.wrapping_sub(b'0') < 10;
        let letter = (byte | 0x20).wrapping_sub(b'a') < 6;
        bad | u8::from(!(digit | letter))
    });
    (prefix == b"sha256:" && bad == 0 && end == b"\n").then_some(71)
}

#[inline]
fn address(rest: &[u8]) -> Option<usize> {
    if let Some((_, end)) = ipv4(rest, 0) {
        return end_of_line(rest, end);
    }
    end_of_line(rest, ipv6(rest, 0)?)
}

#[inline]
fn network(rest: &[u8]) -> Option<usize> {
    let (address, at) = ipv4(rest, 0)?;
    let (prefix_len, end) = octet(rest, after(rest, at, b'/')?)?;
    let host_bits = u32::MAX.checked_shr(prefix_len).unwrap_or(0);
    (prefix_len <= 32 && address & host_bits == 0).then_some(())?;
    end_of_line(rest, end)
}

#[inline]
fn endpoint(rest: &[u8]) -> Option<usize> {
    let at = match rest.first()? {
        b'[' => after(rest, ipv6(rest, 1)?, b']')?,
        _ => ipv4(rest, 0)?.1,
    };
    let end = port(rest, after(rest, at, b':')?)?;
    end_of_line(rest, end).or_else(|| end_of_line(rest, protocol(rest, end)?))
}

#[inline]
fn port_rule(rest: &[u8], at: usize) -> Option<usize> {
    let end = port(rest, at)?;
    if let Some(end) = end_of_line(rest, end) {
        return Some(end);
    }
    let end = protocol(rest, end)?;
    if let Some(end) = end_of_line(rest, end) {
        return Some(end);
    }
    let tail = rest.get(end..)?;
    let direction: [&[u8]; 3] = [b":egress\n", b":bind\n", b":both\n"];
    direction.iter().find(|name| tail.starts_with(name)).map(|name| end + name.len() - 1)
}

#[inline]
fn inode(rest: &[u8], at: usize) -> Option<usize> {
    // Nine digits of 32 bits and eighteen of 64 always fit.
    let (_, at) = number(rest, at, 9)?;
    let (_, end) = number(rest, after(rest, at, b':')?, 18)?;
    end_of_line(rest, end)
}

/// A control group and one space; where the entry after it begins.
#[inline]
fn cgroup_word(rest: &[u8]) -> Option<usize> {
    if let Some(end) = cgroup_id(rest) {
        return after(rest, end, b' ');
    }
    // Looking for LF as well keeps this to the line.
    let end = memchr2(b' ', b'\n', rest)?;
    (*rest.first()? == b'/' && end <= MAX_PATH_LEN).then_some(end).and_then(|end| after(rest, end, b' '))
}

/// `cgid:N`; where it ends.
#[inline]
fn cgroup_id(rest: &[u8]) -> Option<usize> {
    rest.starts_with(b"cgid:").then_some(())?;
    Some(number(rest, 5, 18)?.1)
}

#[inline]
fn protocol(rest: &[u8], at: usize) -> Option<usize> {
    let name: &[u8; 4] = rest.get(at..)?.first_chunk()?;
    matches!(name, b":tcp" | b":udp" | b":any").then_some(at + 4)
}

#[inline]
fn port(rest: &[u8], at: usize) -> Option<usize> {
    let (port, end) = number(rest, at, 5)?;
    (1..=65535).contains(&port).then_some(end)
}

/// Four decimal parts without leading zeros, from offset `at`: the address and where it ends.
#[inline(always)]
fn ipv4(rest: &[u8], at: usize) -> Option<(u32, usize)> {
    let (a, at) = octet(rest, at)?;
    let (b, at) = octet(rest, after(rest, at, b'.')?)?;
    let (c, at) = octet(rest, after(rest, at, b'.')?)?;
    let (d, at) = octet(rest, after(rest, at, b'.')?)?;
    Some(((a << 24) | (b << 16) | (c << 8) | d, at))
}

/// One to three digits that make at most 255.
#[inline(always)]
fn octet(rest: &[u8], at: usize) -> Option<(u32, usize)> {
    let digits = u32::from_le_bytes(*rest.get(at..)?.first_chunk()?) ^ 0x3030_3030;
    // Below 0x80 nothing carries into the next byte, and a digit alone leaves the top bit clear.
    let others = (digits.wrapping_add(0x7676_7676) | digits) & 0x8080_8080;
    let len = others.trailing_zeros() / 8;
    if !(1..=3).contains(&len) || (len > 1 && digits & 0xff == 0) {
        return None;
    }
    // Hundreds, tens and ones, a byte each: these compare like the number.
    let parts = (digits << (32 - 8 * len)).swap_bytes();
    if parts > 0x02_05_05 {
        return None;
    }
    let value = (parts >> 16) * 100 + ((parts >> 8) & 0xff) * 10 + (parts & 0xff);
    Some((value, at + usize::try_from(len).ok()?))
}

/// Groups of one to four hex digits between colons, one `::` at most, no dotted part.
#[inline]
fn ipv6(rest: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut groups, mut gap) = (from, 0_u32, false);
    if rest.get(at..)?.starts_with(b"::") {
        (at, gap) = (at + 2, true);
    }
    loop {
        let mut digits = 0;
        while digits < 4 && rest.get(at).is_some_and(u8::is_ascii_hexdigit) {
            (at, digits) = (at + 1, digits + 1);
        }
        if digits == 0 {
            // Only after a `::` may an address end here.
            let after_gap = gap && at >= from + 2 && rest.get(at - 2..at)? == b"::";
            return (after_gap && groups < 8).then_some(at);
        }
        groups += 1;
        if groups > 8 || *rest.get(at)? != b':' {
            break;
        }
        at += 1;
        if *rest.get(at)? == b':' {
            if gap {
                return None;
            }
            (at, gap) = (at + 1, true);
        }
    }
    (groups == 8 && !gap || groups < 8 && gap).then_some(at)
}

/// A decimal number of at most `most` digits without leading zero.
#[inline(always)]
fn number(rest: &[u8], from: usize, most: u32) -> Option<(u64, usize)> {
    let digits = u64::from_le_bytes(*rest.get(from..)?.first_chunk()?) ^ u64::from_ne_bytes([0x30; 8]);
    // As in `octet`, for eight bytes.
    let others = digits.wrapping_add(u64::from_ne_bytes([0x76; 8])) | digits;
    let len = (others & u64::from_ne_bytes([0x80; 8])).trailing_zeros() / 8;
    if len == 8 {
        return long_number(rest, from, most);
    }
    if len == 0 || len > most || (len > 1 && digits & 0xff == 0) {
        return None;
    }
    // Pairs of digits, pairs of pairs, and both halves.
    let digits = digits << (64 - 8 * len);
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let value = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    Some((value, from + usize::try_from(len).ok()?))
}

/// The same for eight digits and more.
fn long_number(rest: &[u8], from: usize, most: u32) -> Option<(u64, usize)> {
    let most = usize::try_from(most).ok()?;
    let mut value = u64::from(digit(rest, from)?);
    let mut at = from + 1;
    while let Some(next) = digit(rest, at) {
        if value == 0 || at - from >= most {
            return None;
        }
        value = value * 10 + u64::from(next);
        at += 1;
    }
    Some((value, at))
}

#[inline]
fn digit(rest: &[u8], at: usize) -> Option<u32> {
    let digit = rest.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(u32::from(digit))
}

#[inline]
fn after(rest: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*rest.get(at)? == byte).then_some(at + 1)
}

#[inline]
fn end_of_line(rest: &[u8], at: usize) -> Option<usize> {
    (*rest.get(at)? == b'\n').then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::entry::Entry;

    /// True if the fast reader takes `entry` as a whole line.
    fn takes(section: Section, entry: &str) -> bool {
        // What follows is long enough to look into.
        let source = format!("{entry}\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n");
        let mut lines = Lines::all(source.as_bytes(), 0);
        let taken = take_entries(section, &mut lines, source.len(), 1);
        assert!(taken == 0 || lines.position() == entry.len() + 1, "{entry}");
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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_takes_what_a_closer_look_refuses(
            section in select(Section::ALL.to_vec()),
            entry in "[0-9:./]{1,16}|[0-9a-f:]{2,24}|[0-9]{1,3}([.][0-9]{1,3}){3}(/[0-9]{1,2}|:[0-9]{1,6}(:[a-z]{3})?)?\
                |\\[[0-9a-f:]{2,12}\\]:[0-9]{1,5}(:tcp)?|cgid:[0-9]{1,20} [0-9.:]{1,12}|[0-9]{1,22}:[0-9]{1,22}\
                |sha256:[0-9a-fA-Fg]{63,65}|/[a-z]{0,3} [0-9.:]{1,12}|[a-z-]{1,17}|cgid:[0-9]{1,21}|/[ -\"$-~]{0,12}|[0-9]{1,6}(:(tcp|udp|any|x)?(:(egress|bind|both|x))?)?|[ -\"$-~]{1,20}",
        ) {
            if takes(section, &entry) {
                prop_assert!(Entry::read(section, &entry).is_ok(), "[{section}] {entry:?}");
                prop_assert_eq!(entry.trim(), entry.as_str());
            }
        }
    }
}
