//! The agent's side where fanotify enforces: follows requests, and answers whoever opens and runs something.
//!
//! A thread of its own, since the agent may wait for the lock of the host while whoever holds it waits for an answer here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aegis_policy::Limits;
use jiff::Timestamp;

use crate::compile::Mode;
use crate::event::{Event, PolicyRef, PolicyText};
use crate::fanotify::{
    self, Decision, Fanotify, FanotifyRules, Filesystems, Lifeline, RuleOptions, RunError, StartError, Stop,
    SuperviseError,
};
use crate::handover::{Handover, HandoverError, Meant, Refused, Request, State};
use crate::resolve::group_mount;

/// How often requests are looked for.
const ROUND: Duration = Duration::from_millis(50);
/// So many events may wait to be written down; those beyond are counted.
const MAX_EVENTS: usize = 4096;
/// How long the agent waits at its start until the policy is in force again.
const START: Duration = Duration::from_secs(60);

/// Why files and programs are watched no longer, or not at all.
#[derive(Debug, thiserror::Error)]
pub enum AnswererError {
    /// A policy could not be put in force.
    #[error("the policy cannot be put in force by fanotify")]
    Start {
        /// Why.
        source: StartError,
    },
    /// What is in force ended.
    #[error("questions of fanotify can be answered no longer")]
    Run {
        /// Why.
        source: RunError,
    },
    /// The supervisor does not hold what is in force.
    #[error("the supervisor does not hold what is in force")]
    Supervisor {
        /// Why.
        source: SuperviseError,
    },
    /// Requests could not be read or answered.
    #[error("requests for fanotify cannot be read or answered")]
    Handover {
        /// Why.
        source: HandoverError,
    },
    /// The text of the policy is none.
    #[error("what was handed over is no policy")]
    Policy,
    /// A thread could not be started, or ended without a word.
    #[error("a thread of the agent could not be started, or died")]
    Thread,
}

impl AnswererError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Start { source } => source.help(),
            Self::Run { source } => source.help(),
            Self::Supervisor { source } => source.help(),
            Self::Handover { source } => source.help(),
            Self::Policy => Some("apply the policy again".to_owned()),
            Self::Thread => None,
        }
    }

    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

/// What was decided, on its way into the log of events.
#[derive(Debug)]
pub struct Decisions {
    events: Receiver<Event>,
    lost: Arc<AtomicU64>,
}

impl Decisions {
    /// What has come since it was asked last, and how much was lost.
    pub(crate) fn take(&self) -> (Vec<Event>, u64) {
        (self.events.try_iter().take(MAX_EVENTS).collect(), self.lost.swap(0, Ordering::Relaxed))
    }
}

/// Held by the agent's supervisor as long as it lives: how others know that there is an agent.
///
/// # Errors
///
/// [`HandoverError::Runs`] if there is another.
pub fn lock_agent(state_dir: &Path) -> Result<File, HandoverError> {
    Handover::of(state_dir).lock()
}

/// Watches files and programs, in threads.
#[derive(Debug)]
pub struct Answerer {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), AnswererError>>,
}

impl Answerer {
    /// Puts in force what was in force before, and follows requests from then on.
    ///
    /// # Errors
    ///
    /// [`AnswererError`]: what was in force cannot be again. Then this process has to end, so that the next one tries.
    pub fn begin(
        lifeline: Lifeline,
        state_dir: &Path,
        limits: Limits,
    ) -> Result<(Self, Decisions), AnswererError> {
        let (sender, events) = sync_channel(MAX_EVENTS);
        let lost = Arc::new(AtomicU64::new(0));
        let (stop, failed, begun) =
            (Arc::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let worker = Worker {
            handover: Handover::of(state_dir),
            canary: state_dir.join("canary"),
            lifeline: Arc::new(lifeline),
            limits,
            sender,
            lost: Arc::clone(&lost),
            running: None,
            refused: None,
        };
        let (until, fault, at_work) = (Arc::clone(&stop), Arc::clone(&failed), Arc::clone(&begun));
        let thread = std::thread::Builder::new().name("aegis-answerer".to_owned());
        let thread = thread.spawn(move || {
            let ended = worker.work(&until, &at_work);
            fault.store(ended.is_err(), Ordering::SeqCst);
            ended
        });
        let answerer = Self { stop, failed, thread: thread.map_err(|_| AnswererError::Thread)? };
        let deadline = Instant::now() + START;
        while !begun.load(Ordering::SeqCst) {
            if answerer.thread.is_finished() {
                answerer.end()?;
                return Err(AnswererError::Thread);
            }
            if Instant::now() >= deadline {
                return Err(AnswererError::Thread);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((answerer, Decisions { events, lost }))
    }

    /// Whether it answers no longer, so that this process has to end.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst) || self.thread.is_finished()
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// Why it had ended before.
    pub fn end(self) -> Result<(), AnswererError> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or(Err(AnswererError::Thread))
    }
}

/// The thread that follows requests.
struct Worker {
    handover: Handover,
    canary: PathBuf,
    lifeline: Arc<Lifeline>,
    limits: Limits,
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
    running: Option<Running>,
    refused: Option<Refused>,
}

/// A policy in force.
struct Running {
    request: Request,
    meant: Meant,
    fanotify: Arc<Fanotify>,
    stop: Stop,
    thread: JoinHandle<Result<(), AnswererError>>,
    tell: Arc<Teller>,
}

/// Makes events of decisions.
struct Teller {
    policy: PolicyRef,
    text: PolicyText,
    groups: Option<PathBuf>,
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    fn tell(&self, decision: Decision) {
        let event = fanotify::event(decision, self.policy, &self.text, self.groups.as_deref());
        if self.sender.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Worker {
    fn work(mut self, until: &AtomicBool, begun: &AtomicBool) -> Result<(), AnswererError> {
        self.take_up()?;
        begun.store(true, Ordering::SeqCst);
        while !until.load(Ordering::SeqCst) {
            std::thread::sleep(ROUND);
            self.follow()?;
        }
        // The supervisor closes what it holds when it ends; until then questions wait.
        match self.running.take() {
            Some(running) => running.end().map(drop),
            None => Ok(()),
        }
    }

    /// At the start: what was asked for last, or what was in force before that.
    fn take_up(&mut self) -> Result<(), AnswererError> {
        let asked = self.request()?;
        let before = match self.handover.state() {
            Ok(state) => state.and_then(|state| state.in_force),
            // It is written anew.
            Err(HandoverError::Record { .. } | HandoverError::Read(_)) => None,
            Err(source) => return Err(AnswererError::Handover { source }),
        };
        let Some(asked) = asked else { return self.say() };
        let Err(error) = self.start(&asked) else { return self.say() };
        let before = before
            .filter(|before| *before != asked)
            .ok_or(())
            .and_then(|before| self.start(&before).map_err(drop));
        if before.is_err() {
            return Err(error);
        }
        self.refuse(&asked, &error)
    }

    fn follow(&mut self) -> Result<(), AnswererError> {
        if let Some(running) = self.running.take_if(|running| running.thread.is_finished()) {
            running.end()?;
            return Err(AnswererError::Thread);
        }
        let Some(asked) = self.request()? else { return Ok(()) };
        let current = self.running.as_ref();
        let same = current.is_some_and(|running| {
            running.request == asked && running.meant == asked.meant(Timestamp::now())
        });
        let known = self.refused.as_ref().is_some_and(|refused| refused.serial == asked.serial);
        if same || known {
            return Ok(());
        }
        match self.start(&asked) {
            Ok(()) => {
                self.refused = None;
                self.say()
            }
            Err(
                error
                @ (AnswererError::Start { .. } | AnswererError::Policy | AnswererError::Handover { .. }),
            ) => self.refuse(&asked, &error),
            Err(error) => Err(error),
        }
    }

    /// None also if there is nothing that can be read: then what is in force stays so.
    fn request(&self) -> Result<Option<Request>, AnswererError> {
        match self.handover.request() {
            Ok(request) => Ok(request),
            Err(source) if self.running.is_none() => Err(AnswererError::Handover { source }),
            Err(_) => Ok(None),
        }
    }

    fn refuse(&mut self, asked: &Request, error: &AnswererError) -> Result<(), AnswererError> {
        self.refused = Some(Refused { serial: asked.serial, detail: error.text(), help: error.help() });
        self.say()
    }

    fn say(&self) -> Result<(), AnswererError> {
        let state = State {
            pid: std::process::id(),
            in_force: self.running.as_ref().map(|running| running.request.clone()),
            meant: self.running.as_ref().map(|running| running.meant),
            refused: self.refused.clone(),
        };
        self.handover.tell(&state).map_err(|source| AnswererError::Handover { source })
    }

    /// Puts a policy in force, in place of the one that is.
    fn start(&mut self, request: &Request) -> Result<(), AnswererError> {
        let meant = request.meant(Timestamp::now());
        let limit = u64::try_from(self.limits.max_bytes).unwrap_or(u64::MAX);
        let text = self
            .handover
            .text(&meant.policy_sha256, limit)
            .map_err(|source| AnswererError::Handover { source })?;
        let policy = aegis_policy::parse(&text, &self.limits).map_err(|_| AnswererError::Policy)?;
        let mode = if meant.audit { Mode::Audit } else { Mode::Enforce };
        let options = RuleOptions { mode, filesystems: Filesystems::All, exempt_programs: Vec::new() };
        let rules = FanotifyRules::from_policy(&policy, options);
        let rules = match self.canary.to_str() {
            Some(canary) => rules.with_canary(canary),
            None => rules,
        };
        let tell = Arc::new(Teller {
            policy: PolicyRef {
                generation: request.serial,
                version: meant.policy_version,
                sha256: Some(meant.policy_sha256),
            },
            text: PolicyText::new(text.clone()),
            groups: group_mount(),
            sender: self.sender.clone(),
            lost: Arc::clone(&self.lost),
        });
        let stop =
            Stop::new().map_err(|source| AnswererError::Start { source: StartError::Group { source } })?;
        // From here until it runs, nothing may be opened by this thread.
        let fanotify = Fanotify::start(rules).map_err(|source| AnswererError::Start { source })?;
        let fanotify = Arc::new(fanotify);
        self.lifeline.hold(&fanotify).map_err(|source| AnswererError::Supervisor { source })?;
        let first = self.running.is_none();
        let thread = run(&self.lifeline, &fanotify, &stop, &tell, first)?;
        let new = Running { request: request.clone(), meant, fanotify, stop, thread, tell };
        if let Some(old) = self.running.replace(new) {
            let old = old.end()?;
            if let (Some(new), Some(old)) = (&self.running, old) {
                let on_decision = |decision| new.tell.tell(decision);
                self.lifeline
                    .replace(&new.fanotify, old, &on_decision)
                    .map_err(|source| AnswererError::Run { source })?
                    .map_err(|source| AnswererError::Supervisor { source })?;
            }
        }
        Ok(())
    }
}

impl Running {
    /// Has it stop reading; who asks from now on waits for its successor.
    fn end(self) -> Result<Option<Fanotify>, AnswererError> {
        self.stop.request();
        self.thread.join().unwrap_or(Err(AnswererError::Thread))?;
        Ok(Arc::into_inner(self.fanotify))
    }
}

/// In a thread of its own. The first of this process also answers those who have waited since the process before it.
fn run(
    lifeline: &Arc<Lifeline>,
    fanotify: &Arc<Fanotify>,
    stop: &Stop,
    tell: &Arc<Teller>,
    first: bool,
) -> Result<JoinHandle<Result<(), AnswererError>>, AnswererError> {
    let (lifeline, fanotify) = (Arc::clone(lifeline), Arc::clone(fanotify));
    let (stop, tell) = (stop.clone(), Arc::clone(tell));
    let thread = std::thread::Builder::new().name("aegis-fanotify".to_owned());
    let thread = thread.spawn(move || {
        let on_decision = |decision| tell.tell(decision);
        let ran = match first {
            true => lifeline.run(&fanotify, &stop, &on_decision),
            false => fanotify.run(&stop, &on_decision).map(Ok),
        };
        ran.map_err(|source| AnswererError::Run { source })?
            .map_err(|source| AnswererError::Supervisor { source })
    });
    thread.map_err(|_| AnswererError::Thread)
}
