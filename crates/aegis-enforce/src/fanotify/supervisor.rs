//! Holds the groups of a worker and starts it anew when it dies, so that who opens something meanwhile waits.
//!
//! While there is no worker, the supervisor reads events, since the new worker's own must be answered before it can do so
//! itself: running a program is one of the things that are watched. Those of others it keeps, and passes them on.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::error::SuperviseError;
use super::group::{Answer, Event, Group, Next};
use super::message::{Held, Message, receive, send};
use super::opener::Opener;
use super::stop::Stop;
use crate::compile::Mode;

/// Tells the worker that its standard input is the socket of its supervisor.
pub(super) const SUPERVISED: &str = "AEGIS_FANOTIFY_SUPERVISED";

const PEER: &str = "the worker";
/// At most so many events are kept for the next worker.
const MAX_HELD: usize = 256;
/// At most so many groups are held: those of policies whose swap a worker did not survive.
const MAX_GROUPS: usize = 16;
/// Waits between starts: the first, the longest after a worker that was at work, and after one that never came so far.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_IDLE_WAIT: Duration = Duration::from_secs(2);
/// A worker that lived so long is no reason to wait.
const LIVED: Duration = Duration::from_secs(5);
/// How long a worker may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a supervisor tells.
#[derive(Debug)]
pub enum Happened<'a> {
    /// A worker was started.
    Started {
        /// Its process.
        pid: u32,
    },
    /// The worker has ended, and is to be started anew.
    Ended {
        /// How.
        status: ExitStatus,
        /// Events that it had read and not answered; they were answered for it.
        unanswered: u64,
    },
    /// It could not be started; that is tried again.
    NotStarted {
        /// Why.
        error: &'a SuperviseError,
    },
}

/// Runs `command` until it ends by itself with status 0, or `stop`; started anew whenever it ends otherwise. Returns how
/// it ended.
///
/// The worker finds the supervisor with [`Lifeline::inherited`](super::Lifeline::inherited). Its standard input is taken
/// for that. This process must have no other children: what a child of it opens before the worker is ready is allowed.
///
/// # Errors
///
/// The first start fails, or no descriptor is left. Once a policy is held, starting is tried for ever.
pub fn supervise(
    command: &mut Command,
    stop: &Stop,
    tell: &mut dyn FnMut(Happened<'_>),
) -> Result<ExitStatus, SuperviseError> {
    let fault = |source: io::Error| SuperviseError::Socket { peer: PEER, source };
    let mut held = HeldGroups::default();
    let mut wait = FIRST_WAIT;
    loop {
        // Before anything that could open a file: nobody else would answer.
        let mut keeper = Keeper::start(&mut held).map(Some).map_err(fault)?;
        let started = Instant::now();
        let ended = run_once(command, stop, &mut held, &mut keeper, tell);
        if let Ok(Ended { status, for_good: true }) = ended {
            drop(keeper.map(Keeper::end));
            return Ok(status);
        }
        let longest = if keeper.is_none() { LONGEST_WAIT } else { LONGEST_IDLE_WAIT };
        let unanswered = held.bury(keeper);
        let keeper = Keeper::start(&mut held).map_err(fault)?;
        match ended {
            Ok(Ended { status, .. }) => tell(Happened::Ended { status, unanswered }),
            Err(error) if held.groups.is_empty() => {
                drop(keeper.end());
                return Err(error);
            }
            Err(error) => tell(Happened::NotStarted { error: &error }),
        }
        if started.elapsed() > LIVED {
            wait = FIRST_WAIT;
        }
        let goes_on = sleep(wait.min(longest), stop);
        held.kept = keeper.end();
        if !goes_on {
            return Ok(ExitStatus::from_raw(0));
        }
        wait = (wait * 2).min(longest);
    }
}

/// The groups, oldest first.
#[derive(Debug, Default)]
struct HeldGroups {
    groups: Vec<Group>,
    /// How many of them are of workers before this one.
    of_others: usize,
    mode: Option<Mode>,
    /// Events that were read while there was no worker, and the group of each.
    kept: Vec<(u8, Event)>,
}

impl HeldGroups {
    /// What is answered where nobody can decide.
    fn answer(&self) -> Answer {
        if self.mode == Some(Mode::Audit) { Answer::Allow } else { Answer::Deny }
    }

    /// Answers what a worker has read and left unanswered. `keeper`, if it never said that it was ready. Returns how many
    /// events there were.
    fn bury(&mut self, keeper: Option<Keeper>) -> u64 {
        // A worker that was not ready read nothing but its own groups; the others' events are with the keeper.
        let read = if keeper.is_some() { self.of_others } else { 0 };
        self.kept = keeper.map(Keeper::end).unwrap_or_default();
        self.of_others = self.groups.len();
        let answer = self.answer();
        self.groups.iter().skip(read).map(|group| group.answer_for_the_dead(answer)).sum()
    }
}

/// How a worker ended.
struct Ended {
    status: ExitStatus,
    /// It is not to be started anew.
    for_good: bool,
}

fn run_once(
    command: &mut Command,
    stop: &Stop,
    held: &mut HeldGroups,
    keeper: &mut Option<Keeper>,
    tell: &mut dyn FnMut(Happened<'_>),
) -> Result<Ended, SuperviseError> {
    let fault = |error: io::Error| SuperviseError::Socket { peer: PEER, source: error };
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| fault(error.into()))?;
    let spawned = command.env(SUPERVISED, "1").stdin(Stdio::from(theirs)).spawn();
    // Or the command would hold the worker's end open, and its end would not be seen.
    command.stdin(Stdio::null());
    let program = || PathBuf::from(command.get_program());
    let mut child = spawned.map_err(|source| SuperviseError::Spawn { program: program(), source })?;
    tell(Happened::Started { pid: child.id() });
    let result = attend(&mut child, &ours, stop, held, keeper);
    if result.is_err() {
        // It speaks nonsense; the next one may not.
        let _ = child.kill();
    }
    let stopped = matches!(result, Ok(true));
    let status = if stopped { end(&mut child) } else { child.wait() }.map_err(fault)?;
    Ok(Ended { status, for_good: stopped || (status.success() && result.is_ok()) })
}

/// Answers the worker until it ends. True: because of `stop`.
fn attend(
    child: &mut Child,
    socket: &OwnedFd,
    stop: &Stop,
    held: &mut HeldGroups,
    keeper: &mut Option<Keeper>,
) -> Result<bool, SuperviseError> {
    let fault = |error: io::Error| SuperviseError::Socket { peer: PEER, source: error };
    let life = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(|error| fault(error.into()))?;
    loop {
        let mut fds = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&life, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(fault(error.into())),
        }
        let [said, dead, _] = fds.map(|fd| !fd.revents().is_empty());
        if stop.requested() {
            return Ok(true);
        }
        // A group that it passed on and did not live to use is one more to hold: so first what it said.
        if said {
            match receive(socket).map_err(fault)? {
                Some((message, with)) => answer(socket, message, with, held, keeper)?,
                // It has closed its end, and will be gone.
                None if dead => return Ok(false),
                None => return Err(SuperviseError::Unexpected { peer: PEER }),
            }
        } else if dead {
            return Ok(false);
        }
    }
}

fn answer(
    socket: &OwnedFd,
    message: Message,
    with: Option<OwnedFd>,
    held: &mut HeldGroups,
    keeper: &mut Option<Keeper>,
) -> Result<(), SuperviseError> {
    // The worker may have died meanwhile; then the next look at it says so.
    let say = |message, with| {
        let _ = send(socket, message, with);
    };
    match (message, with) {
        (Message::Hold(mode), Some(group)) if held.groups.len() < MAX_GROUPS => {
            held.groups.push(Group::of(group));
            held.mode = Some(mode);
        }
        (Message::Ready, None) => {
            // From now on nobody but the worker reads.
            let events = keeper.take().map(Keeper::end).unwrap_or_default();
            for group in held.groups.iter().take(held.of_others) {
                say(Message::Group, Some(group.as_fd()));
            }
            for (group, event) in events {
                pass_on(socket, group, event);
            }
        }
        (Message::CloseOthers, None) => {
            let others = held.groups.len().saturating_sub(1);
            held.groups.drain(..others);
            held.of_others = 0;
        }
        _ => return Err(SuperviseError::Unexpected { peer: PEER }),
    }
    say(Message::Done, None);
    Ok(())
}

/// Gives an event to the worker, which then has to answer it.
fn pass_on(socket: &OwnedFd, group: u8, event: Event) {
    let held = Held { group, exec: event.exec, number: event.number(), pid: event.pid };
    let sent = event.open().and_then(|file| send(socket, Message::Held(held), Some(file.as_fd())));
    if sent.is_ok() {
        event.leave();
    }
}

/// Asks the worker to end; makes it, if it does not.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let _ = rustix::process::kill_process(Pid::from_child(child), Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait()
}

/// False: `stop` came.
fn sleep(time: Duration, stop: &Stop) -> bool {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 0 };
    let timeout = Timespec::try_from(time).unwrap_or(timeout);
    let _ = poll(&mut [PollFd::new(stop, PollFlags::IN)], Some(&timeout));
    !stop.requested()
}

/// Reads events while there is no worker.
struct Keeper {
    stop: Stop,
    thread: JoinHandle<Vec<(u8, Event)>>,
}

impl Keeper {
    /// Reads all that is held, and goes on with what was kept before.
    fn start(held: &mut HeldGroups) -> io::Result<Self> {
        let stop = Stop::new()?;
        let (groups, answer, seen) = (held.groups.clone(), held.answer(), stop.clone());
        let kept = std::mem::take(&mut held.kept);
        let thread = std::thread::Builder::new().name("aegis-keeper".to_owned());
        let thread = thread.spawn(move || keep(&groups, kept, answer, &seen))?;
        Ok(Self { stop, thread })
    }

    /// What is left to be answered.
    fn end(self) -> Vec<(u8, Event)> {
        self.stop.request();
        self.thread.join().unwrap_or_default()
    }
}

fn keep(groups: &[Group], mut kept: Vec<(u8, Event)>, answer: Answer, stop: &Stop) -> Vec<(u8, Event)> {
    let this = rustix::process::getpid().as_raw_nonzero().get();
    while !stop.requested() {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(groups.iter().map(|group| PollFd::new(group, PollFlags::IN)));
        if !matches!(poll(&mut fds, None), Ok(_) | Err(Errno::INTR)) {
            break;
        }
        for (index, group) in (0..).zip(groups) {
            while !stop.requested() {
                let mut event = match group.next() {
                    Ok(Next::Event(event)) => event,
                    Ok(Next::Unread | Next::Overflow) => continue,
                    Ok(Next::Empty) => break,
                    Err(_) => return kept,
                };
                if event.pid == this || Opener(event.pid).parent() == Some(this) {
                    event.answer(Answer::Allow);
                    continue;
                }
                event.fallback = answer;
                if kept.len() < MAX_HELD {
                    kept.push((index, event));
                }
            }
        }
    }
    kept
}
