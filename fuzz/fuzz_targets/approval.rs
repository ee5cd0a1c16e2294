#![no_main]
//! What may be said of any bytes is in `entry/approval.rs`; the ordinary tests replay the corpus through it too.

use libfuzzer_sys::fuzz_target;

#[path = "../entry/approval.rs"]
mod entry;

fuzz_target!(|bytes: &[u8]| entry::run(bytes));
