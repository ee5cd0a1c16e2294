//! `policy confirm`: keeps what was applied with `--confirm-within`.

use std::process::ExitCode;

use aegis_crypto::Digest;
use aegis_terminal::Form;
use aegis_terminal::failure::Failure;
use clap::Args;

use crate::session::Session;

#[derive(Args)]
pub(crate) struct ConfirmArguments {
    #[command(flatten)]
    form: Form,
}

pub(super) fn confirm(session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let confirmed = host.confirm_policy(&session.caller());
    session.warn_unlogged(&host);
    let confirmed =
        confirmed.map_err(|error| Failure::new("cannot confirm the policy", &error, error.help()))?;
    session.output.report(&confirmed, |out| {
        writeln!(out, "confirmed: it stays in force")?;
        writeln!(out, "  {}", policy_of(confirmed.policy_version, &confirmed.policy_sha256))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A policy in one line of a report.
pub(crate) fn policy_of(version: Option<u64>, sha256: &Digest) -> String {
    match version {
        Some(version) => format!("policy     version {version}, sha256 {sha256}"),
        None => format!("policy     unsigned, sha256 {sha256}"),
    }
}
