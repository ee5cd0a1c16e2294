//! What both programs share at a terminal. It decides nothing: it reads arguments and files, and prints results.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arguments`] | parsing a command line whose arguments may be hostile; `--json` |
//! | [`output`], [`failure`] | a result as text or JSON; an error in three parts |
//! | [`escape`], [`json`] | foreign text that cannot steer a terminal, in either form |
//! | [`input`], [`destination`] | bounded reading and whole writing of files, standard input and output |
//! | [`moment`] | times as people type them |
//! | [`audit`] | the command group `audit`, for a program and its log |
//! | [`manual`] | completions and manual pages, made from the command line itself |
//!
//! Exit codes: 0 done; 1 refused or failed; 2 wrong usage.

pub mod arguments;
pub mod audit;
pub mod destination;
pub mod escape;
pub mod failure;
pub mod input;
pub mod json;
pub mod manual;
pub mod moment;
pub mod output;

pub use arguments::Form;
pub use escape::Escaped;
pub use failure::Failure;
pub use output::Output;
