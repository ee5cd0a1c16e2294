//! What a host believes and why: trusted keys, signed policy bundles, the version counter, and the one
//! transaction that puts a policy in force.
//!
//! | module | what it keeps |
//! |---|---|
//! | [`paths`], [`config`] | where things are, and what the host insists on |
//! | [`key_dir`], [`revoked`], [`keys`] | the trusted keys, the ids refused for ever, and changes to both |
//! | [`custodians`], [`approval`] | who has to agree to such changes, and whether they did |
//! | [`rotation`] | one key after another, in one resumable operation |
//! | [`manifest`], [`bundle`], [`verify`](mod@verify), [`standing`] | the signed file, the one function that believes it, what the counter says to it |
//! | [`counter`], [`repair`] | the anti-rollback counter, and its honest repair |
//! | [`apply`], [`rollback`], [`enforce`] | the transaction, the way back, and who loads the rules |
//! | [`emergency`], [`confirm`] | denials off for a time; a policy kept that was applied with a time limit |
//! | [`journal`], [`recover`], [`durable`], [`lock`] | what survives a kill at any instant |
//! | [`sign`], [`signer_command`], [`signer_pkcs11`], [`keypair`], [`expiry`] | the signer's side |
//! | [`health`], [`drill`], [`backup`] | proof that all of it works |
//!
//! Parsing, verifying and judging take bytes and a time and do no I/O; [`Host`] brings disk and clock to them.

pub mod apply;
pub mod approval;
pub mod backup;
pub mod bundle;
pub mod config;
pub mod confirm;
pub mod counter;
pub mod custodians;
pub mod drill;
pub mod emergency;
pub mod enforce;
pub mod expiry;
pub mod guarded_dir;
pub mod health;
pub mod host;
mod host_statement;
pub mod journal;
pub mod key_dir;
pub mod keypair;
pub mod keys;
pub mod lock;
pub mod manifest;
pub mod paths;
pub mod recover;
pub mod repair;
pub mod revoked;
pub mod rollback;
pub mod rotation;
pub mod sign;
pub mod signer_command;
pub mod signer_pkcs11;
pub mod standing;
pub mod verify;

pub use aegis_durable as durable;
pub use host::{Caller, Host};
pub use paths::HostPaths;
