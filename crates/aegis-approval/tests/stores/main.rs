//! What every store of approvals promises, shown on SQLite and on PostgreSQL; and what each promises besides.
//!
//! How a file or a server is opened, locked, forked and cut off is shown with the keyring, whose stores stand on the same
//! `aegis-database`.
//!
//! | module | what |
//! |---|---|
//! | `conformance` | one list of cases, each run on both |
//! | `races` | threads and processes at once, and processes that are killed, on both |
//! | `damage` | a damaged value in every column, on both |
//! | `places` | a file beside the keyring's, tables beside the keyring's; a server that is restarted |
//! | `child` | what this program does when a test starts it once more |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and a child tells its parent what it did"
)]

mod child;
mod conformance;
mod damage;
mod fixture;
mod on;
mod places;
mod races;
