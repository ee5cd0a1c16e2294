#![no_main]
//! What may be said of any bytes is in `entry/audit_log.rs`; the ordinary tests replay the corpus through it too.

use libfuzzer_sys::fuzz_target;

#[path = "../entry/audit_log.rs"]
mod entry;

fuzz_target!(|bytes: &[u8]| entry::run(bytes));
