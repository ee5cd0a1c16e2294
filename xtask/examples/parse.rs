//! `parse FILE`: reads a policy and parses it, so that the instructions of the parser can be counted.

use std::process::ExitCode;

use aegis_policy::{Limits, parse};

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else { return ExitCode::from(2) };
    let Ok(bytes) = std::fs::read(path) else { return ExitCode::FAILURE };
    match parse(&bytes, &Limits::default()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
