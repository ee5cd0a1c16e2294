//! `aegis pii …`: personal fields of streams of events.

mod catalogue;
mod dead_letters;
mod decrypt;
mod encrypt;
mod event_size;
mod events;
mod inspect;
mod source;
mod token_key;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use aegis_keyring::{DekVersion, Scope};
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand, ValueEnum};

use crate::session::{PassphraseArgument, Session};
pub(crate) use dead_letters::reasons;
pub(crate) use events::Chain;

use catalogue::CatalogueArguments;
use event_size::EventSizeArgument;
use source::Source;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum PiiCommand {
    /// Seal the personal fields of events; every other byte is copied
    #[command(after_help = "\
Events are JSON lines. Needs the keyring, which has the public half of the DEK, and neither KEK nor passphrase. Follows
a rotation of the DEK while it runs. FILE and OUT are compressed if their names end in .gz or .zst. OUT gets its name
when all of it is written. The exit code is 0 only if every event is in the output.

Examples:
  aegis pii encrypt events.jsonl -o sealed.jsonl.zst
  tail -f events.jsonl | aegis pii encrypt > sealed.jsonl
  aegis pii encrypt --also email,/users/*/phone --envelope compact --threads 2 events.jsonl.gz -o sealed.jsonl.gz
  aegis pii encrypt --on-error dead-letter refused.jsonl events.jsonl -o sealed.jsonl")]
    Encrypt(Box<EncryptArguments>),
    /// Open the sealed fields of events: the bytes that were encrypted
    #[command(after_help = "\
Loads the KEK once, and opens each DEK when an event names it. FILE and OUT are compressed if their names end in .gz or
.zst. OUT gets its name when all of it is written, and is for its owner alone. The exit code is 0 only if every event is
in the output.

Examples:
  aegis pii decrypt sealed.jsonl.zst -o events.jsonl
  aegis pii decrypt --fields actor_id,workflow_id sealed.jsonl | jq .actor_id
  aegis pii decrypt --allow-retired dek-v1-20250101 --unopenable leave archive.jsonl.gz -o events.jsonl")]
    Decrypt(Box<DecryptArguments>),
    /// Count what is sealed in events, under which DEKs, and what is not; needs no key
    #[command(after_help = "\
With --check, the exit code is 1 if a personal field is in the clear, or something that is no envelope claims to be one.

Examples:
  aegis pii inspect sealed.jsonl.zst
  aegis pii inspect --check --json sealed.jsonl")]
    Inspect(InspectArguments),
    /// List the fields that are sealed
    #[command(after_help = "\
Examples:
  aegis pii fields
  aegis pii fields --min-priority high --also email --json")]
    Fields(FieldsArguments),
}

// (Doc comments on what is flattened would become the help of the command.)
#[derive(Args)]
pub(crate) struct EncryptArguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    streams: StreamArguments,
    #[command(flatten)]
    catalogue: CatalogueArguments,
    /// Seal under the active DEK of this scope
    #[arg(long, value_name = "SCOPE", default_value_t)]
    scope: Scope,
    /// Seal under this DEK, which has to be the active one, and do not follow rotation
    #[arg(long, value_name = "VERSION")]
    dek_version: Option<DekVersion>,
    /// Whether each field carries all that opens it, or what fields share stands once an event
    #[arg(long, value_name = "FORM", default_value = "full")]
    envelope: Envelope,
    /// Let each field name the version of the catalogue, as compact events do always
    #[arg(long)]
    name_catalogue: bool,
    /// The digest beside each field; whoever guesses a value can check the guess with sha256
    #[arg(long, value_name = "HASH", default_value = "keyed")]
    plaintext_hash: PlaintextHash,
    /// Whether a field opens at its JSON Pointer only, or wherever it has its name
    #[arg(long, value_name = "BY", default_value = "pointer")]
    bind: Bind,
    #[command(flatten)]
    binding: BindingArguments,
    /// Give these fields search tokens: equal values can be joined and counted, and told from others
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "token_key")]
    token: Vec<String>,
    /// The key of search tokens: 64 hex digits in a file of mode 0600
    #[arg(long, value_name = "F", requires = "token")]
    token_key: Option<PathBuf>,
    /// The epoch of search tokens: those of different epochs cannot be compared
    #[arg(long, value_name = "N", default_value_t = 1, requires = "token")]
    token_epoch: u32,
}

#[derive(Args)]
pub(crate) struct DecryptArguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    streams: StreamArguments,
    /// Open these fields only: names, and JSON Pointers, which begin with a slash
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    fields: Vec<String>,
    /// Open fields of at least this priority only: critical, high, medium
    #[arg(long, value_name = "PRIORITY")]
    min_priority: Option<aegis_pii::Priority>,
    /// The catalogue that --min-priority is about: a JSON file as docs/formats.md has it
    #[arg(long, value_name = "F", requires = "min_priority")]
    catalogue: Option<PathBuf>,
    /// Open fields sealed under this DEK although it is retired; may be given several times
    #[arg(long, value_name = "VERSION")]
    allow_retired: Vec<DekVersion>,
    /// What becomes of an event with a field that does not open: it is refused, or the field is left sealed
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    unopenable: UnopenableFields,
    #[command(flatten)]
    binding: BindingArguments,
    #[command(flatten)]
    passphrase: PassphraseArgument,
}

#[derive(Args)]
pub(crate) struct InspectArguments {
    /// Files of events, `-` for standard input, which it is without any
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The events are elements of one array
    #[arg(long)]
    array: bool,
    #[command(flatten)]
    event_size: EventSizeArgument,
    /// Exit with 1 if a personal field is in the clear, or a claim to be sealed is false
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    catalogue: CatalogueArguments,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct FieldsArguments {
    #[command(flatten)]
    catalogue: CatalogueArguments,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct StreamArguments {
    /// Write to OUT, which is replaced when all of it is written, instead of standard output
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// The events are elements of one array, and stay that
    #[arg(long)]
    array: bool,
    /// Threads that work on events; their order is kept
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: NonZeroUsize,
    #[command(flatten)]
    event_size: EventSizeArgument,
    /// Print what was done as JSON: to standard output if OUT is named, else as a line to standard error
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct BindingArguments {
    /// The tenant to which fields are bound: decryption has to name the same
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The member that holds the event's id, to which fields are bound: decryption has to name the same
    #[arg(long, value_name = "NAME")]
    event_id_member: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Envelope {
    /// Each field opens on its own
    Full,
    /// A quarter of the size
    Compact,
}

#[derive(Clone, Copy, ValueEnum)]
enum PlaintextHash {
    /// By a key in the box
    Keyed,
    /// Of the value alone
    Sha256,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bind {
    /// Its place in the event
    Pointer,
    /// Its name
    Name,
}

#[derive(Clone, Copy, ValueEnum)]
enum UnopenableFields {
    /// The event is refused
    Refuse,
    /// The field stays sealed
    Leave,
}

/// More threads than that wait for one another.
const MAX_THREADS: usize = 256;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= MAX_THREADS);
    threads.ok_or_else(|| format!("expected a number from 1 to {MAX_THREADS}"))
}

pub(crate) fn run(command: PiiCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        PiiCommand::Encrypt(arguments) => encrypt::run(*arguments, session),
        PiiCommand::Decrypt(arguments) => decrypt::run(*arguments, session),
        PiiCommand::Inspect(arguments) => inspect::inspect(&arguments, session),
        PiiCommand::Fields(arguments) => catalogue::list(&arguments, session),
    }
}
