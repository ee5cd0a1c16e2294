//! What is done with custodians and requests, on SQLite: each case in which somebody must not get through, and what is left
//! after each interruption.

#![allow(clippy::unwrap_used, reason = "a test")]

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
