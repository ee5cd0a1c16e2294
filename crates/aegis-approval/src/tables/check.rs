//! Reads everything, and finds what is damaged.

use std::collections::BTreeMap;

use aegis_crypto::KeyId;
use aegis_database::{At, Damage, count};

use super::{Tables, custodians, requests, rotations};
use crate::name::PersonId;
use crate::registry::{KeyState, Registry};
use crate::store::RequestQuery;

/// Requests that are held in memory at once.
const PAGE: usize = 256;

pub(crate) fn everything<T: Tables>(tables: &mut T) -> Result<(), T::Fault> {
    let (registry, _) = custodians::registry(tables)?;
    successors(&registry)?;
    rotations::all(tables, false)?;
    let mut query = RequestQuery { limit: PAGE, ..RequestQuery::default() };
    let (mut requests, mut signatures) = (0, 0);
    loop {
        let page = requests::page(tables, &query)?;
        query.after = page.last().map(|record| record.number);
        requests = u64::saturating_add(requests, page.len() as u64);
        for record in &page {
            signatures = u64::saturating_add(signatures, record.signatures.len() as u64);
        }
        if page.len() < PAGE {
            break;
        }
    }
    // What belongs to no request was not read.
    for (table, read) in [("documents", requests), ("signatures", signatures), ("texts", signatures)] {
        let there = tables.row(&format!("SELECT count(*) FROM @{table}"), &[], |row| count(row, 0))?;
        if there != Some(read) {
            let there = there.unwrap_or(0);
            let found = format!("{there} {table}, of which {read} belong to requests");
            return Err(Damage::Structure { found }.into());
        }
    }
    Ok(())
}

/// A key is replaced by one of the same person.
fn successors(registry: &Registry) -> Result<(), Damage> {
    let keys = registry.custodians().flat_map(|custodian| {
        custodian.keys.iter().map(|key| (key.public.key_id(), (&custodian.person, &key.state)))
    });
    let keys: BTreeMap<KeyId, (&PersonId, &KeyState)> = keys.collect();
    for (key, (person, state)) in &keys {
        let KeyState::Replaced { by, .. } = state else { continue };
        if by == key || keys.get(by).is_none_or(|(holder, _)| holder != person) {
            let at = At { table: "keys", row: key.to_string() };
            return Err(at.damage("replaced_by", format!("no other key of {person}")));
        }
    }
    Ok(())
}
