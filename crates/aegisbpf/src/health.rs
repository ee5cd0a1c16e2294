//! `aegisbpf health`: is this host in order, and what is to do if not.

use std::process::ExitCode;

use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_trust::health::Status;
use clap::Args;

use crate::session::Session;

/// The exit code of a host that cannot be trusted with signed policy.
const FAILED: u8 = 2;

#[derive(Args)]
pub(crate) struct HealthArguments {
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(_: &HealthArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = match session.host() {
        Ok(host) => host,
        // Settings that cannot be used are a failed host, not a degraded one.
        Err(failure) => {
            failure.print(session.output.is_json());
            return Ok(ExitCode::from(FAILED));
        }
    };
    let health = host.health(session.caller().now);
    session.output.report(&health, |out| {
        writeln!(out, "{}", word(health.status))?;
        for check in &health.checks {
            writeln!(out, "  {:8} {}: {}", word(check.status), check.name, Escaped(&check.message))?;
            if let Some(help) = &check.help {
                writeln!(out, "           help: {}", Escaped(help))?;
            }
        }
        Ok(())
    })?;
    Ok(ExitCode::from(health.exit_code()))
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Degraded => "degraded",
        Status::Failed => "failed",
    }
}
