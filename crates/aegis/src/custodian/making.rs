//! `custodian generate` and `prove`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use aegis_approval::{CustodianKeyFile, Registration, Role, proof_statement};
use aegis_crypto::BitcoinNetwork;
use aegis_crypto::{
    Bip322PrivateKey, Bip322PublicKey, CustodianAlgorithm, CustodianPrivateKey, CustodianPublicKey,
    CustodianSignature, PrivateMaterial, TaprootAddress,
};
use aegis_terminal::{Failure, input};
use jiff::Timestamp;
use serde_json::json;

use super::key::{no_passphrase, source};
use super::{GenerateArguments, ProveArguments};
use crate::session::Session;

/// A key in WIF has 52 characters, with a line break 54.
const MAX_WIF_LEN: u64 = 256;
/// The largest public key in text, and more than the largest signature.
const MAX_TEXT_LEN: u64 = 16 * 1024;

pub(super) fn generate(arguments: GenerateArguments, session: &Session) -> Result<ExitCode, Failure> {
    let GenerateArguments { person, roles, out, registration, algorithm, import, passphrase_file, form: _ } =
        arguments;
    let what = format!("cannot make a key for {person}");
    session.refuse_stdout(&out, "name a file; one that is called `-` as ./-")?;
    let registration_path = registration.unwrap_or_else(|| out.with_extension("custodian"));
    session.refuse_stdout(&registration_path, "name a file; one that is called `-` as ./-")?;
    if registration_path == out {
        let because = "the private key and the registration would be one file";
        return Err(Failure::because(what, because).with_help("name another file with --registration"));
    }
    refuse_existing(&out)?;
    refuse_existing(&registration_path)?;
    let roles = distinct(&roles);
    let key = match &import {
        None => CustodianPrivateKey::generate(algorithm)
            .map_err(|error| Failure::new(&what, &error, error.help()))?,
        Some(path) => imported(path)?,
    };
    let passphrase = source(passphrase_file).take_new(&out);
    let passphrase = passphrase.map_err(|error| no_passphrase(&what, &error))?;
    let made = Registration::new(&key, person.clone(), roles, Timestamp::now())
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    CustodianKeyFile::create(&out, &key, &passphrase)
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    aegis_durable::write_new(&registration_path, made.to_json().as_bytes(), 0o644).map_err(|error| {
        let half = format!("{} was written, and the registration was not", out.display());
        Failure::new(half, &error, Some(format!("remove {} and run it again", out.display())))
    })?;
    let report = json!({
        "person": person.as_str(),
        "roles": made.roles().iter().map(Role::as_str).collect::<Vec<_>>(),
        "algorithm": made.key().algorithm().id(),
        "key_id": made.key().key_id(),
        "public_key": made.key().to_string(),
        "address": address(made.key(), BitcoinNetwork::Mainnet),
        "key_file": out.display().to_string(),
        "registration": registration_path.display().to_string(),
    });
    session.output.report(&report, |stdout| {
        writeln!(stdout, "key of {person}: {}", made.key().key_id())?;
        if let Some(address) = address(made.key(), BitcoinNetwork::Mainnet) {
            writeln!(stdout, "  address:      {address}")?;
        }
        writeln!(stdout, "  private key:  {} (keep it, and keep it to yourself)", out.display())?;
        writeln!(stdout, "  registration: {} (send it to the deployment)", registration_path.display())
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn prove(arguments: ProveArguments, session: &Session) -> Result<ExitCode, Failure> {
    let ProveArguments { person, roles, public_key, at, signature, out, form: _ } = arguments;
    let what = format!("cannot prove the key of {person}");
    let roles = distinct(&roles);
    let key = public_key_in(&public_key)?;
    let (Some(signature), Some(out)) = (signature, out) else {
        let at: Timestamp = at.unwrap_or_else(Timestamp::now);
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        let text = proof_statement(&person, &roles, &key, at);
        let report = json!({
            "at": at.to_string(),
            "address": address(&key, BitcoinNetwork::Mainnet),
            "statement": text.as_str(),
        });
        session.output.report(&report, |stdout| stdout.write_all(text.as_str().as_bytes()))?;
        if !session.output.is_json() {
            // Not among what is signed: a wallet takes every byte.
            session.output.progress(&format!("\nsign it as it stands, then run this again with --at {at}"));
        }
        return Ok(ExitCode::SUCCESS);
    };
    session.refuse_stdout(&out, "name a file; one that is called `-` as ./-")?;
    let signature = signature_in(&signature)?;
    let made = Registration::of_signature(person, roles, key, at.unwrap_or_else(Timestamp::now), signature)
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    aegis_durable::write_new(&out, made.to_json().as_bytes(), 0o644)
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    let report = json!({ "key_id": made.key().key_id(), "registration": out.display().to_string() });
    session
        .output
        .report(&report, |stdout| writeln!(stdout, "registration of {}: {}", made.person(), out.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The Taproot address of a key, if it is one that has one.
pub(super) fn address(key: &CustodianPublicKey, network: BitcoinNetwork) -> Option<String> {
    key.as_bip322().map(|key| TaprootAddress::of(key, network).to_string())
}

/// One signature, from a file with nothing else in it.
pub(crate) fn signature_in(path: &Path) -> Result<CustodianSignature, Failure> {
    let what = format!("cannot use the signature in {}", input::name(path));
    let bytes = input::read(path, MAX_TEXT_LEN, &what)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Failure::new(&what, &error, None))?;
    text.trim_ascii().parse::<CustodianSignature>().map_err(|error| Failure::new(&what, &error, error.help()))
}

/// A public key, from a file with nothing else in it.
fn public_key_in(path: &Path) -> Result<CustodianPublicKey, Failure> {
    let what = format!("cannot use the public key in {}", input::name(path));
    let bytes = input::read(path, MAX_TEXT_LEN, &what)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Failure::new(&what, &error, None))?;
    let text = text.trim_ascii();
    if PrivateMaterial::in_text(text).is_none()
        && let Ok(raw) = hex::decode(text)
        && let Ok(raw) = <[u8; 32]>::try_from(raw)
    {
        let key =
            Bip322PublicKey::from_bytes(&raw).map_err(|error| Failure::new(&what, &error, error.help()))?;
        return Ok(key.into());
    }
    text.parse::<CustodianPublicKey>().map_err(|error| Failure::new(&what, &error, error.help()))
}

fn imported(path: &Path) -> Result<CustodianPrivateKey, Failure> {
    let what = format!("cannot import {}", input::name(path));
    let bytes = input::read_secret(path, MAX_WIF_LEN, &what)?;
    // No message has anything of it.
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::because(&what, "it is not text").with_help("give one line in WIF"))?;
    let (key, _) = Bip322PrivateKey::from_wif(text.trim_ascii())
        .map_err(|error| Failure::new(&what, &error, error.help()))?;
    Ok(key.into())
}

/// Said before a key is made, or a passphrase asked for, that would then have no place.
fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Failure::because(
            format!("cannot write {}", path.display()),
            "it is there already, and could hold a key that cannot be made again",
        )
        .with_help("name another file")),
        Err(error) => Err(Failure::new(format!("cannot write {}", path.display()), &error, None)),
    }
}

pub(super) fn distinct(roles: &[Role]) -> BTreeSet<Role> {
    roles.iter().cloned().collect()
}

/// The algorithms that a request may name.
pub(crate) fn every_algorithm() -> BTreeSet<CustodianAlgorithm> {
    CustodianAlgorithm::ALL.into()
}
