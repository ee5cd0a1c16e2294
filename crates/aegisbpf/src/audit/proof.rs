//! `audit verify`, `checkpoint`, `prove` and `rotate-key`: what the log can prove.

use std::process::ExitCode;

use aegis_audit::{Action, AuditLog, Event};

use crate::audit::{CheckpointArguments, ProveArguments, VerifyArguments};
use crate::destination;
use crate::failure::Failure;
use crate::input;
use crate::session::Session;

/// No signed note that we write is longer.
const MAX_CHECKPOINT_LEN: u64 = 64 * 1024;

pub(super) fn verify(arguments: &VerifyArguments, log: &AuditLog, session: &Session) -> Result<ExitCode, Failure> {
    let kept = arguments
        .checkpoints
        .iter()
        .map(|file| input::read(file, MAX_CHECKPOINT_LEN))
        .collect::<Result<Vec<_>, _>>()?;
    let mut shown = 0;
    let mut progress = |done: u64, total: u64| {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if percent >= shown + 10 {
            shown = percent;
            session.output.progress(&format!("verified {percent} % of the log"));
        }
    };
    let report = log.verify(&kept, &mut progress).map_err(|error| {
        Failure::new(format!("cannot trust the log {}", log.dir().display()), &error, error.help())
    })?;
    session.output.report(&report, |out| {
        writeln!(out, "the log is whole: {} entries, root {}", report.size, report.root)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn checkpoint(
    arguments: &CheckpointArguments,
    log: &AuditLog,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let what = "cannot give a checkpoint";
    let checkpoint = log.checkpoint().map_err(|error| Failure::new(what, &error, error.help()))?;
    let Some(checkpoint) = checkpoint else {
        return Err(Failure::because(what, format!("there is no log in {} yet", log.dir().display()))
            .with_help("the first logged action makes one"));
    };
    destination::write(&arguments.out, &checkpoint, 0o644, session)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn prove(arguments: &ProveArguments, log: &AuditLog, session: &Session) -> Result<ExitCode, Failure> {
    let ProveArguments { entry, since_size } = arguments;
    if let Some(seq) = entry {
        let proof = log.prove_inclusion(*seq).map_err(|error| {
            Failure::new(format!("cannot prove that entry {seq} is in the log"), &error, error.help())
        })?;
        session.output.document(&proof)?;
    }
    if let Some(size) = since_size {
        let proof = log.prove_consistency(*size).map_err(|error| {
            Failure::new(format!("cannot prove that the first {size} entries are as they were"), &error, error.help())
        })?;
        session.output.document(&proof)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rotate_key(log: &AuditLog, session: &Session) -> Result<ExitCode, Failure> {
    let caller = session.caller();
    let object = log.dir().display().to_string();
    let event = Event::new(caller.now, caller.actor, Action::AuditHandOver, object);
    let id = log
        .rotate_host_key(&event)
        .map_err(|error| Failure::new("cannot replace the key that signs the log", &error, error.help()))?;
    session.output.report(&serde_json::json!({ "host_key": id }), |out| writeln!(out, "the log is signed by key {id} now"))?;
    Ok(ExitCode::SUCCESS)
}
