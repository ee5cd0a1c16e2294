//! Every provider against its real counterpart, and what they stand on.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod conformance;
mod container;
mod environment;
mod file;
#[cfg(feature = "hsm")]
mod hsm;
mod in_memory;
#[cfg(feature = "kms")]
mod kms;
mod select;
mod variables;
mod variables_file;
mod watch;
