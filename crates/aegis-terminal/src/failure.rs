//! What is printed when a command refuses or fails.
//!
//! ```text
//! error: cannot apply v6.signed
//!   because: policy version 6 is older than 7, the highest this host has accepted
//!   help: sign it again as version 8 or higher
//! ```

use std::error::Error;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::escape::Escaped;
use crate::json;

/// A refusal or a failure, ready to be printed. The exit code is 1.
#[derive(Debug)]
pub struct Failure {
    what: String,
    because: Vec<String>,
    help: Option<String>,
    /// Lines printed above the message as they are: a report that escapes foreign text itself.
    report: Option<String>,
}

impl Failure {
    /// What could not be done, on what; the chain of causes; what to do next.
    pub fn new(what: impl Into<String>, error: &dyn Error, help: Option<String>) -> Self {
        let mut because: Vec<String> = Vec::new();
        let mut cause = Some(error);
        while let Some(error) = cause {
            let line = error.to_string();
            // A transparent variant prints what its source prints; once is enough.
            if because.last() != Some(&line) {
                because.push(line);
            }
            cause = error.source();
        }
        Self { what: what.into(), because, help, report: None }
    }

    /// A failure that no library error stands behind, such as two arguments that exclude each other's effect.
    pub fn because(what: impl Into<String>, because: impl Into<String>) -> Self {
        Self { what: what.into(), because: vec![because.into()], help: None, report: None }
    }

    /// The same, with what to do next.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, below `report` on a terminal. JSON has it in the causes.
    pub fn with_report(mut self, report: String) -> Self {
        self.report = Some(report);
        self
    }

    /// Prints to standard error: lines for a person, or one line of JSON.
    pub fn print(&self, json: bool) {
        let mut stderr = io::stderr().lock();
        // There is nowhere left to say that standard error cannot be written; the exit code stays.
        let _ = stderr.write_all(&if json { self.to_json() } else { self.to_text().into_bytes() });
    }

    fn to_text(&self) -> String {
        let mut text = self.report.clone().unwrap_or_default();
        text.push_str(&format!("error: {}\n", Escaped(&self.what)));
        for because in &self.because {
            text.push_str(&format!("  because: {}\n", Escaped(because)));
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("  help: {}\n", Escaped(help)));
        }
        text
    }

    fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'a> {
            error: &'a str,
            because: &'a [String],
            help: Option<&'a str>,
        }
        let line = Line { error: &self.what, because: &self.because, help: self.help.as_deref() };
        let mut json = Vec::new();
        // Strings alone, written to memory: nothing there can fail.
        let _ = json::write_line(&mut json, &line);
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        let error = io::Error::other("a\nb\x1b[2J");
        Failure::new("cannot read x\n.pub", &error, Some("look at it".to_owned()))
    }

    #[test]
    fn a_message_keeps_to_its_lines() {
        assert_eq!(
            failure().to_text(),
            "error: cannot read x\\n.pub\n  because: a\\nb\\u{1b}[2J\n  help: look at it\n"
        );
    }

    #[test]
    fn json_is_one_line() {
        let json = failure().to_json();
        assert_eq!(json.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["error"], "cannot read x\n.pub");
        assert_eq!(value["because"][0], "a\nb\x1b[2J");
        assert_eq!(value["help"], "look at it");
    }
}
