//! `dek create`, `rotate`, `retire` and `destroy`.

use std::process::ExitCode;
use std::time::Duration;

use aegis_deployment::{ChangeError, Destruction};
use aegis_keyring::{DekVersion, Rotated, RotationPolicy, RotationReason, RotatorOutcome};
use aegis_terminal::Failure;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::showing::Dek;
use super::{CreateArguments, DestroyArguments, RetireArguments, RotateArguments};
use crate::session::Session;

pub(super) fn create(arguments: &CreateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let scope = &arguments.scope;
    session.with_deployment(|deployment| {
        let made = deployment.create_dek(scope).map_err(|error| {
            Failure::new(format!("cannot make a DEK for scope {scope}"), &error, error.help())
        })?;
        let report = json!({
            "scope": scope.as_str(),
            "active": made.version.to_string(),
            "key_id": made.public_key.key_id(),
        });
        session.output.report(&report, |out| writeln!(out, "active in scope {scope}: {}", made.version))?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn rotate(arguments: &RotateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RotateArguments { scope, if_due, replace, max_age, max_messages, max_bytes, form: _ } = arguments;
    let what = || format!("cannot rotate the DEK of scope {scope}");
    session.with_deployment(|deployment| {
        let outcome = if *if_due {
            let policy = RotationPolicy::new(seconds(*max_age), *max_messages, *max_bytes)
                .map_err(|error| Failure::new(what(), &error, None))?;
            deployment.rotate_dek_if_due(scope, policy)
        } else {
            let rotated = match replace {
                Some(active) => deployment.replace_dek(scope, *active),
                None => deployment.rotate_dek(scope),
            };
            rotated.map(|Rotated { active, replaced }| RotatorOutcome::Rotated {
                replaced,
                active: active.version,
                reason: RotationReason::Age,
            })
        };
        let outcome = outcome.map_err(|error| Failure::new(what(), &error, error.help()))?;
        let (result, replaced, active, detail) = parts(&outcome);
        let mut report = json!({
            "scope": scope.as_str(),
            "result": result,
            "active": active.to_string(),
            "replaced": replaced.map(|version| version.to_string()),
        });
        if let (Value::Object(members), true) = (&mut report, *if_due) {
            members.extend(detail);
        }
        session.output.report(&report, |out| match (&outcome, replaced) {
            (RotatorOutcome::NotDue { due_at, .. }, _) => {
                writeln!(out, "not due: {active} is active in scope {scope}, and due at {due_at:.0}")
            }
            (RotatorOutcome::RotatedElsewhere { .. }, _) => {
                writeln!(out, "somebody else was faster: active in scope {scope}: {active}")
            }
            (RotatorOutcome::ClockWentBack { .. }, _) => {
                writeln!(
                    out,
                    "not rotated: the clock is behind the making of {active}, so its age means nothing"
                )
            }
            (_, Some(replaced)) => {
                writeln!(out, "active in scope {scope}: {active}; {replaced} decrypts only")
            }
            (_, None) => writeln!(out, "active in scope {scope}: {active}"),
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

type Parts = (&'static str, Option<DekVersion>, DekVersion, serde_json::Map<String, Value>);

fn parts(outcome: &RotatorOutcome) -> Parts {
    let mut detail = serde_json::Map::new();
    let mut put = |name: &str, value: String| drop(detail.insert(name.to_owned(), value.into()));
    let (result, replaced, active) = match outcome {
        RotatorOutcome::NotDue { active, due_at } => {
            put("due_at", due_at.to_string());
            ("not_due", None, *active)
        }
        RotatorOutcome::Rotated { replaced, active, reason } => {
            let reason = match reason {
                RotationReason::Age => "age",
                RotationReason::Messages => "messages",
                RotationReason::Bytes => "bytes",
            };
            put("reason", reason.to_owned());
            ("rotated", Some(*replaced), *active)
        }
        RotatorOutcome::RotatedElsewhere { replaced, active } => {
            ("rotated_elsewhere", Some(*replaced), *active)
        }
        RotatorOutcome::ClockWentBack { active, before, .. } => {
            put("before", before.to_string());
            ("clock_went_back", None, *active)
        }
    };
    (result, replaced, active, detail)
}

/// A span as it was parsed is never negative.
fn seconds(span: SignedDuration) -> Duration {
    Duration::try_from(span).unwrap_or_default()
}

pub(super) fn retire(arguments: &RetireArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RetireArguments { version, undo, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let (verb, changed) = if *undo {
            ("bring back", deployment.unretire_dek(*version))
        } else {
            ("retire", deployment.retire_dek(*version))
        };
        let record = changed.map_err(|error| cannot(verb, *version, &error))?;
        session.output.report(&Dek::from(&record), |out| match *undo {
            true => writeln!(out, "{version} decrypts again"),
            false => writeln!(out, "{version} is retired: it is refused unless it is asked for by name"),
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn destroy(arguments: &DestroyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let DestroyArguments { version, wait, cancel, approval, form: _ } = arguments;
    session.with_deployment(|deployment| {
        if *cancel {
            let record =
                deployment.cancel_destruction(*version).map_err(|error| cannot("keep", *version, &error))?;
            session
                .output
                .report(&Dek::from(&record), |out| writeln!(out, "{version} is retired, and stays"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let done = deployment
            .destroy_dek(*version, seconds(*wait), approval.as_ref())
            .map_err(|error| cannot("destroy", *version, &error))?;
        let (Destruction::Marked(record) | Destruction::Destroyed(record)) = &done;
        session.output.report(&Dek::from(record), |out| match (&done, record.destroy_after) {
            (Destruction::Marked(_), Some(after)) => writeln!(
                out,
                "{version} is marked: it is refused from now on; run this again after {after:.0} to erase it"
            ),
            _ => writeln!(out, "{version} is destroyed: what was sealed under it cannot be read again"),
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn cannot(verb: &str, version: DekVersion, error: &ChangeError) -> Failure {
    Failure::new(format!("cannot {verb} {version}"), error, error.help())
}
