//! `aegis backup …`: the keyring in one encrypted file.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use aegis_deployment::{BackupCommandError, Deployment, ReadBackup};
use aegis_keyring::{AgeRecipient, BackupSummary};
use aegis_terminal::{Escaped, Failure, Form};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::session::{PassphraseArgument, Session};

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum BackupCommand {
    /// Write the keyring into a new encrypted file
    #[command(after_help = "\
No private key is in it in the clear, and none under anything but a KEK: it is read with what it is for, and used with
the KEK. Keep it apart from the KEK.

Examples:
  aegis backup create /mnt/safe/keyring-2026-03-01.aegis
  aegis backup create keyring.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")]
    Create(CreateArguments),
    /// Decrypt a backup, check every record, and open the DEKs in it with the KEK
    #[command(after_help = "\
Examples:
  aegis backup verify /mnt/safe/keyring-2026-03-01.aegis
  aegis backup verify keyring.age --identity identity.txt --json")]
    Verify(VerifyArguments),
    /// Fill an empty keyring from a backup
    #[command(after_help = "\
The KEK has to be configured first; for a key file, put it where it was. A keyring that has something in it is left as
it is.

Examples:
  aegis backup restore /mnt/safe/keyring-2026-03-01.aegis
  aegis backup restore keyring.age --identity identity.txt")]
    Restore(RestoreArguments),
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The file to write; it must not exist
    file: PathBuf,
    /// Encrypt it for this age recipient instead of for the active KEK
    #[arg(long, value_name = "AGE1…")]
    recipient: Option<AgeRecipient>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The backup
    file: PathBuf,
    /// The age identities that it is for
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    file: PathBuf,
    /// The age identities that it is for
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: BackupCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        BackupCommand::Create(arguments) => create(arguments, session),
        BackupCommand::Verify(arguments) => verify(&arguments, session),
        BackupCommand::Restore(arguments) => restore(&arguments, session),
    }
}

fn create(arguments: CreateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let CreateArguments { file, recipient, form: _ } = arguments;
    session.refuse_stdout(&file, "name a file; one that is called `-` as ./-")?;
    session.refuse_reserved(&file)?;
    session.with_deployment(|deployment| {
        let made = deployment.create_backup(&file, recipient).map_err(|error| {
            Failure::new(format!("cannot write the backup {}", file.display()), &error, error.help())
        })?;
        let mut report = report(&made);
        if let Value::Object(members) = &mut report {
            members.insert("path".to_owned(), json!(file.display().to_string()));
        }
        session.output.report(&report, |out| {
            writeln!(out, "written: {}", Escaped(file.display()))?;
            print(out, &made)
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn verify(arguments: &VerifyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let VerifyArguments { file, identity, passphrase, form: _ } = arguments;
    let request =
        ReadBackup { path: file, identity: identity.as_deref(), passphrase_file: passphrase.file() };
    let failed = format!("{} cannot be relied on", file.display());
    read(session, &request, Deployment::verify_backup, "whole", failed)
}

fn restore(arguments: &RestoreArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RestoreArguments { file, identity, passphrase, form: _ } = arguments;
    let request =
        ReadBackup { path: file, identity: identity.as_deref(), passphrase_file: passphrase.file() };
    let failed = format!("cannot restore {}", file.display());
    read(session, &request, Deployment::restore_backup, "restored", failed)
}

/// What verifying and restoring share: a backup is read, and what was found in it is printed.
fn read(
    session: &Session,
    request: &ReadBackup<'_>,
    read: impl FnOnce(&Deployment, &ReadBackup<'_>) -> Result<BackupSummary, BackupCommandError>,
    done: &str,
    failed: String,
) -> Result<ExitCode, Failure> {
    session.with_deployment(|deployment| {
        let found = read(deployment, request).map_err(|error| Failure::new(failed, &error, error.help()))?;
        session.output.report(&report(&found), |out| {
            writeln!(out, "{done}: {}", Escaped(request.path.display()))?;
            print(out, &found)
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn report(summary: &BackupSummary) -> Value {
    let BackupSummary { made_at, keks, deks, destroyed, wrappings, unwrapped, opened, bytes, sha256 } =
        summary;
    json!({
        "made_at": made_at.to_string(),
        "keks": keks,
        "deks": deks,
        "destroyed": destroyed,
        "wrappings": wrappings,
        "unwrapped": unwrapped,
        "opened": opened,
        "bytes": bytes,
        "sha256": sha256,
    })
}

fn print(out: &mut dyn Write, summary: &BackupSummary) -> io::Result<()> {
    let BackupSummary { made_at, keks, deks, destroyed, wrappings: _, unwrapped, opened, bytes, sha256 } =
        summary;
    writeln!(out, "  made    {made_at:.0}")?;
    writeln!(out, "  deks    {deks}, {destroyed} of them destroyed; {keks} KEKs")?;
    if *unwrapped > 0 {
        writeln!(out, "  warning {unwrapped} DEKs have no wrapping under the active KEK")?;
    }
    if *opened > 0 {
        writeln!(out, "  opened  {opened}")?;
    }
    writeln!(out, "  file    {bytes} bytes, sha256 {sha256}")
}
