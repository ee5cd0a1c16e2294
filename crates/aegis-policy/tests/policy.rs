//! What the crate promises, tested through its public interface.

// The lint table excuses test functions, not what they share.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "policy/accepted.rs"]
mod accepted;
#[path = "policy/answers.rs"]
mod answers;
#[path = "policy/properties.rs"]
mod properties;
#[path = "policy/refused.rs"]
mod refused;
#[path = "policy/warned.rs"]
mod warned;
