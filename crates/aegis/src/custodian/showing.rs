//! `custodian list`, `show` and `address`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use aegis_approval::{Custodian, CustodianKey, CustodianKeyFile, KeyState, Registration, Registry, Role};
use aegis_crypto::{BitcoinNetwork, CustodianPublicKey};
use aegis_deployment::Deployment;
use aegis_terminal::output::table;
use aegis_terminal::{Failure, input};
use serde_json::{Value, json};

use super::making::address as address_of;
use super::{AddressArguments, ShowArguments};
use crate::session::Session;

pub(super) fn list(session: &Session) -> Result<ExitCode, Failure> {
    session.with_deployment(|deployment| {
        let registry = custodians(deployment, "cannot list the custodians")?;
        let report = json!({ "custodians": registry.custodians().map(to_json).collect::<Vec<_>>() });
        session.output.report(&report, |out| {
            let rows: Vec<_> = registry.custodians().flat_map(rows).collect();
            if rows.is_empty() {
                return writeln!(out, "no custodian is registered");
            }
            table(out, ["PERSON", "ROLES", "KEY", "ALGORITHM", "STATE", "SINCE"], &rows)
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

fn custodians(deployment: &Deployment, what: &str) -> Result<Registry, Failure> {
    let reader = deployment.read_approvals().map_err(|error| Failure::new(what, &error, error.help()))?;
    reader.registry().map_err(|error| Failure::new(what, &error, error.help()))
}

pub(super) fn show(arguments: &ShowArguments, session: &Session) -> Result<ExitCode, Failure> {
    let person = &arguments.person;
    session.with_deployment(|deployment| {
        let what = || format!("cannot show {person}");
        let registry = custodians(deployment, &what())?;
        let custodian = registry.custodian(person).ok_or_else(|| {
            Failure::because(what(), format!("{person} is no custodian here"))
                .with_help("`aegis custodian list` shows who is")
        })?;
        session.output.report(&to_json(custodian), |out| print(out, custodian))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn rows(custodian: &Custodian) -> Vec<[String; 6]> {
    let rows = custodian.keys.iter().map(|key| {
        [
            custodian.person.to_string(),
            names(custodian),
            key.public.key_id().fingerprint(),
            key.public.algorithm().to_string(),
            key.state.as_str().to_owned(),
            since(key).to_string(),
        ]
    });
    rows.collect()
}

fn print(out: &mut dyn Write, custodian: &Custodian) -> io::Result<()> {
    writeln!(out, "{}: {}", custodian.person, names(custodian))?;
    for key in &custodian.keys {
        writeln!(out, "\n{}", key.public.key_id())?;
        writeln!(out, "  algorithm:  {}", key.public.algorithm())?;
        writeln!(out, "  public key: {}", key.public)?;
        if let Some(address) = address_of(&key.public, BitcoinNetwork::Mainnet) {
            writeln!(out, "  address:    {address}")?;
        }
        writeln!(out, "  registered: {}", key.registered)?;
        match &key.state {
            KeyState::Active => writeln!(out, "  state:      active")?,
            KeyState::Revoked { at } => writeln!(out, "  state:      revoked at {at}")?,
            KeyState::Replaced { at, by } => {
                writeln!(out, "  state:      replaced at {at} by {}", by.fingerprint())?;
            }
        }
    }
    Ok(())
}

fn to_json(custodian: &Custodian) -> Value {
    json!({
        "person": custodian.person.as_str(),
        "roles": custodian.roles.iter().map(Role::as_str).collect::<Vec<_>>(),
        "keys": custodian.keys.iter().map(key_to_json).collect::<Vec<_>>(),
    })
}

fn key_to_json(key: &CustodianKey) -> Value {
    let replaced_by = match &key.state {
        KeyState::Replaced { by, .. } => Some(by.to_string()),
        KeyState::Active | KeyState::Revoked { .. } => None,
    };
    json!({
        "key_id": key.public.key_id(),
        "algorithm": key.public.algorithm().id(),
        "public_key": key.public.to_string(),
        "address": address_of(&key.public, BitcoinNetwork::Mainnet),
        "registered_at": key.registered.to_string(),
        "state": key.state.as_str(),
        "since": since(key).to_string(),
        "replaced_by": replaced_by,
    })
}

fn since(key: &CustodianKey) -> jiff::Timestamp {
    match &key.state {
        KeyState::Active => key.registered,
        KeyState::Revoked { at } | KeyState::Replaced { at, .. } => *at,
    }
}

fn names(custodian: &Custodian) -> String {
    custodian.roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn address(arguments: &AddressArguments, session: &Session) -> Result<ExitCode, Failure> {
    let AddressArguments { person, file, network, form: _ } = arguments;
    let Some(person) = person else {
        let key = key_in(file.as_deref().unwrap_or(Path::new("-")))?;
        return print_addresses(&[key], *network, session);
    };
    session.with_deployment(|deployment| {
        let what = || format!("cannot tell the address of {person}");
        let registry = custodians(deployment, &what())?;
        let custodian = registry.custodian(person).ok_or_else(|| {
            Failure::because(what(), format!("{person} is no custodian here"))
                .with_help("`aegis custodian list` shows who is")
        })?;
        let active = custodian.keys.iter().filter(|key| key.state == KeyState::Active);
        let keys: Vec<_> = active.map(|key| key.public.clone()).collect();
        print_addresses(&keys, *network, session)
    })
}

fn print_addresses(
    keys: &[CustodianPublicKey],
    network: BitcoinNetwork,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let addresses: Vec<_> =
        keys.iter().filter_map(|key| address_of(key, network).map(|address| (key, address))).collect();
    if addresses.is_empty() {
        return Err(Failure::because(
            "cannot tell an address",
            "there is no active key of a kind that has one",
        )
        .with_help("keys of the algorithm bip322-p2tr have one"));
    }
    let report: Vec<_> = addresses
        .iter()
        .map(
            |(key, address)| json!({ "key_id": key.key_id(), "network": network.name(), "address": address }),
        )
        .collect();
    session.output.report(&json!({ "addresses": report }), |out| {
        addresses.iter().try_for_each(|(_, address)| writeln!(out, "{address}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The public key in a registration or in a key file.
fn key_in(path: &Path) -> Result<CustodianPublicKey, Failure> {
    let what = format!("cannot use {}", input::name(path));
    let limit = u64::try_from(Registration::MAX_LEN).unwrap_or(u64::MAX);
    let bytes = input::read(path, limit, &what)?;
    if let Ok(file) = CustodianKeyFile::parse(&bytes) {
        return Ok(file.public_key().clone());
    }
    Registration::parse(&bytes)
        .map(|registration| registration.key().clone())
        .map_err(|error| Failure::new(&what, &error, error.help()))
}

/// Reads the name of a network.
pub(super) fn network(name: &str) -> Result<BitcoinNetwork, String> {
    BitcoinNetwork::ALL
        .into_iter()
        .find(|network| network.name() == name)
        .or_else(|| (name == "signet").then_some(BitcoinNetwork::Testnet))
        .ok_or_else(|| "expected mainnet, testnet, signet or regtest".to_owned())
}
