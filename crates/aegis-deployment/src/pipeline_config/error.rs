//! What is wrong with a configuration: the file, the line, the key, and never a value that could be secret.

use std::path::PathBuf;

use aegis_crypto::HybridPublicKeyError;
use aegis_keyring::{DekVersionError, ScopeError};
use aegis_pii::{CatalogueConfigError, CatalogueError, DekNameError, OptionsError};
use aegis_telemetry::{CertificateError, NatsIdentityError, WebSettingsError};

/// Why a configuration is not used. Nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum PipelineConfigError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] aegis_durable::ReadError),
    /// Bytes that are no text.
    #[error("it is not valid UTF-8")]
    NotUtf8,
    /// Something in it.
    #[error("{}, line {line}: {key}", file.display())]
    At {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, such as `sink[2].url`.
        key: String,
        /// What is wrong with it.
        #[source]
        fault: Box<ConfigFault>,
    },
}

/// What is wrong with a key or its value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// No TOML 1.0.
    #[error("this is no TOML: {reason}")]
    Syntax {
        /// What the parser says; it does not repeat the text.
        reason: String,
    },
    /// A key that means nothing here.
    #[error("there is no such key here{}", nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    UnknownKey {
        /// The key that is spelled most alike.
        nearest: Option<&'static str>,
    },
    /// A key that has to be there.
    #[error("it is missing")]
    Missing,
    /// A value of another type.
    #[error("it is a {found}, not {expected}")]
    WrongType {
        /// The type that it has.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// None of the words that it may be.
    #[error("it is none of {}", known.join(", "))]
    NotOneOf {
        /// Those.
        known: &'static [&'static str],
    },
    /// A number that is too small or too large.
    #[error("it is not from {min} to {max}")]
    OutOfRange {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// No time, or one that is too short or too long.
    #[error("it is no time from {min} to {max}")]
    Duration {
        /// The least.
        min: &'static str,
        /// The most.
        max: &'static str,
    },
    /// No size.
    #[error("it is no number of bytes from {min} to {max}")]
    Size {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A text that is empty, too long, or has control characters.
    #[error("it is empty, longer than {max} bytes, or has a control character in it")]
    Text {
        /// The most bytes.
        max: usize,
    },
    /// A list or a table that nobody writes by hand.
    #[error("it has {found} entries, more than the limit of {limit}")]
    TooMany {
        /// Its entries.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A secret, where everybody who may read the configuration reads it.
    #[error("a secret is written down here")]
    LiteralSecret {
        /// The keys to use instead.
        instead: &'static str,
    },
    /// Two keys of which one is meant.
    #[error("it excludes {other}")]
    Excludes {
        /// The other one.
        other: &'static str,
    },
    /// A key that needs another one.
    #[error("it needs {other}")]
    Needs {
        /// The other one.
        other: &'static str,
    },
    /// Two entries with one name, or one file.
    #[error("{other} has the same")]
    Twice {
        /// The other one.
        other: String,
    },
    /// There is no such variable.
    #[error("the variable {name} is not set")]
    VariableNotSet {
        /// Its name.
        name: String,
    },
    /// No name of a variable. The value is not shown: it may be the secret itself.
    #[error("it is no name of a variable")]
    NotAVariable,
    /// The variable has no text, or a text that cannot be used.
    #[error("the variable {name} is not a line of text")]
    BadVariable {
        /// Its name.
        name: String,
    },
    /// The file of a secret cannot be read.
    #[error("cannot read the file")]
    SecretFile(#[source] aegis_durable::ReadError),
    /// The file of a secret can be read by others.
    #[error("{} can be read or written by others than its owner (mode {mode:04o})", path.display())]
    SecretFileMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file of a secret has no secret.
    #[error("{} is not a line of text", path.display())]
    BadSecretFile {
        /// The file.
        path: PathBuf,
    },
    /// The file of a public key cannot be read.
    #[error("cannot read the file")]
    PublicKeyFile(#[source] aegis_durable::ReadError),
    /// It holds something else.
    #[error("{} does not hold the public key of a DEK", path.display())]
    NotAPublicKey {
        /// The file.
        path: PathBuf,
    },
    /// It holds the other half, which has no business there.
    #[error("{} holds a private key", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// It holds a key to which nothing should be sealed.
    #[error("it cannot be used")]
    PublicKey(#[source] HybridPublicKeyError),
    /// No version of a DEK.
    #[error("it cannot be used")]
    Version(#[source] DekVersionError),
    /// A version that events cannot name.
    #[error("it cannot be used")]
    DekName(#[source] DekNameError),
    /// The secret is no key of search tokens.
    #[error("it does not hold 64 hex digits")]
    NotATokenKey,
    /// The secret is no NATS key or no credentials.
    #[error("it cannot be used")]
    NatsIdentity(#[source] NatsIdentityError),
    /// Certificates of a NATS server, or ours.
    #[error("it cannot be used")]
    Certificate(#[source] CertificateError),
    /// An address with a user or a password in it.
    #[error("the address holds a user name or password")]
    CredentialsInUrl,
    /// No address of a NATS server.
    #[error("it is no nats:// or tls:// address")]
    NatsUrl,
    /// A name that a stream or a consumer cannot have, or no subject.
    #[error("it has white space or a character that NATS does not take there")]
    NatsName,
    /// Credentials that anybody on the way could read.
    #[error("the login would go to {host:?} without TLS")]
    LoginInTheClear {
        /// The host.
        host: String,
    },
    /// Not an address to listen on, or one that others reach.
    #[error("it is no loopback address with a port")]
    NotLoopback,
    /// Events of a source that can be read again are not to be lost.
    #[error("a source that waits loses nothing, and this would")]
    ShedNeedsStdin,
    /// A path into the state directory of the deployment.
    #[error("the state directory of the keys is no place for it")]
    Reserved,
    /// No scope.
    #[error("it cannot be used")]
    Scope(#[source] ScopeError),
    /// The fields.
    #[error("it cannot be used")]
    Catalogue(#[source] CatalogueError),
    /// The file of the catalogue.
    #[error("cannot read the catalogue")]
    ReadCatalogue(#[source] aegis_durable::ReadError),
    /// What is in that file.
    #[error("it cannot be used")]
    CatalogueFile(#[source] CatalogueConfigError),
    /// Options that contradict one another.
    #[error("it cannot be used")]
    Options(#[source] OptionsError),
    /// An HTTP receiver.
    #[error("it cannot be used")]
    Web(#[source] WebSettingsError),
}

impl PipelineConfigError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.help(),
            Self::NotUtf8 => Some("save it as UTF-8".to_owned()),
            Self::At { fault, .. } => fault.help(),
        }
    }
}

impl ConfigFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Syntax { .. } | Self::Needs { .. } | Self::NotOneOf { .. } | Self::WrongType { .. } => {
                return guide();
            }
            Self::UnknownKey { .. } => {
                "correct or remove it; docs/guides/telemetry-pipeline.md lists all keys".to_owned()
            }
            Self::Missing => "add it".to_owned(),
            Self::OutOfRange { .. } | Self::Text { .. } | Self::TooMany { .. } => "correct it".to_owned(),
            Self::Duration { .. } => {
                "write a number and a unit: \"250ms\", \"30s\", \"5m\", \"12h\"".to_owned()
            }
            Self::Size { .. } => {
                "write a number, or one with a unit: \"64KiB\", \"16MiB\", \"1GiB\"".to_owned()
            }
            Self::LiteralSecret { instead } => format!(
                "put it into a variable or a file of mode 0600, and name that: {instead}. Whoever read this file may know \
                 it by now: change it"
            ),
            Self::Excludes { .. } => "keep one of them".to_owned(),
            Self::Twice { .. } => "give each its own".to_owned(),
            Self::VariableNotSet { name } => format!("set {name} for this process"),
            Self::NotAVariable => {
                "write the name of the variable that holds the secret, not the secret".to_owned()
            }
            Self::BadVariable { name } => format!("set {name} to one line of text"),
            Self::SecretFile(error) | Self::ReadCatalogue(error) => return error.help().or_else(guide),
            Self::CatalogueFile(error) => return error.help().or_else(guide),
            Self::SecretFileMode { path, .. } => {
                format!("chmod 600 {}, and ask yourself who has read it", path.display())
            }
            Self::BadSecretFile { path } => format!("write the secret into {}, in one line", path.display()),
            Self::PublicKeyFile(error) => return error.help().or_else(guide),
            Self::NotAPublicKey { .. } => {
                "write it with `aegis dek show VERSION --json | jq -r .public_key`".to_owned()
            }
            Self::PrivateKey { path } => format!(
                "take it away from {}, and ask yourself who has read it: whoever seals needs the public half alone",
                path.display()
            ),
            Self::PublicKey(error) => return error.help().or_else(guide),
            Self::Version(_) | Self::DekName(_) => "use a version that `aegis dek list` shows".to_owned(),
            Self::NotATokenKey => "make one with `openssl rand -hex 32`".to_owned(),
            Self::NatsIdentity(error) => return error.help().or_else(guide),
            Self::Certificate(error) => return error.help().or_else(guide),
            Self::CredentialsInUrl => {
                "take it out of the address; name the variable or file that holds it".to_owned()
            }
            Self::NatsUrl => {
                "write an address such as nats://127.0.0.1:4222 or tls://nats.example".to_owned()
            }
            Self::NatsName => "correct it".to_owned(),
            Self::LoginInTheClear { .. } => "use tls://".to_owned(),
            Self::NotLoopback => "write one such as \"127.0.0.1:9464\" or \"[::1]:9464\"".to_owned(),
            Self::ShedNeedsStdin => "leave it out, or set it to \"block\"".to_owned(),
            Self::Reserved => "choose another directory".to_owned(),
            Self::Scope(_) => "use the name that `aegis dek list` shows".to_owned(),
            Self::Catalogue(error) => return error.help().or_else(guide),
            Self::Options(error) => return error.help().or_else(guide),
            Self::Web(error) => return error.help().or_else(guide),
        })
    }
}

fn guide() -> Option<String> {
    Some("see docs/guides/telemetry-pipeline.md".to_owned())
}
