//! Search tokens: the same value in the same field gives the same token, so that sealed events can be joined and counted.
//!
//! That is what a token gives away, and why there is none unless it is asked for: whoever sees tokens sees which events
//! have equal values, and how often; whoever has the key can try values. Keys differ by tenant, field and epoch, so
//! tokens of different tenants or fields cannot be compared, and those of a new epoch not with older ones.
//!
//! | value | how |
//! |---|---|
//! | field key | HMAC-SHA256 (RFC 2104) under the token key of the list `aegis/search-token/v1`, tenant, field's name, epoch (4 bytes) |
//! | token | the first 16 bytes of HMAC-SHA256 under the field key of the list kind, value |
//!
//! Lists are those of associated data. Of a string, kind is `string` and the value what it means, whatever its escapes;
//! of anything else, kind is `json` and the value its bytes.

use std::fmt;
use std::sync::Arc;

use aegis_crypto::{AssociatedData, Secret};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::json::unescape;

/// The key of search tokens, and the epoch in which it is used. Not a DEK: it opens nothing.
pub struct TokenKey {
    key: hmac::Key,
    epoch: u32,
}

impl TokenKey {
    /// Takes 32 random bytes. A new key, or a wish that new tokens cannot be compared with older ones, is a new epoch.
    pub fn new(key: &Secret<32>, epoch: u32) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()), epoch }
    }

    /// The epoch.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The token of a value, to search for: `json` is its JSON text, such as `"alice"` with its quotes.
    pub fn token(&self, tenant: &str, field: &str, json: &[u8]) -> String {
        let mut text = Vec::new();
        self.field_key(tenant.as_bytes(), field.as_bytes()).write(json, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn field_key(&self, tenant: &[u8], field: &[u8]) -> FieldKey {
        let epoch = self.epoch.to_be_bytes();
        let parts = AssociatedData::new([b"aegis/search-token/v1", tenant, field, &epoch]);
        let key = hmac::sign(&self.key, parts.as_bytes());
        FieldKey { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), epoch: self.epoch }
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Which fields get search tokens, and under which key.
#[derive(Debug, Clone)]
pub struct SearchTokens {
    /// The key.
    pub key: Arc<TokenKey>,
    /// The names of the fields.
    pub fields: Vec<String>,
}

/// The tokens of one event, and the field keys of the tenant, which the next event uses again.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    tenant: Vec<u8>,
    field_keys: Vec<(Vec<u8>, FieldKey)>,
    texts: Vec<u8>,
    /// Where each token ends.
    ends: Vec<usize>,
}

struct FieldKey {
    key: hmac::Key,
    epoch: u32,
}

impl Tokens {
    /// Before an event.
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.ends.clear();
    }

    /// Makes the token of the event's next value; an empty one if there is to be none.
    pub(crate) fn push(&mut self, wanted: &SearchTokens, tenant: &[u8], field: &[u8], json: &[u8]) -> &[u8] {
        if self.tenant != tenant {
            self.field_keys.clear();
            self.tenant = tenant.to_vec();
        }
        let start = self.texts.len();
        if let Some((_, key)) = self.field_keys.iter().find(|(name, _)| name == field) {
            key.write(json, &mut self.texts);
        } else if wanted.fields.iter().any(|name| name.as_bytes() == field) {
            let key = wanted.key.field_key(tenant, field);
            key.write(json, &mut self.texts);
            self.field_keys.push((field.to_vec(), key));
        }
        self.ends.push(self.texts.len());
        self.texts.get(start..).unwrap_or_default()
    }

    /// The token of value `number` of the event; an empty one if it has none.
    pub(crate) fn token(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.ends.get(number).and_then(|end| self.texts.get(start..*end)).unwrap_or_default()
    }
}

impl FieldKey {
    /// Appends `<epoch>:<32 hex digits>`.
    fn write(&self, json: &[u8], out: &mut Vec<u8>) {
        let digest = match json {
            [b'"', text @ .., b'"'] => {
                // What a string means is never longer than how it is written.
                let mut value = Zeroizing::new(Vec::with_capacity(text.len()));
                unescape(text, &mut value);
                self.digest(b"string", &value)
            }
            _ => self.digest(b"json", json),
        };
        let (token, _) = digest.as_ref().split_at(16);
        out.extend_from_slice(self.epoch.to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(hex::encode(token).as_bytes());
    }
}

impl FieldKey {
    /// HMAC over the list of kind and value, of which no copy is made.
    fn digest(&self, kind: &[u8], value: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&2_u64.to_be_bytes());
        for part in [kind, value] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

impl fmt::Debug for FieldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Whether a text is a token: an epoch without leading zeros, a colon, 32 lower-case hex digits.
pub(crate) fn is_well_formed_token(text: &[u8]) -> bool {
    let Some((epoch, token)) = text.split_last_chunk::<32>() else { return false };
    let epoch = epoch.strip_suffix(b":").and_then(|epoch| str::from_utf8(epoch).ok());
    let is_epoch =
        epoch.is_some_and(|epoch| epoch.parse().is_ok_and(|number: u32| number.to_string() == epoch));
    is_epoch && token.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
