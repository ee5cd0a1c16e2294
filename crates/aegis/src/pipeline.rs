//! `aegis pipeline …`: telemetry sealed on its way, as a service.

mod dead_letters;
mod notify;
mod signals;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use aegis_deployment::{
    ConfiguredPipeline, DekChoice, Deployment, PipelineConfig, PipelineCounts, SinkKind, SourceConfig,
};
use aegis_kek::Variables;
use aegis_keyring::Keyring;
use aegis_telemetry::inlet::Stop;
use aegis_terminal::{Escaped, Failure, Form, json};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::session::Session;
use dead_letters::DeadLettersCommand;
use notify::Notifier;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum PipelineCommand {
    /// Seal events on their way from a source to sinks, until the input ends or a signal comes
    #[command(after_help = "\
Needs the keyring, which has the public half of the DEK, and neither KEK nor passphrase. Follows a rotation of the DEK
while it runs. SIGTERM and SIGINT end the reading; what was read is sealed, delivered or spooled, and acknowledged, and
the counts are printed to standard error. A second signal ends it at once, with exit code 1: what is spooled stays, and
what was not acknowledged is read again, unless it came from standard input.

Examples:
  aegis pipeline run /etc/aegis/pipeline.toml
  tail -f events.jsonl | aegis pipeline run pipeline.toml > sealed.jsonl
  AEGIS_LOG=info aegis pipeline run pipeline.toml --json")]
    Run(RunArguments),
    /// Check a configuration; nothing is opened but the secrets and the catalogue that it names
    #[command(after_help = "\
Examples:
  aegis pipeline check pipeline.toml
  aegis pipeline check pipeline.toml --json")]
    Check(CheckArguments),
    /// Look at events that were refused, open them, and send them again
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis pipeline dead-letters list dead-letters.jsonl
  aegis pipeline dead-letters open dead-letters.jsonl -o refused.jsonl
  aegis pipeline dead-letters replay pipeline.toml dead-letters.jsonl.old"
    )]
    DeadLetters(DeadLettersCommand),
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// The configuration, a TOML file; relative paths in it are beside it
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Print the counts at the end as a line of JSON, to standard error
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The configuration, a TOML file
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: PipelineCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        PipelineCommand::Run(arguments) => run_pipeline(&arguments, session),
        PipelineCommand::Check(arguments) => check(&arguments, session),
        PipelineCommand::DeadLetters(command) => dead_letters::run(command, session),
    }
}

fn read(path: &Path, session: &Session) -> Result<PipelineConfig, Failure> {
    let state = session.state_dir()?;
    let config = PipelineConfig::read(path, &Variables::of_process(), &state).map_err(|error| {
        Failure::new(format!("cannot use the configuration {}", path.display()), &error, error.help())
    })?;
    for warning in config.pii.warnings() {
        session.output.warn(&warning.to_string());
    }
    Ok(config)
}

fn run_pipeline(arguments: &RunArguments, session: &Session) -> Result<ExitCode, Failure> {
    let config = read(&arguments.config, session)?;
    let what = format!("cannot run the pipeline of {}", arguments.config.display());
    session.with_deployment(|deployment| {
        let keyring = keyring_for(&config, deployment, &what)?;
        let stop = Stop::new().map_err(|error| Failure::new(&what, &error, None))?;
        let stop = Arc::new(stop);
        let drain_timeout = config.drain_timeout;
        // Before anything is opened: from here on a signal loses nothing.
        signals::watch(Arc::clone(&stop), drain_timeout)
            .map_err(|error| Failure::new(&what, &error, None))?;
        let pipeline = ConfiguredPipeline::open(keyring.as_ref(), config)
            .map_err(|error| Failure::new(&what, &error, error.help()))?;
        let notifier = Notifier::of_process();
        notifier.say("READY=1");
        let run = pipeline.run(&stop, || notifier.say("STOPPING=1"));
        report(&run.counts, arguments.json, session);
        match run.ended {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Failure::new(
                format!("the pipeline of {} did not come to its end", arguments.config.display()),
                &error,
                error.help(),
            )),
        }
    })
}

/// The keyring, unless the configuration names the one key that is needed of it.
fn keyring_for(
    config: &PipelineConfig,
    deployment: &Deployment,
    what: &str,
) -> Result<Option<Keyring>, Failure> {
    match config.dek.needs_keyring() {
        true => deployment.keyring().map(Some).map_err(|error| Failure::new(what, &error, error.help())),
        false => Ok(None),
    }
}

/// On standard error: the standard output may be a sink.
fn report(counts: &PipelineCounts, as_json: bool, session: &Session) {
    let mut text = Vec::new();
    // Into memory, where nothing can fail.
    let _ = if as_json { json::write_line(&mut text, counts) } else { print(&mut text, counts) };
    session.output.diagnostics(&String::from_utf8_lossy(&text));
}

fn print(out: &mut dyn Write, counts: &PipelineCounts) -> io::Result<()> {
    let PipelineCounts { events, sealed, fields, deks, refused, dead_letters, lost, sinks } = counts;
    let under = if deks.is_empty() { String::new() } else { format!(" under {}", deks.join(", ")) };
    writeln!(out, "events: {events} read, {sealed} sealed, {fields} fields{}", Escaped(&under))?;
    writeln!(out, "refused: {refused}, of which {dead_letters} in the dead letters; lost: {lost}")?;
    for sink in sinks {
        writeln!(
            out,
            "sink {}: {} delivered, {} in the spool",
            Escaped(&sink.name),
            sink.delivered,
            sink.spooled
        )?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Checked {
    source: &'static str,
    scope: Option<String>,
    dek: Option<String>,
    catalogue: String,
    fields: usize,
    workers: usize,
    metrics: Option<String>,
    sinks: Vec<CheckedSink>,
}

#[derive(Serialize)]
struct CheckedSink {
    name: String,
    kind: &'static str,
    spool: bool,
}

fn check(arguments: &CheckArguments, session: &Session) -> Result<ExitCode, Failure> {
    let config = read(&arguments.config, session)?;
    let sinks = config.sinks.iter().map(|sink| CheckedSink {
        name: sink.name.clone(),
        kind: match sink.kind {
            SinkKind::Stdout => "stdout",
            SinkKind::File(_) => "file",
            SinkKind::Http(..) => "http",
            SinkKind::Otlp(_) => "otlp",
            SinkKind::Nats(_) => "nats",
        },
        spool: sink.spool.is_some(),
    });
    let (scope, dek) = match &config.dek {
        DekChoice::Active { scope, pinned } => {
            (Some(scope.to_string()), pinned.map(|version| version.to_string()))
        }
        DekChoice::Fixed(dek) => (None, Some(dek.name.as_str().to_owned())),
    };
    let checked = Checked {
        source: match config.source {
            SourceConfig::Stdin => "stdin",
            SourceConfig::File(_) => "file",
            SourceConfig::Nats(_) => "nats",
        },
        scope,
        dek,
        catalogue: config.pii.catalogue.version().to_string(),
        fields: config.pii.catalogue.fields().len(),
        workers: config.settings.workers,
        metrics: config.metrics.map(|address| address.to_string()),
        sinks: sinks.collect(),
    };
    session.output.report(&checked, |out| {
        writeln!(out, "{} can be used", Escaped(&arguments.config.display().to_string()))?;
        writeln!(out, "  source: {}", checked.source)?;
        writeln!(
            out,
            "  seals: {} fields of catalogue {}, {}",
            checked.fields,
            checked.catalogue,
            under(&checked)
        )?;
        for sink in &checked.sinks {
            let spool = if sink.spool { ", with a spool" } else { "" };
            writeln!(out, "  sink {}: {}{spool}", sink.name, sink.kind)?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn under(checked: &Checked) -> String {
    match (&checked.scope, &checked.dek) {
        (Some(scope), None) => format!("scope {scope}"),
        (Some(scope), Some(dek)) => format!("scope {scope}, under {dek} alone"),
        (None, dek) => format!("under {} alone, without a keyring", dek.as_deref().unwrap_or_default()),
    }
}
