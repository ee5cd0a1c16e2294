//! The program as operators, attackers and bad luck use it: every test runs the real binary below a root directory of
//! its own and looks at what it left there.
//!
//! | module | what it shows |
//! |---|---|
//! | [`story`] | the runbook from an empty machine to a refused rollback; what tampering with the log leads to |
//! | [`hostile`] | bad input is refused with its reason, changes nothing, and is in the log once |
//! | [`crash`], [`full_disk`] | killed or refused by the disk at any system call: old or new, whole, and repaired by the next command |
//! | [`concurrency`] | commands at once: one order, no loss |
//! | [`interop`] | openssl, OpenSSH, Python and a PKCS#11 token |
//! | [`host`], [`forge`], [`faults`], [`tools`] | what they share |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails where it stands"
)]

mod concurrency;
mod crash;
mod faults;
mod forge;
mod full_disk;
mod host;
mod hostile;
mod interop;
mod story;
mod tools;
