//! Servers of NATS, and where events go on them.

#[cfg(feature = "nats")]
mod client;

#[cfg(feature = "nats")]
pub use client::NatsSink;
#[cfg(feature = "nats")]
pub(crate) use client::connect_help;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_kek::SecretText;

use crate::certificates::{self, CertificateError, ClientCertificate};
use crate::nats_identity::NatsIdentity;

/// How to reach NATS.
pub struct NatsServer {
    /// Addresses such as `nats://127.0.0.1:4222` or `tls://nats.example`, of one cluster.
    pub urls: Vec<String>,
    /// How we prove who we are.
    pub login: Option<NatsLogin>,
    /// Certificates (PEM) that are trusted instead of the system's. With them, only TLS will do.
    pub trusted_certificates: Option<PathBuf>,
    /// How we prove who we are in TLS. With it, only TLS will do.
    pub client_certificate: Option<ClientCertificate>,
    /// For a connection, and for an acknowledgement.
    pub timeout: Duration,
}

/// How we prove who we are to NATS.
pub enum NatsLogin {
    /// A user and a password.
    Password {
        /// Whom.
        user: String,
        /// And how.
        password: SecretText,
    },
    /// A token.
    Token(SecretText),
    /// An nkey, with a JWT if it is from a credentials file.
    Identity(Arc<NatsIdentity>),
}

impl fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::Token(_) => f.debug_struct("Token").finish_non_exhaustive(),
            Self::Identity(identity) => f.debug_tuple("Identity").field(identity).finish(),
        }
    }
}

impl NatsServer {
    /// One server, without a login, with 10 seconds for each answer.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            login: None,
            trusted_certificates: None,
            client_certificate: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// Reads the certificates, and says what is wrong with them. They are read again for each connection, so that they
    /// can be renewed meanwhile.
    ///
    /// # Errors
    ///
    /// A [`CertificateError`].
    pub fn check(&self) -> Result<(), CertificateError> {
        if let Some(path) = &self.trusted_certificates {
            certificates::trusted(path)?;
        }
        self.client_certificate.as_ref().map_or(Ok(()), |own| own.read().map(drop))
    }
}

/// A user and a password in an address are not shown.
impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.urls.iter().map(|url| url.rsplit('@').next().unwrap_or_default()).collect();
        f.debug_struct("NatsServer")
            .field("hosts", &hosts)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// Where events go.
#[derive(Debug)]
pub struct NatsSettings {
    /// The server.
    pub server: NatsServer,
    /// The subject of every message. A stream has to have it.
    pub subject: String,
    /// The stream, if it is to be checked that it is this one.
    pub stream: Option<String>,
}
