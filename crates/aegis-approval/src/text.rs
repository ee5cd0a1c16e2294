//! Texts that people write and others read before they sign.

use std::fmt;
use std::str::FromStr;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};

/// What an override is of: 1 to 200 printable ASCII characters, none of them white space at an end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line(Box<str>);

impl Line {
    /// The most bytes.
    pub const MAX_LEN: usize = 200;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Line {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        checked(text, Self::MAX_LEN, |c| matches!(c, ' '..='~')).map(|()| Self(text.into()))
    }
}

/// Why something is asked for: 1 to 4,096 bytes in any script, in lines. What cannot be seen, or changes how the text
/// around it is seen, is refused: control, format and private characters, and such white space as is not a space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Justification(Box<str>);

impl Justification {
    /// The most bytes.
    pub const MAX_LEN: usize = 4096;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has letters of other scripts, which may look like those of this one.
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }
}

impl FromStr for Justification {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        checked(text, Self::MAX_LEN, |c| c == ' ' || c == '\n' || is_seen(c)).map(|()| Self(text.into()))
    }
}

/// Whether a character is one that a reader sees as itself.
fn is_seen(c: char) -> bool {
    // Fillers and variation selectors are letters and marks to Unicode, and nothing to the eye.
    let is_blank = matches!(c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}');
    !is_blank
        && !matches!(
            c.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::Surrogate
                | GeneralCategory::PrivateUse
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::SpaceSeparator
        )
}

fn checked(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.len() > max {
        return Err(TextError::TooLong { found: text.len(), max });
    }
    if let Some((index, found)) = text.chars().enumerate().find(|&(_, c)| !allowed(c)) {
        return Err(TextError::Character { position: index + 1, found });
    }
    if text.trim() != text {
        return Err(TextError::WhiteSpaceAround);
    }
    Ok(())
}

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing.
    #[error("the text is empty")]
    Empty,
    /// More than anybody reads.
    #[error("the text has {found} bytes, and at most {max} are taken")]
    TooLong {
        /// Its bytes.
        found: usize,
        /// The most.
        max: usize,
    },
    /// A character that could mislead whoever reads it.
    #[error("character {position} of the text is {found:?}, which is not taken here")]
    Character {
        /// Its place, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
    /// White space at an end.
    #[error("the text begins or ends with white space")]
    WhiteSpaceAround,
}

impl TextError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Empty => "say it in words",
                Self::TooLong { .. } => "shorten it, and refer to a document for the rest",
                Self::Character { .. } => {
                    "write it without characters that cannot be seen or that look like others"
                }
                Self::WhiteSpaceAround => "take it off",
            }
            .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_mislead_a_reader() {
        for text in [
            "",
            " a",
            "a\n",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}b",
            "a\u{ad}b",
            "a\u{feff}b",
            "a\rb",
            "a\tb",
            "a\u{1b}[2Jb",
            "a\u{2028}b",
            "a\u{a0}b",
            "a\u{3164}b",
            "a\u{fe0f}b",
            "a\u{e000}b",
            "a\u{e0041}b",
            &"x".repeat(1 << 20),
        ] {
            assert!(text.parse::<Justification>().is_err(), "{text:?}");
        }
        for text in ["a\nb", "Прод", "Änderung 12 %", "日本語"] {
            assert!(text.parse::<Justification>().is_ok(), "{text:?}");
            assert!(text.parse::<Line>().is_err(), "{text:?}");
        }
        assert!("PROP-7: raise the limit".parse::<Line>().is_ok());
    }
}
