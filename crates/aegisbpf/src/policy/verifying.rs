//! `policy verify`: is a bundle authentic, and what would the counter say to it.

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_crypto::PublicKey;
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::bundle::SignedBundle;
use aegis_trust::standing::{Standing, VerifyReport};
use aegis_trust::verify::{self, V1, VerifiedBundle, VerifyError};
use clap::Args;
use jiff::Timestamp;

use crate::keys::read_public_key;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The bundle, `-` for standard input
    file: PathBuf,
    /// Trust this key alone, and ask neither this host's keys nor its counter
    #[arg(long, value_name = "PUB")]
    public_key: Option<PathBuf>,
    /// Read the older format too, on a host that has never accepted a version 2 bundle
    #[arg(long)]
    allow_v1: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) fn verify(arguments: &VerifyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let name = input::name(&arguments.file);
    let what = format!("cannot trust {name}");
    let host = session.host()?;
    let file = input::read(&arguments.file, host.max_file_len(), &what)?;
    let now = session.caller().now;
    let v1 = if arguments.allow_v1 { V1::Allow } else { V1::Refuse };
    let report = match &arguments.public_key {
        Some(key) => {
            verify_by_one_key(read_public_key(key)?, file, v1, now).map(|bundle| VerifyReport::of(&bundle))
        }
        None => host.verify(file, v1, now).map(|bundle| host.verify_report(&bundle)),
    };
    let report = report.map_err(|error| Failure::new(what, &error, error.help()))?;
    session.output.report(&report, |out| {
        let VerifyReport {
            policy_version,
            epoch,
            policy_sha256,
            issued_at,
            expires_at,
            signers,
            counter,
            ..
        } = &report;
        writeln!(out, "{} is authentic: policy version {policy_version}, epoch {epoch}", Escaped(&name))?;
        writeln!(out, "  sha256     {policy_sha256}")?;
        for signer in signers {
            writeln!(out, "  signed by  {signer}")?;
        }
        writeln!(out, "  issued     {issued_at}")?;
        match expires_at {
            Some(expires_at) => writeln!(out, "  expires    {expires_at}")?,
            None => writeln!(out, "  expires    never")?,
        }
        match counter {
            Some(standing) => writeln!(out, "  counter    {}", in_words(*standing)),
            None => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verify_by_one_key(
    key: PublicKey,
    file: Vec<u8>,
    v1: V1,
    now: Timestamp,
) -> Result<VerifiedBundle, VerifyError> {
    let bundle = SignedBundle::parse(file).map_err(|source| VerifyError::Bundle { source })?;
    verify::verify_by_key(bundle, key, v1, now)
}

fn in_words(standing: Standing) -> &'static str {
    match standing {
        Standing::First => "this host has accepted no version yet",
        Standing::Newer => "newer than what this host has accepted",
        Standing::Same => "what this host has accepted last",
        Standing::Older => "older than what this host has accepted: apply will refuse it",
        Standing::OtherContent => {
            "this host has accepted other content as this version: apply will refuse it"
        }
        Standing::EpochNeedsApproval => "a higher epoch: apply takes it only with an approval by custodians",
        Standing::Unreadable => {
            "the counter cannot be read: apply will refuse it; see `aegisbpf policy counter show`"
        }
    }
}
