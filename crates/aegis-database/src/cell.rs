//! Values as both databases give them. One that no valid record can be made of is damage, and is named.

use jiff::Timestamp;

use crate::error::Damage;

/// A value as a database gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// UTF-8.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Of a type that no column here has, or that cannot be read.
    Other,
}

/// A row as a database gave it.
pub trait Cells {
    /// The value of a column, counted from 0.
    fn cell(&self, index: usize) -> Cell;
}

/// A count, from column `index`.
pub fn count(row: &dyn Cells, index: usize) -> Result<u64, Damage> {
    match row.cell(index) {
        Cell::Integer(number) => u64::try_from(number).ok(),
        _ => None,
    }
    .ok_or_else(no_count)
}

/// A count that is none.
pub fn no_count() -> Damage {
    Damage::Structure { found: "a count is not a number".to_owned() }
}

/// The one spelling of a time in a store.
pub fn time_text(time: Timestamp) -> String {
    time.to_string()
}

/// Where values stand, for the message if one is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The table.
    pub table: &'static str,
    /// Which row, as messages call it.
    pub row: String,
}

impl At {
    /// What was found in a column is damage.
    pub fn damage(&self, column: &'static str, found: String) -> Damage {
        Damage::Row { table: self.table, row: self.row.clone(), column, found }
    }

    /// A whole number.
    pub fn integer(&self, row: &dyn Cells, index: usize, column: &'static str) -> Result<i64, Damage> {
        match row.cell(index) {
            Cell::Integer(number) => Ok(number),
            other => Err(self.damage(column, shown(&other))),
        }
    }

    /// Bytes.
    pub fn bytes(&self, row: &dyn Cells, index: usize, column: &'static str) -> Result<Vec<u8>, Damage> {
        match row.cell(index) {
            Cell::Bytes(bytes) => Ok(bytes),
            other => Err(self.damage(column, shown(&other))),
        }
    }

    /// A value that is written as a text.
    pub fn parsed<T: std::str::FromStr>(
        &self,
        row: &dyn Cells,
        index: usize,
        column: &'static str,
    ) -> Result<T, Damage> {
        let cell = row.cell(index);
        match &cell {
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| self.damage(column, shown(&cell)))
    }

    /// A time, in its one spelling.
    pub fn time(&self, row: &dyn Cells, index: usize, column: &'static str) -> Result<Timestamp, Damage> {
        let cell = row.cell(index);
        match &cell {
            // One time, one spelling.
            Cell::Text(text) => text.parse::<Timestamp>().ok().filter(|time| time_text(*time) == *text),
            _ => None,
        }
        .ok_or_else(|| self.damage(column, shown(&cell)))
    }

    /// A time, or none.
    pub fn optional_time(
        &self,
        row: &dyn Cells,
        index: usize,
        column: &'static str,
    ) -> Result<Option<Timestamp>, Damage> {
        match row.cell(index) {
            Cell::Null => Ok(None),
            _ => self.time(row, index, column).map(Some),
        }
    }
}

/// What a value looks like in a message: never its bytes.
pub fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "missing".to_owned(),
        Cell::Integer(number) => format!("the number {number}"),
        Cell::Text(text) => format!("{:?}", text.chars().take(64).collect::<String>()),
        Cell::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Cell::Other => "of another type".to_owned(),
    }
}
