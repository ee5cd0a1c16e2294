//! The name of a DEK, as events carry it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A DEK's version: `dek-v1-YYYYMMDD`, the UTC date on which it was made; a second one of a day is `dek-v1-YYYYMMDD-2`,
/// and so on. Unique in a keyring, whatever the scope, because events carry nothing else.
///
/// Ordered by date, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DekVersion {
    date: Date,
    number: u32,
}

impl DekVersion {
    /// The most versions of one day.
    pub const MAX_NUMBER: u32 = 9_999_999;

    /// The first version of the day of `time`.
    pub fn first_of(time: Timestamp) -> Self {
        Self { date: TimeZone::UTC.to_datetime(time).date(), number: 1 }
    }

    /// The next one of the same day; `None` after [`MAX_NUMBER`](Self::MAX_NUMBER).
    pub fn next(self) -> Option<Self> {
        let number = self.number.checked_add(1).filter(|number| *number <= Self::MAX_NUMBER)?;
        Some(Self { date: self.date, number })
    }

    /// The UTC date in the name.
    pub const fn date(self) -> Date {
        self.date
    }

    /// Which one of that day, from 1.
    pub const fn number(self) -> u32 {
        self.number
    }
}

impl fmt::Display for DekVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = (self.date.year(), self.date.month(), self.date.day());
        write!(f, "dek-v1-{year:04}{month:02}{day:02}")?;
        if self.number > 1 { write!(f, "-{}", self.number) } else { Ok(()) }
    }
}

impl FromStr for DekVersion {
    type Err = DekVersionError;

    fn from_str(text: &str) -> Result<Self, DekVersionError> {
        let parse = || {
            let rest = text.strip_prefix("dek-v1-")?;
            let (date, number) = match rest.split_once('-') {
                Some((date, number)) => (date, number.parse::<u32>().ok()?),
                None => (rest, 1),
            };
            let (year, month_day) = date.split_at_checked(4)?;
            let (month, day) = month_day.split_at_checked(2)?;
            let date = Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
            // One version, one spelling.
            Some(Self { date, number })
                .filter(|version| (1..=Self::MAX_NUMBER).contains(&number) && version.to_string() == text)
        };
        parse().ok_or_else(|| DekVersionError { found: text.chars().take(64).collect() })
    }
}

/// A text that names no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a DEK version such as dek-v1-20260131 or dek-v1-20260131-2")]
pub struct DekVersionError {
    /// The text, at most 64 characters of it.
    pub found: String,
}
