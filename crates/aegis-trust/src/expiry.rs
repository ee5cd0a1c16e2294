//! Until when a bundle may be applied, as people type it.

use jiff::{SignedDuration, Timestamp};

use crate::{counter::strict_decimal, manifest::truncate_to_seconds};

/// Why a text is not a time at which something may expire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryError {
    /// None of the spellings.
    #[error("{text:?} is not a time of expiry")]
    Spelling {
        /// What was typed, cut short if it is long.
        text: String,
    },
    /// Later than any time that can be written.
    #[error("{text} from now is after the year 9999")]
    TooFar {
        /// What was typed.
        text: String,
    },
    /// It would have expired before it was signed.
    #[error("{expires_at} is not in the future; it is now {}", truncate_to_seconds(*now))]
    Past {
        /// The time meant.
        expires_at: Timestamp,
        /// Now.
        now: Timestamp,
    },
}

impl ExpiryError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Spelling { .. } => {
                    "give a span (90d; units s, m, h, d, w), a UTC date (2027-01-31), RFC 3339 (2027-01-31T12:00:00Z), Unix seconds, or never"
                }
                Self::TooFar { .. } => "give a shorter span, or `never`",
                Self::Past { .. } => "give a time in the future",
            }
            .to_owned(),
        )
    }
}

/// Reads a time of expiry; `None` is never.
///
/// | text | meaning |
/// |---|---|
/// | `90d`, `12h`, `30m`, `45s`, `2w` | so long after `now` |
/// | `2027-01-31` | when that day begins in UTC |
/// | `2027-01-31T12:00:00Z`, `…+02:00` | that time (RFC 3339, whole seconds) |
/// | `1893456000` | Unix seconds, ten digits |
/// | `never`, `0` | it does not expire |
///
/// # Errors
///
/// [`ExpiryError`] for any other spelling, for times beyond the year 9999 and for times that are not after `now`.
pub fn parse_expiry(text: &str, now: Timestamp) -> Result<Option<Timestamp>, ExpiryError> {
    if matches!(text, "never" | "0") {
        return Ok(None);
    }
    let expires_at = match span(text) {
        Some(seconds) => seconds
            .and_then(|seconds| truncate_to_seconds(now).checked_add(SignedDuration::from_secs(seconds)).ok())
            .ok_or_else(|| ExpiryError::TooFar { text: shortened(text) })?,
        None => point(text).ok_or_else(|| ExpiryError::Spelling { text: shortened(text) })?,
    };
    if expires_at <= now {
        return Err(ExpiryError::Past { expires_at, now });
    }
    Ok(Some(expires_at))
}

/// `Some` if it is digits and a unit; the seconds, unless there are too many.
fn span(text: &str) -> Option<Option<i64>> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count = text.get(..unit_at)?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(count.parse::<i64>().ok().and_then(|count| count.checked_mul(seconds)))
}

fn point(text: &str) -> Option<Timestamp> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = (text.len() == 10).then(|| strict_decimal(text))??;
        return Timestamp::from_second(i64::try_from(seconds).ok()?).ok();
    }
    // The parsers below take more spellings than RFC 3339 has, so the shape is checked first.
    let shape: String = text.chars().map(|char| if char.is_ascii_digit() { '9' } else { char }).collect();
    match shape.as_str() {
        "9999-99-99" => format!("{text}T00:00:00Z").parse().ok(),
        "9999-99-99T99:99:99Z" | "9999-99-99T99:99:99+99:99" | "9999-99-99T99:99:99-99:99" => {
            text.parse().ok()
        }
        _ => None,
    }
}

/// What a message repeats of a text that may be long.
fn shortened(text: &str) -> String {
    const LEN: usize = 40;
    let mut short: String = text.chars().take(LEN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00.75Z".parse().unwrap()
    }

    #[test]
    fn reads_spans_dates_times_and_never() {
        let cases = [
            ("90d", Some("2026-05-30T12:00:00Z")),
            ("12h", Some("2026-03-02T00:00:00Z")),
            ("30m", Some("2026-03-01T12:30:00Z")),
            ("45s", Some("2026-03-01T12:00:45Z")),
            ("2w", Some("2026-03-15T12:00:00Z")),
            ("090d", Some("2026-05-30T12:00:00Z")),
            ("2027-01-31", Some("2027-01-31T00:00:00Z")),
            ("2028-02-29", Some("2028-02-29T00:00:00Z")),
            ("2027-01-31T12:00:00Z", Some("2027-01-31T12:00:00Z")),
            ("2027-01-31T12:00:00+02:00", Some("2027-01-31T10:00:00Z")),
            ("2027-01-31T12:00:00-01:30", Some("2027-01-31T13:30:00Z")),
            ("1893456000", Some("2030-01-01T00:00:00Z")),
            ("9999999999", Some("2286-11-20T17:46:39Z")),
            ("never", None),
            ("0", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|time| time.parse::<Timestamp>().unwrap());
            assert_eq!(parse_expiry(text, now()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_every_other_spelling() {
        let cases = [
            "",
            " ",
            "d",
            "-7d",
            "+7d",
            "7",
            "7y",
            "7M",
            "7D",
            "1.5h",
            "1e3s",
            "1d12h",
            "90 d",
            " 90d",
            "90d ",
            "90d\n",
            "tomorrow",
            "Never",
            "NEVER",
            "00",
            "-0",
            "2027-02-29",
            "2027-13-01",
            "2027-1-31",
            "27-01-31",
            "20270131",
            "2027-01-31T12:00:00",
            "2027-01-31 12:00:00Z",
            "2027-01-31t12:00:00z",
            "2027-01-31T12:00:00.5Z",
            "2027-01-31T12:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T12:61:00Z",
            "2027-01-31T12:00:00+0200",
            "2027-01-31T12:00:00Z[UTC]",
            "2027-01-31T12:00:00+99:00",
            "0893456000",
            "189345600",
            "18934560000",
            "-893456000",
            "+893456000",
            "７d",
            "é",
            "9é",
            "\u{feff}90d",
            "90d\0",
            "+002027-01-31",
        ];
        for text in cases {
            assert!(matches!(parse_expiry(text, now()), Err(ExpiryError::Spelling { .. })), "{text:?}");
        }
    }

    #[test]
    fn refuses_spans_that_overflow() {
        for text in ["9223372036854775807s", "9223372036854775807w", "99999999999999999999d", "4000000d"] {
            assert!(matches!(parse_expiry(text, now()), Err(ExpiryError::TooFar { .. })), "{text}");
        }
        let long = "9".repeat(100_000) + "d";
        let message = parse_expiry(&long, now()).unwrap_err().to_string();
        assert!(message.len() < 100, "{message}");
    }

    #[test]
    fn refuses_the_past_and_says_what_time_it_is() {
        for text in ["0d", "0s", "2026-03-01", "2026-03-01T12:00:00Z", "1000000000", "1970-01-01"] {
            let error = parse_expiry(text, now()).unwrap_err();
            assert!(matches!(error, ExpiryError::Past { .. }), "{text}");
            assert!(error.to_string().ends_with("it is now 2026-03-01T12:00:00Z"), "{error}");
        }
    }
}
