//! `aegisbpf emergency …`: denials off for a time, and on again.

use std::process::ExitCode;
use std::time::Duration;

use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_trust::emergency::EnforcementOff;
use clap::{Args, Subcommand};

use crate::approval::ApprovalArgument;
use crate::policy::{policy_of, time};
use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum EmergencyCommand {
    /// Turn denials off for a time: what the policy denies is then only told
    #[command(after_help = "\
The log has it before it happens, and the kernel ends it by itself. Where the host has custodians, two of them
approve enforcement.off for the sha256 of the policy in force; without an approval, this command says for which.

Examples:
  sudo aegisbpf emergency disable --reason \"INC-4711: the database does not start\"
  sudo aegisbpf emergency disable --reason \"INC-4711\" --for 2h --approval off.approval")]
    Disable(DisableArguments),
    /// Turn denials on again before the time is over; nobody has to approve that
    #[command(after_help = "\
Examples:
  sudo aegisbpf emergency enable")]
    Enable(EnableArguments),
}

#[derive(Args)]
pub(crate) struct DisableArguments {
    /// Why, in a few words: it stands in the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, at most a day: 90s, 30m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = time)]
    time: Duration,
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct EnableArguments {
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: EmergencyCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        EmergencyCommand::Disable(arguments) => disable(&arguments, session),
        EmergencyCommand::Enable(_) => enable(session),
    }
}

fn disable(arguments: &DisableArguments, session: &Session) -> Result<ExitCode, Failure> {
    let DisableArguments { reason, time, approval, form: _ } = arguments;
    let host = session.host()?;
    let caller = session.caller().with_approvals(approval.files()?);
    let off = host.enforcement_off(&caller, reason, *time);
    session.warn_unlogged(&host);
    let off = off.map_err(|error| Failure::new("cannot turn denials off", &error, error.help()))?;
    let EnforcementOff { policy_version, policy_sha256, until, reason, approval } = &off;
    session.output.report(&off, |out| {
        writeln!(out, "off until {until}: what the policy denies is only told")?;
        writeln!(out, "  {}", policy_of(*policy_version, policy_sha256))?;
        writeln!(out, "  reason     {}", Escaped(reason))?;
        if let Some(id) = approval {
            writeln!(out, "  used       {}", Escaped(id))?;
        }
        writeln!(out, "  on again   sudo aegisbpf emergency enable")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn enable(session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let on = host.enforcement_on(&session.caller());
    session.warn_unlogged(&host);
    let on = on.map_err(|error| Failure::new("cannot turn denials on", &error, error.help()))?;
    session.output.report(&on, |out| {
        writeln!(out, "on: what the policy denies is refused")?;
        match &on.policy_sha256 {
            Some(sha256) => writeln!(out, "  {}", policy_of(on.policy_version, sha256)),
            None => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
