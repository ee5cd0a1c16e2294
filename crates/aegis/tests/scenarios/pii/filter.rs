//! The program between two pipes.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use crate::machine::Machine;

/// What a filter left.
#[derive(Debug)]
pub(crate) struct Filtered {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Filtered {
    /// Its output, if it succeeded and had nothing to say.
    #[track_caller]
    pub(crate) fn done(self) -> Vec<u8> {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (Some(0), ""),
            "{}",
            String::from_utf8_lossy(&self.stdout)
        );
        self.stdout
    }

    /// Its output, if it failed and said so, with this among the reasons.
    #[track_caller]
    pub(crate) fn refused(self, why: &str) -> Vec<u8> {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        assert!(self.stderr.contains(why), "{why:?} is not in:\n{}", self.stderr);
        self.stdout
    }
}

/// Runs the program with `input`, whoever reads or writes faster.
pub(crate) fn filter(machine: &Machine, arguments: &[&str], input: &[u8]) -> Filtered {
    of(&mut machine.command(arguments), input)
}

/// The same, of a command that was prepared.
pub(crate) fn of(command: &mut Command, input: &[u8]) -> Filtered {
    let mut child = start(command);
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // It may be gone before it has read all of it.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    Filtered {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Starts it with pipes at all three ends.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
