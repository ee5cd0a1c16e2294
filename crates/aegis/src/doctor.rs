//! `aegis doctor`: what is set, what would be taken, and what is not in order.

use std::io::{self, Write};
use std::process::ExitCode;

use aegis_deployment::{Check, Examination, Load, VariableReport};
use aegis_terminal::{Escaped, Failure, Form};
use clap::Args;
use serde_json::{Value, json};

use crate::session::{PassphraseArgument, Session};

#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// Ask no device and no passphrase: the KEK is not loaded
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(arguments: &DoctorArguments, session: &Session) -> Result<ExitCode, Failure> {
    let DoctorArguments { offline, passphrase, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let load = if *offline { Load::Offline } else { Load::Now };
        let found = deployment.examine(passphrase.file(), load);
        session.output.report(&report(&found), |out| print(out, &found))?;
        Ok(if found.is_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn report(found: &Examination) -> Value {
    let variable = |variable: &VariableReport| {
        let VariableReport { name, purpose, required_by, is_set, well_formed, usable, problem } = variable;
        json!({
            "name": name,
            "purpose": purpose,
            "required_by": required_by,
            "set": is_set,
            "well_formed": well_formed,
            "usable": usable,
            "problem": problem,
        })
    };
    let check = |check: &Check| {
        let Check { name, status, message, help } = check;
        json!({ "name": name, "status": status.as_str(), "message": message, "help": help })
    };
    json!({
        "usable": found.is_usable(),
        "provider": found.provider.map(aegis_kek::ProviderKind::as_str),
        "why": found.why,
        "variables": found.variables.iter().map(variable).collect::<Vec<_>>(),
        "unknown": found.unknown,
        "checks": found.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

fn print(out: &mut dyn Write, found: &Examination) -> io::Result<()> {
    writeln!(out, "{}", if found.is_usable() { "usable" } else { "not usable" })?;
    for Check { name, status, message, help } in &found.checks {
        writeln!(out, "  {:8} {name}: {}", status.as_str(), Escaped(message))?;
        if let Some(help) = help {
            writeln!(out, "           help: {}", Escaped(help))?;
        }
    }
    let provider = found.provider.map_or("none", aegis_kek::ProviderKind::as_str);
    writeln!(out, "\nprovider: {provider}: {}\n", Escaped(&found.why))?;
    let word = |answer: Option<bool>| match answer {
        None => "-",
        Some(true) => "yes",
        Some(false) => "no",
    };
    let rows: Vec<[String; 5]> = found
        .variables
        .iter()
        .map(|variable| {
            [
                variable.name.to_owned(),
                if variable.is_set { "yes" } else { "no" }.to_owned(),
                word(variable.well_formed).to_owned(),
                word(variable.usable).to_owned(),
                variable.problem.clone().unwrap_or_else(|| variable.purpose.to_owned()),
            ]
        })
        .collect();
    aegis_terminal::output::table(out, ["VARIABLE", "SET", "WELL FORMED", "USABLE", "WHAT"], &rows)
}
