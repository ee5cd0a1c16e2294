//! Real counterparts that tests start and stop. Development only; nothing that is shipped uses it.
//!
//! | module | what |
//! |---|---|
//! | [`authority`] | a certification authority |
//! | [`faults`] | a program that is killed, or refused by the disk, at any of its system calls |
//! | [`guarded`] | a process that ends with the test that started it, even if that test is killed |
//! | [`kms`] | emulators of AWS KMS |
//! | [`nats`] | NATS servers with JetStream |
//! | [`http`], [`proxy`] | what stands between a client and an emulator, and lets answers fail |
//! | [`tokens`] | PKCS#11 tokens, each with processes that may use it |
//! | [`postgres`] | PostgreSQL servers |
//! | [`tools`] | programs that may be missing; then a test is skipped, aloud and counted |
//! | [`vm`] | virtual machines whose kernel has BPF LSM |
//! | [`scratch`] | private directories beside the build |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "a test that cannot set up fails"
)]

pub mod authority;
pub mod faults;
pub mod guarded;
pub mod http;
pub mod kms;
pub mod nats;
pub mod postgres;
pub mod proxy;
pub mod scratch;
pub mod tokens;
pub mod tools;
pub mod vm;
