//! `aegisbpf`, the host program: it parses arguments, calls one library function, prints the result.
//!
//! | module | what it holds |
//! |---|---|
//! | [`command_line`] | the global options and the list of commands |
//! | [`keys`], [`policy`], [`health`], [`backup`], [`audit`], [`manual`] | a command group each: its arguments, then what it runs |
//! | [`signer`] | the three ways to name a signing key |
//! | [`input`], [`destination`] | bounded reading and whole writing of files, standard input and output |
//! | [`session`], [`moment`] | the host, the caller and the time; times as people type them |
//! | [`output`], [`failure`], [`escape`], [`json`] | what is printed, and how |
//!
//! Exit codes: 0 done; 1 refused or failed; 2 wrong usage. `health` has its own: 0 ok, 1 degraded, 2 failed.

mod audit;
mod backup;
mod command_line;
mod destination;
mod escape;
mod failure;
mod health;
mod input;
mod json;
mod keys;
mod manual;
mod moment;
mod output;
mod policy;
mod session;
mod signer;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::command_line::{CommandLine, Subcommand};
use crate::escape::Escaped;
use crate::output::Output;
use crate::session::Session;

fn main() -> ExitCode {
    let matches = parse(&std::env::args_os().collect::<Vec<_>>());
    let json = wants_json(&matches);
    let CommandLine { root, command } = match CommandLine::from_arg_matches(&matches) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    let session = Session::new(root, Output::new(json));
    let result = match command {
        Subcommand::Keys(command) => keys::run(command, &session),
        Subcommand::Policy(command) => policy::run(*command, &session),
        Subcommand::Health(arguments) => health::run(&arguments, &session),
        Subcommand::Backup(command) => backup::run(command, &session),
        Subcommand::Audit(command) => audit::run(command, &session),
        Subcommand::Completions(arguments) => manual::completions(&arguments, &session),
        Subcommand::Man(arguments) => manual::man(&arguments, &session),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            failure.print(json);
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line; wrong usage ends the program with code 2.
///
/// The message of wrong usage quotes the arguments. They are escaped before, as a file name that a shell put
/// there can hold anything.
fn parse(arguments: &[OsString]) -> ArgMatches {
    CommandLine::command().try_get_matches_from(arguments).unwrap_or_else(|error| {
        let escaped = arguments.iter().map(|argument| Escaped(argument.to_string_lossy()).to_string());
        match CommandLine::command().try_get_matches_from(escaped) {
            Err(same) if error.use_stderr() => same.exit(),
            Ok(_) | Err(_) => error.exit(),
        }
    })
}

/// Whether the command that was named has `--json`, and it was given: an error then has that form too.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => wants_json(inner),
        None => matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false),
    }
}
