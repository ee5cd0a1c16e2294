//! Every provider against its real counterpart, and what they stand on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::type_complexity,
    reason = "tests: tables of cases, and children that print"
)]

mod conformance;
mod container;
mod environment;
mod file;
#[cfg(feature = "hsm")]
mod hsm;
mod in_memory;
#[cfg(feature = "kms")]
mod kms;
mod memory;
mod select;
mod variables;
mod variables_file;
mod watch;
