//! People, roles and keys.

use std::collections::{BTreeMap, BTreeSet};

use aegis_crypto::KeyId;
use aegis_database::{At, Damage, count, time_text};

use super::row::{self, KEY_COLUMNS};
use super::{Tables, Value, rows_of, stored};
use crate::name::{PersonId, Role};
use crate::registry::{Custodian, CustodianKey, KeyState, Registry};
use crate::store::{ConflictKind, StoreError};

/// How often the registry was changed.
pub(super) fn revision<T: Tables>(tables: &mut T) -> Result<u64, T::Fault> {
    let found = tables.row("SELECT revision FROM @registry", &[], |row| count(row, 0))?;
    found.ok_or_else(|| Damage::Structure { found: "the table registry is empty".to_owned() }.into())
}

/// Refuses unless the registry is as it was when it was read.
pub(super) fn unchanged<T: Tables>(tables: &mut T, expected: u64) -> Result<(), T::Fault> {
    if revision(tables)? == expected { Ok(()) } else { Err(ConflictKind::RegistryChanged.into()) }
}

pub(crate) fn registry<T: Tables>(tables: &mut T) -> Result<(Registry, u64), T::Fault> {
    let revision = revision(tables)?;
    // One more than there can be, so that more are noticed.
    let most = rows_of(Registry::MAX_PEOPLE + 1);
    let people = tables.rows(
        "SELECT person, roles FROM @people ORDER BY person LIMIT $1",
        &[most.into()],
        row::person,
    )?;
    let mut people: BTreeMap<PersonId, Custodian> = people
        .into_iter()
        .map(|(person, roles)| (person.clone(), Custodian { person, roles, keys: Vec::new() }))
        .collect();
    let most = rows_of(Registry::MAX_PEOPLE * Registry::MAX_KEYS + 1);
    let sql = format!("SELECT {KEY_COLUMNS} FROM @keys ORDER BY number LIMIT $1");
    for (person, key) in tables.rows(&sql, &[most.into()], row::key)? {
        match people.get_mut(&person) {
            Some(custodian) => custodian.keys.push(key),
            None => {
                let at = At { table: "keys", row: key.public.key_id().to_string() };
                return Err(at.damage("person", format!("{person}, who is nobody")).into());
            }
        }
    }
    let registry = Registry::new(people.into_values())
        .map_err(|source| StoreError::Registry { location: tables.location().to_owned(), source })?;
    Ok((registry, revision))
}

/// The number of a key, and whose it is.
pub(super) fn find_key<T: Tables>(
    tables: &mut T,
    key: KeyId,
) -> Result<Option<(i64, PersonId, CustodianKey)>, T::Fault> {
    let sql = format!("SELECT {KEY_COLUMNS} FROM @keys WHERE key_id = $1");
    tables.row(&sql, &[(&key).into()], |found| {
        let number = row::number(found, 0, "keys", "number")?;
        row::key(found).map(|(person, key)| (stored(number), person, key))
    })
}

pub(crate) fn add_key<T: Tables>(
    tables: &mut T,
    expected: u64,
    person: &PersonId,
    roles: &BTreeSet<Role>,
    key: &CustodianKey,
) -> Result<(), T::Fault> {
    unchanged(tables, expected)?;
    let CustodianKey { public, registered, state } = key;
    let id = public.key_id();
    if let Some((_, holder, _)) = find_key(tables, id)? {
        return Err(ConflictKind::KeyTaken { key: id, person: holder }.into());
    }
    if *state != KeyState::Active {
        return Err(ConflictKind::KeyEnded { key: id, state: state.as_str() }.into());
    }
    check_roles(tables, person, roles)?;
    match roles_of(tables, person)? {
        Some(known) if known != *roles => {
            return Err(ConflictKind::OtherRoles { person: person.clone() }.into());
        }
        Some(_) => {}
        None => tables.change(
            "INSERT INTO @people (person, roles) VALUES ($1, $2)",
            &[person.as_str().into(), row::roles_text(roles).into()],
        )?,
    }
    let number = tables.next_number("keys")?;
    tables.change(
        "INSERT INTO @keys (number, key_id, person, public_key, registered, state)
         VALUES ($1, $2, $3, $4, $5, 'active')",
        &[
            number.into(),
            (&id).into(),
            person.as_str().into(),
            public.to_string().into(),
            time_text(*registered).into(),
        ],
    )?;
    changed(tables)
}

pub(crate) fn end_key<T: Tables>(
    tables: &mut T,
    expected: u64,
    person: &PersonId,
    key: KeyId,
    state: &KeyState,
) -> Result<(), T::Fault> {
    unchanged(tables, expected)?;
    let held = held_by(tables, person, key)?;
    let (at, by) = match (&held.state, state) {
        (KeyState::Active | KeyState::Replaced { .. }, KeyState::Revoked { at }) => (at, None),
        (KeyState::Active, KeyState::Replaced { at, by }) => (at, Some(by)),
        (found, _) => return Err(ConflictKind::KeyEnded { key, state: found.as_str() }.into()),
    };
    if let Some(by) = by {
        let other = held_by(tables, person, *by)?;
        if *by == key || other.state != KeyState::Active {
            return Err(ConflictKind::KeyEnded { key: *by, state: other.state.as_str() }.into());
        }
    }
    tables.change(
        "UPDATE @keys SET state = $1, ended = $2, replaced_by = $3 WHERE key_id = $4",
        &[state.as_str().into(), time_text(*at).into(), Value::from(by), (&key).into()],
    )?;
    changed(tables)
}

fn held_by<T: Tables>(tables: &mut T, person: &PersonId, key: KeyId) -> Result<CustodianKey, T::Fault> {
    match find_key(tables, key)? {
        Some((_, holder, held)) if holder == *person => Ok(held),
        _ => Err(ConflictKind::NoSuchKey { person: person.clone() }.into()),
    }
}

pub(crate) fn set_roles<T: Tables>(
    tables: &mut T,
    expected: u64,
    person: &PersonId,
    roles: &BTreeSet<Role>,
) -> Result<(), T::Fault> {
    unchanged(tables, expected)?;
    if roles_of(tables, person)?.is_none() {
        return Err(ConflictKind::NoSuchKey { person: person.clone() }.into());
    }
    check_roles(tables, person, roles)?;
    tables.change(
        "UPDATE @people SET roles = $1 WHERE person = $2",
        &[row::roles_text(roles).into(), person.as_str().into()],
    )?;
    changed(tables)
}

fn roles_of<T: Tables>(tables: &mut T, person: &PersonId) -> Result<Option<BTreeSet<Role>>, T::Fault> {
    let sql = "SELECT person, roles FROM @people WHERE person = $1";
    let found = tables.row(sql, &[person.as_str().into()], row::person)?;
    Ok(found.map(|(_, roles)| roles))
}

/// The rule for roles is the registry's. It is asked before the table, which takes no roles that break it.
fn check_roles<T: Tables>(tables: &mut T, person: &PersonId, roles: &BTreeSet<Role>) -> Result<(), T::Fault> {
    let alone = Custodian { person: person.clone(), roles: roles.clone(), keys: Vec::new() };
    match Registry::new([alone]) {
        Ok(_) => Ok(()),
        Err(source) => Err(StoreError::Registry { location: tables.location().to_owned(), source }.into()),
    }
}

/// Ends a change of the registry: refuses what cannot be together, and counts it.
fn changed<T: Tables>(tables: &mut T) -> Result<(), T::Fault> {
    registry(tables)?;
    tables.change("UPDATE @registry SET revision = revision + 1", &[])
}
