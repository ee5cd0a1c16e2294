//! A fanotify group: events are read from it one at a time, and each gets an answer.
//!
//! The kernel knows an unanswered event by the number that its descriptor had in the process that read it, and keeps it
//! when that process dies, as long as somebody holds the group. So whoever holds it can answer for the dead, by trying
//! all numbers: [`Group::answer_for_the_dead`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::fanotify::{EventFFlags, Fanotify as Marker, InitFlags, MaskFlags};
use rustix::io::Errno;

/// `struct fanotify_event_metadata`
const METADATA: usize = 24;
const VERSION: u8 = 3;
const ALLOW: u32 = 1;
const DENY: u32 = 2;
/// At most so many numbers are tried.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// What the kernel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Allow,
    Deny,
}

/// The group. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Group(Arc<OwnedFd>);

/// An event that waits for its answer. Dropped without one, it gets the answer that it was last meant to get.
#[derive(Debug)]
pub(super) struct Event {
    group: Group,
    /// By which the kernel knows it.
    number: i32,
    file: EventFile,
    pub(super) exec: bool,
    /// The process that waits; 0 if it cannot be seen from here.
    pub(super) pid: i32,
    /// What is answered if nobody does.
    pub(super) fallback: Answer,
    answered: bool,
}

#[derive(Debug)]
enum EventFile {
    /// As the kernel put it into the table of this process.
    Raw(RawFd),
    /// As another process passed it on.
    Passed(OwnedFd),
}

/// What reading gave.
#[derive(Debug)]
pub(super) enum Next {
    Event(Event),
    /// Nothing waits.
    Empty,
    /// The queue was too short once: the kernel allowed what it had no room for.
    Overflow,
    /// The kernel could not open the file for us, and has denied it itself.
    Unread,
}

impl Group {
    /// A new group, and the handle that marks for it.
    pub(super) fn new() -> io::Result<(Self, Marker)> {
        // Without a limit, since what does not fit into the queue is allowed. Not blocking: several threads may wait
        // for one group, and opening a FIFO for us must not wait for its other end.
        let flags = InitFlags::FAN_CLASS_CONTENT
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | InitFlags::FAN_UNLIMITED_MARKS;
        let files = EventFFlags::O_RDONLY
            | EventFFlags::O_LARGEFILE
            | EventFFlags::O_CLOEXEC
            | EventFFlags::O_NONBLOCK
            | EventFFlags::O_NOATIME;
        let marker = Marker::init(flags, files)?;
        let fd = marker.as_fd().try_clone_to_owned()?;
        Ok((Self::of(fd), marker))
    }

    /// A group that another process made.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }

    /// Reads one event, and no more: whatever was read dies with its reader.
    pub(super) fn next(&self) -> io::Result<Next> {
        let mut bytes = [0_u8; METADATA];
        let length = match rustix::io::read(&*self.0, &mut bytes) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Next::Empty),
            Err(error @ (Errno::BADF | Errno::INVAL | Errno::FAULT | Errno::ISDIR)) => {
                return Err(error.into());
            }
            Err(_) => return Ok(Next::Unread),
        };
        let metadata = Metadata::read(&bytes).filter(|metadata| {
            length == METADATA && metadata.length as usize == METADATA && metadata.version == VERSION
        });
        let Some(metadata) = metadata else { return Err(Errno::PROTO.into()) };
        if metadata.fd < 0 {
            return Ok(Next::Overflow);
        }
        Ok(Next::Event(Event {
            group: self.clone(),
            number: metadata.fd,
            file: EventFile::Raw(metadata.fd),
            exec: metadata.mask & MaskFlags::FAN_OPEN_EXEC_PERM.bits() != 0,
            pid: metadata.pid,
            fallback: Answer::Allow,
            answered: false,
        }))
    }

    /// How many events wait now.
    pub(super) fn waiting(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(&*self.0)? / METADATA as u64)
    }

    /// Answers every event that a process has read and not answered before it died. Nobody else may be reading meanwhile.
    /// Returns how many there were.
    pub(super) fn answer_for_the_dead(&self, answer: Answer) -> u64 {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = i32::try_from(limit.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS)).unwrap_or(i32::MAX);
        let mut answered = 0;
        for number in 0..limit {
            while self.write(number, answer).is_ok() {
                answered += 1;
            }
        }
        answered
    }

    /// How many marks the kernel has for it.
    pub(super) fn marks(&self) -> io::Result<usize> {
        use std::io::BufRead as _;
        use std::os::fd::AsRawFd as _;
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        let lines = io::BufReader::new(std::fs::File::open(path)?).lines();
        let mut marks = 0;
        for line in lines {
            // The first such line is about the group itself.
            marks += usize::from(line?.starts_with("fanotify "));
        }
        Ok(marks.saturating_sub(1))
    }

    fn write(&self, number: i32, answer: Answer) -> Result<(), Errno> {
        let answer = match answer {
            Answer::Allow => ALLOW,
            Answer::Deny => DENY,
        };
        let mut bytes = [0_u8; 8];
        let (first, second) = bytes.split_at_mut(4);
        first.copy_from_slice(&number.to_ne_bytes());
        second.copy_from_slice(&answer.to_ne_bytes());
        loop {
            match rustix::io::write(&*self.0, &bytes) {
                Err(Errno::INTR) => {}
                other => return other.map(drop),
            }
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Event {
    /// An event that another process has read and passed on.
    pub(super) fn passed(group: Group, number: i32, file: OwnedFd, exec: bool, pid: i32) -> Self {
        let file = EventFile::Passed(file);
        Self { group, number, file, exec, pid, fallback: Answer::Allow, answered: false }
    }

    /// By which the kernel knows it.
    pub(super) fn number(&self) -> i32 {
        self.number
    }

    /// A path that is the file itself, whatever has become of its name. Looking it up is no opening.
    pub(super) fn link(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        let number = match &self.file {
            EventFile::Raw(number) => *number,
            EventFile::Passed(fd) => fd.as_raw_fd(),
        };
        PathBuf::from(format!("/proc/self/fd/{number}"))
    }

    /// A descriptor of the file. What is read through it makes no event.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        match &self.file {
            EventFile::Raw(number) => own_descriptor(*number),
            EventFile::Passed(fd) => fd.try_clone(),
        }
    }

    /// Leaves the answer to another process.
    pub(super) fn leave(mut self) {
        self.answered = true;
    }

    /// Lets the process go on.
    pub(super) fn answer(mut self, answer: Answer) {
        self.fallback = answer;
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.answered {
            self.answered = true;
            // It fails only if the process was killed while it waited.
            let _ = self.group.write(self.number, self.fallback);
        }
        if let EventFile::Raw(number) = self.file {
            // Ours since it was read, and closed here alone.
            let _ = nix::unistd::close(number);
        }
    }
}

/// A descriptor that the kernel or a parent put into the table of this process as a bare number.
fn own_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    let this = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    Ok(rustix::process::pidfd_getfd(this, number, rustix::process::PidfdGetfdFlags::empty())?)
}

struct Metadata {
    length: u32,
    version: u8,
    mask: u64,
    fd: i32,
    pid: i32,
}

impl Metadata {
    fn read(bytes: &[u8; METADATA]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (head, rest) = rest.split_first_chunk::<4>()?;
        let (mask, rest) = rest.split_first_chunk::<8>()?;
        let (fd, rest) = rest.split_first_chunk::<4>()?;
        let (pid, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            length: u32::from_ne_bytes(*length),
            version: *head.first()?,
            mask: u64::from_ne_bytes(*mask),
            fd: i32::from_ne_bytes(*fd),
            pid: i32::from_ne_bytes(*pid),
        })
    }
}
