//! What has to be tried.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::sync::OnceLock;

use aegis_policy::Limits;
use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::MemfdFlags;

use super::{Answer, Attempt};
use crate::compile::{Canary, Mode, compile};
use crate::error::KernelError;
use crate::kernel::{Enforcement, Label, Options};
use crate::layout::FileId;
use crate::resolve::{HostResolver, Resolver as _};

/// Whether fanotify asks before a file is opened: a kernel that was built without it refuses the mark, not the group.
///
/// The mark is on a file in memory that has no name, so that nobody waits for an answer.
pub(super) fn fanotify() -> Answer {
    let Ok(file) = rustix::fs::memfd_create("aegis-probe", MemfdFlags::CLOEXEC) else {
        return Answer::Unknown;
    };
    let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
    let marked = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC).and_then(|group| {
        let mask = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_OPEN_EXEC_PERM;
        group.mark(MarkFlags::FAN_MARK_ADD, mask, &file, None::<&str>)
    });
    match marked {
        Ok(()) => Answer::Yes,
        Err(Errno::ENOSYS | Errno::EINVAL) => Answer::No,
        // Without privileges, or with too many groups of this user's already.
        Err(_) => Answer::Unknown,
    }
}

/// Whether the kernel asks BPF programs as a security module, found out by having one deny something: where `bpf` is not
/// in the list of security modules, programs load and attach just as well, and are never called.
pub(crate) fn bpf_lsm() -> Attempt {
    // Which modules a kernel has does not change while it runs; that a trial failed may.
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = FOUND.get().copied().map_or_else(denies, Ok);
    let bpf_lsm = match found {
        Ok(denied) => Answer::of(*FOUND.get_or_init(|| denied)),
        // Who may not load programs learns nothing from it.
        Err(_) if !super::privilege::read(std::path::Path::new("/")).contains(&super::Privilege::CapBpf) => {
            Answer::Unknown
        }
        Err(_) => Answer::No,
    };
    Attempt { bpf_lsm, ima_hashes: Answer::Unknown }
}

/// Puts a policy without rules in force, unpinned, whose canary is a file in memory without a name, and opens that.
fn denies() -> Result<bool, KernelError> {
    let system = |source: std::io::Error| KernelError::Pin {
        action: "try a canary in",
        path: "/proc/self/fd".into(),
        source,
    };
    let file = rustix::fs::memfd_create("aegis-canary", MemfdFlags::CLOEXEC)
        .map_err(|error| system(error.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| system(error.into()))?;
    let canary = Canary { file: Some(FileId::of_stat(stat.st_dev, stat.st_ino)) };
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::open(&again).map_err(system)?;
    let resolver = HostResolver::new();
    let empty =
        aegis_policy::parse(b"version=1\n", &Limits::default()).expect("a policy without rules is one");
    let compiled = compile(&empty, &resolver, Mode::Enforce, &canary);
    // The agent, should it run meanwhile, goes on changing what is its own.
    let programs = resolver.file("/proc/self/exe").into_iter().collect();
    let enforcement = Enforcement::load(&Options { lsm: true, programs, ..Options::default() })?;
    enforcement.swap(&compiled, &Label { version: None, sha256: [0; 32], now: 0 }, None)?;
    Ok(File::open(&again).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied))
}
