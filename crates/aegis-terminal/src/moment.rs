//! Points in time as people type them on the command line.

use jiff::{SignedDuration, Timestamp};

/// A point in time of the past: RFC 3339, a UTC date, or how long ago (`90s`, `30m`, `12h`, `7d`, `2w`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// That time.
    At(Timestamp),
    /// So long before now.
    Ago(SignedDuration),
}

impl Moment {
    /// The time meant, when it is `now`. `None` if it lies before any time that can be written.
    pub fn resolve(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(time),
            Self::Ago(span) => now.checked_sub(span).ok(),
        }
    }
}

/// Parses a [`Moment`]; the message says what would be right.
///
/// # Errors
///
/// The text is none of the three.
pub fn parse_moment(text: &str) -> Result<Moment, String> {
    let wrong =
        || "expected RFC 3339 (2026-01-31T12:00:00Z), a UTC date (2026-01-31) or an age (12h, 7d)".to_owned();
    if let Some(span) = span(text) {
        return span.map(Moment::Ago).ok_or_else(wrong);
    }
    if text.len() == "2026-01-31".len() {
        return format!("{text}T00:00:00Z").parse().map(Moment::At).map_err(|_| wrong());
    }
    text.parse().map(Moment::At).map_err(|_| wrong())
}

/// Parses a length of time: a number and `s`, `m`, `h`, `d` or `w`. The message says what would be right.
///
/// # Errors
///
/// The text is something else, or longer than can be counted.
pub fn parse_span(text: &str) -> Result<SignedDuration, String> {
    span(text).flatten().ok_or_else(|| "expected a length of time, such as 90s, 12h, 7d or 2w".to_owned())
}

/// `None` if it is no number with a unit; `Some(None)` if it is one that is too large.
fn span(text: &str) -> Option<Option<SignedDuration>> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let seconds = seconds_in(unit)?;
    let digits = text.get(..unit_at)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(
        digits
            .parse::<i64>()
            .ok()
            .and_then(|count| count.checked_mul(seconds))
            .map(SignedDuration::from_secs),
    )
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
