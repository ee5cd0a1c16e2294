//! DEKs, as they come from whoever keeps them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aegis_crypto::{HybridPrivateKey, HybridPublicKey};
use jiff::civil::Date;

/// The text by which an event names its DEK: `dek-v1-YYYYMMDD`, or `dek-v1-YYYYMMDD-N` with N from 2 to 9,999,999.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DekName(Box<str>);

impl DekName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is a name.
    pub(crate) fn is_well_formed(text: &[u8]) -> bool {
        let Some((date, number)) =
            text.strip_prefix(b"dek-v1-").and_then(|rest| rest.split_first_chunk::<8>())
        else {
            return false;
        };
        is_date(date) && (number.is_empty() || is_number(number))
    }
}

impl fmt::Display for DekName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DekName {
    type Err = DekNameError;

    fn from_str(text: &str) -> Result<Self, DekNameError> {
        if Self::is_well_formed(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            Err(DekNameError { found: text.chars().take(64).collect() })
        }
    }
}

/// A text that names no DEK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a DEK version such as dek-v1-20260131 or dek-v1-20260131-2")]
pub struct DekNameError {
    /// The text, at most 64 characters of it.
    pub found: String,
}

/// The public half of a DEK, which seals, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealingDek {
    /// The key.
    pub public_key: HybridPublicKey,
    /// Its name.
    pub name: DekName,
}

/// Knows which DEK seals now. Asked for every event that has something to seal, so it answers from memory.
pub trait SealingDekSource: Send + Sync {
    /// The active DEK. While it stays the same, the same `Arc` is best: it is compared first by address.
    ///
    /// # Errors
    ///
    /// [`DekUnavailable`], and the event is not sealed and goes nowhere.
    fn active(&self) -> Result<Arc<SealingDek>, DekUnavailable>;
}

impl SealingDekSource for Arc<SealingDek> {
    fn active(&self) -> Result<Arc<SealingDek>, DekUnavailable> {
        Ok(Self::clone(self))
    }
}

/// Knows the private halves of DEKs. Asked when a version is first met, and again after
/// [`forget`](crate::PiiDecryptor::forget).
pub trait OpeningDekSource: Send + Sync {
    /// The private half of this DEK.
    ///
    /// # Errors
    ///
    /// [`DekUnavailable`].
    fn private_key(&self, name: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable>;
}

/// One key that opens whatever version is named: for events that were sealed to a KEK, or to a single DEK, itself.
impl OpeningDekSource for Arc<HybridPrivateKey> {
    fn private_key(&self, _: &DekName) -> Result<Arc<HybridPrivateKey>, DekUnavailable> {
        Ok(Self::clone(self))
    }
}

/// Why there is no DEK. What is behind it, the source itself logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DekUnavailable {
    /// No DEK of this name, or no active one.
    #[error("the keyring has no such DEK")]
    Unknown,
    /// It is retired, and is given only to those who ask for it by name.
    #[error("the DEK is retired")]
    Retired,
    /// Its private half was erased. What was sealed with it stays sealed.
    #[error("the DEK is destroyed")]
    Destroyed,
    /// The caller may not have it.
    #[error("the DEK is not for this reader")]
    Denied,
    /// No answer; trying again may help.
    #[error("the keyring gave no answer")]
    Unreachable,
}

impl DekUnavailable {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Unknown => "`aegis dek list` shows those that this keyring has".to_owned(),
            Self::Retired => "name the version, if its events have to be read".to_owned(),
            Self::Destroyed => return None,
            Self::Denied => "ask whoever grants rights to fields".to_owned(),
            Self::Unreachable => "check that the keyring can be reached, then try again".to_owned(),
        })
    }
}

fn is_date(digits: &[u8; 8]) -> bool {
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let number = digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let part = |value: u32| i8::try_from(value).ok();
    let date = || {
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        Date::new(i16::try_from(year).ok()?, part(month)?, part(day)?).ok()
    };
    date().is_some()
}

/// `-2` to `-9999999`.
fn is_number(text: &[u8]) -> bool {
    match text {
        [b'-', first @ b'1'..=b'9', rest @ ..] => {
            rest.len() <= 6 && rest.iter().all(u8::is_ascii_digit) && (*first > b'1' || !rest.is_empty())
        }
        _ => false,
    }
}
