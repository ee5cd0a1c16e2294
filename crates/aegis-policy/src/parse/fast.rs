//! Accepts the common spellings of entries, a line in a few dozen instructions.
//!
//! Each function looks at the beginning of a line and returns the length of the entry if it is certain that
//! the whole line is a good one; `None` means *look closer*, never *refused*. So this can only be too strict, and
//! then only costs time; that it is never too lax is tested against [`Entry::read`](crate::entry::Entry::read).

mod decimal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::memchr2;

use self::decimal::{ipv4, number, port, prefix_len};
use crate::entry::{Entry, Inode, MAX_COMM_LEN, MAX_PATH_LEN, Network};
use crate::line::{Lines, line_len};
use crate::section::Section;

/// Bytes of `sha256:`, and with its digits.
const SHA256_PREFIX_LEN: usize = 7;
const SHA256_LEN: usize = 71;

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

/// The entry of an accepted policy that is spelled as `text`, if it is of a kind of which a policy may have many.
#[inline]
pub(crate) fn entry(section: Section, text: &str) -> Option<Entry<'_>> {
    match section {
        Section::DenyInode => inode_of(text.as_bytes()).map(Entry::Inode),
        Section::DenyIp | Section::DenyCidr => {
            // The longest, a network of IPv4, has 18 bytes. What is behind it decides nothing.
            let mut window = [0; 32];
            window.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
            let (address, end) = ipv4(&window, 0)?;
            let address = std::net::Ipv4Addr::from_bits(address).into();
            if section == Section::DenyIp {
                return (end == text.len()).then_some(Entry::Ip(address));
            }
            let (bits, end) = prefix_len(&window, after(&window, end, b'/')?)?;
            let network = Network::containing(address, u8::try_from(bits).ok()?);
            (end == text.len() && network.address() == address).then_some(Entry::Network(network))
        }
        Section::DenyBinaryHash | Section::AllowBinaryHash | Section::TrustedExecHash => {
            let digits = text.get(SHA256_PREFIX_LEN..)?;
            let upper = digits.bytes().fold(false, |upper, byte| upper | byte.is_ascii_uppercase());
            (!upper && text.len() == SHA256_LEN).then_some(Entry::Sha256(Cow::Borrowed(digits)))
        }
        _ => None,
    }
}

/// The length that every entry of `section` has, if they all have one.
#[inline]
pub(crate) fn length(section: Section) -> Option<usize> {
    match section {
        Section::DenyBinaryHash | Section::AllowBinaryHash | Section::TrustedExecHash => Some(SHA256_LEN),
        _ => None,
    }
}

fn inode_of(text: &[u8]) -> Option<Inode> {
    let (mut device, mut value) = (None, 0_u64);
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
        } else if *byte == b':' && device.is_none() {
            device = Some(u32::try_from(value).ok()?);
            value = 0;
        } else {
            return None;
        }
    }
    Some(Inode { device: device?, number: value })
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
    (prefix == b"sha256:" && bad == 0 && end == b"\n").then_some(SHA256_LEN)
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
    let (prefix_len, end) = prefix_len(rest, after(rest, at, b'/')?)?;
    let host_bits = u64::from(u32::MAX) >> prefix_len;
    (u64::from(address) & host_bits == 0).then_some(())?;
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
    // Nine digits of 32 bits and fifteen of 64 always fit.
    let at = number(rest, at, 9)?;
    let end = number(rest, after(rest, at, b':')?, 15)?;
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
    number(rest, 5, 15)
}

#[inline]
fn protocol(rest: &[u8], at: usize) -> Option<usize> {
    let name: &[u8; 4] = rest.get(at..)?.first_chunk()?;
    matches!(name, b":tcp" | b":udp" | b":any").then_some(at + 4)
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

#[inline]
fn after(rest: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*rest.get(at)? == byte).then_some(at + 1)
}

#[inline]
fn end_of_line(rest: &[u8], at: usize) -> Option<usize> {
    (*rest.get(at)? == b'\n').then_some(at)
}
