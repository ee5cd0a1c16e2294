//! `emergency status` and `report`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use aegis_approval::{Report, ReportError, ReportFormat, Rotation, RotationStep};
use aegis_terminal::destination::Destinations;
use aegis_terminal::{Escaped, Failure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ReportArguments, StatusArguments};
use crate::custodian::key_named;
use crate::session::Session;

pub(super) fn status(arguments: &StatusArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = "cannot tell of emergency rotations";
    session.with_deployment(|deployment| {
        let reader = deployment.read_approvals().map_err(|error| Failure::new(what, &error, error.help()))?;
        let rotations =
            reader.emergencies(!arguments.all).map_err(|error| Failure::new(what, &error, error.help()))?;
        let open = rotations.iter().filter(|rotation| rotation.step != RotationStep::Done).count();
        let report = json!({ "rotations": rotations.iter().map(to_json).collect::<Vec<_>>(), "open": open });
        session.output.report(&report, |out| {
            if rotations.is_empty() {
                return writeln!(out, "no emergency rotation{}", if arguments.all { "" } else { " is open" });
            }
            rotations.iter().try_for_each(|rotation| print(out, rotation))
        })?;
        Ok(if open == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn print(out: &mut dyn Write, rotation: &Rotation) -> io::Result<()> {
    let Rotation { old_key, person, reason, started, new_key, step, updated, .. } = rotation;
    writeln!(out, "{} of {person}: {}", old_key.fingerprint(), step.as_str())?;
    writeln!(out, "  reason:  {}", Escaped(reason))?;
    writeln!(out, "  begun:   {started:.0}")?;
    if let Some(key) = new_key {
        writeln!(out, "  new key: {}", key.fingerprint())?;
    }
    writeln!(out, "  since:   {updated:.0}")?;
    match needs(rotation) {
        Some(needs) => writeln!(out, "  needs:   {needs}"),
        None => Ok(()),
    }
}

/// What has to be done next.
pub(super) fn needs(rotation: &Rotation) -> Option<&'static str> {
    Some(match rotation.step {
        RotationStep::Begun => "the key to be revoked: run rotate-custodian again",
        RotationStep::KeyRevoked => {
            "the key that comes: run rotate-custodian again with --registration or --no-new-key"
        }
        RotationStep::KeyRegistered => "the open requests to be named: run rotate-custodian again",
        RotationStep::RequestsReopened => "the report: run rotate-custodian again",
        RotationStep::Reported => "the last step: run rotate-custodian again",
        RotationStep::Done => return None,
    })
}

pub(super) fn to_json(rotation: &Rotation) -> Value {
    json!({
        "old_key": rotation.old_key,
        "person": rotation.person.as_str(),
        "reason": rotation.reason,
        "started_at": rotation.started.to_string(),
        "new_key": rotation.new_key,
        "with_deks": rotation.with_deks,
        "step": rotation.step.as_str(),
        "updated_at": rotation.updated.to_string(),
        "needs": needs(rotation),
    })
}

pub(super) fn report(arguments: &ReportArguments, session: &Session) -> Result<ExitCode, Failure> {
    let ReportArguments { key, format, out, form: _ } = arguments;
    let format = if session.output.is_json() { ReportFormat::Json } else { *format };
    let what = format!("cannot report on the key {key}");
    session.with_deployment(|deployment| {
        let reader =
            deployment.read_approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let registry = reader.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let key = key_named(&registry, key, None, &what)?;
        let report = reader.report(key, Timestamp::now());
        let report = report.map_err(|error| Failure::new(&what, &error, error.help()))?;
        write(&report, format, out, session)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Writes a report whole or not at all, if it goes to a file. What went wrong in the store is said as that.
pub(super) fn write(
    report: &Report<'_>,
    format: ReportFormat,
    out: &Path,
    session: &Session,
) -> Result<(), Failure> {
    let state = session.state_dir()?;
    let is_reserved = |path: &Path| state.reserves(path);
    let mut fault = None;
    let written = Destinations::new(&session.output, &is_reserved).stream(out, 0o600, |file| {
        match report.write_to(format, file) {
            Ok(_) => Ok(()),
            Err(ReportError::Write(error)) => Err(error),
            Err(error) => {
                fault = Some(error);
                Err(io::ErrorKind::Other.into())
            }
        }
    });
    match fault {
        Some(error) => Err(Failure::new("the report is not complete", &error, error.help())),
        None => written,
    }
}
