//! The manifest: what a signature over a bundle really says. It has one spelling, and everything else is refused.
//!
//! ```json
//! {"policy_version":7,"policy_sha256":"<64 hex>","policy_size":120,"issued_at":"2026-01-01T00:00:00Z","expires_at":null,"epoch":0}
//! ```

use aegis_crypto::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most bytes a manifest may have. KMS and HSM signers take messages of up to 4 KiB raw.
pub const MAX_MANIFEST_LEN: usize = 2048;

/// What was signed: which policy, as which version, for how long.
///
/// | field | range |
/// |---|---|
/// | `policy_version` | 1 to 2^64 − 1 |
/// | `policy_size` | bytes of the policy text |
/// | `issued_at`, `expires_at` | RFC 3339, UTC, whole seconds, spelled with `Z`; expiry after issue, or `null` |
/// | `epoch` | 0 to 2^32 − 1; order is (epoch, version) |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The number that may only grow within an epoch.
    pub policy_version: u64,
    /// SHA-256 of the policy text.
    pub policy_sha256: Digest,
    /// Length of the policy text in bytes.
    pub policy_size: u64,
    /// When it was signed.
    #[serde(with = "whole_seconds")]
    pub issued_at: Timestamp,
    /// From when on a host no longer accepts it as new; `None` for never.
    #[serde(with = "whole_seconds_or_null")]
    pub expires_at: Option<Timestamp>,
    /// The span that only two custodians can move forward.
    pub epoch: u32,
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_MANIFEST_LEN`] bytes.
    #[error("the manifest has {len} bytes, more than {MAX_MANIFEST_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not JSON, or a field is missing, repeated, unknown or out of range; the cause says which.
    #[error("the manifest is not valid")]
    Field {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
    /// The same values can be spelled in another way: other order, white space or escapes.
    #[error("the manifest is not in its one canonical spelling; {expected:?} was expected")]
    Spelling {
        /// The spelling that would be accepted.
        expected: String,
    },
    /// Versions begin at 1.
    #[error("policy_version is 0; versions begin at 1")]
    VersionZero,
    /// It would never have been valid.
    #[error("expires_at {expires_at} is not after issued_at {issued_at}")]
    NeverValid {
        /// When it was issued.
        issued_at: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
}

impl Manifest {
    /// Reads the one canonical spelling of a manifest.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] for any other bytes, also if they mean the same.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(ManifestError::TooLong { len: bytes.len() });
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::Field { source })?;
        manifest.check()?;
        let expected = manifest.to_json();
        if expected.as_bytes() != bytes {
            return Err(ManifestError::Spelling { expected });
        }
        Ok(manifest)
    }

    /// The canonical spelling: compact JSON, fields in the order of the struct.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a manifest has string keys and no maps, so it always serialises")
    }

    /// Checks what the field types cannot: the version's lower bound, and that it is valid at some time.
    ///
    /// # Errors
    ///
    /// [`ManifestError::VersionZero`], [`ManifestError::NeverValid`].
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.policy_version == 0 {
            return Err(ManifestError::VersionZero);
        }
        if let Some(expires_at) = self.expires_at
            && expires_at <= self.issued_at
        {
            return Err(ManifestError::NeverValid { issued_at: self.issued_at, expires_at });
        }
        Ok(())
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SSZ` and nothing else.
pub(crate) fn parse_whole_seconds(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (time.subsec_nanosecond() == 0 && time.to_string() == text).then_some(time)
}

/// A time without its fraction of a second, for what is printed and signed.
pub(crate) fn truncate_to_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

mod whole_seconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::truncate_to_seconds(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_whole_seconds(&text)
            .ok_or_else(|| D::Error::custom("a time must be spelled like 2026-01-01T00:00:00Z"))
    }
}

mod whole_seconds_or_null {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::whole_seconds::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                super::parse_whole_seconds(&text)
                    .ok_or_else(|| D::Error::custom("a time must be spelled like 2026-01-01T00:00:00Z"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"policy_version":7,"policy_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","policy_size":0,"issued_at":"2026-01-01T00:00:00Z","expires_at":"2026-04-01T00:00:00Z","epoch":0}"#;

    #[test]
    fn reads_and_prints_the_canonical_spelling() {
        let manifest = Manifest::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(manifest.policy_version, 7);
        assert_eq!(manifest.to_json(), GOOD);
        let never = GOOD.replace("\"2026-04-01T00:00:00Z\"", "null");
        assert_eq!(Manifest::parse(never.as_bytes()).unwrap().expires_at, None);
    }

    #[test]
    fn refuses_every_other_spelling_and_range() {
        let change = |from: &str, to: &str| {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from} is not in the manifest");
            text
        };
        let field = [
            ("version negative", change(":7,", ":-1,")),
            ("version exponent", change(":7,", ":1e3,")),
            ("version plus", change(":7,", ":+5,")),
            ("version leading zero", change(":7,", ":07,")),
            ("version fraction", change(":7,", ":7.0,")),
            ("version string", change(":7,", ":\"7\",")),
            ("version 20 digits, too large", change(":7,", ":18446744073709551616,")),
            ("version 21 digits", change(":7,", ":184467440737095516150,")),
            ("version null", change(":7,", ":null,")),
            ("epoch too large", change(":0}", ":4294967296}")),
            ("missing", change("\"epoch\":0", "\"policy_size\":0").replacen("\"policy_size\":0,", "", 1)),
            ("expiry missing", change("\"expires_at\":\"2026-04-01T00:00:00Z\",", "")),
            ("repeated", change("\"epoch\":0", "\"epoch\":0,\"epoch\":0")),
            ("unknown", change("\"epoch\":0", "\"epoch\":0,\"more\":1")),
            ("digest upper case", change("e3b0", "E3B0")),
            ("digest short", change("e3b0", "e3b")),
            ("time with offset", change("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00")),
            ("time with fraction", change("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z")),
            ("time lower case", change("2026-01-01T00:00:00Z", "2026-01-01t00:00:00z")),
            ("trailing bytes", format!("{GOOD}x")),
            ("NUL", format!("{GOOD}\0")),
            ("BOM", format!("\u{feff}{GOOD}")),
            ("empty", String::new()),
            ("array", "[]".to_owned()),
            ("deep", "[".repeat(2000)),
        ];
        for (name, text) in field {
            assert!(matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::Field { .. })), "{name}");
        }
        let spelling = [
            ("space", change(":7,", ": 7,")),
            ("newline", format!("{GOOD}\n")),
            ("reordered", {
                let text = change("\"epoch\":0}", "}").replacen(",}", "}", 1);
                text.replacen('{', "{\"epoch\":0,", 1)
            }),
            ("escape", change("policy_version", "policy\\u005fversion")),
        ];
        for (name, text) in spelling {
            assert!(
                matches!(Manifest::parse(text.as_bytes()), Err(ManifestError::Spelling { .. })),
                "{name}: {text}"
            );
        }
        assert!(matches!(Manifest::parse(change(":7,", ":0,").as_bytes()), Err(ManifestError::VersionZero)));
        assert!(matches!(
            Manifest::parse(change("2026-04-01", "2026-01-01").as_bytes()),
            Err(ManifestError::NeverValid { .. })
        ));
        assert!(matches!(Manifest::parse(&[b' '; 2049]), Err(ManifestError::TooLong { len: 2049 })));
    }
}
