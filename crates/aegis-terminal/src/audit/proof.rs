//! `audit verify`, `checkpoint`, `prove` and `rotate-key`: what the log can prove.

use std::process::ExitCode;

use aegis_audit::{Action, AuditLog, VerifyReport};
use aegis_crypto::{Digest, KeyId};
use serde::Serialize;

use crate::audit::{CheckpointArguments, ProveArguments, Session, VerifyArguments};
use crate::failure::Failure;
use crate::input;

/// No signed note that we write is longer.
const MAX_CHECKPOINT_LEN: u64 = 128 * 1024;

pub(super) fn verify(
    arguments: &VerifyArguments,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let what = format!("cannot trust the log {}", log.dir().display());
    let kept = arguments
        .checkpoints
        .iter()
        .map(|file| input::read(file, MAX_CHECKPOINT_LEN, &format!("cannot read {}", input::name(file))))
        .collect::<Result<Vec<_>, _>>()?;
    let mut shown = 0;
    let mut progress = |done: u64, total: u64| {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if percent >= shown + 10 {
            shown = percent;
            session.output.progress(&format!("verified {percent} % of the log"));
        }
    };
    let report = log
        .verify(&kept, &mut progress)
        .map_err(|error| Failure::new(what, &error, session.help(error.help())))?;
    let verified = Verified::from(&report);
    session.output.report(&verified, |out| {
        writeln!(
            out,
            "the log is whole: {} entries, from {} to {}",
            report.size,
            verified.first(),
            verified.last()
        )?;
        writeln!(out, "  root      {}", report.root)?;
        writeln!(out, "  host key  {}", report.host_key)?;
        for key in &report.earlier_keys {
            writeln!(out, "  before    {key}")?;
        }
        if report.kept > 0 {
            writeln!(out, "  it holds against {} kept checkpoints", report.kept)?;
        }
        if report.unsealed > 0 || report.torn_bytes > 0 {
            writeln!(
                out,
                "  {} entries and {} bytes after its checkpoint are signed by nobody: a command was interrupted, or \
                 somebody wrote to the log",
                report.unsealed, report.torn_bytes
            )?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The report for programs.
#[derive(Serialize)]
struct Verified<'a> {
    size: u64,
    root: Digest,
    bytes: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    origin: &'a str,
    host_key: KeyId,
    earlier_keys: &'a [KeyId],
    kept_checkpoints: usize,
    unsealed: u64,
    torn_bytes: u64,
}

impl<'a> From<&'a VerifyReport> for Verified<'a> {
    fn from(report: &'a VerifyReport) -> Self {
        let VerifyReport { size, root, bytes, first_time, last_time, origin, host_key, .. } = report;
        let VerifyReport { earlier_keys, kept, unsealed, torn_bytes, .. } = report;
        Self {
            size: *size,
            root: *root,
            bytes: *bytes,
            first_time: first_time.map(|time| time.to_string()),
            last_time: last_time.map(|time| time.to_string()),
            origin,
            host_key: *host_key,
            earlier_keys,
            kept_checkpoints: *kept,
            unsealed: *unsealed,
            torn_bytes: *torn_bytes,
        }
    }
}

impl Verified<'_> {
    fn first(&self) -> &str {
        self.first_time.as_deref().unwrap_or("-")
    }

    fn last(&self) -> &str {
        self.last_time.as_deref().unwrap_or("-")
    }
}

pub(super) fn checkpoint(
    arguments: &CheckpointArguments,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let what = "cannot give a checkpoint";
    let checkpoint =
        log.checkpoint().map_err(|error| Failure::new(what, &error, session.help(error.help())))?;
    let Some(checkpoint) = checkpoint else {
        return Err(Failure::because(what, format!("there is no log in {} yet", log.dir().display()))
            .with_help("the first logged action makes one"));
    };
    session.destinations.write(&arguments.out, &checkpoint, 0o644)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn prove(
    arguments: &ProveArguments,
    log: &AuditLog,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let ProveArguments { entry, since_size } = arguments;
    if let Some(seq) = entry {
        let proof = log.prove_inclusion(*seq).map_err(|error| {
            Failure::new(
                format!("cannot prove that entry {seq} is in the log"),
                &error,
                session.help(error.help()),
            )
        })?;
        session.output.document(&proof)?;
    }
    if let Some(size) = since_size {
        let proof = log.prove_consistency(*size).map_err(|error| {
            Failure::new(
                format!("cannot prove that the first {size} entries are as they were"),
                &error,
                session.help(error.help()),
            )
        })?;
        session.output.document(&proof)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rotate_key(log: &AuditLog, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let id = log.rotate_host_key(&session.event(Action::AuditHandOver, log)).map_err(|error| {
        Failure::new("cannot replace the key that signs the log", &error, session.help(error.help()))
    })?;
    session.output.report(&serde_json::json!({ "host_key": id }), |out| {
        writeln!(out, "the log is signed by key {id} now")
    })?;
    Ok(ExitCode::SUCCESS)
}
