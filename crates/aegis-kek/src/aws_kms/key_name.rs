//! What a KMS key is called: an id, an alias, or the ARN of either.

use std::fmt;

use super::settings::KmsSettingsError;

/// The most bytes of a name, as the KMS API has it.
pub(super) const MAX_KEY_NAME_LEN: usize = 2048;

/// A name of a KMS key whose shape was checked. Whether there is such a key, only KMS knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyName {
    text: String,
    /// Where the region stands in `text`, if it is an ARN.
    region: Option<std::ops::Range<usize>>,
}

impl KeyName {
    /// Reads `1234abcd-…`, `mrk-…`, `alias/NAME`, `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or `…:alias/NAME`.
    pub(super) fn parse(text: &str) -> Result<Self, KmsSettingsError> {
        if !(1..=MAX_KEY_NAME_LEN).contains(&text.len()) {
            return Err(KmsSettingsError::KeyNameLength { found: text.len() });
        }
        if let Some(found) = text.chars().find(|c| !is_name_char(*c) && !"/:.".contains(*c)) {
            return Err(KmsSettingsError::KeyNameCharacter { found });
        }
        let region = match text.strip_prefix("arn:") {
            Some(rest) => {
                let region = arn_region(rest).ok_or(KmsSettingsError::KeyArn)?;
                let start = text.len() - rest.len() + region.start;
                Some(start..start + region.len())
            }
            None if !is_resource(text) => return Err(KmsSettingsError::KeyNameShape),
            None => None,
        };
        Ok(Self { text: text.to_owned(), region })
    }

    /// As KMS is to be asked for it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The region that an ARN names.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.clone().and_then(|range| self.text.get(range))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a text is a region's name. It becomes part of a host name, so nothing else may be in it.
pub(super) fn is_region(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Where the region is in `PARTITION:kms:REGION:ACCOUNT:RESOURCE`, if that is what it is.
fn arn_region(rest: &str) -> Option<std::ops::Range<usize>> {
    let mut parts = rest.splitn(5, ':');
    let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    let fits = partition.split('-').next() == Some("aws")
        && service == "kms"
        && is_region(region)
        && !account.is_empty()
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (resource.strip_prefix("key/").is_some_and(is_id_of_arn) || is_alias(resource));
    let start = partition.len() + service.len() + 2;
    fits.then(|| start..start + region.len())
}

fn is_resource(text: &str) -> bool {
    is_alias(text) || is_id(text)
}

fn is_alias(text: &str) -> bool {
    text.strip_prefix("alias/")
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| is_name_char(c) || c == '/'))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_char)
}

/// With dots, as documents shorten an id. No key has such a name, which KMS says when it is asked.
fn is_id_of_arn(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| is_name_char(c) || c == '.')
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_that_is_read_is_plain_text_and_its_region_is_one(
            text in "(arn:|alias/|)(aws|[a-z-]{0,9}|\\PC{0,9})(:|/|)(kms|\\PC{0,3})(:|/|)[a-z0-9-]{0,9}(:|/|)\\PC{0,40}"
        ) {
            if let Ok(name) = KeyName::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(name.region().is_none_or(is_region));
                prop_assert_eq!(name.region().is_some(), text.starts_with("arn:"));
            }
        }
    }

    #[test]
    fn reads_every_form_of_a_name() {
        for (name, region) in [
            ("1234abcd-12ab-34cd-56ef-1234567890ab", None),
            ("mrk-1234abcd12ab34cd56ef1234567890ab", None),
            ("alias/aegis-kek_v1", None),
            ("alias/aws/ebs", None),
            (
                "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
                Some("eu-central-1"),
            ),
            ("arn:aws:kms:us-west-2:111122223333:alias/team/aegis", Some("us-west-2")),
            ("arn:aws:kms:us-west-2:123456789012:key/...", Some("us-west-2")),
            ("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-12", Some("us-gov-west-1")),
            ("arn:aws-cn:kms:cn-north-1:111122223333:key/12", Some("cn-north-1")),
        ] {
            let read = KeyName::parse(name).unwrap();
            assert_eq!((read.as_str(), read.region()), (name, region));
        }
        assert!(KeyName::parse(&"k".repeat(MAX_KEY_NAME_LEN)).is_ok());
    }

    #[test]
    fn refuses_what_is_no_name_of_a_key() {
        use KmsSettingsError as E;
        for (name, expected) in [
            ("", E::KeyNameLength { found: 0 }),
            (&*"k".repeat(MAX_KEY_NAME_LEN + 1), E::KeyNameLength { found: MAX_KEY_NAME_LEN + 1 }),
            ("alias/x\n", E::KeyNameCharacter { found: '\n' }),
            ("alias/x\0", E::KeyNameCharacter { found: '\0' }),
            ("alias/a b", E::KeyNameCharacter { found: ' ' }),
            ("alias/ключ", E::KeyNameCharacter { found: 'к' }),
            ("\u{1b}[31mred", E::KeyNameCharacter { found: '\u{1b}' }),
            ("alias/", E::KeyNameShape),
            ("key/1234", E::KeyNameShape),
            ("alias/a:b", E::KeyNameShape),
            ("alias/a.b", E::KeyNameShape),
            ("1234.5", E::KeyNameShape),
            ("arn:aws:kms:eu.central:111122223333:key/12", E::KeyArn),
            ("arn:aws:kms:eu-central-1:111122223333:key/", E::KeyArn),
            ("arn:aws:kms:eu-central-1:111122223333:alias/", E::KeyArn),
            ("arn:aws:kms:eu-central-1:111122223333:grant/12", E::KeyArn),
            ("arn:aws:s3:eu-central-1:111122223333:key/12", E::KeyArn),
            ("arn:aws:kms::111122223333:key/12", E::KeyArn),
            ("arn:aws:kms:EU:111122223333:key/12", E::KeyArn),
            ("arn:aws:kms:eu/x:111122223333:key/12", E::KeyArn),
            ("arn:aws:kms:eu-central-1:me:key/12", E::KeyArn),
            ("arn:aws:kms:eu-central-1", E::KeyArn),
            ("arn:", E::KeyArn),
        ] {
            assert_eq!(KeyName::parse(name), Err(expected), "{name:?}");
        }
    }
}
