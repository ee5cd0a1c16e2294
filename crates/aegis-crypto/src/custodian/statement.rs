//! What a custodian may sign: text that a person can read, in one spelling.

use std::fmt;

use super::algorithm::{CustodianAlgorithm, UnknownAlgorithm};

/// A text that may be signed. What is shown is what is signed, byte for byte.
///
/// It is printable ASCII in lines that end in LF, without one at the end: no character looks like another, changes the
/// order of those around it, or is changed by a wallet that trims what was pasted. One line says `algorithm: ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    text: String,
    algorithm: CustodianAlgorithm,
}

impl Statement {
    /// The most bytes of a statement: what fits on a screen, a QR code, and a hardware wallet.
    pub const MAX_LEN: usize = 1024;

    /// Takes a text that says by which algorithm it is to be signed.
    ///
    /// # Errors
    ///
    /// A [`StatementError`].
    pub fn new(text: impl Into<String>) -> Result<Self, StatementError> {
        let text = text.into();
        if text.len() > Self::MAX_LEN {
            return Err(StatementError::TooLong { found: text.len() });
        }
        if let Some((index, found)) = text.chars().enumerate().find(|&(_, c)| !matches!(c, ' '..='~' | '\n'))
        {
            return Err(StatementError::NotPrintable { position: index + 1, found });
        }
        if text.trim_ascii() != text {
            return Err(StatementError::WhiteSpaceAround);
        }
        let mut named = text.lines().filter_map(|line| line.strip_prefix(ALGORITHM_LABEL));
        let algorithm = named.next().ok_or(StatementError::NoAlgorithm)?;
        if named.next().is_some() {
            return Err(StatementError::SeveralAlgorithms);
        }
        let algorithm = algorithm.parse().map_err(StatementError::Algorithm)?;
        Ok(Self { text, algorithm })
    }

    /// The line that a statement must have, without an end.
    pub fn algorithm_line(algorithm: CustodianAlgorithm) -> String {
        format!("{ALGORITHM_LABEL}{algorithm}")
    }

    /// The text, and exactly what is signed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// By which algorithm it says that it is signed.
    pub const fn algorithm(&self) -> CustodianAlgorithm {
        self.algorithm
    }
}

/// How the line begins that names the algorithm.
const ALGORITHM_LABEL: &str = "algorithm: ";

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text may not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Nobody reads so much before signing.
    #[error("a statement has at most {} bytes, this one has {found}", Statement::MAX_LEN)]
    TooLong {
        /// Bytes that were given.
        found: usize,
    },
    /// A character other than printable ASCII and line feeds.
    #[error("character {position} of the statement is {found:?}, and only printable ASCII may be signed")]
    NotPrintable {
        /// Its place, counted from 1.
        position: usize,
        /// The character.
        found: char,
    },
    /// White space at an end, which a wallet may take off.
    #[error("the statement begins or ends with white space")]
    WhiteSpaceAround,
    /// No line names the algorithm.
    #[error("the statement has no line that begins with \"algorithm: \"")]
    NoAlgorithm,
    /// More than one line names an algorithm.
    #[error("the statement has more than one line that begins with \"algorithm: \"")]
    SeveralAlgorithms,
    /// The line names one that does not exist.
    #[error("the statement names an algorithm that does not exist")]
    Algorithm(#[source] UnknownAlgorithm),
}

impl StatementError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::TooLong { .. } => "shorten it, and refer to the rest by its hash".to_owned(),
            Self::NotPrintable { .. } => "escape it before it goes into the statement".to_owned(),
            Self::WhiteSpaceAround => "take it off".to_owned(),
            Self::NoAlgorithm | Self::SeveralAlgorithms => {
                "a statement is made by the program that asks for the signature; do not write one by hand"
                    .to_owned()
            }
            Self::Algorithm(error) => return error.help(),
        })
    }
}
