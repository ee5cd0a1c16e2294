//! Rules against a real kernel: in a virtual machine where they need BPF-LSM, natively where they do not.

// A test says what went wrong where it went wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod fanotify;
mod inside;
mod probe;
mod vm;
