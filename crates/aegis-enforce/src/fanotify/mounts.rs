//! What is mounted where.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use crate::layout::FileId;
use crate::resolve::unescaped;

/// At most so much of `/proc/self/mountinfo` is read.
const MAX_MOUNTINFO: u64 = 16 << 20;

/// File systems of the kernel itself, which hold nothing that could be run.
const WITHOUT_PROGRAMS: [&str; 17] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// File systems whose files a server hands out, perhaps a user's own (FUSE). The kernel opens the file for us when we read
/// the event, so a server that does not answer would stop the answers to everybody.
const SERVED: [&str; 7] = ["fuse", "fuseblk", "nfs", "nfs4", "cifs", "smb3", "ceph"];

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// As in [`FileId`].
    pub(super) device: u32,
    pub(super) point: PathBuf,
    kind: String,
}

impl Mount {
    pub(super) fn has_no_programs(&self) -> bool {
        WITHOUT_PROGRAMS.contains(&self.kind.as_str())
    }

    pub(super) fn is_served(&self) -> bool {
        SERVED.contains(&self.kind.as_str()) || self.kind.starts_with("fuse.")
    }

    fn read(line: &str) -> Option<Self> {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw (proc_pid_mountinfo(5))
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
        let point = fields.nth(1)?;
        let kind = kind.split(' ').next()?.to_owned();
        Some(Self { device: FileId::of_stat(device, 0).device, point: PathBuf::from(unescaped(point)), kind })
    }
}

/// Every mount that this process can see.
pub(super) fn mounts() -> io::Result<Vec<Mount>> {
    let mut text = Vec::new();
    File::open("/proc/self/mountinfo")?.take(MAX_MOUNTINFO).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(Mount::read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_manual_says() {
        let mount =
            Mount::read(r"36 35 98:3 /mnt1 /a\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue")
                .expect("it is one");
        assert_eq!(
            mount,
            Mount { device: 98 << 20 | 3, point: PathBuf::from("/a b"), kind: "ext3".to_owned() }
        );
        assert!(Mount::read("36 35 98 /mnt1").is_none());
    }
}
