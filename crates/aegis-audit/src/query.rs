//! Which entries somebody wants to see.

use jiff::Timestamp;
use serde_json::Value;

use crate::event::{Action, Entry, Outcome};

/// A filter over entries. What is `None` lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this action.
    pub action: Option<Action>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Whose object contains this text.
    pub object: Option<String>,
    /// About a key: a key id in the detail begins with this, or the object contains it. Either case.
    pub key: Option<String>,
    /// At most so many, the first ones.
    pub limit: Option<usize>,
}

/// Where `detail` names keys.
const KEY_FIELDS: [&str; 4] = ["key_id", "old_key_id", "new_key_id", "signers"];

impl Query {
    /// Whether an entry is wanted. Does not look at `limit`.
    pub fn matches(&self, entry: &Entry) -> bool {
        let Self { since, until, action, outcome, object, key, limit: _ } = self;
        since.is_none_or(|since| entry.time >= since)
            && until.is_none_or(|until| entry.time < until)
            && action.is_none_or(|action| entry.action == action)
            && outcome.is_none_or(|outcome| entry.outcome == outcome)
            && object.as_ref().is_none_or(|text| entry.object.contains(text.as_str()))
            && key.as_ref().is_none_or(|key| is_about_key(entry, &key.to_ascii_lowercase()))
    }
}

fn is_about_key(entry: &Entry, prefix: &str) -> bool {
    let begins = |value: &Value| value.as_str().is_some_and(|id| id.starts_with(prefix));
    entry.object.to_ascii_lowercase().contains(prefix)
        || KEY_FIELDS.into_iter().filter_map(|field| entry.detail.get(field)).any(|value| match value {
            Value::Array(items) => items.iter().any(begins),
            value => begins(value),
        })
}
