//! `aegis pipeline dead-letters …`: events that were refused, by a pipeline or by `aegis pii encrypt`.

mod list;
mod open;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_deployment::LetterFileError;
use aegis_keyring::DekVersion;
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand};

use crate::session::{PassphraseArgument, Session};

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum DeadLettersCommand {
    /// List when, why and where events were refused; needs no key, and shows nothing of them
    #[command(after_help = "\
Reads the dead letters of `aegis pipeline run` and of `aegis pii encrypt --on-error dead-letter`, decompressed if the
name ends in .gz or .zst. If a line is no dead letter, the others are listed and the exit code is 1.

Examples:
  aegis pipeline dead-letters list dead-letters.jsonl
  aegis pipeline dead-letters list --json dead-letters.jsonl refused.jsonl.zst")]
    List(ListArguments),
    /// Open the refused events, as they came, with the KEK
    #[command(after_help = "\
Prints an event a line, in the clear, whatever was wrong with it. Events that a sink refused were sealed by then, and
are printed so: `aegis pii decrypt` opens them. OUT is for its owner alone. The exit code is 0 only if the event of
every letter is in the output.

Examples:
  aegis pipeline dead-letters open dead-letters.jsonl -o refused.jsonl
  aegis pipeline dead-letters open --records dead-letters.jsonl | jq -r .event_base64
  aegis pipeline dead-letters open dead-letters.jsonl | sed s/NaN/null/g | aegis pii encrypt > mended.jsonl")]
    Open(OpenArguments),
    /// Send the refused events through a pipeline again, when what they were refused for is mended
    #[command(after_help = "\
CONFIG is that of the pipeline, whose source is left alone; it must not be running if it has a spool, a file or dead
letters of its own. Rename its dead letters first: what is refused again is added to new ones. Events that were not
sealed go to every sink, those that one sink refused to that sink alone. Every letter is opened before anything is sent;
the letters stay where they are, and are yours to remove when the exit code is 0. If it is stopped or killed, run it
again: it goes on where events were settled, which FILE.sent says until all are.

Examples:
  mv dead-letters.jsonl dead-letters.jsonl.old
  aegis pipeline dead-letters replay pipeline.toml dead-letters.jsonl.old
  aegis pipeline dead-letters replay pipeline.toml dead-letters.jsonl.old --json")]
    Replay(ReplayArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Files of dead letters, `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct OpenArguments {
    /// Files of dead letters, `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write to OUT, which is replaced when all of it is written, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Print a line of JSON for each letter, with its place, and the event in base64
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    opening: OpeningArguments,
    /// Print what was done as JSON: to standard output if OUT is named, else to standard error
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ReplayArguments {
    /// The configuration of the pipeline, a TOML file
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Files of dead letters
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    opening: OpeningArguments,
    /// Print the counts at the end as a line of JSON, to standard error
    #[arg(long)]
    json: bool,
}

// With what letters are opened. (A doc comment would become the help of the commands.)
#[derive(Args)]
pub(crate) struct OpeningArguments {
    /// Open letters sealed under this DEK although it is retired; may be given several times
    #[arg(long, value_name = "VERSION")]
    allow_retired: Vec<DekVersion>,
    /// The tenant that `aegis pii encrypt` was given
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArgument,
}

pub(super) fn run(command: DeadLettersCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        DeadLettersCommand::List(arguments) => list::list(&arguments, session),
        DeadLettersCommand::Open(arguments) => open::open(&arguments, session),
        DeadLettersCommand::Replay(arguments) => replay::replay(&arguments, session),
    }
}

/// What could not be done with some letters, and why with the first of them.
#[derive(Default)]
struct Missed {
    count: u64,
    first: Option<(Vec<String>, Option<String>)>,
}

impl Missed {
    fn line(&mut self, error: &LetterFileError) {
        let because = crate::pii::reasons(error);
        self.add(because, error.fault.help());
    }

    fn add(&mut self, because: Vec<String>, help: Option<String>) {
        self.count += 1;
        self.first.get_or_insert((because, help));
    }

    /// Both, with the reason of this one, if it has one.
    fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, first: self.first.or(other.first) }
    }

    /// `what` says what could not be done with so many letters.
    fn check(self, what: impl FnOnce(u64) -> String) -> Result<ExitCode, Failure> {
        let Some((because, help)) = self.first else { return Ok(ExitCode::SUCCESS) };
        Err(Failure::new(what(self.count), &crate::pii::Chain::of(because), help))
    }
}

/// `1 letter`, `2 letters`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
