//! Cuts what an event holds to what an entry may hold. Nothing here fails: a hostile name is cut, not refused,
//! because the refusal that it belongs to must be logged.

use std::collections::BTreeMap;

use serde_json::Value;

/// The longest line, in bytes, its newline not counted.
pub(crate) const LINE_LEN: usize = 64 * 1024;
/// The longest `object` and `reason`, in bytes. JSON may need six bytes for one of them.
pub(crate) const TEXT_LEN: usize = 4096;
/// The longest transaction id, in bytes.
pub(crate) const TRANSACTION_LEN: usize = 128;
/// The longest user or program name, in characters.
const NAME_LEN: usize = 64;
/// The longest text inside `detail`, in bytes.
const DETAIL_TEXT_LEN: usize = 1024;
/// The longest `detail` as JSON, in bytes.
const DETAIL_LEN: usize = 12 * 1024;
/// How deep arrays and objects may stand in `detail`.
const DETAIL_DEPTH: usize = 8;
/// Where `detail` says how many of its members were left out.
const DETAIL_CUT: &str = "detail_cut";
/// What a text that was cut ends in.
const MARK: &str = "…[cut]";

/// At most `limit` bytes of `text`; a longer one ends in a mark.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(MARK.len()));
    let mut kept = text.get(..end).unwrap_or_default().to_owned();
    kept.push_str(MARK);
    kept
}

/// A short name in printable ASCII; other characters become `?`.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(NAME_LEN).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// The members of `detail` that fit, smallest first, so that one long value cannot push out a key id.
pub(crate) fn detail(detail: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut members: Vec<(usize, String, Value)> = detail
        .iter()
        .map(|(name, value)| {
            let (name, value) = (cut(name, NAME_LEN), shrink(value, DETAIL_DEPTH));
            let len =
                crate::line::json_len(&name).saturating_add(crate::line::json_len(&value)).saturating_add(2);
            (len, name, value)
        })
        .collect();
    members.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));

    let mut room = DETAIL_LEN;
    let mut kept = BTreeMap::new();
    let mut left_out = 0_u64;
    for (len, name, value) in members {
        match room.checked_sub(len) {
            Some(rest) => {
                room = rest;
                kept.insert(name, value);
            }
            None => left_out = left_out.saturating_add(1),
        }
    }
    if left_out > 0 {
        kept.insert(DETAIL_CUT.to_owned(), Value::from(left_out));
    }
    kept
}

/// Cuts texts and depth. A number with a fraction becomes text: floating point has no one spelling.
fn shrink(value: &Value, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => value.clone(),
        Value::Number(number) => Value::String(cut(&number.to_string(), DETAIL_TEXT_LEN)),
        Value::String(text) => Value::String(cut(text, DETAIL_TEXT_LEN)),
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::String(MARK.to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(|item| shrink(item, depth - 1)).collect()),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, item)| (cut(name, DETAIL_TEXT_LEN), shrink(item, depth - 1)))
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_on_a_character_and_says_so() {
        let text = "é".repeat(3000);
        let kept = cut(&text, TEXT_LEN);
        assert!(kept.len() <= TEXT_LEN && kept.ends_with(MARK) && kept.starts_with("éé"));
        assert_eq!(cut("short", TEXT_LEN), "short");
    }

    #[test]
    fn a_long_value_does_not_push_out_a_key_id() {
        let mut given = BTreeMap::new();
        given.insert("aaa".to_owned(), Value::from(vec!["x".repeat(1000); 100]));
        given.insert("key_id".to_owned(), Value::from("ab".repeat(32)));
        let kept = detail(&given);
        assert_eq!(kept.get("key_id"), given.get("key_id"));
        assert_eq!(kept.get("aaa"), None);
        assert_eq!(kept.get(DETAIL_CUT), Some(&Value::from(1)));
    }

    #[test]
    fn a_name_is_short_and_printable() {
        assert_eq!(printable("ro\u{1b}[31mot\n\u{202e}é"), "ro?[31mot???");
        assert_eq!(printable(&"a".repeat(1000)).len(), NAME_LEN);
    }
}
