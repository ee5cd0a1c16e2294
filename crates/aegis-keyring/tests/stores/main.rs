//! What every store promises, shown on SQLite and on PostgreSQL; and what each promises besides.
//!
//! | module | what |
//! |---|---|
//! | `conformance` | one list of cases, each run on both |
//! | `races` | threads and processes at once, on both |
//! | `damage` | a damaged value in every column, on both |
//! | `address` | what names a store, and what does not |
//! | `sqlite_*` | the file: who may read it, what is left in it, what it survives |
//! | `postgres_*` | the server: restarted, killed, cut off, on the way to it |
//! | `child` | what this program does when a test starts it once more |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and a child tells its parent what it did"
)]

mod address;
mod child;
mod conformance;
mod cut_off;
mod damage;
mod fixture;
mod on;
mod postgres_server;
mod postgres_way;
mod races;
mod sqlite_erasure;
mod sqlite_faults;
mod sqlite_file;
mod sqlite_schema;
