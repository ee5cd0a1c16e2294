//! `policy apply` and `policy rollback`: what this host puts in force.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aegis_enforce::Terms;
use aegis_enforce::coverage::Unenforced;
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_terminal::input;
use aegis_trust::apply::{Applied, ApplyOptions, ApplyResult, Mode, Offer, SignatureRule};
use aegis_trust::enforce::EnforcementMode;
use aegis_trust::verify::V1;
use clap::{Args, ValueEnum};

use crate::approval::ApprovalArgument;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct ApplyArguments {
    /// The bundle or policy, `-` for standard input
    file: PathBuf,
    /// Refuse it unless a trusted key signed it
    #[arg(long)]
    require_signature: bool,
    /// Accept a policy without signature even though this host asks for one
    #[arg(long, conflicts_with = "require_signature")]
    allow_unsigned: bool,
    /// Read the older format too, on a host that has never accepted a version 2 bundle
    #[arg(long)]
    allow_v1: bool,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Whether what it denies is refused, or only told
    #[arg(long, value_enum, default_value_t = ModeArgument::Enforce)]
    mode: ModeArgument,
    /// Go back to the policy in force now, unless `policy confirm` comes within this time: 30s, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    confirm_within: Option<Duration>,
    /// Put in force what this kernel can enforce of it; health says which sections it cannot
    #[arg(long)]
    audit_unenforced: bool,
    /// Apply it although it would lock out what brings a host back: init, the agent, a shell of root
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

/// What happens to an operation that a rule denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArgument {
    /// It is refused, and told
    Enforce,
    /// It is told
    Audit,
}

impl From<ModeArgument> for aegis_enforce::Mode {
    fn from(mode: ModeArgument) -> Self {
        match mode {
            ModeArgument::Enforce => Self::Enforce,
            ModeArgument::Audit => Self::Audit,
        }
    }
}

/// `30s`, `5m`, `2h`: from a second to a day.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let form = "give a number and a unit, such as 30s, 5m or 2h";
    let (number, seconds) = match text.strip_suffix('s') {
        Some(number) => (number, 1),
        None => match text.strip_suffix('m') {
            Some(number) => (number, 60),
            None => (text.strip_suffix('h').ok_or(form)?, 3600),
        },
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form.to_owned());
    }
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    match total.filter(|total| (1..=86_400).contains(total)) {
        Some(total) => Ok(Duration::from_secs(total)),
        None => Err("it must be from 1s to 24h".to_owned()),
    }
}

#[derive(Args)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    form: Form,
}

pub(super) fn apply(arguments: &ApplyArguments, session: &Session) -> Result<ExitCode, Failure> {
    let ApplyArguments {
        file,
        require_signature,
        allow_unsigned,
        allow_v1,
        dry_run,
        mode,
        confirm_within,
        audit_unenforced,
        force,
        approval,
        form: _,
    } = arguments;
    let name = input::name(file);
    let what = format!("cannot apply {name}");
    let terms = Terms {
        mode: (*mode).into(),
        unenforced: if *audit_unenforced { Unenforced::Accept } else { Unenforced::Refuse },
        force: *force,
        confirm_within: *confirm_within,
    };
    let host = session.host_on(Some(terms))?;
    if terms != Terms::default() && !session.kernel_enforces(host.paths(), host.config()) {
        session
            .output
            .warn("policies of this host are only recorded, so the options for the kernel mean nothing here");
    }
    let offer = if input::is_stdin(file) {
        let bytes = input::read_stdin(host.max_file_len())
            .map_err(|error| Failure::new(&what, &error, error.help()))?;
        Offer::Bytes { name: &name, bytes }
    } else {
        Offer::File(file)
    };
    let options = ApplyOptions {
        signature: match (require_signature, allow_unsigned) {
            (true, _) => SignatureRule::Required,
            (false, true) => SignatureRule::AllowUnsigned,
            (false, false) => SignatureRule::Configured,
        },
        v1: if *allow_v1 { V1::Allow } else { V1::Refuse },
        mode: if *dry_run { Mode::DryRun } else { Mode::Apply },
    };
    let caller = session.caller().with_approvals(approval.files()?);
    let applied = host.apply(&caller, offer, &options);
    session.warn_unlogged(&host);
    let applied = applied.map_err(|error| Failure::new(what, &error, error.help()))?;
    // In JSON they are part of the result.
    for warning in applied.warnings.iter().filter(|_| !session.output.is_json()) {
        session.output.warn(warning);
    }
    session.output.report(&applied, |out| print_applied(out, &name, &applied))?;
    Ok(ExitCode::SUCCESS)
}

fn print_applied(out: &mut dyn Write, name: &str, applied: &Applied) -> io::Result<()> {
    let verb = match applied.result {
        ApplyResult::Applied => "applied",
        ApplyResult::Unchanged => "in force already, loaded again:",
        ApplyResult::WouldApply => "would apply",
        ApplyResult::WouldNotChange => "in force already:",
    };
    let name = Escaped(name);
    match (applied.policy_version, applied.epoch) {
        (Some(version), Some(epoch)) => {
            writeln!(out, "{verb} {name}: policy version {version}, epoch {epoch}")?;
        }
        _ => writeln!(out, "{verb} {name}: unsigned")?,
    }
    writeln!(out, "  sha256     {}", applied.policy_sha256)?;
    for signer in &applied.signers {
        writeln!(out, "  signed by  {signer}")?;
    }
    if let Some(expires_at) = applied.expires_at {
        writeln!(out, "  expires    {expires_at}")?;
    }
    writeln!(out, "  rules      {}", applied.rules)?;
    let Some(enforcement) = applied.enforcement.as_ref().filter(|enforcement| enforcement.enforced) else {
        return Ok(());
    };
    let mode = match enforcement.mode {
        Some(EnforcementMode::Audit) => ", audit mode: what it denies is only told",
        Some(EnforcementMode::Enforce) | None => "",
    };
    writeln!(out, "  in force   {}{mode}", enforcement.backend)?;
    for section in &enforcement.unenforced {
        writeln!(out, "  unenforced [{section}]")?;
    }
    match enforcement.confirm_by {
        Some(by) => writeln!(out, "  confirm    by {by}: sudo aegisbpf policy confirm"),
        None => Ok(()),
    }
}

pub(super) fn rollback(session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let rolled = host.rollback(&session.caller());
    session.warn_unlogged(&host);
    let rolled = rolled.map_err(|error| Failure::new("cannot roll back", &error, error.help()))?;
    session.output.report(&rolled, |out| {
        let instead = match rolled.from_version {
            Some(version) => format!("policy version {version}"),
            None => "an unsigned policy".to_owned(),
        };
        writeln!(out, "in force again: policy version {}, instead of {instead}", rolled.to_version)?;
        for signer in &rolled.signers {
            writeln!(out, "  signed by  {signer}")?;
        }
        match rolled.counter_version {
            Some(version) => writeln!(out, "  counter    {version}, as before"),
            None => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
