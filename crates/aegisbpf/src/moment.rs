//! Points in time as people type them on the command line.

use jiff::{SignedDuration, Timestamp};

/// A point in time of the past: RFC 3339, a UTC date, or how long ago (`90s`, `30m`, `12h`, `7d`, `2w`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    At(Timestamp),
    Ago(SignedDuration),
}

impl Moment {
    /// The time meant, when it is `now`. `None` if it lies before any time that can be written.
    pub(crate) fn resolve(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::Ago(span) => now.checked_sub(span).ok(),
        }
    }
}

/// Parses a [`Moment`]; the message says what would be right.
pub(crate) fn parse_moment(text: &str) -> Result<Moment, String> {
    let wrong =
        || "expected RFC 3339 (2026-01-31T12:00:00Z), a UTC date (2026-01-31) or an age (12h, 7d)".to_owned();
    if let Some((unit_at, unit)) = text.char_indices().next_back()
        && let Some(seconds) = seconds_in(unit)
        && let Some(digits) = text.get(..unit_at)
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        let span =
            digits.parse::<i64>().ok().and_then(|count| count.checked_mul(seconds)).ok_or_else(wrong)?;
        return Ok(Moment::Ago(SignedDuration::from_secs(span)));
    }
    if text.len() == "2026-01-31".len() {
        return format!("{text}T00:00:00Z").parse().map(Moment::At).map_err(|_| wrong());
    }
    text.parse().map(Moment::At).map_err(|_| wrong())
}

fn seconds_in(unit: char) -> Option<i64> {
    match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        'w' => Some(604_800),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_dates_and_ages() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let cases = [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("90s", "2026-03-01T11:58:30Z"),
            ("12h", "2026-03-01T00:00:00Z"),
            ("7d", "2026-02-22T12:00:00Z"),
            ("2w", "2026-02-15T12:00:00Z"),
        ];
        for (text, expected) in cases {
            let time = parse_moment(text).unwrap().resolve(now).unwrap();
            assert_eq!(time, expected.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_neither() {
        let cases = [
            "",
            "d",
            "-7d",
            "+7d",
            "7",
            "7y",
            "1.5h",
            "yesterday",
            "2026-02-30",
            "2026-01-31T12:00:00",
            "99999999999999999999d",
            "9223372036854775807w",
            "７d",
            "é",
        ];
        for text in cases {
            assert!(parse_moment(text).is_err(), "{text}");
        }
        let huge = parse_moment("9223372036854775807s").unwrap();
        assert_eq!(huge.resolve(Timestamp::UNIX_EPOCH), None);
    }
}
