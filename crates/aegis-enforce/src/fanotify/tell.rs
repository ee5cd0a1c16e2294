//! A decision as an event, with what `/proc` knows of the process.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::opener::Opener;
use super::{Decision, Operation};
use crate::event::{
    self, CgroupRef, Event, FileRef, Outcome, Parent, PolicyRef, PolicyText, Process, Program, RuleRef,
    RuleSection, printable, stat_device,
};

/// Parents that are told of, as for events of the kernel.
const MAX_PARENTS: usize = 6;
/// At most so much of a file in `/proc` is read.
const MAX_TEXT: u64 = 64 << 10;

/// What was decided, by which policy. The process still waits for the answer, so `/proc` tells of
/// it; what it does not tell is left out.
pub(crate) fn event(
    decision: Decision,
    policy: PolicyRef,
    text: &PolicyText,
    groups: Option<&Path>,
) -> Event {
    let Decision { operation, denied, section, line, pid, inode, device, path, sha256 } = decision;
    let opener = Opener(pid);
    let known = inode != 0;
    Event {
        time: Timestamp::now(),
        operation: match operation {
            Operation::Open => event::Operation::Open,
            Operation::Exec => event::Operation::Exec,
        },
        outcome: if denied { Outcome::Denied } else { Outcome::Audited },
        rule: RuleRef {
            section: RuleSection::Policy(section),
            line: Some(line),
            entry: text.entry(line).map(str::to_owned),
        },
        policy,
        process: process(opener),
        parents: parents(opener),
        cgroup: cgroup(opener, groups),
        file: Some(FileRef {
            path: path.map(|path| printable(path.as_os_str().as_bytes())),
            path_errno: None,
            device: known.then(|| stat_device(device)),
            inode: known.then_some(inode),
            sha256,
        }),
        network: None,
        target_pid: None,
        bpf_command: None,
    }
}

fn process(opener: Opener) -> Process {
    let pid = u32::try_from(opener.0).unwrap_or(0);
    let (uid, gid) = ids(opener).unwrap_or_default();
    let exe = opener.program().map(|program| Program {
        path: fs::read_link(format!("/proc/{pid}/exe"))
            .ok()
            .map(|path| printable(path.as_os_str().as_bytes())),
        device: stat_device(program.id.device),
        inode: program.id.inode,
    });
    Process { pid, tid: pid, uid, gid, comm: comm(opener), exe }
}

/// Real user and group: `Uid:` and `Gid:` of `status`.
fn ids(opener: Opener) -> Option<(u32, u32)> {
    let text = read(opener, "status");
    let text = String::from_utf8_lossy(&text);
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some((of("Uid:")?, of("Gid:")?))
}

fn comm(opener: Opener) -> String {
    let text = read(opener, "comm");
    printable(text.strip_suffix(b"\n").unwrap_or(&text))
}

fn parents(opener: Opener) -> Vec<Parent> {
    let next = |child: &Opener| child.parent().filter(|pid| *pid > 0).map(Opener);
    let ancestors = std::iter::successors(next(&opener), next).take(MAX_PARENTS);
    ancestors
        .filter_map(|parent| Some(Parent { pid: u32::try_from(parent.0).ok()?, comm: comm(parent) }))
        .collect()
}

fn cgroup(opener: Opener, mount: Option<&Path>) -> CgroupRef {
    let Some(path) = opener.group() else { return CgroupRef { id: 0, path: None, above: Vec::new() } };
    let below = path.strip_prefix("/").unwrap_or(&path);
    let found = mount.and_then(|mount| mount.join(below).metadata().ok());
    let above = mount.and_then(|mount| event::numbers_above(mount, below)).unwrap_or_default();
    CgroupRef {
        id: found.map_or(0, |found| found.ino()),
        path: Some(printable(path.as_os_str().as_bytes())),
        above,
    }
}

fn read(opener: Opener, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if opener.0 > 0
        && let Ok(file) = File::open(format!("/proc/{}/{file}", opener.0))
    {
        let _ = file.take(MAX_TEXT).read_to_end(&mut bytes);
    }
    bytes
}
