//! `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`): what is mounted, and where.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Where the whole of the first file system of this type is mounted.
pub(super) fn first(mountinfo: &[u8], kind: &str) -> Option<PathBuf> {
    mountinfo.split(|byte| *byte == b'\n').find_map(|line| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
        (behind.next()? == kind.as_bytes() && root == b"/").then(|| unescaped(at))
    })
}

/// Spaces and the like stand there as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let code = behind.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(3..).unwrap_or_default() } else { behind };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_of_a_type_and_nothing_in_what_is_no_mountinfo() {
        let text = b"22 1 0:20 / /proc rw - proc proc rw\n\
            30 1 0:26 /below /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n\
            31 1 0:26 / /mnt/a\\040b\\134 rw shared:4 master:1 - cgroup2 cgroup2 rw\n";
        assert_eq!(first(text, "cgroup2"), Some(PathBuf::from("/mnt/a b\\")));
        assert_eq!(first(text, "bpf"), None);
        for hostile in
            [&b""[..], b"\n\n", b"1 2 3 / / - ", b" - cgroup2", b"1 2 3 / /x\\777 rw - cgroup", b"-"]
        {
            assert_eq!(first(hostile, "cgroup2"), None);
        }
    }
}
