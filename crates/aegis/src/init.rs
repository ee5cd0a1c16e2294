//! `aegis init`: a machine that can make and use keys.

use std::process::ExitCode;

use aegis_terminal::{Escaped, Failure, Form};
use clap::Args;

use crate::session::{PassphraseArgument, Session};

#[derive(Args)]
pub(crate) struct InitArguments {
    #[command(flatten)]
    passphrase: PassphraseArgument,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(arguments: &InitArguments, session: &Session) -> Result<ExitCode, Failure> {
    let InitArguments { passphrase, form: _ } = arguments;
    session.with_deployment(|deployment| {
        let state = deployment.state_dir().path().display().to_string();
        let done = deployment
            .init(passphrase.file())
            .map_err(|error| Failure::new(format!("cannot set up {state}"), &error, error.help()))?;
        let report = serde_json::json!({
            "state_dir": state,
            "provider": done.provider.as_str(),
            "security_level": done.provider.security_level().as_str(),
            "kek": done.kek,
            "configured_by": done.configured_by,
            "kek_file": done.kek_file.as_ref().map(|file| file.display().to_string()),
            "keyring": done.keyring,
            "dek": done.dek.to_string(),
            "made": done.made,
        });
        session.output.report(&report, |out| {
            match done.made.as_slice() {
                [] => writeln!(out, "set up already: {}", Escaped(&state))?,
                _ => writeln!(out, "set up: {}", Escaped(&state))?,
            }
            match &done.kek_file {
                Some(file) => writeln!(out, "  kek      {} in {}, under a passphrase", done.kek, Escaped(file.display()))?,
                None => writeln!(
                    out,
                    "  kek      {} of the {} provider, as {} says",
                    done.kek,
                    done.provider,
                    done.configured_by.join(", ")
                )?,
            }
            writeln!(out, "  keyring  {}", Escaped(&done.keyring))?;
            writeln!(out, "  dek      {}, active in scope default", done.dek)?;
            match (&done.kek_file, done.made.contains(&"kek")) {
                (Some(_), true) => writeln!(
                    out,
                    "Without the passphrase and that file nothing can be read: keep a copy of both, apart from each other."
                ),
                _ => Ok(()),
            }
        })?;
        Ok(ExitCode::SUCCESS)
    })
}
