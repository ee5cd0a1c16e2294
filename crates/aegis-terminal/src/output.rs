//! Results on standard output: text for a person, or one JSON document.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use serde::Serialize;

use crate::escape::Escaped;
use crate::failure::Failure;
use crate::json;

/// Where results go, and in which form.
#[derive(Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON, or text for a person.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `value` as JSON, indented by two spaces, or what `text` writes.
    pub fn report<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        self.stream(|out| if self.json { json::write_pretty(out, value) } else { text(out) })
    }

    /// Prints `value` as JSON, which is its only form.
    pub fn document<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.stream(|out| json::write_pretty(out, value))
    }

    /// Prints `bytes` as they are: completions, a policy, a proof.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream(|out| out.write_all(bytes))
    }

    /// Lends standard output, buffered. A reader who leaves early (`| head`) is not a failure.
    pub fn stream(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        match write(&mut out).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new("cannot write to standard output", &error, None)),
            Ok(()) => Ok(()),
        }
    }

    /// Whether the result is to be JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a warning to standard error.
    pub fn warn(&self, warning: &str) {
        // There is nowhere to say that standard error cannot be written, and the result stands.
        // In one piece: standard error has no buffer, and what is escaped is written a character at a time.
        let line = format!("warning: {}\n", Escaped(warning));
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    /// Prints a report that escapes foreign text itself to standard error.
    pub fn diagnostics(&self, report: &str) {
        // As above.
        let _ = io::stderr().lock().write_all(report.as_bytes());
    }

    /// Prints a line on what is being done, if somebody is watching.
    pub fn progress(&self, line: &str) {
        let mut stderr = io::stderr().lock();
        if stderr.is_terminal() {
            let _ = writeln!(stderr, "{}", Escaped(line));
        }
    }
}

/// Whether a report on standard error may have colours: on a terminal, unless `NO_COLOR` is set.
pub fn stderr_has_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Writes rows below their headings, each column as wide as its widest cell.
pub fn table<const N: usize>(
    out: &mut dyn Write,
    headings: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let headings = headings.map(str::to_owned);
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| {
            std::array::from_fn(|at| row.get(at).map_or_else(String::new, |cell| Escaped(cell).to_string()))
        })
        .collect();
    let width = |column: usize| {
        rows.iter()
            .chain([&headings])
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in [&headings].into_iter().chain(&rows) {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_a_space() {
        let mut out = Vec::new();
        let rows = [["a".to_owned(), "long\tcell".to_owned()], ["longer".to_owned(), String::new()]];
        table(&mut out, ["X", "Y"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "X       Y\na       long\\tcell\nlonger\n");
    }
}
