//! Bad input, one thing wrong at a time: refused with its reason, nothing changed, one entry in the log, exit 1.

mod bundle;
mod bypass;
mod counter;
mod file;
mod keys;
mod output;
mod time;
mod v1;

use crate::host::Host;

/// Writes an offered file, applies it with `--require-signature`, and expects this refusal.
#[track_caller]
fn refuses_bytes(host: &Host, name: &str, bytes: &[u8], because: &str) {
    // The name is in every message, so what is looked for must not be found in it.
    assert!(because.is_empty() || !"offered.signed".contains(because));
    std::fs::write(host.file("offered.signed"), bytes).unwrap();
    let apply = || host.run(&["policy", "apply", "offered.signed", "--require-signature"]);
    host.refuses_run(apply, name, because);
}
