//! Foreign text on a terminal: file names, policy text, reasons, names of users.
//!
//! A control character could move the cursor, hide a line or recolour a refusal into a success; a
//! bidirectional override could show a key id in another order than it has. Both are printed as escapes.

use std::fmt::{self, Write as _};

/// Text that prints with its control and direction characters escaped, so that it stays on its line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter(f), "{}", self.0)
    }
}

/// True for the C0 and C1 controls, DEL, line and paragraph separators, and what changes direction.
pub fn is_steering(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if is_steering(character) {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_steers_a_terminal_and_nothing_else() {
        let cases = [
            ("plain text, é, 鍵", "plain text, é, 鍵"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
            ("c1 \u{9b}31m del \u{7f}", "c1 \\u{9b}31m del \\u{7f}"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("\u{feff}start", "\\u{feff}start"),
        ];
        for (text, expected) in cases {
            assert_eq!(Escaped(text).to_string(), expected);
        }
    }
}
