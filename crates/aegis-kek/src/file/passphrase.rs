//! Where the passphrase of a key file comes from.
//!
//! In this order: a file that was named, [`PASSPHRASE`], [`PASSPHRASE_FILE`], the terminal if there is one.

use std::fmt;
use std::path::{Path, PathBuf};

use aegis_durable::Links;

use super::terminal;
use crate::known_variables::{PASSPHRASE, PASSPHRASE_FILE};
use crate::private_file::{self, PrivateFileError};
use crate::variables::{SecretText, VariableError, Variables};

/// The most bytes of a passphrase.
pub const MAX_PASSPHRASE_LEN: usize = 1024;
/// The most bytes of a file that holds one.
const MAX_FILE_LEN: u64 = 4096;

/// A passphrase: not empty, no more than 1,024 bytes, no control characters. Erased on drop, shown to nobody.
pub struct Passphrase(SecretText);

impl Passphrase {
    /// Takes a text. The caller erases any other copy.
    ///
    /// # Errors
    ///
    /// [`PassphraseFault`].
    pub fn new(text: &str) -> Result<Self, PassphraseFault> {
        match text.len() {
            0 => Err(PassphraseFault::Empty),
            1..=MAX_PASSPHRASE_LEN if text.chars().any(char::is_control) => {
                Err(PassphraseFault::ControlCharacter)
            }
            1..=MAX_PASSPHRASE_LEN => Ok(Self(SecretText::new(text))),
            found => Err(PassphraseFault::TooLong { found }),
        }
    }

    /// The first line of a file that only its owner can read, without its line break. A link is as good as the file.
    ///
    /// # Errors
    ///
    /// [`PassphraseError::Read`], [`PassphraseError::Unusable`].
    pub fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        let bytes = private_file::read(path, Links::Follow, MAX_FILE_LEN).map_err(PassphraseError::Read)?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let unusable = |source| PassphraseError::Unusable { origin: path.display().to_string(), source };
        let text = std::str::from_utf8(line).map_err(|_| unusable(PassphraseFault::NotUnicode))?;
        Self::new(text).map_err(unusable)
    }

    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").finish_non_exhaustive()
    }
}

/// Where a passphrase is to be taken from, once it is needed.
#[derive(Debug)]
pub enum PassphraseSource {
    /// It was given already.
    Given(Passphrase),
    /// The first line of a file.
    File(PathBuf),
    /// Somebody types it, where a terminal is.
    Terminal,
}

impl PassphraseSource {
    /// The source that the settings name; the terminal if they name none.
    ///
    /// # Errors
    ///
    /// [`PassphraseError::Variable`], [`PassphraseError::Unusable`] for a passphrase that is none.
    pub fn of(variables: &Variables) -> Result<Self, PassphraseError> {
        let text = |name| variables.text(name).map_err(PassphraseError::Variable);
        if let Some(passphrase) = text(PASSPHRASE)? {
            let unusable = |source| PassphraseError::Unusable { origin: PASSPHRASE.to_owned(), source };
            return Passphrase::new(passphrase.expose()).map(Self::Given).map_err(unusable);
        }
        Ok(match text(PASSPHRASE_FILE)? {
            Some(path) => Self::File(PathBuf::from(path.expose())),
            None => Self::Terminal,
        })
    }

    /// Takes the passphrase for `path`, and asks for it if need be.
    ///
    /// # Errors
    ///
    /// [`PassphraseError`]; [`PassphraseError::NoTerminal`] where nobody can be asked.
    pub fn take(&self, path: &Path) -> Result<Passphrase, PassphraseError> {
        match self {
            Self::Given(passphrase) => Ok(Passphrase(SecretText::new(passphrase.expose()))),
            Self::File(file) => Passphrase::from_file(file),
            Self::Terminal => ask(&format!("Passphrase for {}: ", printable(path))),
        }
    }

    /// Takes the passphrase for a new file at `path`. On a terminal it is asked for twice.
    ///
    /// # Errors
    ///
    /// [`PassphraseError`]; [`PassphraseError::Differ`] if it was typed differently.
    pub fn take_new(&self, path: &Path) -> Result<Passphrase, PassphraseError> {
        if !matches!(self, Self::Terminal) {
            return self.take(path);
        }
        let first = ask(&format!("New passphrase for {}: ", printable(path)))?;
        let second = ask("The same once more: ")?;
        if first.expose() == second.expose() { Ok(first) } else { Err(PassphraseError::Differ) }
    }
}

/// A path in a prompt must not move the cursor.
fn printable(path: &Path) -> String {
    path.display().to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn ask(prompt: &str) -> Result<Passphrase, PassphraseError> {
    let typed = terminal::ask(prompt, MAX_PASSPHRASE_LEN).map_err(PassphraseError::Terminal)?;
    let typed = typed.ok_or(PassphraseError::NoTerminal)?;
    let unusable = |source| PassphraseError::Unusable { origin: "what was typed".to_owned(), source };
    let text = std::str::from_utf8(&typed).map_err(|_| unusable(PassphraseFault::NotUnicode))?;
    Passphrase::new(text).map_err(unusable)
}

/// Why a text is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseFault {
    /// Nothing. A key under nothing would look protected.
    #[error("it is empty")]
    Empty,
    /// More than anybody types.
    #[error("it has {found} bytes, more than the limit of {MAX_PASSPHRASE_LEN}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Bytes that are no text.
    #[error("it is not valid UTF-8")]
    NotUnicode,
    /// What cannot be typed where it is asked for.
    #[error("it has a control character in it")]
    ControlCharacter,
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// It is needed, and nobody can be asked.
    #[error("a passphrase is needed, none is set, and there is no terminal to ask for it")]
    NoTerminal,
    /// The terminal was left.
    #[error("no passphrase was typed")]
    Terminal(#[source] std::io::Error),
    /// The two were not the same.
    #[error("the passphrase was not the same the second time")]
    Differ,
    /// The file that should hold it was not read.
    #[error("cannot read the passphrase from a file")]
    Read(#[source] PrivateFileError),
    /// A variable is no text.
    #[error("cannot take the passphrase from a variable")]
    Variable(#[source] VariableError),
    /// It is none.
    #[error("{origin} holds no usable passphrase")]
    Unusable {
        /// The file or variable.
        origin: String,
        /// Why.
        source: PassphraseFault,
    },
}

impl PassphraseError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoTerminal => Some(format!(
                "put it on the first line of a file of mode 0600 and name that with --passphrase-file or \
                 {PASSPHRASE_FILE}, or set {PASSPHRASE}"
            )),
            Self::Terminal(_) | Self::Differ => Some("run it again".to_owned()),
            Self::Read(source) => source.help(),
            Self::Variable(source) => source.help(),
            Self::Unusable { source: PassphraseFault::Empty, .. } => {
                Some("put the passphrase on its first line".to_owned())
            }
            Self::Unusable { .. } => Some("use a passphrase of 1 to 1024 bytes of text".to_owned()),
        }
    }
}
