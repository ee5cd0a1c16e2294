//! What holds for the parts together: which signatures count, and which approvals.

mod fixture;
mod hostile_files;
mod signatures;
mod statements;
mod states;
