//! What is promised of a pipeline, from outside: with real receivers, real files, and processes that are killed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "the lint table allows these in test functions; here every function serves one"
)]

mod child;
mod dead_letters;
mod emit;
mod files;
mod fixture;
mod http;
mod kills;
mod nats;
mod nats_logins;
mod otlp;
mod outage;
mod plaintext;
mod receiver;
mod sources;
mod spans;
mod spool;
