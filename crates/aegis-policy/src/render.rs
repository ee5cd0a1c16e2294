//! Errors and warnings as an operator reads them: the line, a caret, what would be right.

use std::fmt::Write as _;

use crate::error::PolicyErrors;

/// The most characters of a line that are shown.
const WIDTH: usize = 100;
/// How much of them stands before the error.
const BEFORE: usize = 40;

/// What is said about one place.
pub(crate) struct Finding<'a> {
    pub(crate) severity: Severity,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
    pub(crate) message: String,
    pub(crate) hint: Option<&'a str>,
}

#[derive(Clone, Copy)]
pub(crate) enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::Error => "\x1b[1;31m",
            Self::Warning => "\x1b[1;33m",
        }
    }
}

pub(crate) fn errors(errors: &PolicyErrors, file_name: &str, source: &[u8], color: bool) -> String {
    let findings = errors.errors.iter().map(|error| Finding {
        severity: Severity::Error,
        line: error.line,
        column: error.column,
        length: error.length,
        message: error.kind.to_string(),
        hint: error.hint.as_deref(),
    });
    let mut out = render(findings, file_name, source, color);
    let more = errors.total.saturating_sub(errors.errors.len());
    if more > 0 {
        let _ = writeln!(out, "... and {more} more errors");
    }
    out
}

/// Renders findings that are sorted by line, in one walk over the source.
pub(crate) fn render<'a>(
    findings: impl Iterator<Item = Finding<'a>>,
    file_name: &str,
    source: &[u8],
    color: bool,
) -> String {
    let paint = |code: &'static str| if color { code } else { "" };
    let (bold, blue, reset) = (paint("\x1b[1m"), paint("\x1b[34m"), paint("\x1b[0m"));
    let file_name = escaped(file_name.as_bytes());
    let mut lines = source.split(|byte| *byte == b'\n').zip(1_u32..).peekable();
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for finding in findings {
        let Finding { severity, line, column, length, message, hint } = finding;
        let word = paint(severity.color());
        let _ =
            writeln!(out, "{word}{}{reset}{bold}: {}{reset}", severity.word(), escaped(message.as_bytes()));
        while lines.next_if(|(_, number)| *number < line).is_some() {}
        let text = lines.peek().filter(|(_, number)| *number == line).map_or(&[][..], |(text, _)| text);
        let gutter = " ".repeat(line.to_string().len());
        let excerpt = Excerpt::around(text, column, length);
        let _ = writeln!(out, "{gutter}{blue}-->{reset} {file_name}:{line}:{column}");
        let _ = writeln!(out, "{gutter} {blue}|{reset}");
        let _ = writeln!(out, "{blue}{line} |{reset} {}", excerpt.text);
        let caret = "^".repeat(excerpt.width);
        let _ = writeln!(out, "{gutter} {blue}|{reset} {}{word}{caret}{reset}", " ".repeat(excerpt.offset));
        if let Some(hint) = hint {
            let _ = writeln!(out, "{gutter} {blue}={reset} help: {}", escaped(hint.as_bytes()));
        }
    }
    out
}

/// The part of a line around an error, made safe for a terminal.
struct Excerpt {
    text: String,
    /// Columns before the caret.
    offset: usize,
    /// Columns below the error.
    width: usize,
}

impl Excerpt {
    fn around(line: &[u8], column: u32, length: u32) -> Self {
        let at = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX).min(line.len());
        let from = if line.len() <= WIDTH { 0 } else { at.saturating_sub(BEFORE).min(line.len() - WIDTH) };
        let to = line.len().min(from + WIDTH);
        let end = at.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).clamp(at, to.max(at));
        let part = |from: usize, to: usize| escaped(line.get(from..to).unwrap_or_default());
        let head = if from > 0 { "..." } else { "" };
        let tail = if to < line.len() { "..." } else { "" };
        let before = part(from, at);
        let inside = part(at, end);
        let after = part(end, to);
        Self {
            offset: head.len() + before.len(),
            width: inside.len().max(1),
            text: format!("{head}{before}{inside}{after}{tail}"),
        }
    }
}

/// Printable ASCII as it is, a tab as a space, every other byte as `\x1b`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' => out.push(char::from(*byte)),
            b'\t' => out.push(' '),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out
}
