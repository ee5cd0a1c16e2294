//! The agent: writes down what was denied, and keeps what is enforced in step with the host.
//!
//! Nothing is enforced by it. When it dies, the kernel goes on; events wait in the ring buffer until it comes back, and
//! those for which there was no room are counted.

mod moves;

use std::path::Path;
use std::time::{Duration, Instant};

use aegis_crypto::{Digest, sha256};
use aegis_policy::Section;
use aegis_trust::bundle::{self, SignedBundle};
use aegis_trust::enforce::PolicyIdentity;
use aegis_trust::host::ChangeError;
use aegis_trust::rollback::RollbackError;
use aegis_trust::{Caller, Host};

use crate::agent::moves::{Moves, Seen};
use crate::answerer::Decisions;
use crate::compile::{Canary, Mode, compile_sparing};
use crate::error::KernelError;
use crate::event::{BootClock, Context, KnownPolicy, Limits, Log, LogError, PolicyText};
use crate::host::HostEnforcer;
use crate::kernel::Enforcement;
use crate::resolve::{HostResolver, Resolver as _, group_mount, read_proc};

/// How long one round waits for events.
const ROUND: Duration = Duration::from_millis(500);
/// How often the host is looked at beside the events.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a policy with control groups is resolved anew: groups come and go without notice.
const RESOLVE_EVERY: Duration = Duration::from_secs(15);
/// How long a load that failed is not tried again.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// At most so much of the list of mounts is looked at.
const MAX_MOUNTS: u64 = 16 << 20;

/// What the agent has to say, for a log or a terminal.
#[derive(Debug)]
pub enum Notice {
    /// A policy is in force, and events are read.
    Ready {
        /// Which generation.
        generation: u64,
    },
    /// No policy was applied yet, so there is nothing to keep in force.
    Idle,
    /// The kernel held no policy, or another one, so the applied one was loaded.
    Loaded,
    /// A name of the policy means something else now, so it was loaded again.
    Resolved,
    /// A name of a policy that waits for its confirmation means something else now: that is denied as well.
    Widened,
    /// A policy that was not confirmed in time was rolled back.
    FellBack,
    /// It could not be rolled back.
    CannotFallBack(RollbackError),
    /// The applied policy could not be loaded. It is tried again.
    CannotLoad(ChangeError),
    /// The kernel could not be asked.
    Kernel(KernelError),
    /// Events could not be written down. They are lost to the log, and enforcement goes on.
    CannotWrite(LogError),
    /// A record that is none.
    BadRecord(String),
}

/// Why the agent did not begin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another one runs, or its log cannot be used.
    #[error("the log of events cannot be used")]
    Log {
        /// Why.
        source: LogError,
    },
}

impl AgentError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let Self::Log { source } = self;
        source.help()
    }
}

/// The agent of one host.
pub struct Agent<'a> {
    host: &'a Host,
    kernel: HostEnforcer,
    log: Log,
    decisions: Option<Decisions>,
    context: Context,
    looked: Option<Instant>,
    resolved: Option<Instant>,
    failed: Option<Instant>,
    mounts: Option<Digest>,
    /// What the paths of a policy were that no program holds.
    resolution: Option<u64>,
    moves: Moves,
    known: u64,
    lost: u64,
}

impl<'a> Agent<'a> {
    /// For `host`, whose events go into `events`.
    ///
    /// # Errors
    ///
    /// [`AgentError`].
    pub fn new(host: &'a Host, events: &Path) -> Result<Self, AgentError> {
        let log = Log::open(events, Limits::default()).map_err(|source| AgentError::Log { source })?;
        Ok(Self {
            host,
            kernel: HostEnforcer::new(host.paths(), None),
            log,
            decisions: None,
            context: Context::of_host(BootClock::measure(), group_mount().as_deref()),
            looked: None,
            resolved: None,
            failed: None,
            mounts: None,
            resolution: None,
            moves: Moves::default(),
            known: 0,
            lost: 0,
        })
    }

    /// Writes down what fanotify denies, too, and sees to it that it has what was applied.
    #[must_use]
    pub fn with_decisions(mut self, decisions: Decisions) -> Self {
        self.decisions = Some(decisions);
        self
    }

    /// Runs until `stop` says so, which is asked at least once a second. Each round is told to `alive`.
    pub fn run(
        &mut self,
        caller: &dyn Fn() -> Caller,
        stop: &dyn Fn() -> bool,
        alive: &dyn Fn(),
        notice: &dyn Fn(Notice),
    ) {
        let (mut ready, mut idle) = (false, false);
        while !stop() {
            alive();
            self.keep(caller, notice);
            self.write_decisions(notice);
            let loaded = match self.kernel.loaded() {
                Ok(loaded) => loaded,
                Err(error) => {
                    notice(Notice::Kernel(error));
                    None
                }
            };
            let Some(loaded) = loaded else {
                if !ready {
                    if let Some(held) = self.kernel.held_alone() {
                        ready = true;
                        notice(Notice::Ready { generation: held.serial });
                    } else if !idle && !self.host.paths().applied().exists() {
                        // Who waits for the agent at the start of a host must not wait for a policy.
                        idle = true;
                        notice(Notice::Idle);
                    }
                }
                std::thread::sleep(ROUND);
                continue;
            };
            if !ready {
                ready = true;
                let generation = loaded.generation().unwrap_or(0);
                notice(Notice::Ready { generation });
            }
            if let Err(error) = self.read(&loaded, caller, stop, alive, notice) {
                notice(Notice::Kernel(error));
                std::thread::sleep(ROUND);
            }
        }
        self.write_decisions(notice);
        if let Err(error) = self.log.sync() {
            notice(Notice::CannotWrite(error));
        }
    }

    /// Reads events for as long as these are the programs that are pinned.
    fn read(
        &mut self,
        loaded: &Enforcement,
        caller: &dyn Fn() -> Caller,
        stop: &dyn Fn() -> bool,
        alive: &dyn Fn(),
        notice: &dyn Fn(Notice),
    ) -> Result<(), KernelError> {
        let reader = loaded.reader()?;
        self.lost = loaded.counters()?.lost;
        while !stop() {
            alive();
            self.remember(loaded)?;
            let mut events = Vec::new();
            for event in reader.next(self.moves.patience(Instant::now(), ROUND), &self.context) {
                match event {
                    Ok(event) => events.push(event),
                    Err(error) => notice(Notice::BadRecord(error.to_string())),
                }
            }
            // Without new ones too: what was written before goes to the disk in its time.
            if let Err(error) = self.log.append(&events) {
                notice(Notice::CannotWrite(error));
            }
            self.write_decisions(notice);
            let lost = loaded.counters()?.lost;
            if lost > self.lost {
                let written = self.log.append_lost(lost - self.lost);
                self.lost = lost;
                if let Err(error) = written {
                    notice(Notice::CannotWrite(error));
                }
            }
            self.look_at_names(loaded);
            if self.keep(caller, notice) && !loaded.is_pinned()? {
                break;
            }
        }
        Ok(())
    }

    /// Writes down what fanotify denied since it was last asked.
    fn write_decisions(&mut self, notice: &dyn Fn(Notice)) {
        let Some(decisions) = &self.decisions else { return };
        let (events, lost) = decisions.take();
        let mut written = if events.is_empty() { Ok(()) } else { self.log.append(&events) };
        if lost > 0 {
            written = written.and(self.log.append_lost(lost));
        }
        if let Err(error) = written {
            notice(Notice::CannotWrite(error));
        }
    }

    /// Whether names have moved. Programs of a build before this one do not tell.
    fn look_at_names(&mut self, loaded: &Enforcement) {
        if let (Ok(moved), Ok(resolved), Ok(generation)) =
            (loaded.moved(), loaded.resolved(), loaded.generation())
        {
            self.moves.see(Seen { moved, generation }, moved == resolved, Instant::now());
        }
    }

    /// Sees to it that the kernel has what was applied. True if it looked.
    fn keep(&mut self, caller: &dyn Fn() -> Caller, notice: &dyn Fn(Notice)) -> bool {
        let now = Instant::now();
        let due = |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        if !due(self.looked, LOOK_EVERY) && !self.moves.are_due(now) {
            return false;
        }
        if self.failed.is_some() && !due(self.failed, RETRY_AFTER) {
            return false;
        }
        self.looked = Some(now);
        self.failed = None;
        let Some((digest, text)) = self.applied() else { return true };
        let in_force = match self.kernel.held() {
            Ok(in_force) => in_force,
            Err(error) => {
                self.failed = Some(now);
                notice(Notice::Kernel(error));
                return true;
            }
        };
        match in_force {
            Some(in_force) if in_force.fell_back => self.fall_back(caller, notice, now, digest),
            Some(in_force)
                if in_force.policy_sha256 == digest
                    // Unconfirmed, it may be over in a moment, here or there; then it is rolled back.
                    && (in_force.unconfirmed_for.is_some()
                        || self.decisions.is_none()
                        || self.kernel.watched() == Some(digest)) =>
            {
                let waits = in_force.unconfirmed_for.is_some();
                if self.means_something_else(&text, now, waits, notice) {
                    self.load(caller, notice, now, Notice::Resolved);
                    self.moves.loaded(now, Instant::now());
                }
            }
            // The host was restarted before it was confirmed; or it was the first one, and nothing is in force.
            None if self.kernel.is_overdue(&digest) => self.fall_back(caller, notice, now, digest),
            _ => self.load(caller, notice, now, Notice::Loaded),
        }
        self.moves.put_off(now, LOOK_EVERY);
        true
    }

    /// Makes official that a policy was not confirmed in time.
    fn fall_back(
        &mut self,
        caller: &dyn Fn() -> Caller,
        notice: &dyn Fn(Notice),
        now: Instant,
        digest: Digest,
    ) {
        let policy_version =
            aegis_durable::read_state(&self.host.paths().applied(), self.host.max_file_len())
                .ok()
                .flatten()
                .and_then(|file| SignedBundle::parse(file).ok())
                .map(|bundle| bundle.manifest().policy_version);
        let logged =
            self.host.log_fallback(&caller(), &PolicyIdentity { policy_version, policy_sha256: digest });
        if let Err(error) = logged {
            self.failed = Some(now);
            return notice(Notice::CannotLoad(error));
        }
        match self.host.rollback(&caller()) {
            Ok(_) => notice(Notice::FellBack),
            Err(error) => {
                self.failed = Some(now);
                notice(Notice::CannotFallBack(error));
            }
        }
    }

    fn load(&mut self, caller: &dyn Fn() -> Caller, notice: &dyn Fn(Notice), now: Instant, done: Notice) {
        match self.host.load_applied(&caller()) {
            Ok(()) => notice(done),
            Err(error) => {
                self.failed = Some(now);
                notice(Notice::CannotLoad(error));
            }
        }
    }

    /// The policy that was applied last: its digest and its text.
    fn applied(&self) -> Option<(Digest, Vec<u8>)> {
        let file =
            aegis_durable::read_state(&self.host.paths().applied(), self.host.max_file_len()).ok()??;
        let text =
            if bundle::is_bundle(&file) { SignedBundle::parse(file).ok()?.policy().to_vec() } else { file };
        Some((sha256(&text), text))
    }

    /// Whether paths or control groups of the policy are others than when it was put in force. One that waits for its
    /// confirmation is not to be loaded again; what its paths come to name is added to it.
    fn means_something_else(
        &mut self,
        text: &[u8],
        now: Instant,
        waits: bool,
        notice: &dyn Fn(Notice),
    ) -> bool {
        let Ok(policy) = aegis_policy::parse(text, &self.host.config().policy_limits()) else { return false };
        let has = |sections: &[Section]| sections.iter().any(|section| policy.count(*section) > 0);
        let paths = has(&[Section::DenyPath, Section::ProtectPath]);
        let groups = has(&[
            Section::AllowCgroup,
            Section::CgroupDenyInode,
            Section::CgroupDenyIp,
            Section::CgroupDenyPort,
        ]);
        let mounts = Some(sha256(&read_proc("/proc/self/mountinfo", MAX_MOUNTS)));
        let mounted = paths && mounts != self.mounts;
        self.mounts = mounts;
        let due =
            groups && !waits && self.resolved.is_none_or(|last| now.duration_since(last) >= RESOLVE_EVERY);
        // What no program holds is compared with what it was when this was last asked.
        let loaded = self.kernel.loaded().ok().flatten();
        let held = loaded.as_ref().and_then(|loaded| loaded.resolution().ok().flatten());
        if !paths || held.is_none() {
            self.moves.concern_nobody();
        }
        let stirred = self.moves.are_due(now);
        if !mounted && !due && !stirred && (held.is_some() || self.resolution.is_some()) {
            return false;
        }
        self.resolved = Some(now);
        let resolver = HostResolver::new();
        let file = self.kernel.canary().to_str().and_then(|path| resolver.file(path));
        let identity = PolicyIdentity { policy_version: None, policy_sha256: sha256(text) };
        let spared = loaded.as_ref().and_then(|loaded| self.kernel.spared(loaded, &identity).ok());
        let canary = Canary { file };
        let compiled =
            compile_sparing(&policy, &resolver, Mode::Enforce, &canary, &spared.unwrap_or_default());
        let resolution = compiled.resolution();
        if waits {
            if let Some(loaded) = loaded.as_ref().filter(|_| held.is_some_and(|held| held != resolution)) {
                match loaded.widen(&compiled, resolver.file("/")) {
                    Ok(true) => notice(Notice::Widened),
                    Ok(false) => {}
                    Err(error) => {
                        self.failed = Some(now);
                        notice(Notice::Kernel(error));
                    }
                }
            }
            self.moves.same(now, Instant::now());
            self.moves.wait(Instant::now(), LOOK_EVERY);
            return false;
        }
        let before = self.resolution.replace(resolution);
        let Some(held) = held else { return before.is_some_and(|before| before != resolution) };
        if held != resolution {
            return true;
        }
        if let (Some(seen), Some(loaded)) = (self.moves.same(now, Instant::now()), &loaded)
            // Not of a policy that has just taken its place; if it cannot be said now, it is after the next look.
            && loaded.generation().is_ok_and(|generation| generation == seen.generation)
        {
            let _ = loaded.set_resolved(seen.moved);
        }
        false
    }

    /// Tells the reader of events which policy a generation is.
    fn remember(&mut self, loaded: &Enforcement) -> Result<(), KernelError> {
        let generation = loaded.generation()?;
        if generation == self.known {
            return Ok(());
        }
        self.known = generation;
        let Some(in_force) = loaded.in_force()? else { return Ok(()) };
        let applied = self.applied().filter(|(digest, _)| *digest.as_bytes() == in_force.policy_sha256);
        self.context.remember(
            generation,
            KnownPolicy {
                version: in_force.policy_version,
                sha256: Some(Digest::from_bytes(in_force.policy_sha256)),
                text: applied.map(|(_, text)| PolicyText::new(text)),
            },
        );
        Ok(())
    }
}
