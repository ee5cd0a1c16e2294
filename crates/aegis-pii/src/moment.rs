//! Time, as it is handed in and as envelopes carry it.

use std::time::Instant;

use jiff::Timestamp;
use jiff::civil::{Date, Time};

/// When an event is sealed, by both clocks. Tests and replays make their own.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the clock that never goes back, for the age of sender contexts.
    pub monotonic: Instant,
    /// By the calendar, for `_encrypted_at`.
    pub wall: Timestamp,
}

impl Moment {
    /// Now, by the clocks of the system.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: Timestamp::now() }
    }
}

/// The clock stands outside the years 0 to 9999, which RFC 3339 can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock shows {wall}, which no envelope can carry")]
pub struct ClockError {
    /// What it shows.
    pub wall: Timestamp,
}

/// The text of a moment in whole seconds, made once a second.
#[derive(Debug, Default)]
pub(crate) struct SecondText {
    second: Option<i64>,
    text: String,
}

impl SecondText {
    /// Sets the text: `2026-01-01T00:00:00Z`. Whether it changed.
    pub(crate) fn set(&mut self, wall: Timestamp) -> Result<bool, ClockError> {
        // Towards the past, also before 1970.
        let second = wall.as_second() - i64::from(wall.subsec_nanosecond() < 0);
        if self.second == Some(second) {
            return Ok(false);
        }
        let text = Timestamp::from_second(second).map_err(|_| ClockError { wall })?.to_string();
        if !is_well_formed_time(text.as_bytes()) {
            return Err(ClockError { wall });
        }
        (self.second, self.text) = (Some(second), text);
        Ok(true)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether a text is a UTC time of RFC 3339 §5.6: `2026-01-01T00:00:00Z`, with up to nine decimals of a second.
pub(crate) fn is_well_formed_time(text: &[u8]) -> bool {
    let Some((seconds, fraction)) = text.split_first_chunk::<19>() else { return false };
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] = seconds
    else {
        return false;
    };
    let number = |digits: [u8; 2]| {
        let is_number = digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| digits.iter().fold(0_u8, |number, digit| number * 10 + (digit - b'0')))
    };
    let is_real = || {
        let year = i16::from(number([y1, y2])?) * 100 + i16::from(number([y3, y4])?);
        let part = |digits| i8::try_from(number(digits)?).ok();
        Date::new(year, part([m1, m2])?, part([d1, d2])?).ok()?;
        Time::new(part([h1, h2])?, part([n1, n2])?, part([s1, s2])?, 0).ok()
    };
    is_real().is_some() && is_fraction(fraction)
}

/// `Z`, or a point, one to nine digits and `Z`.
fn is_fraction(text: &[u8]) -> bool {
    match text {
        [b'Z'] => true,
        [b'.', digits @ .., b'Z'] => (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
