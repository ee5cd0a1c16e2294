//! Answers whoever opens and runs something.
//!
//! One thread reads events and answers at once what it can; threads of their own read programs. So the thread that reads
//! events never opens a file, and an event that this process itself causes is always answered.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aegis_crypto::Digest;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::error::{RunError, StartError};
use super::group::{Answer, Event, Group, Next};
use super::interpreter::Expected;
use super::marks::Marks;
use super::measure::Measures;
use super::names::Names;
use super::opener::Opener;
use super::questions::{CloseAtEnd, Question, Questions, Use};
use super::rules::{FanotifyRules, GroupName, Origin};
use super::stop::Stop;
use super::subject::Subject;
use super::{Decision, Operation};
use crate::compile::Mode;
use crate::resolve::group_mount;

/// So many threads read programs.
const READERS: usize = 2;
/// What the kernel sees of a program's name.
const COMM_LEN: usize = 15;

/// Who is told of decisions, from several threads. While it is at work, somebody waits: it has to be quick.
pub type OnDecision<'a> = &'a (dyn Fn(Decision) + Sync);

/// A policy in force by fanotify: a group of its own, with all marks set.
#[derive(Debug)]
pub struct Fanotify {
    group: Group,
    rules: FanotifyRules,
    watched: Mutex<Watched>,
    inotify: Arc<OwnedFd>,
    /// Becomes ready when something was mounted.
    mounts: File,
    unmarked: Vec<PathBuf>,
    groups: Option<PathBuf>,
    measures: Measures,
    expected: Expected,
    supervised: AtomicBool,
    counts: Counts,
}

#[derive(Debug)]
struct Watched {
    marks: Marks,
    names: Names,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    denied: AtomicU64,
    audited: AtomicU64,
    unmeasured: AtomicU64,
    overloaded: AtomicU64,
    unread: AtomicU64,
    overflows: AtomicU64,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct FanotifyCounters {
    /// Questions that were answered.
    pub answered: u64,
    /// Of those, denied.
    pub denied: u64,
    /// Allowed, though a rule denies it: in audit mode, or for a section that is only watched.
    pub audited: u64,
    /// Programs that could not be read.
    pub unmeasured: u64,
    /// Questions beyond those that may wait for a program to be read.
    pub overloaded: u64,
    /// Questions that the kernel denied itself, since it could not open the file for this process.
    pub unread: u64,
    /// How often the queue was too short; the kernel allows what does not fit.
    pub overflows: u64,
    /// How often a file that came later could not be marked.
    pub faults: u64,
}

/// When to stop reading.
enum Until<'a> {
    Stopped(&'a Stop),
    /// So many were read, or none waits.
    Read(u64),
}

impl Fanotify {
    /// Makes a group, sets every mark, and compares what the kernel has with what was meant. From here on whoever opens
    /// what is marked waits until [`run`](Self::run) answers.
    ///
    /// # Errors
    ///
    /// Something could not be marked or watched. Then nothing is in force.
    pub fn start(rules: FanotifyRules) -> Result<Self, StartError> {
        let (group, marker) = Group::new().map_err(|source| StartError::Group { source })?;
        let mounts = File::open("/proc/self/mountinfo").map_err(|source| StartError::Mounts { source })?;
        let mut marks = Marks::new(marker);
        let mut names = Names::new(&rules.paths)?;
        let unmarked = marks.filesystems(&rules)?;
        names.refresh_all(&mut marks)?;
        // A file that goes away meanwhile takes its mark with it, so a second look has the last word.
        for last in [false, true] {
            let found = group.marks().map_err(|source| StartError::Group { source })?;
            let meant = marks.count();
            if found >= meant {
                break;
            }
            if last {
                return Err(StartError::Unmarked { found, meant });
            }
            marks.forget_inodes();
            names.refresh_all(&mut marks)?;
        }
        Ok(Self {
            inotify: names.inotify(),
            group,
            rules,
            watched: Mutex::new(Watched { marks, names }),
            mounts,
            unmarked,
            groups: group_mount(),
            measures: Measures::default(),
            expected: Expected::default(),
            supervised: AtomicBool::new(false),
            counts: Counts::default(),
        })
    }

    /// Answers until `stop`. Afterwards questions wait, until it runs again or the last descriptor of the group is
    /// closed, which allows them.
    ///
    /// # Errors
    ///
    /// The kernel no longer gives events.
    pub fn run(&self, stop: &Stop, on_decision: OnDecision<'_>) -> Result<(), RunError> {
        self.serve(&self.group, &Until::Stopped(stop), on_decision)
    }

    /// Takes the place of another, which no longer runs: answers who waits there, and closes it. To be called while
    /// [`run`](Self::run) is at work in another thread. Whoever opens something meanwhile is asked by one of both, or by
    /// both.
    ///
    /// # Errors
    ///
    /// The kernel gives no events of the old one.
    pub fn replace(&self, old: Self, on_decision: OnDecision<'_>) -> Result<(), RunError> {
        let Self { group, .. } = old;
        self.drain(&group, on_decision)
    }

    /// Mode of the policy.
    pub fn mode(&self) -> Mode {
        self.rules.mode
    }

    /// Mount points of file systems that take no mark: what is run from there is not seen.
    pub fn unmarked(&self) -> &[PathBuf] {
        &self.unmarked
    }

    /// What happened since the start.
    pub fn counters(&self) -> FanotifyCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { answered, denied, audited, unmeasured, overloaded, unread, overflows } = &self.counts;
        FanotifyCounters {
            answered: read(answered),
            denied: read(denied),
            audited: read(audited),
            unmeasured: read(unmeasured),
            overloaded: read(overloaded),
            unread: read(unread),
            overflows: read(overflows),
            faults: self.watched.lock().unwrap_or_else(PoisonError::into_inner).names.faults,
        }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// The parent of this process passes every rule, too.
    pub(super) fn set_supervised(&self) {
        self.supervised.store(true, Ordering::SeqCst);
    }

    /// Answers who waits at a group that is to be closed.
    pub(super) fn drain(&self, group: &Group, on_decision: OnDecision<'_>) -> Result<(), RunError> {
        // Whoever began to open something before the new marks were there is in the queue after this.
        barrier().map_err(|source| RunError::Wait { source })?;
        let waiting = group.waiting().map_err(|source| RunError::Read { source })?;
        self.serve(group, &Until::Read(waiting), on_decision)
    }

    /// Answers events that another process has read.
    pub(super) fn answer(&self, events: Vec<Event>, on_decision: OnDecision<'_>) {
        let questions = Questions::default();
        std::thread::scope(|scope| {
            let _close = CloseAtEnd(&questions);
            for _ in 0..READERS {
                scope.spawn(|| self.answer_slowly(&questions, on_decision));
            }
            for event in events {
                self.judge(event, &questions, on_decision);
            }
        });
    }

    fn serve(&self, group: &Group, until: &Until<'_>, on_decision: OnDecision<'_>) -> Result<(), RunError> {
        let questions = Questions::default();
        std::thread::scope(|scope| {
            let _close = CloseAtEnd(&questions);
            for _ in 0..READERS {
                scope.spawn(|| self.answer_slowly(&questions, on_decision));
            }
            match until {
                Until::Stopped(stop) => self.read_until(group, stop, &questions, on_decision),
                Until::Read(waiting) => {
                    for _ in 0..*waiting {
                        if !self.read_one(group, &questions, on_decision)? {
                            break;
                        }
                    }
                    Ok(())
                }
            }
        })
    }

    fn read_until(
        &self,
        group: &Group,
        stop: &Stop,
        questions: &Questions,
        on_decision: OnDecision<'_>,
    ) -> Result<(), RunError> {
        loop {
            let mut fds = [
                PollFd::new(group, PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
                PollFd::new(&self.inotify, PollFlags::IN),
                PollFd::new(&self.mounts, PollFlags::PRI),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(RunError::Wait { source: error.into() }),
            }
            let [_, _, news, mounted] = fds.map(|fd| !fd.revents().is_empty());
            if news || mounted {
                self.look_around(mounted);
            }
            while !stop.requested() && self.read_one(group, questions, on_decision)? {}
            if stop.requested() {
                return Ok(());
            }
        }
    }

    /// Takes in what has changed, also if nobody opens anything.
    fn look_around(&self, mounted: bool) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Watched { marks, names } = &mut *watched;
        names.read_news(marks);
        if mounted {
            let fault = marks.filesystems(&self.rules).is_err() | names.refresh_all(marks).is_err();
            names.faults += u64::from(fault);
        }
    }

    /// Reads one event and answers it, or has it answered. False: none waits.
    fn read_one(
        &self,
        group: &Group,
        questions: &Questions,
        on_decision: OnDecision<'_>,
    ) -> Result<bool, RunError> {
        match group.next() {
            Ok(Next::Event(event)) => self.judge(event, questions, on_decision),
            Ok(Next::Empty) => return Ok(false),
            Ok(Next::Overflow) => add(&self.counts.overflows),
            Ok(Next::Unread) => add(&self.counts.unread),
            Err(source) => return Err(RunError::Read { source }),
        }
        Ok(true)
    }

    fn judge(&self, event: Event, questions: &Questions, on_decision: OnDecision<'_>) {
        // Before anything else, since this very process may wait for it.
        if self.is_own(event.pid) {
            return self.conclude(event, None, None, on_decision);
        }
        let Ok(file) = Subject::at(&event.link()) else {
            return self.conclude(event, None, None, on_decision);
        };
        let question = if event.exec {
            self.ask_program(event, &file, on_decision)
        } else {
            self.ask_file(event, &file, on_decision)
        };
        let Some(mut question) = question else { return };
        if self.is_exempt(question.event().pid) {
            return self.conclude(question.into_event(), None, None, on_decision);
        }
        // If nobody comes to it: of what is not known nobody can say that it is listed.
        let rule = match &question {
            Question::Program(_, used) => self.rules.judge_program(None, *used),
            Question::Verified(_, rule) => Some(*rule),
        };
        if rule.is_some_and(|rule| self.rules.enforced(rule)) {
            question.event_mut().fallback = Answer::Deny;
        }
        if let Err(question) = questions.ask(question) {
            add(&self.counts.overloaded);
            self.conclude(question.into_event(), rule, None, on_decision);
        }
    }

    /// Whether a file may be opened. A question remains if that depends on the program.
    fn ask_file(&self, event: Event, file: &Subject, on_decision: OnDecision<'_>) -> Option<Question> {
        let link = event.link();
        let path = std::fs::read_link(&link).unwrap_or_default();
        let numbered = self.rules.inodes.get(&file.id).copied();
        let named = numbered.is_none().then(|| {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let Watched { marks, names } = &mut *watched;
            names.read_news(marks);
            names.rule(file, path.file_name().map(OsStr::as_encoded_bytes), marks)
        });
        let rule = numbered.or(named.flatten());
        let opener = Opener(event.pid);
        match rule {
            Some(rule) if rule.section == aegis_policy::Section::ProtectPath => {
                let scoped = self.scoped_rule(file, opener);
                if scoped.is_some() {
                    self.conclude(event, scoped, None, on_decision);
                    return None;
                }
                match opener.program().and_then(|program| self.measures.known(&program)) {
                    Some(digest) => {
                        let denied = (!self.rules.verifies(&digest)).then_some(rule);
                        self.conclude(event, denied, Some(digest), on_decision);
                        None
                    }
                    None => Some(Question::Verified(event, rule)),
                }
            }
            Some(rule) => {
                self.conclude(event, Some(rule), None, on_decision);
                None
            }
            None => {
                let scoped = self.scoped_rule(file, opener);
                self.conclude(event, scoped, None, on_decision);
                None
            }
        }
    }

    fn scoped_rule(&self, file: &Subject, opener: Opener) -> Option<Origin> {
        let rules = self.rules.scoped.get(&file.id)?;
        rules.iter().find(|(group, _)| self.in_group(opener, group)).map(|(_, origin)| *origin)
    }

    /// Whether a program may be run. A question remains if it has to be read.
    fn ask_program(&self, event: Event, file: &Subject, on_decision: OnDecision<'_>) -> Option<Question> {
        let used = match self.expected.has_come(Opener(event.pid), file.id) {
            true => Use::Interpreter,
            false => Use::Run,
        };
        let named = (used == Use::Run).then(|| self.rules.comms.get(&program_name(&event.link(), file)));
        if let Some(rule) = named.flatten() {
            self.conclude(event, Some(*rule), None, on_decision);
            return None;
        }
        let hashed = match used {
            Use::Run => self.rules.hash_programs(),
            Use::Interpreter => self.rules.denies_hashes,
        };
        if !hashed {
            self.conclude_program(event, None, None, used, on_decision);
            return None;
        }
        let Some(digest) = self.measures.known(file) else { return Some(Question::Program(event, used)) };
        let rule = self.rules.judge_program(Some(&digest), used);
        self.conclude_program(event, rule, Some(digest), used, on_decision);
        None
    }

    fn conclude_program(
        &self,
        event: Event,
        rule: Option<Origin>,
        digest: Option<Digest>,
        used: Use,
        on_decision: OnDecision<'_>,
    ) {
        // Also if a rule denies it, since then it may only be told.
        if used == Use::Run
            && let Ok(program) = event.open()
        {
            self.expected.expect(Opener(event.pid), program);
        }
        self.conclude(event, rule, digest, on_decision);
    }

    fn answer_slowly(&self, questions: &Questions, on_decision: OnDecision<'_>) {
        while let Some(question) = questions.take() {
            match question {
                Question::Program(event, used) => {
                    let link = event.link();
                    let digest = event.open().ok().and_then(|file| self.measure(&file, &link));
                    let rule = self.rules.judge_program(digest.as_ref(), used);
                    self.conclude_program(event, rule, digest, used, on_decision);
                }
                Question::Verified(event, rule) => {
                    let program = Opener(event.pid).open_program().ok();
                    let digest = program.and_then(|program| {
                        let link = PathBuf::from(format!("/proc/self/fd/{}", program.as_raw_fd()));
                        self.measure(&program, &link)
                    });
                    let verified = digest.is_some_and(|digest| self.rules.verifies(&digest));
                    self.conclude(event, (!verified).then_some(rule), digest, on_decision);
                }
            }
        }
    }

    fn measure(&self, file: impl AsFd, link: &Path) -> Option<Digest> {
        let measured = self.measures.measure(file, link);
        if measured.is_err() {
            add(&self.counts.unmeasured);
        }
        measured.ok()
    }

    /// Tells, then answers.
    fn conclude(
        &self,
        event: Event,
        rule: Option<Origin>,
        sha256: Option<Digest>,
        on_decision: OnDecision<'_>,
    ) {
        let rule = rule.filter(|rule| rule.is_canary() || !self.is_exempt(event.pid));
        add(&self.counts.answered);
        let Some(rule) = rule else { return event.answer(Answer::Allow) };
        if rule.is_canary() {
            return event.answer(Answer::Deny);
        }
        let denied = self.rules.enforced(rule);
        let link = event.link();
        let file = Subject::at(&link).ok();
        let decision = Decision {
            operation: if event.exec { Operation::Exec } else { Operation::Open },
            denied,
            section: rule.section,
            line: rule.line,
            pid: event.pid,
            inode: file.map_or(0, |file| file.id.inode),
            device: file.map_or(0, |file| file.id.device),
            path: std::fs::read_link(&link).ok(),
            sha256,
        };
        add(if denied { &self.counts.denied } else { &self.counts.audited });
        // First, since who waits can still be asked who it is.
        on_decision(decision);
        event.answer(if denied { Answer::Deny } else { Answer::Allow });
    }

    fn is_own(&self, pid: i32) -> bool {
        let number = |pid: rustix::process::Pid| pid.as_raw_nonzero().get();
        let supervisor = || rustix::process::getppid().map(number);
        number(rustix::process::getpid()) == pid
            || (self.supervised.load(Ordering::SeqCst) && supervisor() == Some(pid))
    }

    /// Asked only after a rule has matched, so that what no rule concerns pays nothing for it.
    fn is_exempt(&self, pid: i32) -> bool {
        // Process 1 brings the host up again; locking it out helps nobody.
        if pid == 1 || self.is_own(pid) {
            return true;
        }
        let opener = Opener(pid);
        let programs = &self.rules.exempt_programs;
        if !programs.is_empty() && opener.program().is_some_and(|program| programs.contains(&program.id)) {
            return true;
        }
        self.rules.allow_groups.iter().any(|group| self.in_group(opener, group))
    }

    fn in_group(&self, opener: Opener, group: &GroupName) -> bool {
        opener.in_group(group, self.groups.as_deref())
    }
}

impl AsFd for Fanotify {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// The name by which a program is known when it runs: its file's, cut.
fn program_name(link: &Path, file: &Subject) -> Vec<u8> {
    let path = std::fs::read_link(link).unwrap_or_default();
    let mut name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    if file.links == 0 && name.ends_with(b" (deleted)") {
        name.truncate(name.len() - b" (deleted)".len());
    }
    name.truncate(COMM_LEN);
    name
}

/// Waits until nobody in the kernel is at work any more with the marks as they were: that is what the kernel itself does
/// when a group of either kind ends.
fn barrier() -> io::Result<()> {
    let group = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&group, "/", WatchFlags::DELETE_SELF)?;
    drop(group);
    Ok(())
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
