//! Parsing a command line. Wrong usage ends the program with code 2.

use std::ffi::OsString;

use clap::{ArgMatches, Args, CommandFactory};

use crate::escape::Escaped;

// The form of a result; commands that list or report have it. (Doc comments would become their help.)
#[allow(
    missing_docs,
    reason = "a doc comment here replaces the description of every command that has --json"
)]
#[derive(Debug, Args)]
pub struct Form {
    /// Print the result as JSON; an error is one line of JSON on standard error
    #[arg(long)]
    json: bool,
}

/// Parses the command line of this process; wrong usage ends it with code 2.
///
/// The message of wrong usage quotes the arguments. They are escaped before, as a file name that a shell put
/// there can hold anything.
pub fn parse<C: CommandFactory>() -> ArgMatches {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    C::command().try_get_matches_from(&arguments).unwrap_or_else(|error| {
        let escaped = arguments.iter().map(|argument| Escaped(argument.to_string_lossy()).to_string());
        match C::command().try_get_matches_from(escaped) {
            Err(same) if error.use_stderr() => same.exit(),
            Ok(_) | Err(_) => error.exit(),
        }
    })
}

/// Whether the command that was named has `--json`, and it was given: an error then has that form too.
pub fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, inner)) => wants_json(inner),
        None => matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false),
    }
}
