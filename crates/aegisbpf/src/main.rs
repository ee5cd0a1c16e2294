//! `aegisbpf`, the host program: it parses arguments, calls one library function, prints the result.
//!
//! | module | what it holds |
//! |---|---|
//! | [`command_line`] | the global options and the list of commands |
//! | [`keys`], [`custodians`], [`policy`], [`probe`], [`health`], [`backup`] | a command group each: its arguments, then what it runs; `audit`, `completions` and `man` are in `aegis-terminal` |
//! | [`approval`] | the option by which a change shows that custodians agreed |
//! | [`mod@run`], [`status`] | the agent; what the kernel enforces now |
//! | [`emergency`] | denials off for a time, and on again |
//! | [`events`] | what was denied, from the log that the agent writes |
//! | [`signer`] | the three ways to name a signing key |
//! | [`destination`] | files that the command line asks to be written, unless this host keeps its own there |
//! | [`session`] | the host, the caller and the time |
//!
//! Exit codes: 0 done; 1 refused or failed; 2 wrong usage. `health` has its own: 0 ok, 1 degraded, 2 failed.

mod approval;
mod backup;
mod command_line;
mod custodians;
mod destination;
mod emergency;
mod events;
mod health;
mod keys;
mod policy;
mod probe;
mod run;
mod session;
mod signer;
mod status;

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
    let matches = parse::<CommandLine>();
    let json = wants_json(&matches);
    let CommandLine { root, command } = match CommandLine::from_arg_matches(&matches) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let session = Session::new(root, Output::new(json));
    let result = run(command, &session);
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
        Subcommand::Keys(command) => keys::run(command, session),
        Subcommand::Custodians(command) => custodians::run(command, session),
        Subcommand::Policy(command) => policy::run(*command, session),
        Subcommand::Probe(arguments) => probe::run(&arguments, session),
        Subcommand::Run(arguments) => run::run(&arguments, session),
        Subcommand::Status(arguments) => status::run(&arguments, session),
        Subcommand::Emergency(command) => emergency::run(command, session),
        Subcommand::Events(arguments) => events::run(&arguments, session),
        Subcommand::Health(arguments) => health::run(&arguments, session),
        Subcommand::Backup(command) => backup::run(command, session),
        Subcommand::Audit(command) => {
            let paths = session.paths()?;
            let log = AuditLog::new(paths.audit_dir());
            let is_reserved = |path: &Path| paths.reserves(path);
            audit::run(command, &log, Destinations::new(&session.output, &is_reserved))
        }
        Subcommand::Completions(arguments) => manual::completions::<CommandLine>(&arguments, &session.output),
        Subcommand::Man(arguments) => man(&arguments, session),
    }
}

/// Pages that are printed need to know nothing of this host.
fn man(arguments: &ManArguments, session: &Session) -> Result<ExitCode, Failure> {
    if arguments.prints() {
        return manual::man::<CommandLine>(arguments, &Destinations::new(&session.output, &|_| false));
    }
    let paths = session.paths()?;
    let is_reserved = |path: &Path| paths.reserves(path);
    manual::man::<CommandLine>(arguments, &Destinations::new(&session.output, &is_reserved))
}
