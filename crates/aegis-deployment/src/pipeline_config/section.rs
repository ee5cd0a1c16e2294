//! Reading a TOML table strictly: every key that is there has to be asked for, and every error knows its line.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigFault, PipelineConfigError};

/// The most bytes of a text.
const MAX_TEXT: usize = 4096;
/// The most entries of a list or table. The line of each is counted from the start of the file.
const MAX_ENTRIES: usize = 1000;

/// The file that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) line: usize,
    pub(super) key: String,
}

/// One table.
#[derive(Debug)]
pub(super) struct Section<'a> {
    source: Source<'a>,
    /// Such as `sink[2]`; empty for the outermost.
    name: String,
    line: usize,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// Keys under which people write secrets down.
const SECRETS: [&str; 17] = [
    "password",
    "passwd",
    "pass",
    "token",
    "bearer",
    "bearer_token",
    "secret",
    "api_key",
    "apikey",
    "authorization",
    "credentials",
    "header_value",
    "token_key",
    "nkey",
    "seed",
    "jwt",
    "client_key",
];

impl<'a> Source<'a> {
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }

    pub(super) fn error(&self, line: usize, key: &str, fault: ConfigFault) -> PipelineConfigError {
        let key = if key.is_empty() { "the file" } else { key };
        let key = key.chars().take(200).collect();
        PipelineConfigError::At { file: self.file.to_owned(), line, key, fault: Box::new(fault) }
    }

    /// Reads the outermost table.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, PipelineConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let line = error.span().map_or(1, |span| self.line_of(span.start));
            let reason = error.message().lines().next().unwrap_or_default().chars().take(200).collect();
            self.error(line, "", ConfigFault::Syntax { reason })
        })
    }
}

impl<T> At<T> {
    pub(super) fn map<U>(self, map: impl FnOnce(T) -> U) -> At<U> {
        At { value: map(self.value), line: self.line, key: self.key }
    }
}

impl<'a> Section<'a> {
    pub(super) fn new(source: Source<'a>, name: String, line: usize, table: &'a DeTable<'a>) -> Self {
        Self { source, name, line, table, asked: RefCell::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// An error about a key that need not be there.
    pub(super) fn error(&self, key: &str, fault: ConfigFault) -> PipelineConfigError {
        let found = self.table.iter().find(|(name, _)| name.get_ref() == key);
        let line = found.map_or(self.line, |(name, _)| self.source.line_of(name.span().start));
        self.source.error(line, &self.path(key), fault)
    }

    pub(super) fn error_at<T>(&self, at: &At<T>, fault: ConfigFault) -> PipelineConfigError {
        self.source.error(at.line, &at.key, fault)
    }

    /// An error about a key that was found before.
    pub(super) fn error_in(&self, line: usize, key: &str, fault: ConfigFault) -> PipelineConfigError {
        self.source.error(line, key, fault)
    }

    fn get(&self, key: &'static str) -> Option<At<&'a DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        let line = self.source.line_of(name.span().start);
        Some(At { value: value.get_ref(), line, key: self.path(key) })
    }

    fn wrong(&self, at: &At<&DeValue<'_>>, expected: &'static str) -> PipelineConfigError {
        self.error_at(at, ConfigFault::WrongType { found: at.value.type_str(), expected })
    }

    fn check_len<T>(&self, at: &At<T>, found: usize) -> Result<(), PipelineConfigError> {
        match found {
            0..=MAX_ENTRIES => Ok(()),
            found => Err(self.error_at(at, ConfigFault::TooMany { found, limit: MAX_ENTRIES })),
        }
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), PipelineConfigError> {
        let asked = self.asked.borrow();
        for (name, _) in self.table {
            let key = name.get_ref().as_ref();
            if asked.contains(&key) {
                continue;
            }
            let is_secret = SECRETS.iter().any(|secret| key.eq_ignore_ascii_case(secret));
            let fault = if is_secret {
                ConfigFault::LiteralSecret { instead: instead(&asked, key) }
            } else {
                ConfigFault::UnknownKey { nearest: nearest(&asked, key) }
            };
            return Err(self.error(key, fault));
        }
        Ok(())
    }

    pub(super) fn required<T>(&self, key: &str, found: Option<At<T>>) -> Result<At<T>, PipelineConfigError> {
        found.ok_or_else(|| self.error(key, ConfigFault::Missing))
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<At<String>>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let Some(text) = at.value.as_str() else { return Err(self.wrong(&at, "a text")) };
        if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(self.error_at(&at, ConfigFault::Text { max: MAX_TEXT }));
        }
        Ok(Some(at.map(|_| text.to_owned())))
    }

    pub(super) fn texts(&self, key: &'static str) -> Result<Option<At<Vec<String>>>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let Some(list) = at.value.as_array() else { return Err(self.wrong(&at, "a list of texts")) };
        self.check_len(&at, list.len())?;
        let mut texts = Vec::new();
        for item in list.iter() {
            let own = At {
                value: item.get_ref(),
                line: self.source.line_of(item.span().start),
                key: format!("{}[{}]", at.key, texts.len() + 1),
            };
            match own.value.as_str() {
                None => return Err(self.wrong(&own, "a text")),
                Some(text)
                    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) =>
                {
                    return Err(self.error_at(&own, ConfigFault::Text { max: MAX_TEXT }));
                }
                Some(text) => texts.push(text.to_owned()),
            }
        }
        if texts.is_empty() {
            return Err(self.error_at(&at, ConfigFault::Missing));
        }
        Ok(Some(at.map(|_| texts)))
    }

    /// A file or a directory; a relative one is beside the configuration.
    pub(super) fn file(&self, key: &'static str) -> Result<Option<At<PathBuf>>, PipelineConfigError> {
        let folder = self.source.file.parent().unwrap_or(Path::new(""));
        Ok(self.text(key)?.map(|at| at.map(|text| folder.join(text))))
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<Option<bool>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        at.value.as_bool().map(Some).ok_or_else(|| self.wrong(&at, "true or false"))
    }

    pub(super) fn number(
        &self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let Some(number) = at.value.as_integer() else { return Err(self.wrong(&at, "a number")) };
        let number =
            i128::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| u64::try_from(n).ok());
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.error_at(&at, ConfigFault::OutOfRange { min, max })),
        }
    }

    pub(super) fn count(
        &self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<usize>, PipelineConfigError> {
        Ok(self.number(key, min, max)?.and_then(|number| usize::try_from(number).ok()))
    }

    /// `"16MiB"`, or a number of bytes.
    pub(super) fn size(
        &self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let bytes = match (at.value.as_str(), at.value.as_integer()) {
            (Some(text), _) => bytes(text),
            (None, Some(number)) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            (None, None) => return Err(self.wrong(&at, "a size")),
        };
        match bytes.filter(|bytes| (min..=max).contains(bytes)) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(self.error_at(&at, ConfigFault::Size { min, max })),
        }
    }

    /// `"30s"`, not longer than a year.
    pub(super) fn duration(&self, key: &'static str) -> Result<Option<Duration>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let Some(text) = at.value.as_str() else { return Err(self.wrong(&at, "a time such as \"30s\"")) };
        match duration(text) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.error_at(&at, ConfigFault::Duration { min: "1ms", max: "365d" })),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        known: &'static [&'static str],
        values: &[T],
    ) -> Result<Option<At<T>>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let Some(word) = at.value.as_str() else { return Err(self.wrong(&at, "a word")) };
        let found = known.iter().zip(values).find(|(known, _)| **known == word);
        match found {
            Some((_, value)) => Ok(Some(at.map(|_| *value))),
            None => Err(self.error_at(&at, ConfigFault::NotOneOf { known })),
        }
    }

    pub(super) fn loopback(&self, key: &'static str) -> Result<Option<SocketAddr>, PipelineConfigError> {
        let Some(at) = self.text(key)? else { return Ok(None) };
        match at.value.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback()) {
            Some(address) => Ok(Some(address)),
            None => Err(self.error_at(&at, ConfigFault::NotLoopback)),
        }
    }

    /// Names of the writer's own choice, each with a text.
    pub(super) fn pairs(&self, key: &'static str) -> Result<Vec<At<(String, String)>>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(Vec::new()) };
        let Some(table) = at.value.as_table() else { return Err(self.wrong(&at, "a table of texts")) };
        self.check_len(&at, table.len())?;
        let mut pairs = Vec::new();
        for (name, value) in table {
            let name_text = name.get_ref().to_string();
            let own = At {
                value: value.get_ref(),
                line: self.source.line_of(name.span().start),
                key: format!("{}.{name_text}", at.key),
            };
            let Some(text) = own.value.as_str() else { return Err(self.wrong(&own, "a text")) };
            let text = text.to_owned();
            pairs.push(own.map(|_| (name_text, text)));
        }
        Ok(pairs)
    }

    pub(super) fn section(&self, key: &'static str) -> Result<Option<Section<'a>>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(None) };
        let Some(table) = at.value.as_table() else { return Err(self.wrong(&at, "a table")) };
        Ok(Some(Section::new(self.source, at.key, at.line, table)))
    }

    pub(super) fn sections(&self, key: &'static str) -> Result<Vec<Section<'a>>, PipelineConfigError> {
        let Some(at) = self.get(key) else { return Ok(Vec::new()) };
        let expected = "a list of tables, each begun with [[…]]";
        let Some(list) = at.value.as_array() else { return Err(self.wrong(&at, expected)) };
        self.check_len(&at, list.len())?;
        let mut sections = Vec::new();
        for item in list.iter() {
            let line = self.source.line_of(item.span().start);
            let own = At { value: item.get_ref(), line, key: format!("{}[{}]", at.key, sections.len() + 1) };
            let Some(table) = own.value.as_table() else { return Err(self.wrong(&own, "a table")) };
            sections.push(Section::new(self.source, own.key, line, table));
        }
        Ok(sections)
    }
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let millis: u64 = number.checked_mul(millis)?;
    (1..=365 * 86_400_000).contains(&millis).then(|| Duration::from_millis(millis))
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

/// The keys that this section has for secrets.
fn instead(asked: &[&'static str], key: &str) -> &'static str {
    let wants = |start: &str| asked.iter().any(|asked| asked.starts_with(start));
    match key.to_ascii_lowercase().as_str() {
        "token" | "bearer" | "bearer_token" if wants("bearer_") => "bearer_variable or bearer_file",
        "header_value" | "api_key" | "apikey" if wants("header_value_") => {
            "header_name and header_value_variable or header_value_file"
        }
        "token" | "bearer" | "bearer_token" if wants("token_") => "token_variable or token_file",
        "authorization" | "secret" | "credentials" if wants("bearer_") => "bearer_variable or bearer_file",
        "token_key" if wants("token_key_") => "token_key_variable or token_key_file",
        "nkey" | "seed" if wants("nkey_") => "nkey_variable or nkey_file",
        "jwt" | "credentials" if wants("credentials_") => "credentials_file",
        "client_key" if wants("client_key_") => "client_key_file",
        _ => "password_variable or password_file",
    }
}

/// The key that is spelled most alike, if one is.
fn nearest(asked: &[&'static str], key: &str) -> Option<&'static str> {
    if key.len() > 64 {
        return None;
    }
    let scored = asked.iter().map(|known| (distance(known, key), *known));
    scored.filter(|(distance, known)| *distance <= 2.max(known.len() / 3)).min().map(|(_, known)| known)
}

/// Levenshtein's, in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.bytes().enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        for (right, cell) in other.bytes().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *cell;
            before = replaced.min(before + 1).min(diagonal + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        let sizes = [("0", Some(0)), ("17", Some(17)), ("64KiB", Some(65_536)), ("1 GiB", Some(1 << 30))];
        for (text, wanted) in sizes {
            assert_eq!(bytes(text), wanted, "{text}");
        }
        for text in ["", "MiB", "1kb", "1MB", "-1", "1.5MiB", "99999999999999999999", "99999999TiB"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("12h"), Some(Duration::from_secs(43_200)));
        for text in ["", "s", "5", "0s", "-1s", "1.5s", "366d", "1w", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_distance_of_two_words_is_known() {
        for (one, other, wanted) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("path", "paht", 2)]
        {
            assert_eq!(distance(one, other), wanted, "{one} {other}");
            assert_eq!(distance(other, one), wanted, "{other} {one}");
        }
    }
}
