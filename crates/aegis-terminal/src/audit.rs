//! The command group `audit`: read, verify and export the tamper-evident log of a program.
//!
//! A program puts an [`AuditCommand`] among its commands, and hands it to [`run`] with its log.

mod proof;
mod reading;

use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use aegis_audit::export::Format;
use aegis_audit::{Action, Actor, AuditLog, Event, Outcome, UnknownName};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::arguments::Form;
use crate::destination::Destinations;
use crate::failure::Failure;
use crate::moment::{Moment, parse_moment};
use crate::output::Output;

/// A program that has a log.
pub trait Program: 'static {
    /// The name under which it appears in the log.
    const NAME: &'static str;
    /// How it is called in examples, as far as it needs the log.
    const CALLED: &'static str;
    /// An action of its own, for an example.
    const ACTION: &'static str;
}

// (Doc comments here would become the help of the group.)
#[allow(missing_docs, reason = "a doc comment here replaces the description of the group")]
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum AuditCommand<P: Program> {
    /// Show the last entries
    #[command(after_help = examples::<P>(&["audit show", "audit show -n 100 --json"]))]
    Show(ShowArguments),
    /// Re-hash every entry and hold the log against its checkpoint, and against older ones kept elsewhere
    #[command(after_help = examples::<P>(&["audit verify", "audit verify --checkpoint /mnt/safe/checkpoint-2026-01 --json"]))]
    Verify(VerifyArguments),
    /// Find entries
    #[command(after_help = examples::<P>(&["audit query --since 7d --outcome refused", "audit query --action {action} --json"]))]
    Query(QueryArguments),
    /// Write entries for a SIEM, one line each
    #[command(after_help = examples::<P>(&["audit export --format ocsf -o events.jsonl", "audit export --format rfc5424 --since 1h | nc -q0 siem.example 601"]))]
    Export(ExportArguments),
    /// Print the signed head of the log, to be kept elsewhere
    #[command(after_help = examples::<P>(&["audit checkpoint -o /mnt/safe/checkpoint-2026-03"]))]
    Checkpoint(CheckpointArguments),
    /// Prove that an entry is in the log, or that the log only grew since it had N entries
    #[command(after_help = examples::<P>(&["audit prove 41", "audit prove --since-size 40"]))]
    Prove(ProveArguments),
    /// Replace the key that signs the log; the old key signs the hand-over
    #[command(after_help = examples::<P>(&["audit rotate-key"]))]
    RotateKey(RotateKeyArguments),
    /// Holds the program's type, and is never made.
    #[command(skip)]
    Never(Infallible, PhantomData<fn() -> P>),
}

/// The examples of a command, as the program is called.
fn examples<P: Program>(lines: &[&str]) -> String {
    let lines: Vec<_> =
        lines.iter().map(|line| format!("  {} {}", P::CALLED, line.replace("{action}", P::ACTION))).collect();
    format!("Examples:\n{}", lines.join("\n"))
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Show the last N entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    #[command(flatten)]
    form: Form,
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// A checkpoint kept earlier; may be given again
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

// Which entries.
#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct Selection {
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

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct QueryArguments {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    form: Form,
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// What the receiver reads
    #[arg(long, value_name = "FORMAT", value_parser = one_of::<Format>(Format::ALL.map(Format::as_str)))]
    format: Format,
    /// The file to write, `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    selection: Selection,
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct CheckpointArguments {
    /// The file to write, `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ProveArguments {
    /// The entry with this sequence number is in the log
    #[arg(value_name = "SEQ")]
    entry: Option<u64>,
    /// Nothing of the first N entries has changed since
    #[arg(long, value_name = "N")]
    since_size: Option<u64>,
}

#[allow(missing_docs, reason = "a doc comment here replaces the description of the command")]
#[derive(Debug, Args)]
pub struct RotateKeyArguments {
    #[command(flatten)]
    form: Form,
}

/// Runs a command of the group on the log of program `P`.
///
/// # Errors
///
/// The log cannot be read, is damaged, or does not prove what was asked.
pub fn run<P: Program>(
    command: AuditCommand<P>,
    log: &AuditLog,
    destinations: Destinations<'_>,
) -> Result<ExitCode, Failure> {
    let session = Session { program: P::NAME, output: destinations.output(), destinations };
    match command {
        AuditCommand::Show(arguments) => reading::show(&arguments, log, &session),
        AuditCommand::Query(arguments) => reading::query(&arguments, log, &session),
        AuditCommand::Export(arguments) => reading::export(&arguments, log, &session),
        AuditCommand::Verify(arguments) => proof::verify(&arguments, log, &session),
        AuditCommand::Checkpoint(arguments) => proof::checkpoint(&arguments, log, &session),
        AuditCommand::Prove(arguments) => proof::prove(&arguments, log, &session),
        AuditCommand::RotateKey(_) => proof::rotate_key(log, &session),
        AuditCommand::Never(never, _) => match never {},
    }
}

/// What every command of the group needs.
struct Session<'a> {
    program: &'static str,
    output: &'a Output,
    destinations: Destinations<'a>,
}

impl Session<'_> {
    /// What to do, with the command of this program: the log itself does not know whose it is.
    fn help(&self, help: Option<String>) -> Option<String> {
        help.map(|help| help.replace("`aegisbpf audit", &format!("`{} audit", self.program)))
    }

    /// An event of now, about the log itself.
    fn event(&self, action: Action, log: &AuditLog) -> Event {
        let object = log.dir().display().to_string();
        Event::new(Timestamp::now(), Actor::current(self.program), action, object)
    }
}

/// Parses one of `names`; help and completions list them.
fn one_of<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownName> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}
