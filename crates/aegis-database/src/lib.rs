//! A database as everything that is kept in one needs it: a SQLite file, or tables on a PostgreSQL server. What the tables
//! are, their owner says; this crate knows none.
//!
//! | module | what it holds |
//! |---|---|
//! | `contents` | what is kept in a database, as messages call it; and where |
//! | `error` | [`DatabaseError`]: why a database did not do it |
//! | `address` | a file or a server, from a text |
//! | `cell` | values as both databases give them, read strictly: what was never written is damage, and is named |
//! | [`sqlite`] | a file of mode 0600 in WAL mode; each change is on the disk before it is reported |
//! | [`postgres`] | a server, TLS always verified; calls survive its restart, and no change is made twice |

mod address;
mod cell;
mod contents;
mod error;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// What completes the address of a server.
pub use aegis_kek::Variables;

pub use address::Address;
pub use cell::{At, Cell, Cells, count, no_count, shown, time_text};
pub use contents::{Contents, Place};
pub use error::{AddressFault, Answer, Damage, DatabaseError};
