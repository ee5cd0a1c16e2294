//! `custodian register`, `roles` and `revoke`.

use std::process::ExitCode;

use aegis_approval::{KeyState, PersonId, Registration, Registry, Role};
use aegis_crypto::{KeyId, KeyIdPrefix};
use aegis_deployment::OfferedFile;
use aegis_terminal::Failure;
use jiff::Timestamp;
use serde_json::json;

use super::making::distinct;
use super::{RegisterArguments, RevokeArguments, RolesArguments};
use crate::approval::registrations_or;
use crate::session::Session;

pub(super) fn register(arguments: &RegisterArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RegisterArguments { files, replaces, form: _ } = arguments;
    if replaces.is_some() && files.len() > 1 {
        let because = "one key takes the place of one key";
        return Err(Failure::because("cannot register the custodians", because)
            .with_help("name one registration with --replaces"));
    }
    session.with_deployment(|deployment| {
        // All are read before the first is taken.
        let registrations = registrations_or(files, |name, error| {
            deployment.log_refused_file(OfferedFile::Registration, name, error);
        })?;
        let what = "cannot register the custodians";
        let approvals = deployment.approvals().map_err(|error| Failure::new(what, &error, error.help()))?;
        let mut report = Vec::new();
        for registration in &registrations {
            let (person, key) = (registration.person(), registration.key().key_id());
            let what = format!("cannot register the key {} of {person}", key.fingerprint());
            let now = Timestamp::now();
            let old = match replaces {
                None => None,
                Some(prefix) => {
                    let registry =
                        approvals.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
                    Some(key_named(&registry, prefix, Some(person), &what)?)
                }
            };
            match old {
                None => approvals.register(registration, now),
                Some(old) => approvals.replace_key(old, registration, now),
            }
            .map_err(|error| Failure::new(&what, &error, error.help()))?;
            report.push(json!({
                "person": person.as_str(),
                "roles": registration.roles().iter().map(Role::as_str).collect::<Vec<_>>(),
                "algorithm": registration.key().algorithm().id(),
                "key_id": key,
                "replaces": old,
            }));
        }
        session.output.report(&json!({ "registered": report }), |out| {
            registrations.iter().try_for_each(|registration| {
                let roles: Vec<_> = registration.roles().iter().map(Role::as_str).collect();
                writeln!(
                    out,
                    "{} is custodian as {}, with the key {}",
                    registration.person(),
                    roles.join(", "),
                    registration.key().key_id()
                )
            })
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn roles(arguments: RolesArguments, session: &Session) -> Result<ExitCode, Failure> {
    let RolesArguments { person, roles, form: _ } = arguments;
    let what = format!("cannot change the roles of {person}");
    let roles = distinct(&roles);
    session.with_deployment(|deployment| {
        let approvals = deployment.approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        approvals.set_roles(&person, &roles).map_err(|error| Failure::new(&what, &error, error.help()))?;
        let names: Vec<_> = roles.iter().map(Role::as_str).collect();
        let report = json!({ "person": person.as_str(), "roles": names });
        session
            .output
            .report(&report, |out| writeln!(out, "{person} is custodian as {}", names.join(", ")))?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn revoke(arguments: &RevokeArguments, session: &Session) -> Result<ExitCode, Failure> {
    let what = format!("cannot revoke the key {}", arguments.key);
    session.with_deployment(|deployment| {
        let approvals = deployment.approvals().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let registry = approvals.registry().map_err(|error| Failure::new(&what, &error, error.help()))?;
        let key = key_named(&registry, &arguments.key, None, &what)?;
        let person = approvals
            .revoke_key(key, Timestamp::now())
            .map_err(|error| Failure::new(&what, &error, error.help()))?;
        let report = json!({ "key_id": key, "person": person.as_str(), "state": "revoked" });
        session.output.report(&report, |out| writeln!(out, "revoked: {key} of {person}"))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The one key, of this person or of anybody, whose id begins like that.
pub(crate) fn key_named(
    registry: &Registry,
    prefix: &KeyIdPrefix,
    person: Option<&PersonId>,
    what: &str,
) -> Result<KeyId, Failure> {
    let custodians =
        registry.custodians().filter(|custodian| person.is_none_or(|person| custodian.person == *person));
    let ids: Vec<KeyId> = custodians
        .flat_map(|custodian| &custodian.keys)
        .map(|key| key.public.key_id())
        .filter(|id| prefix.matches(id))
        .collect();
    match ids[..] {
        [one] => Ok(one),
        [] => {
            let whose = person.map_or_else(|| "a custodian".to_owned(), ToString::to_string);
            Err(Failure::because(what, format!("no key of {whose} has an id that begins with {prefix}"))
                .with_help("`aegis custodian list` shows the keys"))
        }
        [..] => {
            Err(Failure::because(what, format!("{} keys have an id that begins with {prefix}", ids.len()))
                .with_help("give more digits"))
        }
    }
}

/// The key with which a person signs: the one that is named, or the only active one.
pub(crate) fn key_of(
    registry: &Registry,
    person: &PersonId,
    prefix: Option<&KeyIdPrefix>,
    what: &str,
) -> Result<KeyId, Failure> {
    if let Some(prefix) = prefix {
        return key_named(registry, prefix, Some(person), what);
    }
    let custodian = registry.custodian(person).ok_or_else(|| {
        Failure::because(what, format!("{person} is no custodian here"))
            .with_help("`aegis custodian list` shows who is")
    })?;
    let active: Vec<KeyId> = custodian
        .keys
        .iter()
        .filter(|key| key.state == KeyState::Active)
        .map(|key| key.public.key_id())
        .collect();
    match active[..] {
        [one] => Ok(one),
        [] => Err(Failure::because(what, format!("{person} has no active key"))
            .with_help("register one: `aegis custodian register`")),
        [..] => Err(Failure::because(what, format!("{person} has {} active keys", active.len()))
            .with_help("name one with --key-id")),
    }
}

/// Custodians by their registrations, a person with all keys.
pub(crate) fn registry_of(registrations: &[Registration], what: &str) -> Result<Registry, Failure> {
    use aegis_approval::{Custodian, CustodianKey};
    let mut people: Vec<Custodian> = Vec::new();
    for registration in registrations {
        let key = CustodianKey {
            public: registration.key().clone(),
            registered: registration.created(),
            state: KeyState::Active,
        };
        match people.iter_mut().find(|custodian| custodian.person == *registration.person()) {
            Some(custodian) if custodian.roles == *registration.roles() => custodian.keys.push(key),
            Some(custodian) => {
                let because = format!("the registrations of {} name different roles", custodian.person);
                return Err(Failure::because(what, because).with_help("name one registration of each person"));
            }
            None => people.push(Custodian {
                person: registration.person().clone(),
                roles: registration.roles().clone(),
                keys: vec![key],
            }),
        }
    }
    Registry::new(people).map_err(|error| Failure::new(what, &error, error.help()))
}
