//! `aegisbpf run`: the agent, for systemd or a terminal.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_enforce::fanotify::{Happened, Lifeline, Stop, supervise};
use aegis_enforce::{Agent, Answerer, AnswererError, Notice, agent_answers, lock_agent};
use aegis_terminal::failure::Failure;
use aegis_trust::Host;
use clap::Args;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::session::Session;

const WHAT: &str = "cannot run the agent";

#[derive(Args)]
pub(crate) struct RunArguments {}

/// What a load, a rollback and a look at processes take. Everything else is given up before the first event is read.
const KEPT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_RESOURCE);

pub(crate) fn run(_: &RunArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    if !session.kernel_enforces(host.paths(), host.config()) {
        let error = io::Error::other("policies of this host are only recorded, so there is nothing to watch");
        let help = "it runs on this host's own files: without --root, AEGIS_STATE_DIR and `enforcement = \"record\"`";
        return Err(Failure::new(WHAT, &error, Some(help.to_owned())));
    }
    let lifeline = Lifeline::inherited().map_err(|error| Failure::new(WHAT, &error, error.help()))?;
    match lifeline {
        Some(lifeline) => answer(session, &host, lifeline),
        None if agent_answers() => supervised(session, &host),
        None => {
            let agent = agent_of(&host)?;
            let stop = stop_signals()?;
            warn_unless_dropped(session);
            let systemd = Systemd::from_environment();
            work(session, &systemd, agent, &|| stop.load(Ordering::Relaxed));
            systemd.tell("STOPPING=1\nSTATUS=stopped; the kernel goes on enforcing");
            session.warn_unlogged(&host);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn agent_of(host: &Host) -> Result<Agent<'_>, Failure> {
    Agent::new(host, &host.paths().events_dir()).map_err(|error| Failure::new(WHAT, &error, error.help()))
}

fn work(session: &Session, systemd: &Systemd, mut agent: Agent<'_>, stop: &dyn Fn() -> bool) {
    agent.run(&|| session.caller(), stop, &|| systemd.tell("WATCHDOG=1"), &|notice| {
        tell(session, systemd, &notice);
    });
}

/// The agent where fanotify enforces: what `supervised` runs, and starts anew when it dies.
fn answer(session: &Session, host: &Host, lifeline: Lifeline) -> Result<ExitCode, Failure> {
    let failed = |error: AnswererError| Failure::new(WHAT, &error, error.help());
    let stop = stop_signals()?;
    warn_unless_dropped(session);
    let limits = host.config().policy_limits();
    let (answerer, decisions) = Answerer::begin(lifeline, &host.paths().state_dir, limits).map_err(failed)?;
    let agent = agent_of(host)?.with_decisions(decisions);
    let systemd = Systemd::from_environment();
    work(session, &systemd, agent, &|| stop.load(Ordering::Relaxed) || answerer.has_failed());
    session.warn_unlogged(host);
    // Last: who opens something afterwards waits until the supervisor has ended, and that could be this process.
    answerer.end().map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// Holds what fanotify enforces, and starts the agent anew when it dies.
fn supervised(session: &Session, host: &Host) -> Result<ExitCode, Failure> {
    let io = |error: io::Error| Failure::new(WHAT, &error, None);
    let _lock =
        lock_agent(&host.paths().state_dir).map_err(|error| Failure::new(WHAT, &error, error.help()))?;
    warn_unless_dropped(session);
    let stop = Stop::new().map_err(io)?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(io)?;
    let until = stop.clone();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| until.request()))
        .map_err(io)?;
    let mut command = Command::new(std::env::current_exe().map_err(io)?);
    command.args(std::env::args_os().skip(1));
    let status = supervise(&mut command, &stop, &mut |happened| match happened {
        Happened::Started { pid } => session.output.diagnostics(&format!("the agent is process {pid}\n")),
        Happened::Ended { status, unanswered } => session.output.warn(&format!(
            "the agent ended ({status}), and is started anew; {unanswered} questions were answered for it"
        )),
        Happened::NotStarted { error } => {
            session.output.warn(&format!("the agent cannot be started: {error}"));
        }
    })
    .map_err(|error| Failure::new(WHAT, &error, error.help()))?;
    let systemd = Systemd::from_environment();
    systemd.tell("STOPPING=1\nSTATUS=stopped; rules for files and programs are without effect");
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stop_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&stop));
        registered.map_err(|error| Failure::new(WHAT, &error, None))?;
    }
    Ok(stop)
}

fn warn_unless_dropped(session: &Session) {
    if let Err(error) = drop_privileges() {
        session.output.warn(&format!("privileges that are not needed could not be given up: {error}"));
    }
}

fn tell(session: &Session, systemd: &Systemd, notice: &Notice) {
    let failure = |what: &str, error: &dyn std::error::Error| {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        session.output.warn(&text);
        systemd.tell(&format!("STATUS={}", text.replace('\n', " ")));
    };
    let good = |text: &str| {
        session.output.diagnostics(&format!("{text}\n"));
        systemd.tell(&format!("STATUS={text}"));
    };
    match notice {
        Notice::Ready { generation } => {
            good(&format!("a policy is in force (generation {generation}); reading events"));
            systemd.tell("READY=1");
        }
        Notice::Idle => {
            good("no policy was applied yet; waiting for one");
            systemd.tell("READY=1");
        }
        Notice::Loaded => good("the applied policy was loaded"),
        Notice::Resolved => good("names of the policy mean something else now; it was loaded again"),
        Notice::Widened => good(
            "names of the policy, which waits for its confirmation, mean something else now; that is denied as well",
        ),
        Notice::FellBack => good("a policy that was not confirmed in time was rolled back"),
        Notice::CannotFallBack(error) => {
            failure("a policy was not confirmed in time and cannot be rolled back", error);
        }
        Notice::CannotLoad(error) => failure("the applied policy cannot be loaded", error),
        Notice::Kernel(error) => failure("the kernel cannot be asked", error),
        Notice::CannotWrite(error) => failure("events cannot be written down", error),
        Notice::BadRecord(text) => session.output.warn(&format!("a record of an event is none: {text}")),
    }
}

/// Keeps what is needed, and what is run from here gets no more.
fn drop_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    let kept = CapabilitySets {
        effective: now.effective & KEPT,
        permitted: now.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)?;
    Ok(())
}

/// The manager that started it, if it wants to be told (`sd_notify(3)`).
struct Systemd(Option<(UnixDatagram, SocketAddr)>);

impl Systemd {
    fn from_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let bytes = name.as_encoded_bytes();
            match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name).ok(),
                None => SocketAddr::from_pathname(&name).ok(),
            }
        });
        Self(address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))))
    }

    /// Nobody waits for an answer; a manager that is gone is told nothing.
    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}
