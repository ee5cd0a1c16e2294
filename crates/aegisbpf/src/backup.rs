//! `aegisbpf backup …`: one archive of what this host trusts and has accepted.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_crypto::KeyIdPrefix;
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_trust::backup::{BackupCreated, BackupVerified, Kept, RestoreTrust, backup_verify_with_limit};
use clap::{Args, Subcommand};

use crate::destination;
use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum BackupCommand {
    /// Write keys, revocations, settings, counter and policy into one signed archive
    #[command(after_help = "\
Examples:
  sudo aegisbpf backup create /root/aegis-2026-03-01.tar")]
    Create(CreateArguments),
    /// Check an archive: every file against its digest, and the signature
    #[command(after_help = "\
Examples:
  aegisbpf backup verify /root/aegis-2026-03-01.tar")]
    Verify(VerifyArguments),
    /// Bring back what is missing or older here; never lowers the counter
    #[command(after_help = "\
What is newer on this host is kept, and named. An archive of another host needs the id of that
host's key, which `backup verify` prints and its operator confirms.

Examples:
  sudo aegisbpf backup restore /root/aegis-2026-03-01.tar
  sudo aegisbpf backup restore old-host.tar --host-key 77b1c09e2f4a5d63")]
    Restore(RestoreArguments),
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The archive to write
    file: PathBuf,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The archive
    file: PathBuf,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The archive
    file: PathBuf,
    /// Accept an archive signed by the host key with this id instead of this host's own
    #[arg(long, value_name = "ID")]
    host_key: Option<KeyIdPrefix>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: BackupCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        BackupCommand::Create(arguments) => create(&arguments, session),
        BackupCommand::Verify(arguments) => verify(&arguments, session),
        BackupCommand::Restore(arguments) => restore(arguments, session),
    }
}

fn create(arguments: &CreateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let host = session.host()?;
    destination::refuse_reserved(file, session)?;
    let created = host.backup_create(&session.caller(), file);
    session.warn_unlogged(&host);
    let created = created.map_err(|error| {
        Failure::new(format!("cannot back up to {}", file.display()), &error, error.help())
    })?;
    let BackupCreated { path, archive_sha256, size, created_at: _, host_key, files } = &created;
    session.output.report(&created, |out| {
        writeln!(out, "backed up {} files to {}, {size} bytes", files.len(), Escaped(path.display()))?;
        writeln!(out, "  sha256    {archive_sha256}")?;
        writeln!(out, "  host key  {host_key}")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verify(arguments: &VerifyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let file = &arguments.file;
    let limit = session.host()?.config().max_policy_bytes;
    let verified = backup_verify_with_limit(file, limit).map_err(|error| {
        Failure::new(format!("cannot trust the archive {}", file.display()), &error, error.help())
    })?;
    session.output.report(&verified, |out| print_verified(out, file, &verified))?;
    Ok(ExitCode::SUCCESS)
}

fn print_verified(out: &mut dyn Write, file: &Path, verified: &BackupVerified) -> io::Result<()> {
    let BackupVerified {
        archive_sha256,
        created_at,
        host_key,
        files,
        trusted_keys,
        revoked_keys,
        counter,
        policy_version,
        custodians,
        used_approvals,
    } = verified;
    writeln!(out, "{} is whole: {} files, made {created_at}", Escaped(file.display()), files.len())?;
    writeln!(out, "  sha256    {archive_sha256}")?;
    writeln!(out, "  host key  {host_key}")?;
    for key in trusted_keys {
        writeln!(out, "  trusts    {key}")?;
    }
    writeln!(out, "  revoked   {revoked_keys} keys")?;
    match counter {
        Some(counter) => {
            writeln!(out, "  counter   policy version {}, epoch {}", counter.policy_version, counter.epoch)?;
        }
        None => writeln!(out, "  counter   none")?,
    }
    match policy_version {
        Some(version) => writeln!(out, "  policy    version {version}")?,
        None => writeln!(out, "  policy    none, or unsigned")?,
    }
    if let Some(digest) = custodians {
        writeln!(out, "  rule      custodians of digest {digest}")?;
    }
    match used_approvals {
        Some(used) => writeln!(out, "  used      {used} approvals"),
        None => Ok(()),
    }
}

fn restore(arguments: RestoreArguments, session: &Session) -> Result<ExitCode, Failure> {
    let file = arguments.file;
    let trust = arguments.host_key.map_or(RestoreTrust::ThisHost, RestoreTrust::HostKey);
    let host = session.host()?;
    let restored = host.backup_restore(&session.caller(), &file, trust);
    session.warn_unlogged(&host);
    let restored = restored
        .map_err(|error| Failure::new(format!("cannot restore {}", file.display()), &error, error.help()))?;
    session.output.report(&restored, |out| {
        if restored.restored.is_empty() {
            writeln!(out, "nothing had to be restored")?;
        }
        for what in &restored.restored {
            writeln!(out, "restored  {}", Escaped(what))?;
        }
        for Kept { what, why } in &restored.kept {
            writeln!(out, "kept      {}: {}", Escaped(what), Escaped(why))?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}
