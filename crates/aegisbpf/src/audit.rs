//! `aegisbpf audit …`: read, verify and export the tamper-evident log.

mod proof;
mod reading;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use aegis_audit::export::Format;
use aegis_audit::{Action, AuditLog, Outcome, UnknownName};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::command_line::Form;
use crate::failure::Failure;
use crate::moment::{Moment, parse_moment};
use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum AuditCommand {
    /// Show the last entries
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit show
  sudo aegisbpf audit show -n 100 --json")]
    Show(ShowArguments),
    /// Re-hash every entry and hold the log against its checkpoint, and against older ones kept elsewhere
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit verify
  sudo aegisbpf audit verify --checkpoint /mnt/safe/checkpoint-2026-01 --json")]
    Verify(VerifyArguments),
    /// Find entries
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit query --since 7d --outcome refused
  sudo aegisbpf audit query --action keys.revoke --json")]
    Query(QueryArguments),
    /// Write entries for a SIEM, one line each
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit export --format ocsf -o events.jsonl
  sudo aegisbpf audit export --format rfc5424 --since 1h | nc -q0 siem.example 601")]
    Export(ExportArguments),
    /// Print the signed head of the log, to be kept elsewhere
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit checkpoint -o /mnt/safe/checkpoint-2026-03")]
    Checkpoint(CheckpointArguments),
    /// Prove that an entry is in the log, or that the log only grew since it had N entries
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit prove 41
  sudo aegisbpf audit prove --since-size 40")]
    Prove(ProveArguments),
    /// Replace the key that signs the log; the old key signs the hand-over
    #[command(after_help = "\
Examples:
  sudo aegisbpf audit rotate-key")]
    RotateKey(RotateKeyArguments),
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// Show the last N entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// A checkpoint kept earlier; may be given again
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

// Which entries.
#[derive(Args)]
pub(crate) struct Selection {
    /// Only entries of this time or later: RFC 3339, a UTC date, or an age such as 7d
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Moment>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Moment>,
    /// Only this action, such as policy.apply or keys.revoke
    #[arg(long, value_name = "ACTION", hide_possible_values = true)]
    #[arg(value_parser = one_of::<Action>(Action::ALL.map(Action::as_str)))]
    action: Option<Action>,
    /// Only this outcome
    #[arg(long, value_name = "OUTCOME")]
    #[arg(value_parser = one_of::<Outcome>(Outcome::ALL.map(Outcome::as_str)))]
    outcome: Option<Outcome>,
    /// Only entries about the key whose id begins with ID
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only entries whose object contains TEXT
    #[arg(long, value_name = "TEXT")]
    object: Option<String>,
    /// At most N entries, the earliest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Args)]
pub(crate) struct QueryArguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ExportArguments {
    /// What the receiver reads
    #[arg(long, value_name = "FORMAT", value_parser = one_of::<Format>(Format::ALL.map(Format::as_str)))]
    format: Format,
    /// The file to write, `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Args)]
pub(crate) struct CheckpointArguments {
    /// The file to write, `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ProveArguments {
    /// The entry with this sequence number is in the log
    #[arg(value_name = "SEQ")]
    entry: Option<u64>,
    /// Nothing of the first N entries has changed since
    #[arg(long, value_name = "N")]
    since_size: Option<u64>,
}

#[derive(Args)]
pub(crate) struct RotateKeyArguments {
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: AuditCommand, session: &Session) -> Result<ExitCode, Failure> {
    let log = AuditLog::new(session.paths()?.audit_dir());
    match command {
        AuditCommand::Show(arguments) => reading::show(&arguments, &log, session),
        AuditCommand::Query(arguments) => reading::query(&arguments, &log, session),
        AuditCommand::Export(arguments) => reading::export(&arguments, &log, session),
        AuditCommand::Verify(arguments) => proof::verify(&arguments, &log, session),
        AuditCommand::Checkpoint(arguments) => proof::checkpoint(&arguments, &log, session),
        AuditCommand::Prove(arguments) => proof::prove(&arguments, &log, session),
        AuditCommand::RotateKey(_) => proof::rotate_key(&log, session),
    }
}

/// Parses one of `names`; help and completions list them.
fn one_of<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownName> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}
