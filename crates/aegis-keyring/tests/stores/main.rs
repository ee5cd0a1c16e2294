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

mod child;
mod conformance;
mod fixture;
mod on;
mod races;
mod sqlite_faults;
