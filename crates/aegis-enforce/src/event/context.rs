//! What a record does not say, and the host may still know.
//!
//! Everything here is asked after the event: a process may be gone, another may have its number, a control group may
//! have been removed. What cannot be shown to belong to the event is left out.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use aegis_crypto::Digest;
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::time::{ClockId, clock_gettime};

use super::cgroup::{Cgroups, Found};
use super::record::{FileNumbers, Record, RecordPath};
use super::text::{printable, stat_device};
use super::{
    BpfCommand, CgroupRef, Event, FileRef, NetworkRef, Operation, Parent, PolicyRef, PolicyText, Process,
    Program, RuleRef, RuleSection, Transport, stamp,
};

/// Policies that are remembered: the one in force, those before it whose events may still be on their way.
const MAX_POLICIES: usize = 8;
/// The longest path that is taken from `/proc`; the kernel gives none that is longer.
const MAX_PATH: usize = 4096;

/// The time of day at which the clock of the records began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootClock {
    /// Nanoseconds.
    began: i128,
}

impl BootClock {
    /// Compares the two clocks. A later change of the time of day (`ntpd` that steps it, an administrator) does not
    /// reach events any more: they keep their order and distances.
    pub fn measure() -> Self {
        let nanoseconds = |clock| {
            let time = clock_gettime(clock);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        };
        // Of several tries the one that was interrupted least tells most.
        let tries = (0..5).map(|_| {
            let before = nanoseconds(ClockId::Boottime);
            let now = nanoseconds(ClockId::Realtime);
            let after = nanoseconds(ClockId::Boottime);
            (after - before, now - (before + after) / 2)
        });
        Self { began: tries.min().map_or(0, |(_, began)| began) }
    }

    /// The machine started at this time.
    pub fn starting_at(time: Timestamp) -> Self {
        Self { began: time.as_nanosecond() }
    }

    /// The time of day of a record; a time that cannot be written becomes the last one that can.
    pub(super) fn time_of_day(self, since_boot: u64) -> Timestamp {
        let time = Timestamp::from_nanosecond(self.began.saturating_add(i128::from(since_boot)));
        stamp::to_millisecond(time.unwrap_or(Timestamp::MAX))
    }
}

/// A policy that is or was in force.
#[derive(Debug, Clone, Default)]
pub struct KnownPolicy {
    /// Its version, if it was signed.
    pub version: Option<u64>,
    /// The digest of its text.
    pub sha256: Option<Digest>,
    /// Its text, for the entries of rules.
    pub text: Option<PolicyText>,
}

/// What completes a record. One lives as long as the reader of the ring buffer.
#[derive(Debug)]
pub struct Context {
    clock: BootClock,
    /// Where `/proc` is.
    proc: PathBuf,
    policies: Mutex<BTreeMap<u64, KnownPolicy>>,
    cgroups: Option<Mutex<Cgroups>>,
}

impl Context {
    /// This host. `cgroup_mount` is where control groups of version 2 are mounted, `/sys/fs/cgroup` as a rule.
    pub fn of_host(clock: BootClock, cgroup_mount: Option<&Path>) -> Self {
        Self {
            clock,
            proc: PathBuf::from("/proc"),
            policies: Mutex::default(),
            cgroups: cgroup_mount.map(|mount| Mutex::new(Cgroups::new(mount))),
        }
    }

    /// A reader that knows the time and asks nothing of a host.
    pub fn of_clock(clock: BootClock) -> Self {
        Self { clock, proc: PathBuf::new(), policies: Mutex::default(), cgroups: None }
    }

    /// Takes `/proc` from somewhere else.
    #[cfg(test)]
    pub(super) fn with_proc(mut self, proc: &Path) -> Self {
        self.proc = proc.to_owned();
        self
    }

    /// Says which policy a generation is. The oldest ones are forgotten.
    pub fn remember(&self, generation: u64, policy: KnownPolicy) {
        let Ok(mut policies) = self.policies.lock() else { return };
        policies.insert(generation, policy);
        while policies.len() > MAX_POLICIES {
            policies.pop_first();
        }
    }

    /// A record, with all that this host knows.
    pub(super) fn complete(&self, record: &Record<'_>) -> Event {
        let (policy, entry) = self.policy(record.generation, record.line);
        let Record { operation, pid, file, path, target, .. } = *record;
        let network = operation.is_on_socket().then(|| NetworkRef {
            address: record.address,
            port: record.port,
            protocol: record.protocol.unwrap_or(Transport::Other),
        });
        Event {
            time: self.clock.time_of_day(record.time),
            operation,
            outcome: record.outcome,
            rule: RuleRef {
                section: record.section,
                line: Some(record.line).filter(|line| *line > 0),
                entry: entry.filter(|_| record.section != RuleSection::Agent),
            },
            policy,
            process: Process {
                pid,
                tid: record.tid,
                uid: record.uid,
                gid: record.gid,
                comm: printable(record.comm),
                exe: self.program(pid, record.exe),
            },
            parents: record
                .parents
                .iter()
                .map(|(pid, comm)| Parent { pid: *pid, comm: printable(comm) })
                .collect(),
            cgroup: self.cgroup(record.cgroup, pid),
            file: file_of(operation, file, path, record.hash),
            network,
            target_pid: (operation == Operation::Ptrace).then_some(target),
            bpf_command: (operation == Operation::Bpf).then(|| BpfCommand::of(target)),
        }
    }

    fn policy(&self, generation: u64, line: u32) -> (PolicyRef, Option<String>) {
        let unknown = PolicyRef { generation, version: None, sha256: None };
        let Ok(policies) = self.policies.lock() else { return (unknown, None) };
        let Some(KnownPolicy { version, sha256, text }) = policies.get(&generation) else {
            return (unknown, None);
        };
        let entry = text.as_ref().and_then(|text| text.entry(line)).map(str::to_owned);
        (PolicyRef { generation, version: *version, sha256: *sha256 }, entry)
    }

    /// The program of a process, with its path if it still runs the very same.
    fn program(&self, pid: u32, numbers: FileNumbers) -> Option<Program> {
        if numbers.inode == 0 {
            return None;
        }
        let device = stat_device(numbers.device);
        Some(Program { path: self.program_path(pid, device, numbers.inode), device, inode: numbers.inode })
    }

    fn program_path(&self, pid: u32, device: u32, inode: u64) -> Option<String> {
        if self.proc.as_os_str().is_empty() {
            return None;
        }
        let link = self.proc.join(pid.to_string()).join("exe");
        let path = fs::read_link(&link).ok()?;
        // Following the link of `/proc` leads to the file itself, whatever its name says by now. What the kernel knows of it
        // is enough: a file system whose server is a program (FUSE) could keep whoever asks it waiting for ever.
        let found = statx(CWD, &link, AtFlags::STATX_DONT_SYNC, StatxFlags::INO).ok()?;
        let (major, minor) = (found.stx_dev_major, found.stx_dev_minor);
        // Some file systems (btrfs, overlay) show a device of their own, whose major number is 0.
        let same_device = major == 0 || rustix::fs::makedev(major, minor) == u64::from(device);
        let path = path.as_os_str().as_bytes();
        (found.stx_ino == inode && same_device && path.len() <= MAX_PATH).then(|| printable(path))
    }

    fn cgroup(&self, id: u64, pid: u32) -> CgroupRef {
        let listing = self.proc.join(pid.to_string()).join("cgroup");
        let found = self.cgroups.as_ref().and_then(|cgroups| cgroups.lock().ok()?.find(id, &listing));
        match found {
            Some(Found { path, above }) => {
                CgroupRef { id, path: Some(printable(path.as_os_str().as_bytes())), above }
            }
            None => CgroupRef { id, path: None, above: Vec::new() },
        }
    }
}

fn file_of(
    operation: Operation,
    numbers: FileNumbers,
    path: RecordPath<'_>,
    hash: Option<[u8; 32]>,
) -> Option<FileRef> {
    let FileNumbers { inode, device } = numbers;
    let (path, path_errno) = match path {
        RecordPath::None => (None, None),
        RecordPath::Is(path) => (Some(printable(path)), None),
        RecordPath::Error(number) => (None, Some(number)),
    };
    // The agent's own are maps and mounts, too, which are no files.
    if !operation.is_on_file() && path.is_none() && inode == 0 {
        return None;
    }
    Some(FileRef {
        path,
        path_errno,
        device: (inode != 0).then(|| stat_device(device)),
        inode: (inode != 0).then_some(inode),
        sha256: hash.map(Digest::from_bytes),
    })
}
