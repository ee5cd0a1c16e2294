//! What the texts, the scripts and the stored corpora of this repository promise, tried out.

#![allow(clippy::print_stdout, reason = "the test runner shows it if a test fails")]

#[cfg(test)]
mod promises {
    mod corpus;
    mod document;
    mod documents;
    mod program;
    mod sign_script;
}
