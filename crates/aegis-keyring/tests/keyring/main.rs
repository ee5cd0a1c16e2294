//! What a keyring promises, on real stores.
//!
//! | module | what |
//! |---|---|
//! | `dek_life`, `opening`, `usage`, `rotator` | DEKs: made, opened, counted, rotated, retired, destroyed |
//! | `kek_rotation`, `kek_faults` | from one KEK to another; where wrappings are bad and stores fail |
//! | `kills`, `processes` | killed around each call of the store; eight processes at once |
//! | `postgres` | the same on a server, restarted in the middle |
//! | `backups`, `hostile_backups` | out and in again; changed in every way |
//! | `events`, `secrets` | who is told; what is in no file |
//! | `fixture`, `hooked`, `child` | a keyring to test with, a store with somebody in between, other processes |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod backups;
mod child;
mod dek_life;
mod events;
mod fixture;
mod hooked;
mod hostile_backups;
mod kek_faults;
mod kek_rotation;
mod kills;
mod opening;
#[cfg(feature = "postgres")]
mod postgres;
mod processes;
mod rotator;
mod secrets;
mod usage;
