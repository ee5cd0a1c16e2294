//! Times in the log: RFC 3339, UTC, always three digits after the second (`2026-01-01T00:00:00.000Z`).

use std::fmt;

use jiff::Timestamp;
use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

/// Drops what is finer than a millisecond, so that an event and the entry read back are equal.
pub(crate) fn to_millisecond(time: Timestamp) -> Timestamp {
    // The last second that can be represented has no milliseconds.
    Timestamp::from_millisecond(time.as_millisecond())
        .or_else(|_| Timestamp::from_second(time.as_second()))
        .unwrap_or(time)
}

/// The one spelling of a time.
pub(crate) fn print(time: Timestamp) -> String {
    format!("{:.3}", to_millisecond(time))
}

/// Reads a time in that spelling only.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (print(time) == text).then_some(time)
}

pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*time))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    struct Stamp;
    impl Visitor<'_> for Stamp {
        type Value = Timestamp;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a UTC time such as 2026-01-01T00:00:00.000Z")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
            parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(Stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_one_spelling() {
        for text in ["2026-01-01T00:00:00.000Z", "1970-01-01T00:00:00.001Z", "1969-12-31T23:59:59.999Z"] {
            assert_eq!(print(parse(text).unwrap()), text);
        }
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.0000Z",
            "2026-01-01T00:00:00.000+00:00",
            "2026-01-01 00:00:00.000Z",
            "2026-01-01t00:00:00.000z",
            "2026-02-30T00:00:00.000Z",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_time_there_is_reads_back() {
        for time in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let kept = to_millisecond(time);
            assert_eq!(parse(&print(time)), Some(kept));
        }
    }
}
