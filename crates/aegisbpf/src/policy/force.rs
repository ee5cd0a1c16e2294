//! `policy verify`, `apply` and `rollback`: what this host believes and puts in force.

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_trust::{ApplyOptions, Mode, RecordingEnforcer, SignatureRule, V1};
use clap::Args;

use crate::command_line::Form;
use crate::escape::Escaped;
use crate::failure::Failure;
use crate::input;
use crate::keys::read_public_key;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The bundle, `-` for standard input
    file: PathBuf,
    /// Trust this key alone instead of this host's keys and counter
    #[arg(long, value_name = "PUB")]
    public_key: Option<PathBuf>,
    /// Read the older format too, on a host that has never accepted a version 2 bundle
    #[arg(long)]
    allow_v1: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ApplyArguments {
    /// The bundle or policy, `-` for standard input
    file: PathBuf,
    /// Refuse it unless a trusted key signed it
    #[arg(long)]
    require_signature: bool,
    /// Accept a policy without signature even though keys are installed or configuration asks for one
    #[arg(long, conflicts_with = "require_signature")]
    allow_unsigned: bool,
    /// Read the older format too, on a host that has never accepted a version 2 bundle
    #[arg(long)]
    allow_v1: bool,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    form: Form,
}

pub(super) fn verify(arguments: &VerifyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let name = input::name(&arguments.file);
    let host = session.host()?;
    let bundle = input::read_bundle(&arguments.file, &host)?;
    let now = session.caller().now;
    let v1 = v1(arguments.allow_v1);
    let verified = match &arguments.public_key {
        Some(file) => host.verify_with(&[read_public_key(file)?], bundle, v1, now),
        None => host.verify(bundle, v1, now),
    }
    .map_err(|error| Failure::new(format!("cannot trust {name}"), &error, error.help()))?;
    let report = host.verify_report(&verified);
    session.output.report(&report, |out| {
        writeln!(out, "{} is authentic: policy version {}", Escaped(&name), report.policy_version)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn apply(arguments: &ApplyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let name = input::name(&arguments.file);
    let host = session.host()?;
    let file = input::read_bundle(&arguments.file, &host)?;
    let options = ApplyOptions {
        signature: match (arguments.require_signature, arguments.allow_unsigned) {
            (true, _) => SignatureRule::Required,
            (false, true) => SignatureRule::AllowUnsigned,
            (false, false) => SignatureRule::Configured,
        },
        v1: v1(arguments.allow_v1),
        mode: if arguments.dry_run { Mode::DryRun } else { Mode::Apply },
    };
    let mut enforcer = RecordingEnforcer::new(host.paths());
    let applied = host
        .apply(&session.caller(), &name, file, &options, &mut enforcer)
        .map_err(|error| Failure::new(format!("cannot apply {name}"), &error, error.help()))?;
    for warning in &applied.warnings {
        session.output.warn(warning);
    }
    session.output.report(&applied, |out| {
        writeln!(out, "{}: policy version", applied.result)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rollback(session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let mut enforcer = RecordingEnforcer::new(host.paths());
    let rolled = host
        .rollback(&session.caller(), &mut enforcer)
        .map_err(|error| Failure::new("cannot roll back", &error, error.help()))?;
    session.output.report(&rolled, |out| {
        writeln!(out, "in force again: policy version {}, instead of {}", rolled.to_version, rolled.from_version)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn v1(allow: bool) -> V1 {
    if allow { V1::Allow } else { V1::Refuse }
}
