//! `pipeline dead-letters replay`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use aegis_deployment::{PipelineConfig, Replay, ReplayCounts, ReplayRun};
use aegis_kek::Variables;
use aegis_telemetry::inlet::Stop;
use aegis_terminal::{Failure, json};

use super::super::{keyring_for, read, signals};
use super::{OpeningArguments, ReplayArguments, counted};
use crate::session::Session;

pub(super) fn replay(arguments: &ReplayArguments, session: &Session) -> Result<ExitCode, Failure> {
    let ReplayArguments { config: path, files, opening, json } = arguments;
    let OpeningArguments { allow_retired, tenant, passphrase } = opening;
    let config = read(path, session)?;
    let state = session.state_dir()?;
    let what = "cannot send the dead letters again";
    session.with_deployment(|deployment| {
        let keyring = keyring_for(&config, deployment, what)?;
        let deks = deployment
            .open_deks(passphrase.file(), allow_retired.iter().copied().collect())
            .map_err(|error| Failure::new(what, &error, error.help()))?;
        let prepared = Replay::prepare(files, &config, Arc::new(deks), tenant.clone())
            .map_err(|error| Failure::new(what, &error, error.help()))?;
        let stop = Arc::new(Stop::new().map_err(|error| Failure::new(what, &error, None))?);
        signals::watch(Arc::clone(&stop), config.drain_timeout)
            .map_err(|error| Failure::new(what, &error, None))?;
        let configure = || PipelineConfig::read(path, &Variables::of_process(), &state);
        let ReplayRun { counts, ended } = prepared.run(keyring.as_ref(), &stop, configure);
        report(&counts, *json, session);
        ended.map_err(|error| Failure::new("not all dead letters were sent again", &error, error.help()))?;
        check(&counts)
    })
}

/// On standard error: the standard output may be a sink.
fn report(counts: &ReplayCounts, as_json: bool, session: &Session) {
    let mut text = Vec::new();
    // Into memory, where nothing can fail.
    let _ = if as_json { json::write_line(&mut text, counts) } else { print(&mut text, counts) };
    session.output.diagnostics(&String::from_utf8_lossy(&text));
}

fn print(out: &mut dyn Write, counts: &ReplayCounts) -> io::Result<()> {
    let ReplayCounts { letters, replayed, sent_before, without_event, refused, spooled } = counts;
    writeln!(out, "sent {} of {} again", counted(*replayed, "event"), counted(*letters, "letter"))?;
    for (count, what) in [
        (sent_before, "sent by an earlier run that was interrupted"),
        (without_event, "without an event in the letter"),
        (refused, "refused again"),
        (spooled, "in the spool, for the next run of the pipeline"),
    ] {
        if *count > 0 {
            writeln!(out, "  {count} {what}")?;
        }
    }
    Ok(())
}

fn check(counts: &ReplayCounts) -> Result<ExitCode, Failure> {
    let ReplayCounts { without_event, refused, .. } = counts;
    if without_event + refused == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let because = format!("refused again: {refused}; not in their letters: {without_event}");
    Err(Failure::because("not all events are where they should be", because)
        .with_help("keep the letters; `aegis pipeline dead-letters list` says why"))
}
