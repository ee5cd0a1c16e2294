//! Times of events: RFC 3339, UTC, three digits after the second, as the audit log has them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer};

/// The one spelling of a time.
pub(super) fn print(time: Timestamp) -> String {
    format!("{:.3}", to_millisecond(time))
}

/// Drops what is finer than a millisecond, so that an event and what is read back are equal.
pub(super) fn to_millisecond(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&print(*time))
}

/// Takes any RFC 3339: a file that other tools have touched is as good.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Timestamp::deserialize(deserializer).map(to_millisecond)
}
