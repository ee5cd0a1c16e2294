//! The log as a whole: what it survives, what it finds, what it refuses, what it exports.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and the child process reports on its standard output"
)]

mod concurrency;
mod crash;
mod export;
mod hostile;
mod ocsf;
mod rotation;
mod sample;
mod tampering;
mod use_of_the_log;
