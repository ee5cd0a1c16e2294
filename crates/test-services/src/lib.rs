//! Real counterparts that tests start and stop. Development only; nothing that is shipped uses it.
//!
//! | module | what |
//! |---|---|
//! | [`guarded`] | a process that ends with the test that started it, even if that test is killed |
//! | [`tools`] | programs that may be missing; then a test is skipped, aloud and counted |
//! | [`scratch`] | private directories beside the build |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a test that cannot set up fails"
)]

pub mod guarded;
pub mod scratch;
pub mod tools;
