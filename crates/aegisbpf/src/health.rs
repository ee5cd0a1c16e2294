//! `aegisbpf health`: is this host in order, and what is to do if not.

use std::process::ExitCode;

use aegis_trust::RecordingEnforcer;
use clap::Args;

use crate::command_line::Form;
use crate::escape::Escaped;
use crate::failure::Failure;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct HealthArguments {
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(_: &HealthArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let enforcer = RecordingEnforcer::new(host.paths());
    let health = host.health(session.caller().now, &enforcer);
    session.output.report(&health, |out| {
        writeln!(out, "{}", health.status)?;
        for check in &health.checks {
            writeln!(out, "  {:8} {}: {}", check.status, Escaped(&check.name), Escaped(&check.message))?;
            if let Some(help) = &check.help {
                writeln!(out, "           help: {}", Escaped(help))?;
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::from(health.exit_code()))
}
