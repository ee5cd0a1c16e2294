//! Secrets that a configuration names: a variable, or a file that only its owner can read. Never a value.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aegis_kek::{SecretText, Variables};
use zeroize::Zeroizing;

use super::error::{ConfigFault, PipelineConfigError};
use super::section::Section;

/// The most bytes of a secret.
const MAX_LEN: usize = 16 * 1024;

/// The keys of one secret.
pub(super) struct Keys {
    pub(super) variable: &'static str,
    pub(super) file: &'static str,
}

pub(super) const BEARER: Keys = Keys { variable: "bearer_variable", file: "bearer_file" };
pub(super) const PASSWORD: Keys = Keys { variable: "password_variable", file: "password_file" };
pub(super) const HEADER: Keys = Keys { variable: "header_value_variable", file: "header_value_file" };
pub(super) const TOKEN: Keys = Keys { variable: "token_variable", file: "token_file" };

/// Reads the secret that one of the two keys names.
pub(super) fn read(
    section: &Section<'_>,
    keys: &Keys,
    variables: &Variables,
) -> Result<Option<SecretText>, PipelineConfigError> {
    let (variable, file) = (section.text(keys.variable)?, section.file(keys.file)?);
    match (variable, file) {
        (None, None) => Ok(None),
        (Some(at), Some(_)) => Err(section.error_at(&at, ConfigFault::Excludes { other: keys.file })),
        (Some(at), None) => {
            let read = of_variable(&at.value, variables);
            read.map(Some).map_err(|fault| section.error_at(&at, fault))
        }
        (None, Some(at)) => of_file(&at.value).map(Some).map_err(|fault| section.error_at(&at, fault)),
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
    let bytes = aegis_durable::read_bounded(path, MAX_LEN as u64).map_err(ConfigFault::SecretFile)?;
    let bytes = Zeroizing::new(bytes);
    // What was read is what was looked at, unless somebody who may write there changes it in between: then it is theirs.
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.mode() & 0o077 != 0
    {
        return Err(ConfigFault::SecretFileMode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    line(&bytes).ok_or_else(|| ConfigFault::BadSecretFile { path: path.to_owned() })
}

/// One line of text, with or without its end.
fn line(bytes: &[u8]) -> Option<SecretText> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let is_good = !text.trim().is_empty() && text.len() <= MAX_LEN && !text.chars().any(char::is_control);
    is_good.then(|| SecretText::new(text))
}
