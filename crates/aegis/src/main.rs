//! `aegis`, the control program: it parses arguments, calls one library function, prints the result.
//!
//! | module | what it holds |
//! |---|---|
//! | [`command_line`] | the list of commands |
//! | [`init`], [`kek`], [`dek`], [`pii`], [`pipeline`], [`custodian`], [`approval`], [`emergency`], [`backup`], [`doctor`] | a command group each: its arguments, then what it runs; `audit`, `completions` and `man` are in `aegis-terminal` |
//! | [`session`] | the deployment, its log, and where a passphrase comes from |
//! | [`progress`] | a bar on a terminal, nothing in a pipe |
//! | [`logging`] | what happens inside, for those who ask with `AEGIS_LOG` |
//!
//! Exit codes: 0 done; 1 refused or failed; 2 wrong usage.

mod approval;
mod backup;
mod command_line;
mod custodian;
mod dek;
mod doctor;
mod emergency;
mod init;
mod kek;
mod logging;
mod pii;
mod pipeline;
mod progress;
mod session;

use std::path::Path;
use std::process::ExitCode;

use aegis_audit::AuditLog;
use aegis_terminal::arguments::{parse, wants_json};
use aegis_terminal::destination::Destinations;
use aegis_terminal::manual::ManArguments;
use aegis_terminal::{Failure, Output, audit, manual};
use clap::FromArgMatches;

use crate::command_line::{CommandLine, Subcommand};
use crate::session::Session;

fn main() -> ExitCode {
    // Before the first secret is read: no core file, and no debugger of another process of this user.
    let protected = aegis_crypto::process::protect();
    let matches = parse::<CommandLine>();
    let json = wants_json(&matches);
    let CommandLine { command } = match CommandLine::from_arg_matches(&matches) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let output = Output::new(json);
    for error in protected {
        output.warn(&format!("secrets are less safe than they should be: {error}"));
    }
    let result = logging::start().and_then(|()| run(command, &Session::new(output)));
    match result {
        Ok(code) => code,
        Err(failure) => {
            failure.print(json);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Subcommand, session: &Session) -> Result<ExitCode, Failure> {
    match command {
        Subcommand::Init(arguments) => init::run(&arguments, session),
        Subcommand::Kek(command) => kek::run(*command, session),
        Subcommand::Dek(command) => dek::run(command, session),
        Subcommand::Pii(command) => pii::run(command, session),
        Subcommand::Pipeline(command) => pipeline::run(command, session),
        Subcommand::Custodian(command) => custodian::run(*command, session),
        Subcommand::Override(command) => approval::run_override(*command, session),
        Subcommand::Approval(command) => approval::run_approval(*command, session),
        Subcommand::Emergency(command) => emergency::run(command, session),
        Subcommand::Backup(command) => backup::run(command, session),
        Subcommand::Doctor(arguments) => doctor::run(&arguments, session),
        Subcommand::Audit(command) => {
            let state = session.state_dir()?;
            let log = AuditLog::new(state.audit_dir());
            let is_reserved = |path: &Path| state.reserves(path);
            audit::run(command, &log, Destinations::new(&session.output, &is_reserved))
        }
        Subcommand::Completions(arguments) => manual::completions::<CommandLine>(&arguments, &session.output),
        Subcommand::Man(arguments) => man(&arguments, session),
    }
}

/// Pages that are printed need to know nothing of this machine.
fn man(arguments: &ManArguments, session: &Session) -> Result<ExitCode, Failure> {
    if arguments.prints() {
        return manual::man::<CommandLine>(arguments, &Destinations::new(&session.output, &|_| false));
    }
    let state = session.state_dir()?;
    let is_reserved = |path: &Path| state.reserves(path);
    manual::man::<CommandLine>(arguments, &Destinations::new(&session.output, &is_reserved))
}
