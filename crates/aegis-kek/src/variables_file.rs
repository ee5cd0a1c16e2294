//! A file of variables, which a service manager and a shell read alike.
//!
//! ```text
//! # what `aegis kek provision` writes
//! AEGIS_HSM_PKCS11_LIB=/usr/lib/softhsm/libsofthsm2.so
//! AEGIS_HSM_TOKEN_LABEL='aegis governance'
//! ```
//!
//! It is what systemd's `EnvironmentFile=` and a POSIX shell's `set -a; . FILE` both take, and only where both
//! understand the same: what one of them would expand, unescape or cut off is refused here.
//!
//! | part | bytes |
//! |---|---|
//! | file | at most 64 KiB, UTF-8, lines that end in LF, mode 0600 |
//! | line | blank, `#` and a comment, or an assignment; spaces and tabs around it mean nothing |
//! | assignment | `NAME=VALUE`, or `export NAME=VALUE`; a name has letters, digits and `_`, and stands once |
//! | value | bare: letters, digits and `_ @ % + = : , . / -`; or in `'` or `"`, without an escape or a second part |
//!
//! Sources: systemd.exec(5), POSIX.1-2017 XCU §2.

use std::fmt;
use std::path::Path;

use aegis_durable::{Links, WriteError};
use zeroize::Zeroizing;

use crate::base64_text;
use crate::private_file::{self, PrivateFileError};
use crate::variables::{SecretText, Variables};

/// The most bytes of a variables file.
pub const MAX_VARIABLES_FILE_LEN: usize = 64 * 1024;
/// The most variables in one.
pub(crate) const MAX_VARIABLES: usize = 256;
/// The most characters of a name.
pub(crate) const MAX_NAME_LEN: usize = 128;

/// Settings that belong together, in the order in which they were given.
///
/// Its `Debug` shows names only.
#[derive(Default)]
pub struct VariablesFile(Vec<(String, SecretText)>);

impl VariablesFile {
    /// No settings yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a setting.
    ///
    /// # Errors
    ///
    /// [`UnwritableSetting`] for what one of the readers would take for something else.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), UnwritableSetting> {
        let failed = |fault| UnwritableSetting { name: name.chars().take(MAX_NAME_LEN).collect(), fault };
        check_name(name).map_err(|()| failed(SettingFault::Name))?;
        if self.0.iter().any(|(known, _)| known == name) {
            return Err(failed(SettingFault::Repeated));
        }
        if self.0.len() == MAX_VARIABLES {
            return Err(failed(SettingFault::TooMany));
        }
        Quotes::around(value).map_err(failed)?;
        // The name, the value, and at most two quotes, an equals sign and a line feed.
        let len = |name: &str, value: &str| name.len() + value.len() + 4;
        let used: usize = self.0.iter().map(|(name, value)| len(name, value.expose())).sum();
        if used + len(name, value) > MAX_VARIABLES_FILE_LEN {
            return Err(failed(SettingFault::TooLong));
        }
        self.0.push((name.to_owned(), SecretText::new(value)));
        Ok(())
    }

    /// Adds a setting whose value is the base64 of these bytes.
    ///
    /// # Errors
    ///
    /// [`UnwritableSetting`], as for [`set`](Self::set).
    pub fn set_base64(&mut self, name: &str, bytes: &[u8]) -> Result<(), UnwritableSetting> {
        self.set(name, base64_text::encode(bytes).expose())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretText)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The settings, to be looked up by name.
    pub fn into_variables(self) -> Variables {
        Variables::of_settings(self.0)
    }

    /// The text of the file: one assignment a line, quotes where they are needed. [`parse`](Self::parse) reads it back.
    pub fn to_text(&self) -> SecretText {
        let mut text = Zeroizing::new(String::with_capacity(MAX_VARIABLES_FILE_LEN));
        for (name, value) in &self.0 {
            let quote = match Quotes::around(value.expose()) {
                Ok(Quotes::Single) => "'",
                Ok(Quotes::Double) => "\"",
                // What cannot be written was not taken by `set` or `parse`.
                Ok(Quotes::None) | Err(_) => "",
            };
            for part in [name, "=", quote, value.expose(), quote, "\n"] {
                text.push_str(part);
            }
        }
        SecretText::new(&text)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    ///
    /// A [`VariablesFileError`] that names the line, and has nothing of a value.
    pub fn parse(bytes: &[u8]) -> Result<Self, VariablesFileError> {
        if bytes.len() > MAX_VARIABLES_FILE_LEN {
            return Err(VariablesFileError::TooLarge { found: bytes.len() });
        }
        let mut settings = Self::new();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let failed = |source| VariablesFileError::Line { line: number, source };
            let line = std::str::from_utf8(line).map_err(|_| failed(LineFault::NotUnicode))?;
            let Some((name, value)) = assignment(line).map_err(failed)? else { continue };
            settings.set(name, value).map_err(|refused| {
                failed(match refused.fault {
                    SettingFault::Name => LineFault::Name,
                    SettingFault::Repeated => LineFault::Repeated { name: refused.name },
                    SettingFault::TooMany | SettingFault::TooLong => LineFault::TooMany,
                    SettingFault::Character => LineFault::Character,
                    SettingFault::Quotes => LineFault::Expanded,
                })
            })?;
        }
        Ok(settings)
    }

    /// Reads such a file, which only its owner may be able to read. A link to it is as good as the file.
    ///
    /// # Errors
    ///
    /// [`VariablesFileError`].
    pub fn read(path: &Path) -> Result<Self, VariablesFileError> {
        let limit = u64::try_from(MAX_VARIABLES_FILE_LEN).unwrap_or(u64::MAX);
        Self::parse(&private_file::read(path, Links::Follow, limit).map_err(VariablesFileError::Read)?)
    }

    /// Writes it as a new file of mode 0600, whole or not at all. An existing file is left as it is.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn write_new(&self, path: &Path) -> Result<(), WriteError> {
        aegis_durable::write_new(path, self.to_text().expose().as_bytes(), 0o600)
    }
}

impl fmt::Debug for VariablesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|(name, _)| name).collect();
        f.debug_struct("VariablesFile").field("names", &names).finish_non_exhaustive()
    }
}

/// Name and value of one line, or `None` if it assigns nothing.
fn assignment(line: &str) -> Result<Option<(&str, &str)>, LineFault> {
    let line = line.trim_matches(BLANK);
    // In a comment too: an escape sequence there could hide a line from whoever looks at the file.
    if line.chars().any(|found| found.is_control() && found != '\t') {
        return Err(LineFault::Character);
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with(BLANK) => rest.trim_start_matches(BLANK),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or(LineFault::NoAssignment)?;
    check_name(name).map_err(|()| LineFault::Name)?;
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        return match value.chars().all(is_bare) {
            true => Ok(Some((name, value))),
            false => Err(LineFault::NeedsQuotes),
        };
    };
    let inside = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
    let (value, after) = inside.ok_or(LineFault::OpenQuote)?;
    if !after.is_empty() {
        return Err(LineFault::AfterQuote);
    }
    if value.contains('\\') || (quote == '"' && value.contains(EXPANDED)) {
        return Err(LineFault::Expanded);
    }
    Ok(Some((name, value)))
}

const BLANK: [char; 2] = [' ', '\t'];
/// What a shell replaces within double quotes.
const EXPANDED: [char; 2] = ['$', '`'];

/// What no reader takes for anything but itself, without quotes.
const fn is_bare(found: char) -> bool {
    found.is_ascii_alphanumeric()
        || matches!(found, '_' | '@' | '%' | '+' | '=' | ':' | ',' | '.' | '/' | '-')
}

fn check_name(name: &str) -> Result<(), ()> {
    let first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if first && rest && name.len() <= MAX_NAME_LEN { Ok(()) } else { Err(()) }
}

/// How a value is written.
enum Quotes {
    None,
    Single,
    Double,
}

impl Quotes {
    fn around(value: &str) -> Result<Self, SettingFault> {
        if value.chars().any(|found| found.is_control() || found == '\\') {
            return Err(SettingFault::Character);
        }
        match (value.contains('\''), value.contains('"') || value.contains(EXPANDED)) {
            _ if value.chars().all(is_bare) => Ok(Self::None),
            (false, _) => Ok(Self::Single),
            (true, false) => Ok(Self::Double),
            (true, true) => Err(SettingFault::Quotes),
        }
    }
}

/// A setting that a variables file cannot hold. Names it, and has nothing of its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a variables file cannot hold the setting {name:?}")]
pub struct UnwritableSetting {
    /// Its name, at most 128 characters of it.
    pub name: String,
    /// Why.
    #[source]
    pub fault: SettingFault,
}

impl UnwritableSetting {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self.fault {
            SettingFault::Character | SettingFault::Quotes => Some(
                "choose another label or path, or set this variable by other means than a file".to_owned(),
            ),
            SettingFault::Name | SettingFault::Repeated | SettingFault::TooMany | SettingFault::TooLong => {
                None
            }
        }
    }
}

/// Why a setting cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingFault {
    /// Not the name of a variable.
    #[error("a name has letters, digits and underscores, no digit first, and at most {MAX_NAME_LEN} of them")]
    Name,
    /// A second value for it.
    #[error("it is there already")]
    Repeated,
    /// More than there could rightly be.
    #[error("there are {MAX_VARIABLES} settings already")]
    TooMany,
    /// The file would be too long.
    #[error("the file would have more than {MAX_VARIABLES_FILE_LEN} bytes")]
    TooLong,
    /// A line break, another control character, or a backslash.
    #[error(
        "its value has a line break, another control character or a backslash, which programs read differently"
    )]
    Character,
    /// Neither kind of quotes can hold it.
    #[error("its value has an apostrophe together with a quotation mark, a dollar sign or a grave accent")]
    Quotes,
}

/// Why a variables file was not read. Nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum VariablesFileError {
    /// It is not there, or others can read it.
    #[error("cannot take settings from a file")]
    Read(#[source] PrivateFileError),
    /// More bytes than it could rightly have.
    #[error("a variables file has at most {MAX_VARIABLES_FILE_LEN} bytes, this one has {found}")]
    TooLarge {
        /// Bytes that were given.
        found: usize,
    },
    /// A line that not every reader would take for the same.
    #[error("line {line} of the variables file cannot be used")]
    Line {
        /// Its number, counted from 1.
        line: usize,
        /// Why.
        source: LineFault,
    },
}

impl VariablesFileError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(source) => source.help(),
            Self::TooLarge { .. } => Some("check that it is the right file".to_owned()),
            Self::Line { source, .. } => source.help(),
        }
    }
}

/// Why a line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// Bytes that are no text.
    #[error("it is not valid UTF-8")]
    NotUnicode,
    /// Neither blank, nor a comment, nor an assignment.
    #[error("it is no comment, and has no equals sign")]
    NoAssignment,
    /// What stands before the equals sign is no name.
    #[error("what is before the equals sign is not the name of a variable")]
    Name,
    /// A second value for one name; which of them counts depends on the reader.
    #[error("{name} is set by an earlier line too")]
    Repeated {
        /// The name.
        name: String,
    },
    /// More than there could rightly be.
    #[error("there are more than {MAX_VARIABLES} settings")]
    TooMany,
    /// A carriage return, another control character, or a backslash.
    #[error("it has a control character or a backslash, which programs read differently")]
    Character,
    /// A space or a special character outside quotes.
    #[error("its value has a space or a special character, and no quotes around it")]
    NeedsQuotes,
    /// Only one quote.
    #[error("its value has a quote at its beginning and none at its end")]
    OpenQuote,
    /// Something behind the closing quote, which one reader takes for part of the value.
    #[error("something follows the closing quote of its value")]
    AfterQuote,
    /// An escape, or what a shell would replace.
    #[error(
        "its value has what a shell would replace: a backslash, or a dollar sign or grave accent in double quotes"
    )]
    Expanded,
}

impl LineFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotUnicode | Self::NoAssignment | Self::Name => {
                Some("write NAME=value, one a line, and # before a comment".to_owned())
            }
            Self::Repeated { .. } => Some("keep the one that is meant".to_owned()),
            Self::TooMany => Some("check that it is the right file".to_owned()),
            Self::Character => {
                Some("write it anew with plain line feeds, and without backslashes".to_owned())
            }
            Self::NeedsQuotes | Self::OpenQuote | Self::AfterQuote | Self::Expanded => Some(
                "put all of the value between two apostrophes, and a comment on a line of its own".to_owned(),
            ),
        }
    }
}
