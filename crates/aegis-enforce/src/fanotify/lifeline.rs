//! The worker's end of the socket to its supervisor.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketType;

use super::error::{RunError, SuperviseError};
use super::group::{Event, Group};
use super::listener::{Fanotify, OnDecision};
use super::message::{Held, Message, receive, send};
use super::stop::Stop;
use super::supervisor::SUPERVISED;

const PEER: &str = "the supervisor";

/// Holds the groups of a worker beyond its end.
#[derive(Debug)]
pub struct Lifeline {
    /// One question at a time.
    socket: Mutex<OwnedFd>,
}

impl Lifeline {
    /// The supervisor of this process, if [`supervise`](super::supervise) started it. Its socket is the standard input.
    ///
    /// # Errors
    ///
    /// The environment says so, and the standard input is no such socket.
    pub fn inherited() -> Result<Option<Self>, SuperviseError> {
        if std::env::var_os(SUPERVISED).is_none_or(|value| value != "1") {
            return Ok(None);
        }
        let fault = |source: io::Error| SuperviseError::Socket { peer: PEER, source };
        let socket = io::stdin().as_fd().try_clone_to_owned().map_err(fault)?;
        let kind = rustix::net::sockopt::socket_type(&socket).map_err(|error| fault(error.into()))?;
        if kind != SocketType::SEQPACKET {
            return Err(SuperviseError::Unexpected { peer: PEER });
        }
        Ok(Some(Self { socket: Mutex::new(socket) }))
    }

    /// Has the supervisor hold a new policy's group, so that it outlives this process. To be called before it runs.
    ///
    /// # Errors
    ///
    /// The supervisor did not say that it does.
    pub fn hold(&self, fanotify: &Fanotify) -> Result<(), SuperviseError> {
        fanotify.set_supervised();
        self.ask(Message::Hold(fanotify.mode()), Some(fanotify.group()))?;
        Ok(())
    }

    /// Runs a policy that is [held](Self::hold): the first of this process. Who waits since the process before it ended
    /// is answered by this policy.
    ///
    /// # Errors
    ///
    /// As [`Fanotify::run`]; or the supervisor spoke nonsense.
    pub fn run(
        &self,
        fanotify: &Fanotify,
        stop: &Stop,
        on_decision: OnDecision<'_>,
    ) -> Result<Result<(), SuperviseError>, RunError> {
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| {
                let taken = self.take_over(fanotify, on_decision);
                // Without it, another worker does better.
                if taken.is_err() {
                    stop.request();
                }
                taken
            });
            let ran = fanotify.run(stop, on_decision);
            let taken = taken.join().unwrap_or(Err(SuperviseError::Unexpected { peer: "this process" }));
            ran.map(|()| taken)
        })
    }

    /// Whether the supervisor still holds what it was given. Without it, enforcement ends with this process.
    pub fn is_alive(&self) -> bool {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fds = [PollFd::new(&*socket, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready == 0)
    }

    /// As [`Fanotify::replace`], for a new policy that is [held](Self::hold).
    ///
    /// # Errors
    ///
    /// As there; or the supervisor spoke nonsense.
    pub fn replace(
        &self,
        new: &Fanotify,
        old: Fanotify,
        on_decision: OnDecision<'_>,
    ) -> Result<Result<(), SuperviseError>, RunError> {
        new.drain(old.group(), on_decision)?;
        let closed = self.ask(Message::CloseOthers, None).map(drop);
        drop(old);
        Ok(closed)
    }

    fn take_over(&self, fanotify: &Fanotify, on_decision: OnDecision<'_>) -> Result<(), SuperviseError> {
        let (groups, events) = self.ask(Message::Ready, None)?;
        // First what the supervisor has read: its numbers and ours would mix otherwise.
        fanotify.answer(events, on_decision);
        for group in groups {
            // A group that cannot be read is closed all the same: the new one asks about the same files.
            let _ = fanotify.drain(&group, on_decision);
        }
        self.ask(Message::CloseOthers, None)?;
        Ok(())
    }

    /// Asks, and takes what comes until the answer is done.
    fn ask(
        &self,
        message: Message,
        group: Option<&Group>,
    ) -> Result<(Vec<Group>, Vec<Event>), SuperviseError> {
        let fault = |source: io::Error| SuperviseError::Socket { peer: PEER, source };
        let unexpected = || SuperviseError::Unexpected { peer: PEER };
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        send(&*socket, message, group.map(Group::as_fd)).map_err(fault)?;
        let (mut groups, mut events) = (Vec::new(), Vec::new());
        loop {
            match receive(&*socket).map_err(fault)?.ok_or_else(unexpected)? {
                (Message::Done, None) => return Ok((groups, events)),
                (Message::Group, Some(fd)) => groups.push(Group::of(fd)),
                (Message::Held(Held { group, exec, number, pid }), Some(file)) => {
                    let group: &Group = groups.get(usize::from(group)).ok_or_else(unexpected)?;
                    events.push(Event::passed(group.clone(), number, file, exec, pid));
                }
                _ => return Err(unexpected()),
            }
        }
    }
}
