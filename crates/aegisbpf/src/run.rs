//! `aegisbpf run`: the agent, for systemd or a terminal.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_enforce::{Agent, Notice};
use aegis_terminal::failure::Failure;
use clap::Args;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::session::Session;

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
    let what = "cannot run the agent";
    let host = session.host()?;
    if !session.kernel_enforces(host.paths(), host.config()) {
        let error = io::Error::other("policies of this host are only recorded, so there is nothing to watch");
        let help = "it runs on this host's own files: without --root, AEGIS_STATE_DIR and `enforcement = \"record\"`";
        return Err(Failure::new(what, &error, Some(help.to_owned())));
    }
    let mut agent = Agent::new(&host, &host.paths().events_dir())
        .map_err(|error| Failure::new(what, &error, error.help()))?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&stop));
        registered.map_err(|error| Failure::new(what, &error, None))?;
    }
    if let Err(error) = drop_privileges() {
        session.output.warn(&format!("privileges that are not needed could not be given up: {error}"));
    }
    let systemd = Systemd::from_environment();
    agent.run(
        &|| session.caller(),
        &|| stop.load(Ordering::Relaxed),
        &|| systemd.tell("WATCHDOG=1"),
        &|notice| tell(session, &systemd, &notice),
    );
    systemd.tell("STOPPING=1\nSTATUS=stopped; the kernel goes on enforcing");
    session.warn_unlogged(&host);
    Ok(ExitCode::SUCCESS)
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
        Notice::Loaded => good("the applied policy was loaded"),
        Notice::Resolved => good("names of the policy mean something else now; it was loaded again"),
        Notice::FellBack => good("a policy that was not confirmed in time was rolled back"),
        Notice::CannotFallBack(error) => failure("a policy was not confirmed in time and cannot be rolled back", error),
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
