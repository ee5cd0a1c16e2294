//! `policy verify`: is a bundle authentic, and what would the counter say to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use aegis_crypto::{Digest, KeyId, PublicKey};
use aegis_trust::Host;
use aegis_trust::bundle::{BundleFormat, SignedBundle};
use aegis_trust::counter::{Counter, CounterRefusal, Judgement};
use aegis_trust::manifest::Manifest;
use aegis_trust::verify::{self, Trust, V1, VerifiedBundle, VerifyError};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::command_line::Form;
use crate::escape::Escaped;
use crate::failure::Failure;
use crate::input;
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
    let (verified, counter) = match &arguments.public_key {
        Some(key) => (verify_by_one_key(read_public_key(key)?, file, v1, now), None),
        None => (host.verify(file, v1, now), Some(&host)),
    };
    let verified = verified.map_err(|error| Failure::new(what, &error, error.help()))?;
    let report = Report::new(&verified, counter);
    session.output.report(&report, |out| {
        let Report { policy_version, epoch, policy_sha256, issued_at, expires_at, signers, counter, .. } =
            &report;
        writeln!(out, "{} is authentic: policy version {policy_version}, epoch {epoch}", Escaped(&name))?;
        writeln!(out, "  sha256     {policy_sha256}")?;
        for signer in *signers {
            writeln!(out, "  signed by  {signer}")?;
        }
        writeln!(out, "  issued     {issued_at}")?;
        match expires_at {
            Some(expires_at) => writeln!(out, "  expires    {expires_at}")?,
            None => writeln!(out, "  expires    never")?,
        }
        match counter {
            Some(standing) => writeln!(out, "  counter    {}", standing.in_words()),
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
    let keys = BTreeMap::from([(key.key_id(), key)]);
    let revoked = BTreeMap::new();
    let trust = Trust { keys: &keys, revoked: &revoked, required_signatures: 1, v1, accepted_format: None };
    verify::verify(bundle, &trust, now)
}

/// What was verified.
#[derive(Serialize)]
struct Report<'a> {
    format: BundleFormat,
    policy_version: u64,
    epoch: u32,
    policy_sha256: Digest,
    policy_size: u64,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    signers: &'a [KeyId],
    /// Absent if a key was named: then the bundle was not held against this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<Standing>,
}

impl<'a> Report<'a> {
    fn new(bundle: &'a VerifiedBundle, host: Option<&Host>) -> Self {
        let Manifest { policy_version, policy_sha256, policy_size, issued_at, expires_at, epoch } =
            *bundle.manifest();
        Self {
            format: bundle.format(),
            policy_version,
            epoch,
            policy_sha256,
            policy_size,
            issued_at,
            expires_at,
            signers: bundle.signers(),
            counter: host.map(|host| Standing::of(bundle, host)),
        }
    }
}

/// How a bundle stands to this host's version counter.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    First,
    Newer,
    Same,
    Older,
    OtherContent,
    EpochNeedsApproval,
    Unreadable,
}

impl Standing {
    fn of(bundle: &VerifiedBundle, host: &Host) -> Self {
        let Ok(accepted) = host.counter() else { return Self::Unreadable };
        match Counter::judge(accepted.as_ref(), &bundle.counter()) {
            Ok(Judgement::First) => Self::First,
            Ok(Judgement::Newer) => Self::Newer,
            Ok(Judgement::Same) => Self::Same,
            Err(CounterRefusal::Rollback { .. } | CounterRefusal::OlderEpoch { .. }) => Self::Older,
            Err(CounterRefusal::OtherContent { .. }) => Self::OtherContent,
            Err(CounterRefusal::EpochNeedsApproval { .. }) => Self::EpochNeedsApproval,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::First => "this host has accepted no version yet",
            Self::Newer => "newer than what this host has accepted",
            Self::Same => "what this host has accepted last",
            Self::Older => "older than what this host has accepted: apply will refuse it",
            Self::OtherContent => {
                "this host has accepted other content as this version: apply will refuse it"
            }
            Self::EpochNeedsApproval => "a higher epoch needs an approval: apply will refuse it",
            Self::Unreadable => {
                "the counter cannot be read: apply will refuse it; see `aegisbpf policy counter show`"
            }
        }
    }
}
