//! What every store promises, shown on SQLite and on PostgreSQL; and what each promises besides.
//!
//! | module | what |
//! |---|---|
//! | `conformance` | one list of cases, each run on both |
//! | `races` | threads and processes at once, on both |
//! | `damage` | a damaged value in every column, on both |
//! | `sqlite_*`, `postgres_*` | the file; the server and the way to it |
//! | `child` | what this program does when a test starts it once more |

mod conformance;
mod fixture;
mod on;
