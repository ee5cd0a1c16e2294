//! What has to be tried.

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::MemfdFlags;

use super::Answer;

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
