//! `kek status` and `verify`.

use std::io::{self, Write};
use std::process::ExitCode;

use aegis_deployment::{KekOrigin, KekOverview, Load};
use aegis_kek::Standing;
use aegis_keyring::{KekState, KekStatus};
use aegis_terminal::{Escaped, Failure};
use serde_json::{Value, json};

use super::{StatusArguments, VerifyArguments};
use crate::progress::Progress;
use crate::session::Session;

pub(super) fn status(arguments: &StatusArguments, session: &Session) -> Result<ExitCode, Failure> {
    let StatusArguments { offline, passphrase, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let load = if *offline { Load::Offline } else { Load::Now };
        let what = "cannot tell how the KEK stands";
        let overview = deployment
            .kek_overview(passphrase.file(), load)
            .map_err(|error| Failure::new(what, &error, error.help()))?;
        session.output.report(&report(&overview), |out| print(out, &overview))?;
        match &overview.load_error {
            Some(error) => Err(Failure::new("the KEK does not load", error, error.help())),
            None => Ok(ExitCode::SUCCESS),
        }
    })
}

fn standing(overview: &KekOverview) -> (&'static str, Option<&str>) {
    match &overview.health.standing {
        Standing::Untried => ("untried", None),
        Standing::Working => ("working", None),
        Standing::Failing { reason } => ("failing", Some(reason)),
    }
}

fn report(overview: &KekOverview) -> Value {
    let health = &overview.health;
    let (standing, reason) = standing(overview);
    let detail: serde_json::Map<_, _> =
        health.detail.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    let kek = |kek: &KekStatus| {
        let KekStatus { record, progress } = kek;
        json!({
            "key_id": record.key_id(),
            "provider": record.provider.as_str(),
            "state": record.state.as_str(),
            "created_at": record.created_at.to_string(),
            "changed_at": record.changed_at.to_string(),
            "grace_until": record.grace_until.map(|time| time.to_string()),
            "deks": progress.deks,
            "wrapped": progress.wrapped,
            "verified": progress.verified,
        })
    };
    let keks = overview.keks.as_ref().map(|keks| keks.iter().map(kek).collect::<Vec<_>>());
    json!({
        "provider": health.kind.as_str(),
        "security_level": health.security_level.as_str(),
        "key_id": health.key_id,
        "origin": match &overview.origin {
            KekOrigin::Configured(_) => "configured",
            KekOrigin::StateDir | KekOrigin::Nothing => "state_dir",
        },
        "standing": standing,
        "reason": reason,
        "last_worked": health.last_worked.or(overview.last_loaded).map(|time| time.to_string()),
        "detail": detail,
        "state": overview.state().map(KekState::as_str),
        "rotation": overview.incoming().map(|kek| json!({
            "to": kek.record.key_id(),
            "deks": kek.progress.deks,
            "wrapped": kek.progress.wrapped,
            "verified": kek.progress.verified,
        })),
        "keks": keks,
    })
}

fn print(out: &mut dyn Write, overview: &KekOverview) -> io::Result<()> {
    let health = &overview.health;
    writeln!(out, "KEK {}", health.key_id)?;
    writeln!(out, "  provider     {} ({})", health.kind, health.security_level.as_str())?;
    match &overview.origin {
        KekOrigin::Configured(set) => writeln!(out, "  chosen by    {}", Escaped(set.join(", ")))?,
        KekOrigin::StateDir | KekOrigin::Nothing => {
            writeln!(out, "  chosen by    the key file of the state directory: nothing else is configured")?;
        }
    }
    for (name, value) in &health.detail {
        writeln!(out, "  {name:12} {}", Escaped(value))?;
    }
    match standing(overview) {
        ("failing", _) => writeln!(out, "  standing     does not load")?,
        ("working", _) => writeln!(out, "  standing     loads")?,
        _ => writeln!(out, "  standing     not tried")?,
    }
    if let Some(time) = health.last_worked.or(overview.last_loaded) {
        writeln!(out, "  last worked  {time:.0}")?;
    }
    let Some(keks) = &overview.keks else {
        return writeln!(out, "  keyring      none yet: `aegis init` makes one");
    };
    match overview.state() {
        Some(state) => writeln!(out, "  in keyring   {state}")?,
        None => writeln!(out, "  in keyring   unknown: this KEK opens no DEK of it")?,
    }
    writeln!(out)?;
    let rows: Vec<_> = keks
        .iter()
        .map(|KekStatus { record, progress }| {
            let grace = record.grace_until.filter(|_| record.state == KekState::Grace);
            [
                record.key_id().fingerprint(),
                record.provider.to_string(),
                record.state.to_string(),
                format!("{} of {}", progress.wrapped, progress.deks),
                progress.verified.to_string(),
                grace.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}")),
            ]
        })
        .collect();
    aegis_terminal::output::table(
        out,
        ["KEK", "PROVIDER", "STATE", "WRAPPED", "VERIFIED", "GRACE UNTIL"],
        &rows,
    )?;
    match overview.incoming() {
        Some(_) => {
            writeln!(out, "a rotation is under way: run `aegis kek rotate --to FILE` again to finish it")
        }
        None => Ok(()),
    }
}

pub(super) fn verify(arguments: &VerifyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let VerifyArguments { threads, passphrase, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let bar = Progress::new("opening");
        let verified =
            deployment.verify_kek(passphrase.file(), *threads, &mut |at| bar.at(at.done, at.total));
        drop(bar);
        let (key_id, deks) = verified
            .map_err(|error| Failure::new("cannot verify the KEK and its DEKs", &error, error.help()))?;
        session.output.report(&json!({ "key_id": key_id, "deks": deks }), |out| {
            writeln!(out, "KEK {key_id} loads, and opens every DEK: {deks}")
        })?;
        Ok(ExitCode::SUCCESS)
    })
}
