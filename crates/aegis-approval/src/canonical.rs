//! JSON in its one canonical spelling (RFC 8785), as far as it is needed: objects, arrays, strings, whole numbers.

use jiff::Timestamp;
use serde_json::Value;

/// Writes a value in canonical form.
///
/// All member names are ASCII, so that the order of their bytes is the order of RFC 8785; numbers are whole and below
/// 2⁵³; strings are escaped by serde_json as RFC 8785 §3.2.2.2 asks.
pub(crate) fn to_text(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

fn write(text: &mut String, value: &Value) {
    let list = |text: &mut String, values: &[Value]| {
        text.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            write(text, value);
        }
        text.push(']');
    };
    match value {
        Value::Array(values) => list(text, values),
        Value::Object(members) => {
            // Not in the order of the map: that depends on a feature of the library.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_bytes());
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, &Value::String(name.clone()));
                text.push(':');
                write(text, value);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

/// Cuts a time to the second, as all times of approvals are kept.
pub(crate) fn to_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Reads a time in its one spelling, `2026-01-01T00:00:00Z`.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (time == to_second(time) && time.to_string() == text).then_some(time)
}
