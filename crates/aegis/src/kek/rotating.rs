//! `kek rotate` and `retire`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use aegis_deployment::{Deployment, RotateKek, RotatedKek};
use aegis_keyring::{Grace, KekPhase, KekProgress};
use aegis_terminal::{Escaped, Failure};
use serde_json::json;

use super::{RetireArguments, RotateArguments};
use crate::progress::Progress;
use crate::session::Session;

pub(super) fn rotate(arguments: &RotateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RotateArguments { to, grace, threads, abandon, passphrase, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let to = match to {
            Some(to) if !abandon => to,
            _ => return give_up(deployment, session),
        };
        let request = RotateKek {
            to,
            // A span as it was parsed is never negative.
            grace: Duration::try_from(*grace).unwrap_or_default(),
            threads: *threads,
            passphrase_file: passphrase.file(),
        };
        let bar = Progress::new("rewrapping");
        let rotated = deployment.rotate_kek(&request, &mut told(&bar));
        drop(bar);
        let rotated =
            rotated.map_err(|error| Failure::new("the KEK was not rotated", &error, error.help()))?;
        let done = &rotated.rotated;
        let report = json!({
            "from": done.from,
            "to": done.to,
            "provider": rotated.provider.as_str(),
            "switched_now": done.switched_now,
            "grace_until": done.grace_until.map(|time| time.to_string()),
            "rewrapped": done.rewrapped,
            "verified": done.verified,
            "set": rotated.variables.set,
            "unset": rotated.variables.unset,
        });
        session.output.report(&report, |out| print(out, &rotated, to))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn told(bar: &Progress) -> impl FnMut(KekProgress) + '_ {
    |at| {
        bar.step(match at.phase {
            KekPhase::Rewrap => "rewrapping",
            KekPhase::Verify => "verifying",
        });
        bar.at(at.done, at.total);
    }
}

fn print(out: &mut dyn Write, rotated: &RotatedKek, file: &Path) -> io::Result<()> {
    let done = &rotated.rotated;
    if done.switched_now {
        writeln!(out, "the keyring is under KEK {} of the {} provider now", done.to, rotated.provider)?;
        writeln!(out, "  rewrapped  {} DEKs, verified {}", done.rewrapped, done.verified)?;
    } else {
        writeln!(out, "the keyring was under KEK {} of the {} provider already", done.to, rotated.provider)?;
    }
    match done.grace_until {
        Some(until) => writeln!(
            out,
            "  before     {}, which opens every DEK until it is retired; kept until {until:.0}",
            done.from
        )?,
        None => writeln!(out, "  before     {}, which is retired", done.from)?,
    }
    writeln!(out, "Wherever DEKs are opened, put the variables of {} in place:", Escaped(file.display()))?;
    writeln!(out, "  set    {}", Escaped(rotated.variables.set.join(" ")))?;
    if !rotated.variables.unset.is_empty() {
        writeln!(out, "  unset  {}", Escaped(rotated.variables.unset.join(" ")))?;
    }
    Ok(())
}

fn give_up(deployment: &Deployment, session: &Session) -> Result<ExitCode, Failure> {
    let given_up = deployment
        .abandon_kek_rotation()
        .map_err(|error| Failure::new("no KEK rotation was given up", &error, error.help()))?;
    session.output.report(&json!({ "abandoned": given_up }), |out| {
        writeln!(out, "given up: the keyring stays under its KEK, and KEK {given_up} is not rotated to")
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn retire(arguments: &RetireArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RetireArguments { kek, force, approval, passphrase, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let grace = if *force { Grace::CutShort } else { Grace::Respect };
        let bar = Progress::new("opening");
        let retired =
            deployment.retire_kek(kek.as_ref(), grace, passphrase.file(), approval.as_ref(), &mut |at| {
                bar.at(at.done, at.total);
            });
        drop(bar);
        let retired =
            retired.map_err(|error| Failure::new("the KEK was not retired", &error, error.help()))?;
        session.output.report(&json!({ "retired": retired }), |out| {
            writeln!(out, "KEK {retired} is retired: nothing is wrapped under it any more")
        })?;
        Ok(ExitCode::SUCCESS)
    })
}
