#![no_main]
//! What may be said of any bytes is in `entry/event_record.rs`; the ordinary tests replay the corpus through it too.

use libfuzzer_sys::fuzz_target;

#[path = "../entry/event_record.rs"]
mod entry;
// The files themselves: their crate brings the kernel's library and the programs with it.
#[allow(dead_code, unused_imports, unreachable_pub, reason = "not all of it is fuzzed")]
#[path = "../../crates/aegis-enforce/src"]
mod enforce {
    pub(crate) mod event;
}

use enforce::event;

fuzz_target!(|bytes: &[u8]| entry::run(bytes));
