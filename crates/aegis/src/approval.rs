//! `aegis approval …` and `aegis override …`: requests that two people decide on.
//!
//! An override is one kind of request, and the commands for it are those for all kinds: they differ in how a request is
//! made, and in what is listed.

mod asking;
mod deciding;
mod files;
mod showing;

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_approval::{Audience, Gate, Kind, Line, PersonId, RequestId, Role, State};
use aegis_crypto::{CustodianAlgorithm, KeyIdPrefix};
use aegis_terminal::moment::parse_span;
use aegis_terminal::{Failure, Form};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::custodian::KeyArgument;
use crate::session::Session;

pub(crate) use files::{registrations, registrations_or};

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum OverrideCommand {
    /// Ask for an exception from gates of governance that failed
    #[command(after_help = "\
Prints the id of the request. Custodians see it with `aegis override show`, and sign it within 24 hours; then it can be
used once. The complexity gate cannot be overridden. Whoever asks cannot sign.

Examples:
  aegis override request 'PROP-7: raise the limit' --gate drift --gate risk --requester ann \\
    --justification 'The customer waits; rollback is ready.'
  aegis override request PROP-8 --gate drift --requester ann --justification-file why.txt \\
    --require 2:security_lead --out prop-8.json")]
    Request(OverrideArguments),
    #[command(flatten)]
    Common(RequestCommand),
}

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum ApprovalCommand {
    /// Ask for a change to keys: of a host, or of this deployment
    #[command(after_help = "\
KIND and what SUBJECT then is: keys.add, keys.remove, keys.revoke and kek.retire a key id of 64 hex digits;
policy.epoch a number; custodians.set and custodians.off the digest that `aegisbpf custodians` prints; enforcement.off
the sha256 of the policy that `aegisbpf policy show` prints; dek.destroy a DEK version. What is for hosts names them
with --for.

Examples:
  aegis approval request keys.add 3f9a6c01… --for host:web-1 --requester ann --justification 'Quarterly rotation'
  aegis approval request policy.epoch 2 --for group:web --requester ann --justification 'The key ab12 was stolen'
  aegis approval request dek.destroy dek-v1-20260131 --requester ann --justification 'Retention has ended'")]
    Request(RequestArguments),
    #[command(flatten)]
    Common(RequestCommand),
}

/// What is the same for every kind.
#[derive(Subcommand)]
pub(crate) enum RequestCommand {
    /// List requests and where they stand
    #[command(after_help = "\
Without --all or --state, lists what can still be signed or used.

Examples:
  aegis approval list
  aegis override list --state approved --json
  aegis approval list --all --requester ann")]
    List(ListArguments),
    /// Show a request, what was signed, and exactly the bytes that are signed
    #[command(after_help = "\
With --statement, prints nothing but the text that is signed, without a line break at its end: what that person signed
or, if they did not, what they would sign now.

Examples:
  aegis approval show req-0123456789abcdef0123456789abcdef
  aegis approval show req-0123456789abcdef0123456789abcdef --statement rita
  aegis approval show req-0123456789abcdef0123456789abcdef --statement rita --role risk_lead \\
    --at 2026-01-31T12:00:00Z > to-sign.txt")]
    Show(ShowArguments),
    /// Approve a request as a custodian
    #[command(after_help = "\
With --key, signs here. With --signature, takes what a wallet signed: the text of `show --statement`. With --file,
signs the request in a file on a machine without a deployment, and writes the file with the signature to --out;
`import` brings it back.

Examples:
  aegis approval sign req-0123456789abcdef0123456789abcdef --key rita.key
  aegis approval sign --file request.json --key rita.key --person rita --role risk_lead --out signed.json
  aegis approval sign req-0123456789abcdef0123456789abcdef --signature rita.sig --person rita \\
    --at 2026-01-31T12:00:00Z")]
    Sign(SignArguments),
    /// Say no as a custodian, or take an approval back that was not used yet
    #[command(after_help = "\
One custodian of a role that is asked is enough, and it is final.

Examples:
  aegis approval reject req-0123456789abcdef0123456789abcdef --key sam.key")]
    Reject(SignArguments),
    /// Write a request with its signatures to a file, for a host, a signer without network, or an auditor
    #[command(after_help = "\
Examples:
  aegis approval export req-0123456789abcdef0123456789abcdef --out approval.json")]
    Export(ExportArguments),
    /// Take the signatures in a file that was signed elsewhere
    #[command(after_help = "\
Examples:
  aegis approval import signed.json")]
    Import(ImportArguments),
    /// Compute everything in an exported file again: hash, statements, signatures, quorum; needs no deployment
    #[command(after_help = "\
Without --custodian, says whether the file is right in itself; whose the keys in it are, only registrations can tell.
Exit code 0 if it is approved now, 1 if not.

Examples:
  aegis approval verify approval.json
  aegis approval verify approval.json --custodian rita.custodian --custodian sam.custodian \\
    --require 1:risk_lead --require 1:security_lead --for host:web-1")]
    Verify(VerifyArguments),
    /// Use an approval, which can be done once
    #[command(after_help = "\
Exit code 0 exactly once for each approval: whoever gets it may go ahead.

Examples:
  aegis override use req-0123456789abcdef0123456789abcdef --for-what 'deploy 2026-01-31'")]
    Use(UseArguments),
}

#[derive(Args)]
pub(crate) struct OverrideArguments {
    /// What the exception is for: 1 to 200 printable ASCII characters
    #[arg(value_name = "SUBJECT")]
    subject: Line,
    /// A gate that failed; once for each
    #[arg(long = "gate", value_name = "GATE", required = true)]
    gates: Vec<Gate>,
    #[command(flatten)]
    asked: AskedArguments,
}

#[derive(Args)]
pub(crate) struct RequestArguments {
    /// What kind of change
    #[arg(value_name = "KIND", value_parser = key_kind)]
    kind: Kind,
    /// The key, DEK, epoch or digest that it is about
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// For which hosts: host:NAME or group:NAME
    #[arg(long = "for", value_name = "WHERE")]
    audience: Option<Audience>,
    #[command(flatten)]
    asked: AskedArguments,
}

#[derive(Args)]
struct AskedArguments {
    /// Who asks, and therefore cannot sign
    #[arg(long, value_name = "NAME")]
    requester: PersonId,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present = "justification_file")]
    justification: Option<String>,
    /// Why, from a file, `-` for standard input
    #[arg(long, value_name = "F", conflicts_with = "justification")]
    justification_file: Option<PathBuf>,
    /// Ask for N people of a role, beyond what the rules ask for; once for each role
    #[arg(long = "require", value_name = "N:ROLE", value_parser = group, allow_hyphen_values = true)]
    require: Vec<(Role, i64)>,
    /// Take signatures by this algorithm only; once for each; default: all
    #[arg(long = "algorithm", value_name = "A")]
    algorithms: Vec<CustodianAlgorithm>,
    /// How long it can be signed: 1m to 30d
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse_span)]
    expires_in: SignedDuration,
    /// How long it can be used once it is approved: 1m to 30d
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse_span)]
    use_within: SignedDuration,
    /// Also write the request to this file, for signers without network
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only requests in this state: pending, partial, approved, rejected, expired, revoked, consumed
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// Only requests of this person
    #[arg(long, value_name = "NAME")]
    requester: Option<PersonId>,
    /// Also what has ended
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// The request
    #[arg(value_name = "ID")]
    id: RequestId,
    /// Print the text that this custodian signed or, if they have not, would sign
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    statement: Option<PersonId>,
    /// The key that signs, if the custodian has several
    #[arg(long, value_name = "KEYID", requires = "statement")]
    key_id: Option<KeyIdPrefix>,
    /// The role in which they sign, if they have several that are asked
    #[arg(long, value_name = "ROLE", requires = "statement")]
    role: Option<Role>,
    /// When it is signed; default: now
    #[arg(long, value_name = "TIME", requires = "statement")]
    at: Option<Timestamp>,
    /// The text of a rejection instead
    #[arg(long, requires = "statement")]
    reject: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
#[group(skip)]
pub(crate) struct SignArguments {
    /// The request in this deployment
    #[arg(value_name = "ID", required_unless_present = "file")]
    id: Option<RequestId>,
    #[command(flatten)]
    key: KeyArgument,
    /// Sign the request in this file instead, without a deployment
    #[arg(long, value_name = "F", conflicts_with = "id", requires_all = ["key", "person", "role", "out"])]
    file: Option<PathBuf>,
    /// Where the file goes with the signature in it
    #[arg(long, value_name = "FILE", requires = "file")]
    out: Option<PathBuf>,
    /// A file with a signature that was made elsewhere
    #[arg(long, value_name = "F", required_unless_present = "key", conflicts_with = "key", requires_all = ["person", "at"])]
    signature: Option<PathBuf>,
    /// Who signed, if not the holder of --key
    #[arg(long, value_name = "NAME")]
    person: Option<PersonId>,
    /// The role in which they sign, if they have several that are asked
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// The key that made --signature, if the custodian has several
    #[arg(long, value_name = "KEYID", requires = "signature")]
    key_id: Option<KeyIdPrefix>,
    /// When --signature was made, as its text says
    #[arg(long, value_name = "TIME", requires = "signature")]
    at: Option<Timestamp>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ExportArguments {
    /// The request
    #[arg(value_name = "ID")]
    id: RequestId,
    /// The file, `-` for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct ImportArguments {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A custodian whom you trust, by their registration; once for each. Others do not count then
    #[arg(long = "custodian", value_name = "F")]
    custodians: Vec<PathBuf>,
    /// Ask for N people of a role, beyond what the request asks for; once for each role
    #[arg(long = "require", value_name = "N:ROLE", value_parser = group, allow_hyphen_values = true)]
    require: Vec<(Role, i64)>,
    /// It has to be for this deployment, host or group
    #[arg(long = "for", value_name = "WHERE")]
    audience: Option<Audience>,
    /// Verify as of this time; default: now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct UseArguments {
    /// The request
    #[arg(value_name = "ID")]
    id: RequestId,
    /// What it is used for, in a few words, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    for_what: String,
    #[command(flatten)]
    form: Form,
}

/// Which requests a command group is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Overrides,
    All,
}

pub(crate) fn run_override(command: OverrideCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        OverrideCommand::Request(arguments) => asking::request_override(arguments, session),
        OverrideCommand::Common(command) => run(command, Which::Overrides, session),
    }
}

pub(crate) fn run_approval(command: ApprovalCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        ApprovalCommand::Request(arguments) => asking::request_change(arguments, session),
        ApprovalCommand::Common(command) => run(command, Which::All, session),
    }
}

fn run(command: RequestCommand, which: Which, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        RequestCommand::List(arguments) => showing::list(arguments, which, session),
        RequestCommand::Show(arguments) => showing::show(&arguments, which, session),
        RequestCommand::Sign(arguments) => {
            deciding::decide(arguments, aegis_approval::Decision::Approve, which, session)
        }
        RequestCommand::Reject(arguments) => {
            deciding::decide(arguments, aegis_approval::Decision::Reject, which, session)
        }
        RequestCommand::Export(arguments) => files::export(&arguments, which, session),
        RequestCommand::Import(arguments) => files::import(&arguments, session),
        RequestCommand::Verify(arguments) => files::verify(&arguments, which, session),
        RequestCommand::Use(arguments) => deciding::use_once(&arguments, which, session),
    }
}

/// A kind other than an override, which has a command of its own.
fn key_kind(text: &str) -> Result<Kind, String> {
    match text.parse::<Kind>() {
        Ok(Kind::Override) => Err("an override is asked for with `aegis override request`".to_owned()),
        Ok(kind) => Ok(kind),
        Err(error) => Err(error.to_string()),
    }
}

fn state(text: &str) -> Result<State, String> {
    State::ALL
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| format!("expected one of {}", State::ALL.map(State::as_str).join(", ")))
}

/// `N:ROLE`. Whether N is a number of people that can be asked for is for the quorum to say.
fn group(text: &str) -> Result<(Role, i64), String> {
    let wrong = || "expected a number and a role, such as 1:risk_lead".to_owned();
    let (count, role) = text.split_once(':').ok_or_else(wrong)?;
    let role = role.parse::<Role>().map_err(|error| error.to_string())?;
    Ok((role, count.parse().map_err(|_| wrong())?))
}
