//! What KMS, or the way to it, answered instead of the key.

use std::fmt;
use std::io;

use aegis_crypto::KeyId;

use crate::container::ContainerError;

/// What is asked of KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KmsAction {
    /// `kms:Encrypt`.
    Encrypt,
    /// `kms:Decrypt`.
    Decrypt,
    /// `kms:GenerateDataKey`.
    GenerateDataKey,
}

impl fmt::Display for KmsAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypt => "kms:Encrypt",
            Self::Decrypt => "kms:Decrypt",
            Self::GenerateDataKey => "kms:GenerateDataKey",
        })
    }
}

/// Why KMS did not do what it was asked. No message has anything of an answer's body but its error code.
#[derive(Debug, thiserror::Error)]
pub enum KmsFault {
    /// Neither the settings nor the standard chain of AWS names a region.
    #[error("no AWS region is set for the KMS key {key}")]
    NoRegion {
        /// The key.
        key: String,
    },
    /// The standard chain names a region that would make another host of the host name.
    #[error("the AWS region that is configured is not the name of a region")]
    Region,
    /// The standard chain found none.
    #[error("no AWS credentials were found")]
    NoCredentials,
    /// A source of credentials is configured, and did not give any.
    #[error("the AWS credentials that are configured could not be loaded: {trouble}")]
    Credentials {
        /// In which way.
        trouble: CredentialsTrouble,
    },
    /// The key would have gone over the network for anybody to read.
    #[error("the KMS endpoint {endpoint} is on another host, and is not https")]
    PlainHttp {
        /// Scheme, host and port.
        endpoint: String,
    },
    /// The credentials are good, and may not do this.
    #[error("{action} on {key} is not allowed for these AWS credentials")]
    AccessDenied {
        /// What was asked.
        action: KmsAction,
        /// Of which key.
        key: String,
    },
    /// Unknown, expired or revoked credentials.
    #[error("KMS does not accept these AWS credentials ({code})")]
    CredentialsRefused {
        /// What KMS calls it.
        code: String,
    },
    /// The secret key is another one, or the clocks differ.
    #[error("KMS does not accept the signature of {action} ({code})")]
    Signature {
        /// What was asked.
        action: KmsAction,
        /// What KMS calls it.
        code: String,
    },
    /// Status 401 or 403 without a code, as a gateway answers.
    #[error("{action} on {key} was refused with HTTP status {status} and no reason")]
    Refused {
        /// What was asked.
        action: KmsAction,
        /// Of which key.
        key: String,
        /// The status.
        status: u16,
    },
    /// Somebody disabled the key.
    #[error("the KMS key {key} is disabled")]
    Disabled {
        /// The key.
        key: String,
    },
    /// The key will be deleted.
    #[error("the KMS key {key} is pending deletion")]
    PendingDeletion {
        /// The key.
        key: String,
    },
    /// The key cannot be used in its state: without material, or its key store is not connected.
    #[error("the KMS key {key} is in a state in which it cannot be used")]
    InvalidState {
        /// The key.
        key: String,
    },
    /// No such key or alias there.
    #[error("there is no KMS key {key} in {region}")]
    NotFound {
        /// The key.
        key: String,
        /// Where it was looked for.
        region: String,
    },
    /// An asymmetric key, or one for signatures or MACs.
    #[error("the KMS key {key} is not a symmetric key for encryption")]
    KeyUsage {
        /// The key.
        key: String,
    },
    /// What is wrapped was wrapped by another KMS key.
    #[error("the wrapped private key was not made by the KMS key {key}")]
    IncorrectKey {
        /// The key that is set.
        key: String,
    },
    /// Damaged, or bound to another KEK.
    #[error("KMS cannot decrypt the wrapped private key: it is damaged, or was wrapped for another KEK than {}", kek.fingerprint())]
    InvalidCiphertext {
        /// The KEK that it was to be.
        kek: KeyId,
    },
    /// KMS would not take the request for a reason of its own.
    #[error("KMS does not take the request {action} ({code})")]
    Rejected {
        /// What was asked.
        action: KmsAction,
        /// What KMS calls it.
        code: String,
    },
    /// Too many requests of this account, on each attempt.
    #[error("KMS was throttling {action} on each of {attempts} attempts")]
    Throttled {
        /// What was asked.
        action: KmsAction,
        /// How often.
        attempts: u32,
    },
    /// KMS failed, on each attempt.
    #[error("KMS failed with HTTP status {status} on each of {attempts} attempts")]
    Failing {
        /// The status.
        status: u16,
        /// How often it was asked.
        attempts: u32,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer in time, on {attempts} attempts")]
    TimedOut {
        /// Scheme, host and port.
        endpoint: String,
        /// How often it was asked.
        attempts: u32,
    },
    /// No connection, or it broke.
    #[error("{endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// Scheme, host and port.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// A connection, and no trust in who is at its other end.
    #[error("no TLS connection to {endpoint}: {reason}")]
    Tls {
        /// Scheme, host and port.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something answered, and it was not KMS as we know it.
    #[error("the answer to {action} cannot be used: {oddity}")]
    Unexpected {
        /// What was asked.
        action: KmsAction,
        /// What is odd.
        oddity: Oddity,
    },
    /// The data key that KMS gave does not open the container.
    #[error("the private key does not come out of its container")]
    Container(#[source] ContainerError),
    /// The system gave no thread or no event loop.
    #[error("the system gave no thread to ask KMS on")]
    Thread(#[source] io::Error),
}

/// In which way credentials could not be loaded. What a source of credentials printed is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsTrouble {
    /// A source did not answer in time.
    TimedOut,
    /// A profile or a variable is wrong.
    Configuration,
    /// A source (STS, SSO, the instance, a program) answered with a failure.
    Source,
    /// A source answered something that is no credentials.
    NotUnderstood,
}

impl fmt::Display for CredentialsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "their source did not answer in time",
            Self::Configuration => "the profile or the variables are wrong",
            Self::Source => "their source answered with a failure",
            Self::NotUnderstood => "their source answered what are no credentials",
        })
    }
}

/// What is odd about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// More bytes than any answer has.
    TooLong {
        /// The most that is read.
        max: usize,
    },
    /// It broke off.
    BrokenOff,
    /// Not JSON, or not of KMS.
    NotUnderstood {
        /// The HTTP status.
        status: u16,
    },
    /// A part is missing.
    Missing {
        /// Its name in the API.
        part: &'static str,
    },
    /// A part has another length than was asked for.
    Length {
        /// Its name in the API.
        part: &'static str,
        /// Its bytes.
        found: usize,
    },
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max } => write!(f, "it is longer than {max} bytes"),
            Self::BrokenOff => f.write_str("it broke off"),
            Self::NotUnderstood { status } => write!(f, "it is not one of KMS (HTTP status {status})"),
            Self::Missing { part } => write!(f, "it has no {part}"),
            Self::Length { part, found } => write!(f, "its {part} has {found} bytes"),
        }
    }
}

impl KmsFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoRegion { .. } => "set AWS_REGION, or give the key as an ARN, which names its region".to_owned(),
            Self::Region => "set AWS_REGION to a name such as eu-central-1".to_owned(),
            Self::NoCredentials => {
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this host or container a \
                 role; `aws sts get-caller-identity` says what is found"
                    .to_owned()
            }
            Self::Credentials { .. } => {
                "see whether `aws sts get-caller-identity` works here as this user; with SSO, `aws sso login` first"
                    .to_owned()
            }
            Self::PlainHttp { .. } => {
                "give an https address, or, for an emulator in a network of its own, set \
                 AEGIS_KMS_ALLOW_PLAIN_HTTP=1"
                    .to_owned()
            }
            Self::AccessDenied { action, .. } => format!(
                "allow {action} on this key in the key's policy or to the role that is used; a condition on the \
                 encryption context must admit aegis:kek. With another key than the one it was wrapped by, the answer \
                 is the same"
            ),
            Self::CredentialsRefused { .. } => {
                "renew them (`aws sso login`, a new session token, a new access key)".to_owned()
            }
            Self::Signature { .. } => {
                "compare the secret access key with its source, and this host's clock with the time".to_owned()
            }
            Self::Refused { .. } => {
                "see whether the credentials may use the key, and what stands between this host and KMS".to_owned()
            }
            Self::Disabled { key } => {
                format!("enable it, if it was disabled by mistake: aws kms enable-key --key-id {key}")
            }
            Self::PendingDeletion { key } => format!(
                "cancel that now, or the KEK is lost: aws kms cancel-key-deletion --key-id {key}, then enable-key"
            ),
            Self::InvalidState { key } => format!("look at its state: aws kms describe-key --key-id {key}"),
            Self::NotFound { .. } => {
                "check the id, the account and the region; an alias is written alias/NAME, and a key of another \
                 account or region needs its ARN"
                    .to_owned()
            }
            Self::KeyUsage { .. } => {
                "use a key made with `aws kms create-key` and no --key-spec, which is symmetric".to_owned()
            }
            Self::IncorrectKey { .. } => {
                "set AEGIS_KMS_KEY_ID to the key by which it was provisioned".to_owned()
            }
            Self::InvalidCiphertext { .. } => {
                "set AEGIS_KMS_WRAPPED_PRIVATE_KEY and AEGIS_MASTER_KEK_PUBLIC as `aegis kek provision` wrote them, \
                 together"
                    .to_owned()
            }
            Self::Rejected { .. } => "check the key's id and what kind of key it is".to_owned(),
            Self::Throttled { .. } => "try again later; see the KMS request quotas of the account".to_owned(),
            Self::Failing { .. } | Self::TimedOut { .. } => {
                "try again; if it goes on, see the AWS health page and the network".to_owned()
            }
            Self::Unreachable { .. } => {
                "check network, DNS, VPC endpoint and the endpoint that is set (AWS_ENDPOINT_URL_KMS)".to_owned()
            }
            Self::Tls { .. } => {
                "find out who answers there; for a certificate of your own, name its CA in SSL_CERT_FILE".to_owned()
            }
            Self::Unexpected { .. } => {
                "find out what answers at the endpoint; if it is AWS, try again".to_owned()
            }
            Self::Container(source) => return source.help(),
            Self::Thread(_) => "check the limits on processes and memory, then try again".to_owned(),
        })
    }

    /// Whether the same call may go through later, was refused, or can never go through.
    pub(super) const fn sort(&self) -> Sort {
        match self {
            Self::Credentials { trouble: CredentialsTrouble::TimedOut | CredentialsTrouble::Source }
            | Self::Throttled { .. }
            | Self::Failing { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Unexpected { .. }
            | Self::Thread(_) => Sort::Unavailable,
            Self::NoCredentials
            | Self::Credentials { .. }
            | Self::AccessDenied { .. }
            | Self::CredentialsRefused { .. }
            | Self::Signature { .. }
            | Self::Refused { .. }
            | Self::Disabled { .. }
            | Self::PendingDeletion { .. }
            | Self::InvalidState { .. } => Sort::Denied,
            Self::NoRegion { .. }
            | Self::Region
            | Self::PlainHttp { .. }
            | Self::NotFound { .. }
            | Self::KeyUsage { .. }
            | Self::IncorrectKey { .. }
            | Self::InvalidCiphertext { .. }
            | Self::Rejected { .. }
            | Self::Container(_) => Sort::Broken,
        }
    }
}

/// The three sorts of [`LoadError`](crate::LoadError).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Unavailable,
    Denied,
    Broken,
}
