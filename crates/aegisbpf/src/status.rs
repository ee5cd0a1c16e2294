//! `aegisbpf status`: what the kernel enforces now, read from the kernel.

use std::process::ExitCode;
use std::time::Duration;

use aegis_crypto::Digest;
use aegis_enforce::{Backend, Counters, Held, HostEnforcer, InForce, KernelError, Mode};
use aegis_terminal::Form;
use aegis_terminal::failure::Failure;
use clap::Args;
use serde::Serialize;

use crate::session::Session;

#[derive(Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    form: Form,
}

/// What is loaded.
#[derive(Debug, Serialize)]
struct Status {
    /// Null: nothing is loaded.
    backend: Option<Backend>,
    /// The programs on their hooks.
    programs: Vec<String>,
    in_force: Option<Policy>,
    counters: Option<Counters>,
    /// The policy that the agent enforces by fanotify, where there is no BPF-LSM.
    #[serde(skip_serializing_if = "Option::is_none")]
    fanotify: Option<Digest>,
}

/// The policy that counts.
#[derive(Debug, Serialize)]
struct Policy {
    generation: u64,
    policy_version: Option<u64>,
    policy_sha256: Digest,
    mode: Mode,
    /// None where the agent alone holds it.
    rules: Option<u64>,
    entries: Option<u64>,
    /// Seconds until the policy before it counts again, unless it is confirmed.
    unconfirmed_for: Option<u64>,
    /// Seconds for which denials are only told, in an emergency.
    lifted_for: Option<u64>,
    /// The policy that was applied after it was not confirmed in time.
    fell_back: bool,
}

impl From<Held> for Policy {
    fn from(held: Held) -> Self {
        let Held { serial, policy_sha256, policy_version, mode, unconfirmed_for, lifted_for, fell_back } =
            held;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        Self {
            generation: serial,
            policy_version,
            policy_sha256,
            mode,
            rules: None,
            entries: None,
            unconfirmed_for: seconds(unconfirmed_for),
            lifted_for: seconds(lifted_for),
            fell_back,
        }
    }
}

impl From<InForce> for Policy {
    fn from(in_force: InForce) -> Self {
        let (rules, entries) = (Some(in_force.rules), Some(in_force.entries));
        Self { rules, entries, ..Held::from(&in_force).into() }
    }
}

pub(crate) fn run(_: &StatusArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = "cannot tell what is enforced";
    let failed = |error: KernelError| Failure::new(what, &error, error.help());
    let host = session.host()?;
    let mut status =
        Status { backend: None, programs: Vec::new(), in_force: None, counters: None, fanotify: None };
    let kernel = session.kernel_enforces(host.paths(), host.config());
    if kernel {
        let enforcer = HostEnforcer::new(host.paths(), None);
        if let Some(loaded) = enforcer.loaded().map_err(failed)? {
            status.backend = Some(loaded.backend());
            status.programs = loaded.attached().map_err(failed)?;
            status.in_force = loaded.in_force().map_err(failed)?.map(Policy::from);
            status.counters = Some(loaded.counters().map_err(failed)?);
        } else {
            status.in_force = enforcer.held_alone().map(Policy::from);
        }
        status.fanotify = enforcer.watched();
    }
    session.output.report(&status, |out| {
        match status.backend {
            Some(backend) => {
                writeln!(out, "backend     {} ({} programs)", backend.name(), status.programs.len())?;
            }
            None if status.in_force.is_some() => {}
            None if kernel => {
                return writeln!(out, "nothing is loaded: no policy was applied since this host was started");
            }
            None => return writeln!(out, "nothing is enforced: policies of this host are only recorded"),
        }
        if let Some(digest) = &status.fanotify {
            let same = status.in_force.as_ref().is_some_and(|policy| policy.policy_sha256 == *digest);
            writeln!(
                out,
                "backend     fanotify ({})",
                if same { "the same policy" } else { "another policy" }
            )?;
        }
        match &status.in_force {
            None => writeln!(out, "policy      none")?,
            Some(policy) => {
                let version = policy
                    .policy_version
                    .map_or("unsigned".to_owned(), |version| format!("version {version}"));
                writeln!(out, "policy      {version}, generation {}", policy.generation)?;
                writeln!(out, "  sha256    {}", policy.policy_sha256)?;
                if let Some((rules, entries)) = policy.rules.zip(policy.entries) {
                    writeln!(out, "  rules     {rules} ({entries} entries in the kernel)")?;
                }
                let mode = match policy.mode {
                    Mode::Enforce => "enforce",
                    Mode::Audit => "audit: what is denied is only told",
                };
                writeln!(out, "  mode      {mode}")?;
                if let Some(seconds) = policy.unconfirmed_for {
                    writeln!(out, "  confirm   within {seconds} s: sudo aegisbpf policy confirm")?;
                }
                if let Some(seconds) = policy.lifted_for {
                    writeln!(out, "  emergency denials are off for {seconds} s more")?;
                }
                if policy.fell_back {
                    writeln!(out, "  the policy that was applied after it was not confirmed in time")?;
                }
            }
        }
        let Some(counters) = status.counters else { return Ok(()) };
        writeln!(out, "denied      {}", counters.denied)?;
        writeln!(out, "only told   {}", counters.audited)?;
        writeln!(out, "lost events {}", counters.lost)
    })?;
    Ok(ExitCode::SUCCESS)
}
