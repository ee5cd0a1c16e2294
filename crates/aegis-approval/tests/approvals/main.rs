//! What is done with custodians and requests, on SQLite: each case in which somebody must not get through, and what is left
//! after each interruption.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod custodians;
mod emergency;
mod failing;
mod fixture;
mod offline;
mod racing;
mod report;
mod requests;
mod signing;
mod using;
