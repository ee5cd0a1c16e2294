//! `aegisbpf custodians …`: the people without two of whom nobody changes which keys this host trusts.

mod showing;

use std::path::PathBuf;
use std::process::ExitCode;

use aegis_approval::{Audience, Role};
use aegis_terminal::Form;
use aegis_terminal::escape::Escaped;
use aegis_terminal::failure::Failure;
use aegis_trust::custodians::change::{CustodiansChangeError, CustodiansChanged, InitSource};
use clap::{Args, Subcommand};

use crate::approval::ApprovalArgument;
use crate::session::Session;

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum CustodiansCommand {
    /// Turn the rule on: from then on changes of keys need an approval by custodians
    #[command(after_help = "\
FILEs are registrations, as custodians send them. Keys that are trusted now stay trusted. Without
FILEs, take up the directory /etc/aegisbpf/custodians as somebody has put it there.

Examples:
  sudo aegisbpf custodians init ana.custodian bo.custodian \\
    --require 1:risk_lead --require 1:security_lead --host web-1 --group edge
  sudo aegisbpf custodians init")]
    Init(InitArguments),
    /// List the custodians of this host, their rule and its digest
    #[command(after_help = "\
Examples:
  aegisbpf custodians list
  aegisbpf custodians list --json | jq -r .rule.digest")]
    List(ListArguments),
    /// Check a directory of custodians, and print the digest that an approval has to name
    #[command(after_help = "\
Without DIR, check the one of this host against what it has taken up.

Examples:
  aegisbpf custodians verify ./new-custodians
  sudo aegisbpf custodians verify")]
    Verify(VerifyArguments),
    /// Replace all custodians, and their rule, by those in a directory
    #[command(after_help = "\
DIR holds a file `threshold` and a registration a key, NAME.custodian. The approval is one of
custodians.set, for the digest that `custodians verify DIR` prints, by the custodians of now.

Examples:
  sudo aegisbpf custodians set ./new-custodians --approval set.approval")]
    Set(SetArguments),
    /// Turn the rule off: from then on one person can change the keys
    #[command(after_help = "\
The approval is one of custodians.off, for the digest that `custodians list` prints.

Examples:
  sudo aegisbpf custodians off --approval off.approval")]
    Off(OffArguments),
}

#[derive(Args)]
pub(crate) struct InitArguments {
    /// The registrations of the custodians
    #[arg(requires = "require")]
    files: Vec<PathBuf>,
    /// Ask for N different people of a role; all roles together, at least two people
    #[arg(long, value_name = "N:ROLE", requires = "files", value_parser = parse_group)]
    require: Vec<(Role, i64)>,
    /// Call this host NAME in approvals, instead of as the system calls it
    #[arg(long, value_name = "NAME", requires = "files", value_parser = parse_host)]
    host: Option<Audience>,
    /// Also take approvals that are for the group NAME
    #[arg(long, value_name = "NAME", requires = "files", value_parser = parse_hosts)]
    group: Vec<Audience>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The directory
    dir: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct SetArguments {
    /// The directory with the new custodians and their threshold
    dir: PathBuf,
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
pub(crate) struct OffArguments {
    #[command(flatten)]
    approval: ApprovalArgument,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(command: CustodiansCommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        CustodiansCommand::Init(arguments) => init(arguments, session),
        CustodiansCommand::List(_) => showing::list(session),
        CustodiansCommand::Verify(arguments) => showing::verify(&arguments, session),
        CustodiansCommand::Set(arguments) => set(&arguments, session),
        CustodiansCommand::Off(arguments) => off(&arguments, session),
    }
}

fn parse_group(text: &str) -> Result<(Role, i64), String> {
    let (count, role) = text.split_once(':').ok_or("expected N:ROLE, such as 1:risk_lead")?;
    let count = count.parse().map_err(|_| format!("{count:?} is no number of people"))?;
    Ok((role.parse().map_err(|error: aegis_approval::NameError| error.to_string())?, count))
}

fn parse_host(name: &str) -> Result<Audience, String> {
    format!("host:{name}").parse().map_err(|error: aegis_approval::NameError| error.to_string())
}

fn parse_hosts(name: &str) -> Result<Audience, String> {
    format!("group:{name}").parse().map_err(|error: aegis_approval::NameError| error.to_string())
}

fn init(arguments: InitArguments, session: &Session) -> Result<ExitCode, Failure> {
    let InitArguments { files, require, host: name, group, form: _ } = arguments;
    let what = "cannot name custodians";
    let host = session.host()?;
    let source = match files.is_empty() {
        true => InitSource::InPlace,
        false => InitSource::Files {
            quorum: require,
            host: name,
            groups: group.into_iter().collect(),
            registrations: &files,
        },
    };
    let done = host.init_custodians(&session.caller(), source);
    session.warn_unlogged(&host);
    report(done, what, session)
}

fn set(arguments: &SetArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let caller = session.caller().with_approvals(arguments.approval.files()?);
    let done = host.set_custodians(&caller, &arguments.dir);
    session.warn_unlogged(&host);
    report(done, "cannot replace the custodians", session)
}

fn off(arguments: &OffArguments, session: &Session) -> Result<ExitCode, Failure> {
    let host = session.host()?;
    let caller = session.caller().with_approvals(arguments.approval.files()?);
    let done = host.custodians_off(&caller);
    session.warn_unlogged(&host);
    report(done, "cannot do without custodians", session)
}

fn report(
    done: Result<CustodiansChanged, CustodiansChangeError>,
    what: &str,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let done = done.map_err(|error| Failure::new(what, &error, error.help()))?;
    let CustodiansChanged { action: _, digest, host, replaced: _, approved_keys, approval, already } = &done;
    session.output.report(&done, |out| {
        match (digest, already) {
            (Some(digest), true) => writeln!(out, "on already: custodians of digest {digest}")?,
            (Some(digest), false) => writeln!(out, "on: custodians of digest {digest}")?,
            (None, _) => writeln!(out, "off: one person can change the keys of this host from now on")?,
        }
        if let Some(host) = host {
            writeln!(out, "  called         {}", Escaped(host))?;
            writeln!(out, "  approved keys  {}", approved_keys.len())?;
        }
        match approval {
            Some(id) => writeln!(out, "  used           {}", Escaped(id)),
            None => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
