//! The tables of custodians and requests. Both databases have the same ones, and each statement on them is written once.
//!
//! | module | what |
//! |---|---|
//! | `row` | records from rows; what no record can be made of is damage, and is named |
//! | `custodians` | people, roles, keys |
//! | `requests` | requests, signatures, and how they ended |
//! | `rotations` | emergency rotations |
//! | `check` | reads everything |

pub(crate) mod check;
pub(crate) mod custodians;
pub(crate) mod requests;
pub(crate) mod rotations;
mod row;

use std::borrow::Cow;

use aegis_crypto::KeyId;
use aegis_database::{Cells, Damage};

use crate::store::{ConflictKind, StoreError};

/// The tables in the middle of a transaction, which is undone if anything fails.
///
/// In a statement, parameters are `$1`, `$2` in the order in which they first appear, and `@` stands before each table.
pub(crate) trait Tables {
    /// Why a step failed, before it is known to which store it belongs.
    type Fault: From<StoreError> + From<ConflictKind> + From<Damage>;

    /// Where they are, for messages.
    fn location(&self) -> &str;

    /// What stands behind a table that is to be searched by an index, where the database has to be told.
    fn by_index(&self, index: &'static str) -> String;

    /// Runs a statement, and makes something of each row.
    fn rows<T>(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        make: impl FnMut(&dyn Cells) -> Result<T, Damage>,
    ) -> Result<Vec<T>, Self::Fault>;

    /// Runs a statement that gives no rows.
    fn change(&mut self, sql: &str, parameters: &[Value<'_>]) -> Result<(), Self::Fault>;

    /// Runs a statement that gives one row or none.
    fn row<T>(
        &mut self,
        sql: &str,
        parameters: &[Value<'_>],
        make: impl FnMut(&dyn Cells) -> Result<T, Damage>,
    ) -> Result<Option<T>, Self::Fault> {
        Ok(self.rows(sql, parameters, make)?.into_iter().next())
    }

    /// The number after the greatest one in a table. Writers come one after the other, so nobody else takes it.
    fn next_number(&mut self, table: &'static str) -> Result<i64, Self::Fault> {
        let sql = format!("SELECT coalesce(max(number), 0) FROM @{table}");
        let greatest = self.row(&sql, &[], |row| aegis_database::count(row, 0))?;
        let next = greatest.and_then(|greatest| i64::try_from(greatest).ok()?.checked_add(1));
        next.ok_or_else(|| aegis_database::no_count().into())
    }
}

/// A parameter.
pub(crate) enum Value<'v> {
    Integer(i64),
    Text(Option<Cow<'v, str>>),
    Bytes(Option<&'v [u8]>),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::from))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::from))
    }
}

impl<'v> From<&'v KeyId> for Value<'v> {
    fn from(key: &'v KeyId) -> Self {
        Self::Bytes(Some(key.as_bytes()))
    }
}

impl<'v> From<Option<&'v KeyId>> for Value<'v> {
    fn from(key: Option<&'v KeyId>) -> Self {
        Self::Bytes(key.map(|key| key.as_bytes().as_slice()))
    }
}

/// A number as a database keeps it. One that is greater than any there is found nowhere.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A limit as a database counts.
pub(crate) fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
