//! `policy counter show` and `policy counter repair`.

use std::process::ExitCode;

use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use clap::{Args, Subcommand};

use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum CounterCommand {
    /// Show the highest policy version that this host has accepted
    #[command(after_help = "\
Examples:
  aegisbpf policy counter show --json")]
    Show(ShowArguments),
    /// Rebuild a lost or damaged counter from what is applied; never lowers it
    #[command(after_help = "\
Examples:
  sudo aegisbpf policy counter repair --reason \"disk replaced\"
  sudo aegisbpf policy counter repair --reason \"restored host\" --at-least 41")]
    Repair(RepairArguments),
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RepairArguments {
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Refuse every version up to N, the highest that you know was applied
    #[arg(long, value_name = "N")]
    at_least: Option<u64>,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(command: CounterCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        CounterCommand::Show(_) => show(session),
        CounterCommand::Repair(arguments) => repair(&arguments, session),
    }
}

fn show(session: &Session) -> Result<ExitCode, Failure> {
    let counter = session
        .host()?
        .counter()
        .map_err(|error| Failure::new("cannot show the version counter", &error, error.help()))?;
    session.output.report(&counter, |out| match &counter {
        None => writeln!(out, "no policy version has been accepted here"),
        Some(counter) => {
            writeln!(out, "policy version {}", counter.policy_version)?;
            writeln!(out, "  epoch   {}", counter.epoch)?;
            writeln!(out, "  sha256  {}", counter.policy_sha256)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn repair(arguments: &RepairArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let repaired = host.repair_counter(&session.caller(), arguments.at_least, &arguments.reason);
    session.warn_unlogged(&host);
    let repaired =
        repaired.map_err(|error| Failure::new("cannot repair the version counter", &error, error.help()))?;
    session.output.report(&repaired, |out| {
        let counter = &repaired.counter;
        writeln!(
            out,
            "the counter is at policy version {}, epoch {}",
            counter.policy_version, counter.epoch
        )?;
        for evidence in &repaired.evidence {
            let version = evidence.counter.policy_version;
            writeln!(out, "  version {version} in {}", Escaped(&evidence.found_in))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
