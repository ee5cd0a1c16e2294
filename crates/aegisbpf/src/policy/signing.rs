//! `policy sign`, `cosign` and `reissue`: the signer's side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::Host;
use aegis_trust::bundle::SignedBundle;
use aegis_trust::counter::CounterError;
use aegis_trust::expiry::parse_expiry;
use aegis_trust::sign::{BundleSummary, SignRequest};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use crate::destination;
use crate::session::Session;
use crate::signer::SignerArguments;

#[derive(Args)]
pub(crate) struct SignArguments {
    /// The policy, `-` for standard input
    file: PathBuf,
    /// The bundle to write, `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Sign as version N; auto: one more than this host's counter
    #[arg(long, value_name = "N|auto", default_value = "auto", value_parser = parse_version)]
    policy_version: Version,
    #[command(flatten)]
    expiry: Expiry,
    /// Sign in epoch N; without it, this host's epoch if the version is auto, else 0
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// v1 is the older format, for --allow-v1
    #[arg(long, value_name = "FORMAT", default_value = "v2")]
    format: FormatName,
    #[command(flatten)]
    signer: SignerArguments,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct CosignArguments {
    /// The bundle, `-` for standard input
    file: PathBuf,
    /// The bundle to write instead of FILE, `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    #[command(flatten)]
    signer: SignerArguments,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ReissueArguments {
    /// The bundle with the content wanted back, `-` for standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The new version; auto: one more than this host's counter
    #[arg(long, value_name = "N|auto", value_parser = parse_version)]
    policy_version: Version,
    /// The bundle to write, `-` for standard output
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    #[command(flatten)]
    expiry: Expiry,
    /// Sign in epoch N; without it, this host's epoch if the version is auto, else 0
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    #[command(flatten)]
    signer: SignerArguments,
    #[command(flatten)]
    form: Form,
}

// Until when hosts accept the bundle as new.
#[derive(Args)]
struct Expiry {
    /// When it stops being accepted as new: 90d, 2027-01-31, RFC 3339, never
    #[arg(long, value_name = "DURATION|TIME", default_value = "90d")]
    expires: String,
}

/// `--policy-version`.
#[derive(Clone, Copy)]
enum Version {
    Auto,
    Number(u64),
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    V1,
    V2,
}

fn parse_version(text: &str) -> Result<Version, String> {
    if text == "auto" {
        return Ok(Version::Auto);
    }
    match text.parse() {
        Ok(number) if number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Version::Number(number))
        }
        _ => Err(format!("expected auto, or a number from 1 to {}", u64::MAX)),
    }
}

pub(super) fn sign(arguments: &SignArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = format!("cannot sign {}", input::name(&arguments.file));
    let host = session.host()?;
    let policy = input::read(&arguments.file, host.max_file_len(), &what)?;
    let now = session.caller().now;
    let expires_at = arguments.expiry.resolve(now)?;
    let (policy_version, epoch) = arguments.policy_version.resolve(arguments.epoch, &host)?;
    let signer = arguments.signer.open()?;
    let request = SignRequest {
        policy: &policy,
        policy_version,
        epoch,
        issued_at: now,
        expires_at,
        limits: host.config().policy_limits(),
    };
    let signed = match arguments.format {
        FormatName::V2 => aegis_trust::sign::sign(&request, &*signer),
        FormatName::V1 => aegis_trust::sign::sign_v1(&request, &*signer),
    };
    let bundle = signed.map_err(|error| Failure::new(what, &error, error.help()))?;
    write_bundle(&arguments.out, bundle, session)
}

pub(super) fn cosign(arguments: &CosignArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = format!("cannot cosign {}", input::name(&arguments.file));
    let bundle = input::read(&arguments.file, session.host()?.max_file_len(), &what)?;
    let signer = arguments.signer.open()?;
    let cosigned = aegis_trust::sign::cosign(bundle, &*signer, session.caller().now)
        .map_err(|error| Failure::new(what, &error, error.help()))?;
    write_bundle(arguments.out.as_ref().unwrap_or(&arguments.file), cosigned, session)
}

pub(super) fn reissue(arguments: &ReissueArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = format!("cannot reissue {}", input::name(&arguments.from));
    let host = session.host()?;
    let old = input::read(&arguments.from, host.max_file_len(), &what)?;
    let now = session.caller().now;
    let expires_at = arguments.expiry.resolve(now)?;
    let (policy_version, epoch) = arguments.policy_version.resolve(arguments.epoch, &host)?;
    let signer = arguments.signer.open()?;
    let bundle = aegis_trust::sign::reissue(old, policy_version, epoch, now, expires_at, &*signer)
        .map_err(|error| Failure::new(what, &error, error.help()))?;
    write_bundle(&arguments.out, bundle, session)
}

impl Expiry {
    fn resolve(&self, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
        parse_expiry(&self.expires, now).map_err(|error| {
            Failure::new(format!("cannot use the expiry {}", self.expires), &error, error.help())
        })
    }
}

impl Version {
    /// The version and the epoch to sign.
    fn resolve(self, epoch: Option<u32>, host: &Host) -> Result<(u64, u32), Failure> {
        let failed =
            |error: &CounterError| Failure::new("cannot tell the next policy version", error, error.help());
        match self {
            Self::Number(version) => Ok((version, epoch.unwrap_or(0))),
            Self::Auto => {
                let version = host.next_version().map_err(|error| failed(&error))?;
                let counter = host.counter().map_err(|error| failed(&error))?;
                Ok((version, epoch.or(counter.map(|counter| counter.epoch)).unwrap_or(0)))
            }
        }
    }
}

/// Writes a bundle, and says what it is unless it went to standard output itself.
fn write_bundle(out: &Path, file: Vec<u8>, session: &Session) -> Result<ExitCode, Failure> {
    destination::write(out, &file, 0o644, session)?;
    if input::is_stdin(out) {
        return Ok(ExitCode::SUCCESS);
    }
    let bundle = SignedBundle::parse(file)
        .map_err(|error| Failure::new(format!("cannot read back {}", out.display()), &error, error.help()))?;
    let written = Written { path: out, bundle: BundleSummary::of(&bundle) };
    session.output.report(&written, |text| {
        let BundleSummary { policy_version, epoch, expires_at, claimed_signers, .. } = &written.bundle;
        writeln!(text, "wrote {}: policy version {policy_version}, epoch {epoch}", Escaped(out.display()))?;
        match expires_at {
            Some(expires_at) => writeln!(text, "  expires    {expires_at}")?,
            None => writeln!(text, "  expires    never")?,
        }
        for key_id in claimed_signers {
            writeln!(text, "  signed by  {key_id}")?;
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The bundle that was written, for programs.
#[derive(Serialize)]
struct Written<'a> {
    path: &'a Path,
    bundle: BundleSummary,
}
