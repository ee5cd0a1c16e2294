//! `aegis emergency …`: a custodian's key may be in the wrong hands.

mod rotating;
mod showing;

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_approval::{Line, ReportFormat};
use aegis_crypto::KeyIdPrefix;
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand};

use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum EmergencyCommand {
    /// Revoke a custodian's key now, register another one, and name all that it touched; can be run again
    #[command(after_help = "\
From the first step on, no signature of the key counts: open requests that carry one drop back and have to be signed
again. The report names every decision that the key took part in, what became of it, and what is to be done about it.
Stopped at any point, the same command finishes what is left and does nothing twice. The new key may come later: run it
again with --registration, or with --no-new-key if there will be none.

Examples:
  aegis emergency rotate-custodian 3f9a6c01 --reason 'Laptop of rita was stolen'
  aegis emergency rotate-custodian 3f9a6c01 --reason 'Laptop of rita was stolen' --registration rita-new.custodian \\
    --report report.csv --format csv --rotate-deks")]
    RotateCustodian(RotateArguments),
    /// Say which emergency rotations were begun, and what each still needs
    #[command(after_help = "\
Exit code 1 if one is not finished.

Examples:
  aegis emergency status
  aegis emergency status --all --json")]
    Status(StatusArguments),
    /// Write the report of every decision that a key took part in, without changing anything
    #[command(after_help = "\
Examples:
  aegis emergency report 3f9a6c01
  aegis emergency report 3f9a6c01 --format csv --out report.csv")]
    Report(ReportArguments),
}

#[derive(Args)]
pub(crate) struct RotateArguments {
    /// The key that may be in the wrong hands, by the first digits of its id
    #[arg(value_name = "KEYID")]
    key: KeyIdPrefix,
    /// Why, in one line of printable ASCII
    #[arg(long, value_name = "TEXT")]
    reason: Line,
    /// The registration of the key that comes, `-` for standard input
    #[arg(long, value_name = "FILE")]
    registration: Option<PathBuf>,
    /// The key that comes, if it is registered already
    #[arg(long, value_name = "KEYID", conflicts_with = "registration")]
    new_key: Option<KeyIdPrefix>,
    /// No key comes: this person signs no more
    #[arg(long, conflicts_with_all = ["registration", "new_key"])]
    no_new_key: bool,
    /// Rotate the DEKs of all scopes as well, if encryption keys were affected
    #[arg(long)]
    rotate_deks: bool,
    /// Write the report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The form of the report: text, json or csv
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = report_format)]
    format: ReportFormat,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct StatusArguments {
    /// Also those that are finished
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ReportArguments {
    /// The key, by the first digits of its id
    #[arg(value_name = "KEYID")]
    key: KeyIdPrefix,
    /// The form: text, json or csv
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = report_format)]
    format: ReportFormat,
    /// The file, `-` for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: EmergencyCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        EmergencyCommand::RotateCustodian(arguments) => rotating::rotate(&arguments, session),
        EmergencyCommand::Status(arguments) => showing::status(&arguments, session),
        EmergencyCommand::Report(arguments) => showing::report(&arguments, session),
    }
}

fn report_format(text: &str) -> Result<ReportFormat, String> {
    ReportFormat::ALL
        .into_iter()
        .find(|format| format.as_str() == text)
        .ok_or_else(|| format!("expected one of {}", ReportFormat::ALL.map(ReportFormat::as_str).join(", ")))
}
