#![no_main]
//! What may be said of any bytes is in `entry/dead_letter.rs`; the ordinary tests replay the corpus through it too.

use libfuzzer_sys::fuzz_target;

#[path = "../entry/dead_letter.rs"]
mod entry;
// The file itself: its crate brings every KEK provider and store with it, which would take minutes to build.
#[allow(dead_code, unreachable_pub, reason = "not all of it is fuzzed")]
#[path = "../../crates/aegis-deployment/src/dead_letters/letter.rs"]
mod letter;

use letter::{Letter, LetterOrigin};

fuzz_target!(|bytes: &[u8]| entry::run(bytes));
