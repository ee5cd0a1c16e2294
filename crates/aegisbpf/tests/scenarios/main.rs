//! The program as operators, attackers and bad luck use it: every test runs the real binary below a root directory of
//! its own and looks at what it left there.
//!
//! | module | what it shows |
//! |---|---|
//! | [`story`] | the runbook from an empty machine to a refused rollback |
//! | [`tampering`] | whatever is done to the log is found |
//! | [`hostile`] | bad input is refused with its reason, changes nothing, and is in the log once |
//! | [`crash`], [`recovery`], [`limits`] | killed or refused by the disk at any system call: old or new, whole, and repaired by the next command |
//! | [`durability`] | what a power cut would keep |
//! | [`concurrency`] | commands at once: one order, no loss |
//! | [`enforcement`] | policies in force, in a virtual machine: the signed path, events, emergencies, kills |
//! | [`enforcement_guide`] | the guide to enforcement, each of its commands |
//! | [`custodians`] | hosts on which no single person changes the trusted keys |
//! | [`interop`], [`token`] | openssl, OpenSSH, Python and a PKCS#11 token |
//! | [`host`], [`people`], [`snapshot`], [`forge`], [`faults`], [`tools`] | what they share |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails where it stands"
)]

mod concurrency;
mod crash;
mod custodians;
mod durability;
mod enforcement;
mod enforcement_guide;
mod faults;
mod forge;
mod host;
mod hostile;
mod interop;
mod limits;
mod people;
mod recovery;
mod snapshot;
mod story;
mod tampering;
mod token;
mod tools;
