//! Records from rows, the same for every database. A row that no valid record can be made of is damage, and is named.

use aegis_crypto::{HybridPublicKey, KeyId};
use aegis_database::{At, Cell, Cells, Damage, shown};

use crate::record::{DekRecord, KekRecord, StoredWrapping, Usage};
use crate::store::MAX_SEALED_LEN;
use crate::version::DekVersion;

/// The columns of [`dek`], in its order.
pub(crate) const DEK_COLUMNS: &str =
    "ordinal, scope, state, public_key, created_at, changed_at, destroy_after, messages, bytes";

/// The columns of [`kek`], in its order.
pub(crate) const KEK_COLUMNS: &str =
    "id, key_id, public_key, provider, state, created_at, changed_at, grace_until";

/// Makes a DEK of [`DEK_COLUMNS`].
pub(crate) fn dek(row: &dyn Cells) -> Result<DekRecord, Damage> {
    let (version, at) = version_of(row, 0, "deks")?;
    let counter = |index, column| {
        let number = at.integer(row, index, column)?;
        u64::try_from(number).map_err(|_| at.damage(column, format!("{number}, less than 0")))
    };
    Ok(DekRecord {
        version,
        scope: at.parsed(row, 1, "scope")?,
        state: at.parsed(row, 2, "state")?,
        public_key: public_key(&at, row, 3)?,
        created_at: at.time(row, 4, "created_at")?,
        changed_at: at.time(row, 5, "changed_at")?,
        destroy_after: at.optional_time(row, 6, "destroy_after")?,
        usage: Usage { messages: counter(7, "messages")?, bytes: counter(8, "bytes")? },
    })
}

/// Makes a KEK of [`KEK_COLUMNS`], with its number in the store.
pub(crate) fn kek(row: &dyn Cells) -> Result<(i64, KekRecord), Damage> {
    let id = match row.cell(0) {
        Cell::Integer(id) => id,
        other => return Err(At { table: "keks", row: "a row".to_owned() }.damage("id", shown(&other))),
    };
    let at = At { table: "keks", row: format!("row {id}") };
    let key_id = at.bytes(row, 1, "key_id")?;
    let public_key = public_key(&at, row, 2)?;
    if public_key.key_id().as_bytes().as_slice() != key_id {
        return Err(at.damage("key_id", "not that of its public_key".to_owned()));
    }
    let record = KekRecord {
        provider: at.parsed(row, 3, "provider")?,
        state: at.parsed(row, 4, "state")?,
        created_at: at.time(row, 5, "created_at")?,
        changed_at: at.time(row, 6, "changed_at")?,
        grace_until: at.optional_time(row, 7, "grace_until")?,
        public_key,
    };
    Ok((id, record))
}

/// Makes a wrapping of: version, public key of the DEK, sealed box. The latter two come from other tables, and are
/// null if their rows are missing.
pub(crate) fn wrapping(row: &dyn Cells) -> Result<StoredWrapping, Damage> {
    let (version, at) = version_of(row, 0, "wrappings")?;
    let public_key = match row.cell(1) {
        Cell::Null => return Err(at.damage("dek", "the version of no DEK".to_owned())),
        _ => public_key(&At { table: "deks", row: version.to_string() }, row, 1)?,
    };
    Ok(StoredWrapping { version, public_key, sealed: sealed_of(&at, row, 2)? })
}

/// The box of a wrapping, from column `index`.
pub(crate) fn sealed(row: &dyn Cells, index: usize, version: DekVersion) -> Result<Vec<u8>, Damage> {
    sealed_of(&At { table: "wrappings", row: version.to_string() }, row, index)
}

/// Checks when a wrapping was verified, in column `index`.
pub(crate) fn verified_at(row: &dyn Cells, index: usize, version: DekVersion) -> Result<(), Damage> {
    At { table: "wrappings", row: version.to_string() }.optional_time(row, index, "verified_at").map(drop)
}

/// A version, from column `index` of `table`.
pub(crate) fn version(row: &dyn Cells, index: usize, table: &'static str) -> Result<DekVersion, Damage> {
    version_of(row, index, table).map(|(version, _)| version)
}

/// A wrapping that refers to what it may not.
pub(crate) fn misplaced(version: DekVersion, column: &'static str, found: &str) -> Damage {
    At { table: "wrappings", row: version.to_string() }.damage(column, found.to_owned())
}

/// The bytes by which a store looks for a KEK.
pub(crate) const fn key_bytes(kek: &KeyId) -> &[u8] {
    kek.as_bytes().as_slice()
}

fn sealed_of(at: &At, row: &dyn Cells, index: usize) -> Result<Vec<u8>, Damage> {
    let sealed = match row.cell(index) {
        Cell::Null => return Err(at.damage("box", "the number of no box".to_owned())),
        _ => at.bytes(row, index, "sealed")?,
    };
    if (1..=MAX_SEALED_LEN).contains(&sealed.len()) {
        Ok(sealed)
    } else {
        Err(at.damage("sealed", shown(&Cell::Bytes(sealed))))
    }
}

fn public_key(at: &At, row: &dyn Cells, index: usize) -> Result<HybridPublicKey, Damage> {
    let bytes = at.bytes(row, index, "public_key")?;
    HybridPublicKey::from_bytes(&bytes)
        .map_err(|error| at.damage("public_key", format!("{} bytes that are no key: {error}", bytes.len())))
}

fn version_of(row: &dyn Cells, index: usize, table: &'static str) -> Result<(DekVersion, At), Damage> {
    let cell = row.cell(index);
    let version = match cell {
        Cell::Integer(ordinal) => DekVersion::from_ordinal(ordinal),
        _ => None,
    };
    match version {
        Some(version) => Ok((version, At { table, row: version.to_string() })),
        None => {
            let column = if table == "deks" { "ordinal" } else { "dek" };
            let found = shown(&cell);
            Err(Damage::Row { table, row: "a row".to_owned(), column, found })
        }
    }
}
