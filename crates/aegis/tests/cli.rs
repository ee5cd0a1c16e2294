//! The command line as its users see it.
//!
//! `cmd/*.trycmd` are sessions, and exactly what they print. Each runs in a private copy of its `.in`, with its state
//! there. No snapshot holds a clock, a path or a random value.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails where it stands"
)]

#[path = "cli/clock.rs"]
mod clock;
#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/program.rs"]
mod program;

#[test]
fn prints_what_the_snapshots_say() {
    // Set, they would reach the sessions.
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy();
        assert!(
            !variable.starts_with("AEGIS_") || variable.starts_with("AEGIS_TEST_"),
            "unset {variable} to run the tests"
        );
    }
    program::keep_secrets_private();
    let dir = program::dir();
    let cases = trycmd::TestCases::new();
    // What the suite tells its tests must not reach the program: `doctor` names variables that nothing reads.
    cases.register_bin("aegis", program::without_test_variables(dir.path()));
    cases.env("AEGIS_STATE_DIR", "state");
    cases.env("AEGIS_PASSPHRASE_FILE", "passphrase");
    cases.case("tests/cmd/*.trycmd");
    // The cases run when they are dropped, and the script has to be there.
    drop(cases);
}
