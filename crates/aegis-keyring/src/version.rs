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

    /// The first version of the day of `time`. A clock before the year 0 counts as its first day: no name has a sign.
    pub fn first_of(time: Timestamp) -> Self {
        let date = TimeZone::UTC.to_datetime(time).date().max(Date::constant(0, 1, 1));
        Self { date, number: 1 }
    }

    /// The next one of the same day; `None` after [`MAX_NUMBER`](Self::MAX_NUMBER).
    pub fn next(self) -> Option<Self> {
        let number = self.number.checked_add(1).filter(|number| *number <= Self::MAX_NUMBER)?;
        Some(Self { date: self.date, number })
    }

    /// The version as a number that orders as versions do: YYYYMMDD × 10⁷ + number. Below 10¹⁵.
    pub fn to_ordinal(self) -> i64 {
        let day = i64::from(self.date.year()) * 10_000
            + i64::from(self.date.month()) * 100
            + i64::from(self.date.day());
        day * ORDINALS_A_DAY + i64::from(self.number)
    }

    /// The version that has this number; `None` if none has.
    pub fn from_ordinal(ordinal: i64) -> Option<Self> {
        let number = u32::try_from(ordinal.checked_rem_euclid(ORDINALS_A_DAY)?).ok()?;
        let day = ordinal.div_euclid(ORDINALS_A_DAY);
        let part = |number: i64| i8::try_from(number).ok();
        let year = i16::try_from(day.div_euclid(10_000)).ok().filter(|year| *year >= 0)?;
        let date = Date::new(year, part(day.rem_euclid(10_000) / 100)?, part(day.rem_euclid(100))?).ok()?;
        (1..=Self::MAX_NUMBER).contains(&number).then_some(Self { date, number })
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

/// One more than the most versions of a day.
const ORDINALS_A_DAY: i64 = DekVersion::MAX_NUMBER as i64 + 1;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinals_are_dates_and_numbers() {
        let cases = [
            ("dek-v1-20260131", 202_601_310_000_001),
            ("dek-v1-20260131-2", 202_601_310_000_002),
            ("dek-v1-99991231-9999999", 999_912_319_999_999),
            ("dek-v1-00000101", 1_010_000_001),
        ];
        for (text, ordinal) in cases {
            let version: DekVersion = text.parse().unwrap();
            assert_eq!(version.to_ordinal(), ordinal, "{text}");
            assert_eq!(DekVersion::from_ordinal(ordinal), Some(version), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_no_ordinals_are_refused() {
        let never = [
            0,
            -1,
            i64::MIN,
            i64::MAX,
            202_601_310_000_000,
            202_602_300_000_001,
            202_613_010_000_001,
            202_600_010_000_001,
            1_000_001_010_000_001,
            -202_601_310_000_001,
        ];
        for ordinal in never {
            assert_eq!(DekVersion::from_ordinal(ordinal), None, "{ordinal}");
        }
    }

    #[test]
    fn a_clock_before_the_year_0_gives_no_version_with_a_sign() {
        let version = DekVersion::first_of(Timestamp::MIN);
        assert_eq!(version.to_string(), "dek-v1-00000101");
        assert_eq!(DekVersion::from_ordinal(version.to_ordinal()), Some(version));
    }

    proptest! {
        #[test]
        fn ordinals_order_as_versions_do(a in any::<i64>(), b in 1_i64..1_000_000_000_000_000) {
            let versions = (DekVersion::from_ordinal(a), DekVersion::from_ordinal(b));
            if let Some(version) = versions.1 {
                prop_assert_eq!(version.to_ordinal(), b);
                prop_assert_eq!(version.to_string().parse(), Ok(version));
            }
            if let (Some(first), Some(second)) = versions {
                prop_assert_eq!(first.cmp(&second), a.cmp(&b));
            }
        }
    }
}
