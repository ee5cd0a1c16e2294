//! Settings as they are read: from the process, from a file. Every value is held as if it were a secret.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use aegis_crypto::{HYBRID_PRIVATE_KEY_LEN, HybridPrivateKeyError, HybridPublicKey, HybridPublicKeyError};
use zeroize::Zeroizing;

use crate::base64_text;
use crate::container::ContainerError;
use crate::known_variables::{self, KnownVariable};
use crate::variables_file::{VariablesFile, VariablesFileError};

/// The most bytes of one value that are looked at. A process can hand over no more than this on Linux.
pub const MAX_VALUE_LEN: usize = 128 * 1024;

/// A text that may be secret. Erased on drop; it has no `Debug`, `Display` or `Clone`.
pub struct SecretText(Zeroizing<Box<str>>);

impl SecretText {
    /// Takes a text. The caller erases any other copy.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(Box::from(text)))
    }

    /// Lends the text. Each call is a line that a reviewer can search for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where settings are looked up by name.
pub struct Variables {
    given: Vec<(String, SecretText)>,
    process: bool,
    /// Asked for credentials only, and only for a group of them of which `given` has none.
    credentials: Option<Box<Self>>,
}

impl Variables {
    /// The variables of this process, looked up when they are asked for.
    pub const fn of_process() -> Self {
        Self { given: Vec::new(), process: true, credentials: None }
    }

    /// These and no others.
    pub fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let given = pairs.into_iter().map(|(name, value)| (name.to_owned(), SecretText::new(value)));
        Self { given: given.collect(), process: false, credentials: None }
    }

    /// Those of a variables file and no others. Only its owner may be able to read it.
    ///
    /// # Errors
    ///
    /// [`VariablesFileError`].
    pub fn from_file(path: &Path) -> Result<Self, VariablesFileError> {
        VariablesFile::read(path).map(VariablesFile::into_variables)
    }

    /// Takes the place of settings that were read elsewhere.
    pub(crate) const fn of_settings(given: Vec<(String, SecretText)>) -> Self {
        Self { given, process: false, credentials: None }
    }

    /// These settings, and from `others` the credentials that they lack: a PIN, a passphrase.
    ///
    /// A file of settings names a device, and its PIN is handed to the process. A file that says itself where the PIN is
    /// keeps its word: the PIN of the process may be that of another token, and a wrong one counts against its lock.
    #[must_use]
    pub fn with_credentials_of(self, others: Self) -> Self {
        Self { credentials: Some(Box::new(others)), ..self }
    }

    /// These settings, with the passphrase of a key file in the file `path`, wherever it was before.
    ///
    /// # Errors
    ///
    /// [`VariableFault::NotUnicode`] for a path that is no text.
    pub fn with_passphrase_file(mut self, path: &Path) -> Result<Self, VariableError> {
        let name = known_variables::PASSPHRASE_FILE;
        let path = path.to_str().ok_or_else(|| VariableFault::NotUnicode.of(name))?;
        self.given.retain(|(given, _)| given != name && given != known_variables::PASSPHRASE);
        self.given.push((name.to_owned(), SecretText::new(path)));
        // One of the process must not take its place.
        self.given.push((known_variables::PASSPHRASE.to_owned(), SecretText::new("")));
        Ok(self)
    }

    /// The same, with this value for `name` before any other; an empty one takes it away.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.given.retain(|(given, _)| given != name);
        self.given.push((name.to_owned(), SecretText::new(value)));
        self
    }

    /// The value of `name`; an empty one counts as none.
    ///
    /// # Errors
    ///
    /// [`NotUnicode`] if it is set to what is no text.
    pub fn get(&self, name: &str) -> Result<Option<SecretText>, NotUnicode> {
        if let Some(value) = self.given(name) {
            return Ok(Some(SecretText::new(value)).filter(|value| !value.expose().is_empty()));
        }
        if self.process {
            return process_variable(name);
        }
        let Some(others) = &self.credentials else { return Ok(None) };
        match known_variables::credentials_with(name) {
            Some(group) if !group.iter().any(|member| self.given(member).is_some()) => others.get(name),
            _ => Ok(None),
        }
    }

    /// What was given for `name` itself.
    fn given(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(given, _)| given == name).map(|(_, value)| value.expose())
    }

    /// As [`get`](Self::get), no longer than [`MAX_VALUE_LEN`].
    ///
    /// # Errors
    ///
    /// [`VariableFault::NotUnicode`], [`VariableFault::TooLong`].
    pub fn text(&self, name: &str) -> Result<Option<SecretText>, VariableError> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        match value.expose().len() {
            0..=MAX_VALUE_LEN => Ok(Some(value)),
            found => Err(VariableFault::TooLong { found, limit: MAX_VALUE_LEN }.of(name)),
        }
    }

    /// The bytes that `name` is the base64 of, at most `max_len` of them. White space and line breaks mean nothing.
    ///
    /// # Errors
    ///
    /// A [`VariableError`] that names the variable and has nothing of its content.
    pub fn base64(&self, name: &str, max_len: usize) -> Result<Option<Zeroizing<Vec<u8>>>, VariableError> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        base64_text::decode(value.expose(), max_len).map(Some).map_err(|fault| fault.of(name))
    }

    /// The public key of the KEK, from [`MASTER_KEK_PUBLIC`](known_variables::MASTER_KEK_PUBLIC).
    ///
    /// # Errors
    ///
    /// A [`VariableError`]; a private key in its place is one that says so.
    pub fn public_key(&self) -> Result<Option<HybridPublicKey>, VariableError> {
        let name = known_variables::MASTER_KEK_PUBLIC;
        // Room for a private key, so that it can be told from other things of a wrong length.
        let Some(raw) = self.base64(name, HYBRID_PRIVATE_KEY_LEN)? else { return Ok(None) };
        HybridPublicKey::from_bytes(&raw).map(Some).map_err(|fault| {
            match (raw.len(), fault) {
                (HYBRID_PRIVATE_KEY_LEN, _) => VariableFault::PrivateInPublic,
                (_, fault) => VariableFault::PublicKey(fault),
            }
            .of(name)
        })
    }

    /// Whether `name` is switched on: by `1`, not by `0` or when it is not set.
    ///
    /// # Errors
    ///
    /// [`VariableFault::NotAFlag`] for anything else: whoever wrote `yes` did not mean no.
    pub fn flag(&self, name: &str) -> Result<bool, VariableError> {
        match self.text(name)?.as_ref().map(SecretText::expose) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(VariableFault::NotAFlag.of(name)),
        }
    }

    /// The number that `name` is set to, in decimal.
    ///
    /// # Errors
    ///
    /// [`VariableFault::NotANumber`] if it is none of `range`.
    pub fn number(&self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, VariableError> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        let digits = value.expose();
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 10;
        match digits.parse() {
            Ok(number) if plain && range.contains(&number) => Ok(Some(number)),
            _ => Err(VariableFault::NotANumber { min: *range.start(), max: *range.end() }.of(name)),
        }
    }

    /// Whether `name` has a value, good or bad. An empty one is none.
    pub fn is_set(&self, name: &str) -> bool {
        !matches!(self.get(name), Ok(None))
    }

    /// The names that begin with `prefix` and have a value, sorted. Credentials that were taken from elsewhere do not
    /// count: they say nothing about what is configured here.
    pub fn set_with_prefix(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self.given.iter().map(|(name, _)| name.clone()).collect();
        if self.process {
            names.extend(std::env::vars_os().filter_map(|(name, value)| {
                // Every value was copied, secrets too.
                drop(Zeroizing::new(value.into_encoded_bytes()));
                name.into_string().ok()
            }));
        }
        names.retain(|name| name.starts_with(prefix) && self.is_set(name));
        names.sort();
        names.dedup();
        names
    }

    /// Whether a variable is set, and whether what it is set to has the form that it must have. Shows no value.
    pub fn state(&self, known: &KnownVariable) -> VariableState {
        if !self.is_set(known.name) {
            return VariableState::NotSet;
        }
        match known.form.check(self, known.name) {
            Ok(()) => VariableState::WellFormed,
            Err(error) => VariableState::Malformed(error),
        }
    }
}

/// A variable of this process. Its bytes are erased when they were copied.
fn process_variable(name: &str) -> Result<Option<SecretText>, NotUnicode> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let bytes = Zeroizing::new(value.into_encoded_bytes());
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(SecretText::new(text))),
        Err(_) => Err(NotUnicode { name: name.to_owned() }),
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.given.iter().map(|(name, _)| name).collect();
        f.debug_struct("Variables")
            .field("names", &names)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// How a variable stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableState {
    /// It has no value, or an empty one.
    NotSet,
    /// It has a value of the right form. Whether that is the right value is for its provider to say.
    WellFormed,
    /// It has a value that cannot be used.
    Malformed(VariableError),
}

/// A variable is set to bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} is not valid UTF-8")]
pub struct NotUnicode {
    /// Its name.
    pub name: String,
}

/// A variable is set to what cannot be used. Names it, and has nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} cannot be used")]
pub struct VariableError {
    /// Its name.
    pub name: String,
    /// Why.
    #[source]
    pub fault: VariableFault,
}

impl VariableError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        self.fault.help()
    }
}

impl From<NotUnicode> for VariableError {
    fn from(NotUnicode { name }: NotUnicode) -> Self {
        Self { name, fault: VariableFault::NotUnicode }
    }
}

/// Why the value of a variable cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableFault {
    /// Bytes that are no text.
    #[error("it is not valid UTF-8")]
    NotUnicode,
    /// More text than it could rightly hold.
    #[error("it has {found} bytes, more than the limit of {limit}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// White space alone.
    #[error("it has white space and nothing else")]
    Blank,
    /// A character that base64 has not.
    #[error("it is not base64: character {position} is none of A to Z, a to z, 0 to 9, + / and =")]
    Base64Character {
        /// Its place, counted from 1, white space included.
        position: usize,
    },
    /// A text of the right characters that is still not base64.
    #[error("it is not base64: its length is no multiple of 4, or its end is not as an encoder writes it")]
    Base64End,
    /// More bytes than it could rightly hold.
    #[error("it is the base64 of more than {limit} bytes")]
    TooManyBytes {
        /// The limit in bytes.
        limit: usize,
    },
    /// The private key, where everybody may look.
    #[error("it holds a private key, and a public key belongs there")]
    PrivateInPublic,
    /// Not a public key.
    #[error("it holds no public key of a KEK")]
    PublicKey(#[source] HybridPublicKeyError),
    /// Not a private key.
    #[error("it holds no private key of a KEK")]
    PrivateKey(#[source] HybridPrivateKeyError),
    /// Not a wrapped private key.
    #[error("it holds no wrapped private key")]
    Wrapped(#[source] ContainerError),
    /// Neither on nor off.
    #[error("it is neither 0 nor 1")]
    NotAFlag,
    /// Not a number, or one that is too small or too large.
    #[error("it is not a number from {min} to {max}")]
    NotANumber {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// None of the values that it may have.
    #[error("it is none of {}", known.join(", "))]
    NotOneOf {
        /// Those.
        known: &'static [&'static str],
    },
    /// A character that cannot be part of it.
    #[error("it has a control character in it")]
    ControlCharacter,
}

impl VariableFault {
    /// The error for the variable that has it.
    pub fn of(self, name: &str) -> VariableError {
        VariableError { name: name.to_owned(), fault: self }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotUnicode => "set it to a text".to_owned(),
            Self::TooLong { .. } | Self::TooManyBytes { .. } => {
                "check that it holds the right thing, once".to_owned()
            }
            Self::Blank => "set it, or unset it".to_owned(),
            Self::Base64Character { .. } | Self::Base64End => {
                "copy all of it again: standard base64 (RFC 4648, section 4) with its padding; white space and line \
                 breaks do not matter"
                    .to_owned()
            }
            Self::PrivateInPublic => "set the public key there. Where public settings are read, the private key may \
                                      have been seen: rotate the KEK if so"
                .to_owned(),
            Self::PublicKey(source) => return source.help(),
            Self::PrivateKey(source) => return source.help(),
            Self::Wrapped(source) => return source.help(),
            Self::NotAFlag => "write 1 for yes, or 0 or nothing for no".to_owned(),
            Self::NotANumber { .. } => "write it in decimal digits".to_owned(),
            Self::NotOneOf { .. } => "spell it like that, in lower case".to_owned(),
            Self::ControlCharacter => "check for a line break at its end".to_owned(),
        })
    }
}
