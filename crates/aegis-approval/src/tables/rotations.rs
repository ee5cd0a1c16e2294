//! Emergency rotations.

use aegis_crypto::KeyId;
use aegis_database::time_text;

use super::row::{self, ROTATION_COLUMNS};
use super::{Tables, Value};
use crate::store::{ConflictKind, Rotation, StoreError};
use crate::text::Justification;

pub(crate) fn begin<T: Tables>(tables: &mut T, rotation: &Rotation) -> Result<(), T::Fault> {
    check_reason(rotation)?;
    if find(tables, rotation.old_key)?.is_some() {
        return Err(ConflictKind::RotationChanged { key: rotation.old_key }.into());
    }
    let number = tables.next_number("rotations")?;
    let Rotation { old_key, person, reason, started, new_key, with_deks, step, updated } = rotation;
    tables.change(
        "INSERT INTO @rotations
             (number, old_key, person, reason, started, new_key, with_deks, step, updated)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        &[
            number.into(),
            old_key.into(),
            person.as_str().into(),
            reason.as_str().into(),
            time_text(*started).into(),
            Value::from(new_key.as_ref()),
            i64::from(*with_deks).into(),
            step.as_str().into(),
            time_text(*updated).into(),
        ],
    )
}

pub(crate) fn find<T: Tables>(tables: &mut T, key: KeyId) -> Result<Option<Rotation>, T::Fault> {
    let sql = format!("SELECT {ROTATION_COLUMNS} FROM @rotations WHERE old_key = $1");
    tables.row(&sql, &[(&key).into()], row::rotation)
}

pub(crate) fn all<T: Tables>(tables: &mut T, open_only: bool) -> Result<Vec<Rotation>, T::Fault> {
    let open = if open_only { "WHERE step <> 'done'" } else { "" };
    let sql = format!("SELECT {ROTATION_COLUMNS} FROM @rotations {open} ORDER BY number");
    tables.rows(&sql, &[], row::rotation)
}

pub(crate) fn advance<T: Tables>(tables: &mut T, from: &Rotation, to: &Rotation) -> Result<(), T::Fault> {
    check_reason(to)?;
    let is_one = from.old_key == to.old_key && from.step <= to.step;
    if !is_one || find(tables, from.old_key)?.as_ref() != Some(from) {
        return Err(ConflictKind::RotationChanged { key: from.old_key }.into());
    }
    let Rotation { old_key, person, reason, started, new_key, with_deks, step, updated } = to;
    tables.change(
        "UPDATE @rotations SET person = $1, reason = $2, started = $3, new_key = $4, with_deks = $5, step = $6,
             updated = $7 WHERE old_key = $8",
        &[
            person.as_str().into(),
            reason.as_str().into(),
            time_text(*started).into(),
            Value::from(new_key.as_ref()),
            i64::from(*with_deks).into(),
            step.as_str().into(),
            time_text(*updated).into(),
            old_key.into(),
        ],
    )
}

/// It is read back by the same rule.
fn check_reason(rotation: &Rotation) -> Result<(), StoreError> {
    let read = rotation.reason.parse::<Justification>().map(drop);
    read.map_err(|source| StoreError::Text { what: "the reason of the rotation", source })
}
