//! `aegisbpf keys …`: the keys this host trusts to sign policy.

mod changing;
mod rotating;
mod showing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_crypto::{KeyIdPrefix, PublicKey, parse_public_key_file};
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::keypair::generate_key_pair;
use clap::{ArgGroup, Args, Subcommand};

use crate::approval::ApprovalArgument;
use crate::destination;
use crate::session::Session;
use crate::signer::SignerOptions;

/// What is brought to a rotation that goes on.
const ROTATING: [&str; 10] =
    ["new", "old", "name", "proof", "approval", "canary", "bundle", "key", "sign_command", "pkcs11_module"];

/// No public key file that we read is longer.
const MAX_KEY_FILE_LEN: u64 = 8 * 1024;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum KeysCommand {
    /// Make a new Ed25519 key pair, on the machine that will sign
    #[command(after_help = "\
Writes NAME.key (PKCS#8 PEM, mode 0600) and NAME.pub (SPKI PEM); nothing is overwritten.

Examples:
  aegisbpf keys generate --out ./signer --name release-2026")]
    Generate(GenerateArguments),
    /// Trust a public key: SPKI PEM, 64 hex characters or an OpenSSH line
    #[command(after_help = "\
Examples:
  sudo aegisbpf keys add /path/to/new-key.pub
  sudo aegisbpf keys add new-key.pub --name release-2026 --proof new-key.proof
  sudo aegisbpf keys add new-key.pub --approval new-key.approval")]
    Add(AddArguments),
    /// List the trusted and the revoked keys
    #[command(after_help = "\
Examples:
  aegisbpf keys list
  aegisbpf keys list --json | jq -r '.trusted[].id'")]
    List(ListArguments),
    /// Show one trusted key in every form
    #[command(after_help = "\
Examples:
  aegisbpf keys show 3f9a6c01d2e4b587")]
    Show(ShowArguments),
    /// Stop trusting a key; it may be added again later
    #[command(after_help = "\
Examples:
  sudo aegisbpf keys remove 3f9a6c01d2e4b587
  sudo aegisbpf keys remove 3f9a6c01d2e4b587 --approval remove.approval")]
    Remove(RemoveArguments),
    /// Refuse a key for ever, whether it is installed here or not
    #[command(after_help = "\
A key that is not installed here is named by its full id of 64 digits.

Examples:
  sudo aegisbpf keys revoke 3f9a6c01d2e4b587 --reason \"signing laptop stolen\"")]
    Revoke(RevokeArguments),
    /// Print what the holder of a key signs to prove that they hold it
    #[command(after_help = "\
Examples:
  aegisbpf keys challenge new-key.pub > challenge
  openssl pkeyutl -sign -rawin -in challenge -inkey new-key.key | xxd -p -c 64 > new-key.proof
  sudo aegisbpf keys add new-key.pub --proof new-key.proof")]
    Challenge(ChallengeArguments),
    /// Replace a key by another one, step by step: add, prove, cut over, remove
    #[command(after_help = "\
Each run goes as far as it can with what it is given, and says what is needed next. It can be
stopped at any point, and run again.

Examples:
  sudo aegisbpf keys rotate new-key.pub --old 3f9a6c01d2e4b587
  sudo aegisbpf keys rotate new-key.pub --canary canary.signed
  sudo aegisbpf keys rotate --bundle next.signed --approval remove.approval
  sudo aegisbpf keys rotate --status")]
    Rotate(Box<RotateArguments>),
    /// Rehearse rotation, revocation, emergency policy, rollback and the rule of two, apart from the real keys
    #[command(after_help = "\
Examples:
  sudo aegisbpf keys drill
  sudo aegisbpf keys drill --report drill-2026-q1.json")]
    Drill(DrillArguments),
}

#[derive(Args)]
pub(crate) struct GenerateArguments {
    /// Write the pair into DIR, which is made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name both files NAME
    #[arg(long, value_name = "NAME", default_value = "signer")]
    name: String,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct AddArguments {
    /// The public key file, `-` for standard input
    file: PathBuf,
    /// Install it as NAME.pub instead of the file's own name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The holder's signature of `keys challenge`: 128 hex characters, or a file that has them
    #[arg(long, value_name = "SIGNATURE")]
    proof: Option<String>,
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// The key's id: its 64 hex digits, or at least the first 8
    id: KeyIdPrefix,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RemoveArguments {
    /// The key's id: its 64 hex digits, or at least the first 8
    id: KeyIdPrefix,
    /// Remove even the last usable key: afterwards no signed policy can be applied
    #[arg(long)]
    force_lockout: bool,
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RevokeArguments {
    /// The key's id: its 64 hex digits, or at least the first 8 of an installed key
    id: KeyIdPrefix,
    /// Why, for the log and for whoever tries to add it again
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Revoke even the last usable key: afterwards no signed policy can be applied
    #[arg(long)]
    force_lockout: bool,
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
#[command(group = ArgGroup::new("proof of the new key").args(["canary", "key", "sign_command", "pkcs11_module"]))]
pub(crate) struct RotateArguments {
    /// The new key's public key file; needed to begin
    new: Option<PathBuf>,
    /// The id of the key that is to go; needed to begin, if there are several
    #[arg(long, value_name = "ID")]
    old: Option<KeyIdPrefix>,
    /// Install the new key as NAME.pub instead of the file's own name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The holder's signature of `keys challenge`: 128 hex characters, or a file that has them
    #[arg(long, value_name = "SIGNATURE")]
    proof: Option<String>,
    /// An approval of keys.add or keys.remove by custodians of this host; may be given twice
    #[arg(long, value_name = "FILE")]
    approval: Vec<PathBuf>,
    /// Prove the new key by a bundle that it signed; it is checked, and not put in force
    #[arg(long, value_name = "FILE")]
    canary: Option<PathBuf>,
    /// Put the next policy in force, which the new key signed
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    signer: SignerOptions,
    /// Say how the rotation stands, and what is needed next
    #[arg(long, conflicts_with_all = ROTATING)]
    status: bool,
    /// Give the rotation up; a key that was added stays trusted
    #[arg(long, conflicts_with_all = ROTATING, conflicts_with = "status")]
    abandon: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ChallengeArguments {
    /// The public key file, `-` for standard input
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct DrillArguments {
    /// Also write the signed evidence to FILE; `-`: print it instead of the steps
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: KeysCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        KeysCommand::Generate(arguments) => generate(&arguments, session),
        KeysCommand::Add(arguments) => changing::add(&arguments, session),
        KeysCommand::List(_) => showing::list(session),
        KeysCommand::Show(arguments) => showing::show(&arguments, session),
        KeysCommand::Remove(arguments) => changing::remove(&arguments, session),
        KeysCommand::Revoke(arguments) => changing::revoke(&arguments, session),
        KeysCommand::Rotate(arguments) => rotating::rotate(&arguments, session),
        KeysCommand::Challenge(arguments) => challenge(&arguments, session),
        KeysCommand::Drill(arguments) => drill(&arguments, session),
    }
}

/// Reads a public key file that the command line names, for commands that need the key itself.
pub(crate) fn read_public_key(file: &Path) -> Result<PublicKey, Failure> {
    let what = format!("cannot use the public key {}", input::name(file));
    let bytes = input::read(file, MAX_KEY_FILE_LEN, &what)?;
    let parsed = parse_public_key_file(&bytes).map_err(|error| Failure::new(what, &error, error.help()))?;
    Ok(parsed.key)
}

fn generate(arguments: &GenerateArguments, session: &Session) -> Result<ExitCode, Failure> {
    // A pair made there would be trusted at once, without proof and without an entry in the log.
    destination::refuse_reserved(&arguments.out, session)?;
    let made = generate_key_pair(&arguments.out, &arguments.name)
        .map_err(|error| Failure::new("cannot make a key pair", &error, error.help()))?;
    session.output.report(&made, |out| {
        writeln!(out, "made key {}", made.id)?;
        writeln!(out, "  private  {}  keep it on the signer", Escaped(made.private_path.display()))?;
        writeln!(out, "  public   {}  add it on every host", Escaped(made.public_path.display()))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn challenge(arguments: &ChallengeArguments, session: &Session) -> Result<ExitCode, Failure> {
    let key = read_public_key(&arguments.file)?;
    let challenge = session.host()?.key_challenge(&key).map_err(|error| {
        Failure::new(
            format!("cannot make a challenge for {}", input::name(&arguments.file)),
            &error,
            error.help(),
        )
    })?;
    session.output.bytes(challenge.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn drill(arguments: &DrillArguments, session: &Session) -> Result<ExitCode, Failure> {
    let report = session
        .host()?
        .drill(&session.caller(), &mut |line| session.output.progress(line))
        .map_err(|error| Failure::new("cannot finish the drill", &error, error.help()))?;
    let code = if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if let Some(file) = &arguments.report {
        destination::write(file, &report.evidence, 0o644, session)?;
    }
    if arguments.report.as_deref().is_some_and(input::is_stdin) {
        return Ok(code);
    }
    session.output.report(&report, |out| {
        for step in &report.steps {
            let mark = if step.passed { "pass" } else { "FAIL" };
            writeln!(out, "{mark}  {}: {}", Escaped(&step.name), Escaped(&step.observed))?;
            if !step.passed {
                writeln!(out, "      expected: {}", Escaped(&step.expected))?;
            }
        }
        writeln!(out, "{}", if report.passed { "drill passed" } else { "drill FAILED" })
    })?;
    Ok(code)
}
