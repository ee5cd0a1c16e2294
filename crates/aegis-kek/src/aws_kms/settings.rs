//! How KMS is reached, as it is given, and as it was checked.

use std::time::Duration;

use super::key_name::{KeyName, is_region};
use crate::variables::SecretText;

/// The most bytes of an endpoint's address.
const MAX_ENDPOINT_LEN: usize = 2048;
/// The most bytes that `kms:Decrypt` takes.
pub(super) const MAX_CIPHERTEXT_LEN: usize = 6144;

/// Which KMS key, and how it is reached. What is not set comes from the standard chain of AWS: variables, profiles,
/// web identity, containers, the instance.
pub struct KmsAccess {
    /// Key id, alias (`alias/…`), or the ARN of either.
    pub kms_key_id: String,
    /// The region. An ARN says it too, and goes before this.
    pub region: Option<String>,
    /// Another address than that of AWS: an emulator, a VPC endpoint.
    pub endpoint: Option<String>,
    /// Credentials, instead of the standard chain.
    pub credentials: Option<StaticCredentials>,
    /// Whether the private key may travel without TLS.
    pub plain_http: PlainHttp,
    /// How long to wait, and how often to try.
    pub patience: Patience,
}

impl KmsAccess {
    /// Everything but the key as the standard chain has it.
    pub fn new(kms_key_id: impl Into<String>) -> Self {
        Self {
            kms_key_id: kms_key_id.into(),
            region: None,
            endpoint: None,
            credentials: None,
            plain_http: PlainHttp::LoopbackOnly,
            patience: Patience::default(),
        }
    }
}

/// Credentials that are given, not found.
pub struct StaticCredentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: SecretText,
    /// `AWS_SESSION_TOKEN`, of temporary ones.
    pub session_token: Option<SecretText>,
}

/// Whether the private key may travel without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only to this very host, where emulators run.
    LoopbackOnly,
    /// To any host. Whoever is on the way reads the private key.
    Anywhere,
}

/// How long to wait for KMS, and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one attempt, answer included.
    pub attempt: Duration,
    /// For one call with all its attempts, and for the search for credentials. A load makes two calls at most.
    pub call: Duration,
    /// Attempts a call, the first included: 1 to 10.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(5),
            call: Duration::from_secs(20),
            attempts: 4,
        }
    }
}

/// [`KmsAccess`] whose parts were checked.
pub(super) struct Target {
    pub(super) key: KeyName,
    /// From the settings; an ARN's goes before it.
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) credentials: Option<StaticCredentials>,
    pub(super) plain_http: PlainHttp,
    pub(super) patience: Patience,
}

impl Target {
    /// Checks everything that can be checked without asking anybody.
    pub(super) fn check(access: KmsAccess) -> Result<Self, KmsSettingsError> {
        let KmsAccess { kms_key_id, region, endpoint, credentials, plain_http, patience } = access;
        let key = KeyName::parse(&kms_key_id)?;
        if region.as_deref().is_some_and(|region| !is_region(region)) {
            return Err(KmsSettingsError::Region);
        }
        if let Some(endpoint) = &endpoint {
            check_endpoint(endpoint)?;
        }
        if let Some(StaticCredentials { access_key_id, secret_access_key, .. }) = &credentials
            && (access_key_id.is_empty() || secret_access_key.expose().is_empty())
        {
            return Err(KmsSettingsError::EmptyCredentials);
        }
        let Patience { connect, attempt, call, attempts } = patience;
        let sane = Duration::from_millis(1)..=Duration::from_secs(600);
        if !(1..=10).contains(&attempts) || ![connect, attempt, call].iter().all(|time| sane.contains(time)) {
            return Err(KmsSettingsError::Patience);
        }
        Ok(Self { key, region, endpoint, credentials, plain_http, patience })
    }
}

/// An address of http or https without a user's name, which would end up in logs.
fn check_endpoint(endpoint: &str) -> Result<(), KmsSettingsError> {
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let fits = host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ':']))
        && endpoint.len() <= MAX_ENDPOINT_LEN
        && endpoint.bytes().all(|byte| byte.is_ascii_graphic() && !b"@?#\\\"<>".contains(&byte));
    if fits { Ok(()) } else { Err(KmsSettingsError::Endpoint) }
}

/// What in the settings cannot be used. Nobody was asked anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsSettingsError {
    /// Empty, or longer than KMS takes.
    #[error("the name of a KMS key has 1 to 2048 characters, this one has {found}")]
    KeyNameLength {
        /// Its bytes.
        found: usize,
    },
    /// A space, a line end, a quote.
    #[error("the name of the KMS key contains {found:?}, which no name has")]
    KeyNameCharacter {
        /// The first such character.
        found: char,
    },
    /// Neither an id nor an alias.
    #[error("the name of the KMS key is neither a key id nor alias/NAME")]
    KeyNameShape,
    /// It begins as an ARN, and is not that of a KMS key or alias.
    #[error("the ARN is not that of a KMS key or alias")]
    KeyArn,
    /// It would become part of a host name.
    #[error("the AWS region is not the name of a region")]
    Region,
    /// Neither http nor https, or with a user, a query, a space.
    #[error("the KMS endpoint is not an http or https address without user, query and fragment")]
    Endpoint,
    /// The two halves come together or not at all.
    #[error("of the AWS credentials, the access key id or the secret is empty")]
    EmptyCredentials,
    /// Only one of the two halves is set.
    #[error("of the AWS credentials, only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set")]
    HalfCredentials,
    /// A time of zero or beyond ten minutes, or not 1 to 10 attempts.
    #[error("KMS is asked 1 to 10 times a call, and each time limit is between 1 ms and 600 s")]
    Patience,
    /// KMS would not take it.
    #[error("a wrapped private key has 1 to 6144 bytes, this one has {found}")]
    WrappedLength {
        /// Its bytes.
        found: usize,
    },
    /// It is a container, and a damaged or strange one.
    #[error("the wrapped private key is a container that cannot be read")]
    Container(#[source] crate::container::ContainerError),
    /// It is a container for an HSM.
    #[error("the wrapped private key was wrapped by an HSM ({}), not by KMS", method.as_str())]
    OtherDevice {
        /// By what.
        method: crate::container::WrapMethod,
    },
}

impl KmsSettingsError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::KeyNameLength { .. }
            | Self::KeyNameCharacter { .. }
            | Self::KeyNameShape
            | Self::KeyArn => "give the key's id, alias/NAME, or an ARN such as \
                 arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
                .to_owned(),
            Self::Region => "set AWS_REGION to a name such as eu-central-1".to_owned(),
            Self::Endpoint => {
                "give an address such as https://vpce-1234.kms.eu-central-1.vpce.amazonaws.com".to_owned()
            }
            Self::EmptyCredentials | Self::HalfCredentials => {
                "set both halves, or neither, and let the standard chain of AWS find them".to_owned()
            }
            Self::Patience => "leave the time limits as they are".to_owned(),
            Self::WrappedLength { .. } => {
                "give all of what `aegis kek provision` wrote, and no more".to_owned()
            }
            Self::Container(source) => return source.help(),
            Self::OtherDevice { .. } => {
                "select the hsm provider, or provision the KEK anew for KMS".to_owned()
            }
        })
    }
}
