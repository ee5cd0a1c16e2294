//! The command line as its users see it.
//!
//! `cmd/*.trycmd` are sessions: commands and exactly what they print. Each runs in a private copy of
//! `cmd/fixtures`; `NAME.out` holds files that must come out byte for byte.

#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/program.rs"]
mod program;

#[test]
fn prints_what_the_snapshots_say() {
    let cases = trycmd::TestCases::new();
    for variable in program::VARIABLES {
        // Set to nothing they are an error, so a developer's own value must not reach the sessions.
        assert!(std::env::var_os(variable).is_none(), "unset {variable} to run the tests");
    }
    cases.case("tests/cmd/*.trycmd");
}
