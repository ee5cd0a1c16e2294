//! Secrets that a configuration names: a variable, or a file that only its owner can read. Never a value.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aegis_kek::{SecretText, Variables};
use zeroize::Zeroizing;

use super::error::{ConfigFault, PipelineConfigError};
use super::section::{At, Section};

/// The most bytes of a secret.
const MAX_LEN: usize = 16 * 1024;

/// The keys of one secret.
pub(super) struct Keys {
    pub(super) variable: &'static str,
    pub(super) file: &'static str,
    both: &'static str,
}

impl Keys {
    /// What is wrong where neither of them is.
    pub(super) const fn needed(&self) -> ConfigFault {
        ConfigFault::Needs { other: self.both }
    }
}

macro_rules! keys {
    ($name:literal) => {
        Keys {
            variable: concat!($name, "_variable"),
            file: concat!($name, "_file"),
            both: concat!($name, "_variable or ", $name, "_file"),
        }
    };
}

pub(super) const BEARER: Keys = keys!("bearer");
pub(super) const PASSWORD: Keys = keys!("password");
pub(super) const HEADER: Keys = keys!("header_value");
pub(super) const TOKEN: Keys = keys!("token");
pub(super) const NKEY: Keys = keys!("nkey");
pub(super) const TOKEN_KEY: Keys = keys!("token_key");

/// Reads the secret that one of the two keys names.
pub(super) fn read(
    section: &Section<'_>,
    keys: &Keys,
    variables: &Variables,
) -> Result<Option<SecretText>, PipelineConfigError> {
    Ok(read_at(section, keys, variables)?.map(|at| at.value))
}

/// The same, with the place of the key.
pub(super) fn read_at(
    section: &Section<'_>,
    keys: &Keys,
    variables: &Variables,
) -> Result<Option<At<SecretText>>, PipelineConfigError> {
    let (variable, file) = (section.text(keys.variable)?, section.file(keys.file)?);
    match (variable, file) {
        (None, None) => Ok(None),
        (Some(at), Some(_)) => Err(section.error_at(&at, ConfigFault::Excludes { other: keys.file })),
        (Some(at), None) => {
            let secret = of_variable(&at.value, variables).map_err(|fault| section.error_at(&at, fault))?;
            Ok(Some(at.map(|_| secret)))
        }
        (None, Some(at)) => {
            let secret = of_file(&at.value).map_err(|fault| section.error_at(&at, fault))?;
            Ok(Some(at.map(|_| secret)))
        }
    }
}

fn of_variable(name: &str, variables: &Variables) -> Result<SecretText, ConfigFault> {
    let is_name = name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if !is_name {
        return Err(ConfigFault::NotAVariable);
    }
    let bad = || ConfigFault::BadVariable { name: name.to_owned() };
    let value = variables.get(name).map_err(|_| bad())?;
    let value = value.ok_or_else(|| ConfigFault::VariableNotSet { name: name.to_owned() })?;
    line(value.expose().as_bytes()).ok_or_else(bad)
}

fn of_file(path: &Path) -> Result<SecretText, ConfigFault> {
    line(&private(path)?).ok_or_else(|| ConfigFault::BadSecretFile { path: path.to_owned() })
}

/// The bytes of a file that only its owner can read.
pub(super) fn private(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigFault> {
    let bytes = aegis_durable::read_bounded(path, MAX_LEN as u64).map_err(ConfigFault::SecretFile)?;
    let bytes = Zeroizing::new(bytes);
    // What was read is what was looked at, unless somebody who may write there changes it in between: then it is theirs.
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.mode() & 0o077 != 0
    {
        return Err(ConfigFault::SecretFileMode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    Ok(bytes)
}

/// One line of text, with or without its end.
fn line(bytes: &[u8]) -> Option<SecretText> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let is_good = !text.trim().is_empty() && text.len() <= MAX_LEN && !text.chars().any(char::is_control);
    is_good.then(|| SecretText::new(text))
}
