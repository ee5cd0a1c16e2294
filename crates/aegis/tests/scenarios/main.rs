//! The program as operators and bad luck use it: every test runs the real binary on a machine of its own, a directory.
//!
//! | module | what it shows |
//! |---|---|
//! | [`story`] | from an empty machine to a restored one, through every rotation |
//! | [`crash`] | killed, or refused by the disk, at every system call that writes: nothing is lost, and it is logged once |
//! | [`concurrency`] | eight processes at once |
//! | [`pairs`] | from every KEK provider to every other one, against real counterparts |
//! | [`providers`] | from the environment to an HSM, to KMS, to a file and back, by the commands alone |
//! | [`pii`] | personal fields of streams of events, there and back |
//! | [`pipeline`] | telemetry sealed on its way: rotations, sinks that go away, signals, kills |
//! | [`secrets`] | no secret in anything that can be read, at any time |
//! | [`machine`] | what they share |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails where it stands"
)]

mod approvals;
mod concurrency;
mod crash;
mod machine;
mod pairs;
mod pii;
mod pipeline;
mod providers;
mod secrets;
mod story;
