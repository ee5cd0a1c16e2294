//! `kek provision`.

use std::io::{self, Write};
use std::process::ExitCode;

use aegis_deployment::{Place, Provisioned, WrappingKey};
use aegis_kek::aws_kms::KmsWrap;
use aegis_kek::known_variables::known_variable;
use aegis_kek::pkcs11::HsmWrap;
use aegis_terminal::{Escaped, Failure, input};
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use serde_json::json;

use super::{HsmWrapName, KmsWrapName, ProviderName, ProvisionArguments};
use crate::command_line::CommandLine;
use crate::session::Session;

/// A private key as base64 with line breaks is shorter.
const MAX_IMPORT_LEN: u64 = 16 * 1024;

pub(super) fn provision(arguments: &ProvisionArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = "cannot provision a KEK";
    let ProvisionArguments { provider, out, print_secret, import, passphrase, form: _, .. } = arguments;
    let place = place(arguments);
    if *provider == ProviderName::Environment && out.is_none() && !print_secret {
        let message =
            "the private half would be in a variable: say where to with --out FILE, or --print-secret";
        CommandLine::command().error(ErrorKind::MissingRequiredArgument, message).exit();
    }
    if let Some(out) = out {
        session.refuse_stdout(out, "name a file, or print the variables with --print-secret")?;
        refuse_existing(out, session)?;
    }
    if let Place::File { path } = &place {
        session.refuse_stdout(path, "name a file; one that is called `-` as ./-")?;
        session.refuse_reserved(path)?;
    }
    let import = match import {
        None => None,
        Some(file) => {
            Some(input::read_secret(file, MAX_IMPORT_LEN, &format!("cannot import {}", input::name(file)))?)
        }
    };
    session.with_deployment(|deployment| {
        let made = deployment
            .provision_kek(&place, import.as_ref().map(|bytes| bytes.as_slice()), passphrase.file())
            .map_err(|error| Failure::new(what, &error, error.help()))?;
        if let Some(out) = out {
            made.settings.write_new(out).map_err(|error| {
                let lost = "the KEK was made, and its variables were not written";
                Failure::new(format!("{lost} to {}", out.display()), &error, error.help())
            })?;
        }
        let shown = shown(&made, *print_secret);
        let report = json!({
            "provider": made.provider.as_str(),
            "security_level": made.provider.security_level().as_str(),
            "kek": made.kek,
            "variables": shown.iter().cloned().collect::<serde_json::Map<_, _>>(),
            "secret_variables": secret(&made),
            "out": out.as_ref().map(|file| file.display().to_string()),
        });
        session.output.report(&report, |stdout| print(stdout, &made, *print_secret, out.as_deref()))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Said before a key is made that would then have no place.
fn refuse_existing(out: &std::path::Path, session: &Session) -> Result<(), Failure> {
    session.refuse_reserved(out)?;
    match out.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Failure::because(
            format!("cannot write {}", out.display()),
            "it is there already, and could hold a key that cannot be made again",
        )
        .with_help("name another file")),
        Err(error) => Err(Failure::new(format!("cannot write {}", out.display()), &error, None)),
    }
}

fn place(arguments: &ProvisionArguments) -> Place {
    let ProvisionArguments { provider, kms_key_id, kms_wrap, hsm_lib, hsm_token, hsm_key, .. } = arguments;
    let ProvisionArguments { hsm_wrap, hsm_create_key, kek_file, .. } = arguments;
    match provider {
        ProviderName::Kms => Place::Kms {
            key_id: kms_key_id.clone(),
            wrap: match kms_wrap {
                KmsWrapName::Direct => KmsWrap::Direct,
                KmsWrapName::DataKey => KmsWrap::DataKey,
            },
        },
        ProviderName::Hsm => Place::Hsm {
            library: hsm_lib.clone(),
            token: hsm_token.clone(),
            key: hsm_key.clone(),
            wrap: match hsm_wrap {
                HsmWrapName::TwoStep => HsmWrap::TwoStep,
                HsmWrapName::Direct => HsmWrap::Direct,
            },
            key_is: if *hsm_create_key { WrappingKey::ToBeMade } else { WrappingKey::There },
        },
        ProviderName::Environment => Place::Environment,
        // The command line requires it.
        ProviderName::File => Place::File { path: kek_file.clone().unwrap_or_default() },
        ProviderName::InMemory => Place::InMemory,
    }
}

fn is_secret(name: &str) -> bool {
    // What is not known could be anything.
    known_variable(name).is_none_or(aegis_kek::KnownVariable::is_secret)
}

fn secret(made: &Provisioned) -> Vec<&str> {
    made.settings.iter().map(|(name, _)| name).filter(|name| is_secret(name)).collect()
}

fn shown(made: &Provisioned, print_secret: bool) -> Vec<(String, serde_json::Value)> {
    let settings = made.settings.iter().filter(|(name, _)| print_secret || !is_secret(name));
    settings.map(|(name, value)| (name.to_owned(), value.expose().into())).collect()
}

fn print(
    out: &mut dyn Write,
    made: &Provisioned,
    print_secret: bool,
    file: Option<&std::path::Path>,
) -> io::Result<()> {
    writeln!(out, "# KEK {} for the {} provider", made.kek, made.provider)?;
    for line in made.settings.to_text().expose().lines() {
        let name = line.split('=').next().unwrap_or_default();
        if print_secret || !is_secret(name) {
            writeln!(out, "{line}")?;
        } else if let Some(file) = file {
            writeln!(out, "# {name} is secret, and only in {}", Escaped(file.display()))?;
        }
    }
    Ok(())
}
