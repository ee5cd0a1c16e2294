//! `aegis dek …`: the keys that protect data.

mod changing;
mod showing;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_approval::RequestId;
use aegis_keyring::{DekState, DekVersion, Scope};
use aegis_terminal::moment::parse_span;
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand};
use jiff::SignedDuration;

use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum DekCommand {
    /// List the DEKs, oldest first
    #[command(after_help = "\
Examples:
  aegis dek list
  aegis dek list --scope billing --state retired --json")]
    List(ListArguments),
    /// Show one DEK: its state, its wrappings, how much was sealed under it
    #[command(after_help = "\
Examples:
  aegis dek show dek-v1-20260131
  aegis dek show dek-v1-20260131-2 --json")]
    Show(ShowArguments),
    /// Make the first DEK of a scope
    #[command(after_help = "\
Needs no passphrase: a DEK is sealed to the public half of the KEK.

Examples:
  aegis dek create --scope billing")]
    Create(CreateArguments),
    /// Make a new DEK, active from now on; the one before decrypts only
    #[command(after_help = "\
Needs no passphrase: a DEK is sealed to the public half of the KEK.

Examples:
  aegis dek rotate
  aegis dek rotate --scope billing --if-due --max-age 30d --max-messages 1000000")]
    Rotate(RotateArguments),
    /// Refuse a DEK unless it is asked for by name; --undo brings it back
    #[command(after_help = "\
Examples:
  aegis dek retire dek-v1-20260131
  aegis dek retire dek-v1-20260131 --undo")]
    Retire(RetireArguments),
    /// Mark a DEK for destruction; run again when its waiting time is over, erase it
    #[command(after_help = "\
From the first call on the DEK is refused, so that you see who still needs it. See what a stream holds under it
with `aegis dek usage` before. Backups that were made before still have it.

Examples:
  aegis dek destroy dek-v1-20260131
  aegis dek destroy dek-v1-20260131 --wait 30d
  aegis dek destroy dek-v1-20260131 --approval req-0123456789abcdef0123456789abcdef
  aegis dek destroy dek-v1-20260131 --cancel")]
    Destroy(DestroyArguments),
    /// Count what was sealed under each DEK, and what streams of events still hold
    #[command(after_help = "\
Without FILE, prints the counters of the keyring. A FILE has JSON lines; every `_dek_version` in it is counted.
A line that cannot be read could hold anything: then the exit code is 1.

Examples:
  aegis dek usage
  aegis dek usage events-2026-01.jsonl events-2026-02.jsonl
  zcat archive.jsonl.gz | aegis dek usage - --json")]
    Usage(UsageArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only DEKs of this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Only DEKs in this state: active, decrypt_only, retired, destroyed
    #[arg(long, value_name = "STATE")]
    state: Option<DekState>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// The version, such as dek-v1-20260131
    version: DekVersion,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The scope: 1 to 64 of a-z 0-9 . _ -
    #[arg(long, value_name = "SCOPE")]
    scope: Scope,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RotateArguments {
    /// The scope
    #[arg(long, value_name = "SCOPE", default_value_t)]
    scope: Scope,
    /// Rotate only if the active DEK is as old, or as much used, as it may become
    #[arg(long)]
    if_due: bool,
    /// Rotate only if this DEK is active, and whatever the clock says of its age
    #[arg(long, value_name = "VERSION", conflicts_with = "if_due")]
    replace: Option<DekVersion>,
    /// The age at which it is due
    #[arg(long, value_name = "SPAN", default_value = "90d", value_parser = parse_span, requires = "if_due")]
    max_age: SignedDuration,
    /// The number of messages at which it is due
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "if_due")]
    max_messages: Option<u64>,
    /// The number of bytes at which it is due
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "if_due")]
    max_bytes: Option<u64>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RetireArguments {
    /// The version, such as dek-v1-20260131
    version: DekVersion,
    /// Bring it back: it decrypts again without being asked for by name
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct DestroyArguments {
    /// The version, such as dek-v1-20260131
    version: DekVersion,
    /// How long it is refused before it may be erased
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = parse_span)]
    wait: SignedDuration,
    /// Take the mark back: it is retired, and not erased
    #[arg(long, conflicts_with = "wait")]
    cancel: bool,
    /// The approved request that erasing uses up; the rules of the deployment may insist on one
    #[arg(long, value_name = "ID", conflicts_with = "cancel")]
    approval: Option<RequestId>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct UsageArguments {
    /// Files of JSON lines, `-` for standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: DekCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        DekCommand::List(arguments) => showing::list(arguments, session),
        DekCommand::Show(arguments) => showing::show(&arguments, session),
        DekCommand::Create(arguments) => changing::create(&arguments, session),
        DekCommand::Rotate(arguments) => changing::rotate(&arguments, session),
        DekCommand::Retire(arguments) => changing::retire(&arguments, session),
        DekCommand::Destroy(arguments) => changing::destroy(&arguments, session),
        DekCommand::Usage(arguments) => usage::usage(&arguments, session),
    }
}
