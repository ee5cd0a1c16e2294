//! One HTTP POST of a batch, and what its answer means.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | taken |
//! | 400, 413, 415, 422 | this batch will never be taken: it is halved until the event that is at fault stands alone |
//! | all else, and none | to be tried again: a receiver that is down, busy, or not set up right is no fault of the events |
//!
//! Redirects are not followed: events and credentials go to the configured address and nowhere else.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_kek::SecretText;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

use super::{SinkError, SinkFault};
use crate::certificates::{self, CertificateError, ClientCertificate};

/// The most bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 * 1024;

/// A receiver of HTTP requests.
#[derive(Debug)]
pub struct WebSettings {
    /// `https://…`; `http://…` only without credentials, or to this host.
    pub url: String,
    /// Further headers. They are not secret: they may be logged.
    pub headers: Vec<(String, String)>,
    /// How we prove who we are.
    pub authorization: Option<Authorization>,
    /// For a whole exchange.
    pub timeout: Duration,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub trusted_certificates: Option<PathBuf>,
    /// How we prove who we are in TLS.
    pub client_certificate: Option<ClientCertificate>,
}

impl WebSettings {
    /// An address, without credentials, with 10 seconds for an exchange.
    pub fn of_url(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            authorization: None,
            timeout: Duration::from_secs(10),
            trusted_certificates: None,
            client_certificate: None,
        }
    }
}

/// How we prove who we are.
pub enum Authorization {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(SecretText),
    /// `Authorization: Basic …` (RFC 7617).
    Basic {
        /// Whom.
        user: String,
        /// And how.
        password: SecretText,
    },
    /// A header of the receiver's own, such as an API key.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretText,
    },
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer(_) => f.debug_struct("Bearer").finish_non_exhaustive(),
            Self::Basic { user, .. } => f.debug_struct("Basic").field("user", user).finish_non_exhaustive(),
            Self::Header { name, .. } => f.debug_struct("Header").field("name", name).finish_non_exhaustive(),
        }
    }
}

/// Settings with which no request can be made.
#[derive(Debug, thiserror::Error)]
pub enum WebSettingsError {
    /// No address of a receiver.
    #[error("{url:?} is no http:// or https:// address")]
    Url {
        /// The address, without anything secret.
        url: String,
    },
    /// A user or a password in the address, where it would be logged.
    #[error("the address holds a user name or password")]
    CredentialsInUrl,
    /// Credentials that anybody on the way could read.
    #[error("credentials would go to {host:?} over http://, in the clear")]
    CredentialsInTheClear {
        /// The host.
        host: String,
    },
    /// A name or a value that no header can have.
    #[error("the header {name:?} cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// Certificates that are named cannot be used.
    #[error(transparent)]
    Certificate(Box<CertificateError>),
    /// There are none in the system's store.
    #[error("there is no certificate to trust in the system's store")]
    NoCertificates,
    /// Certificates are for TLS, which this address does not have.
    #[error("certificates are named, and {url:?} is no https:// address")]
    CertificatesWithoutTls {
        /// The address, without anything secret.
        url: String,
    },
}

impl WebSettingsError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Url { .. } => "give an address such as https://collector.example/v1/logs".to_owned(),
            Self::CredentialsInUrl => "put them into a variable or a file, and name that".to_owned(),
            Self::CredentialsInTheClear { .. } => "use https://".to_owned(),
            Self::Header { .. } => "correct its name or its value".to_owned(),
            Self::Certificate(error) => return error.help(),
            Self::NoCertificates => "name a file of PEM certificates".to_owned(),
            Self::CertificatesWithoutTls { .. } => "use https://, or leave them out".to_owned(),
        })
    }
}

/// Posts to one receiver.
pub(super) struct Web {
    agent: ureq::Agent,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A success. Its body may not have come, or be too long; whether that matters is for the sink to say.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Result<Vec<u8>, Box<ureq::Error>>,
}

impl Web {
    pub(super) fn new(settings: &WebSettings) -> Result<Self, WebSettingsError> {
        let WebSettings { url, headers, authorization, timeout, trusted_certificates, client_certificate } =
            settings;
        let uri = parse_url(url)?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        if authorization.is_some() && !is_tls && !is_this_host(host) {
            return Err(WebSettingsError::CredentialsInTheClear { host: host.to_owned() });
        }
        let mut sent = Vec::new();
        for (name, value) in headers {
            sent.push(header(name, value, Secrecy::Open)?);
        }
        if let Some(authorization) = authorization {
            sent.push(authorization_header(authorization)?);
        }
        let has_certificates = trusted_certificates.is_some() || client_certificate.is_some();
        let tls = match (is_tls, has_certificates) {
            (true, _) => Some(tls(settings)?),
            (false, true) => return Err(WebSettingsError::CertificatesWithoutTls { url: url.clone() }),
            (false, false) => None,
        };
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("aegis/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(*timeout));
        if let Some(tls) = tls {
            config = config.tls_config(tls);
        }
        Ok(Self { agent: config.build().new_agent(), uri, headers: sent })
    }

    /// Posts a body, and sorts the answer.
    pub(super) fn post(&self, content_type: &str, key: &str, body: &[u8]) -> Result<Answer, SinkError> {
        let mut request = self.agent.post(&self.uri).header("Content-Type", content_type);
        // A string of RFC 8941, as draft-ietf-httpapi-idempotency-key-header asks.
        request = request.header("Idempotency-Key", format!("\"{key}\""));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let no_answer = |error| SinkError::retry(SinkFault::NoAnswer(Box::new(error)));
        let mut response = request.send(body).map_err(no_answer)?;
        let status = response.status().as_u16();
        match status {
            200..=299 => {
                let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
                Ok(Answer { status, body: body.map_err(Box::new) })
            }
            400 | 413 | 415 | 422 => Err(SinkError::Refused { fault: SinkFault::Status(status) }),
            _ => {
                let asked = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
                let after = asked.and_then(|value| retry_after(value, Timestamp::now()));
                Err(SinkError::Retry { fault: SinkFault::Status(status), after })
            }
        }
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("uri", &self.uri).finish_non_exhaustive()
    }
}

fn parse_url(url: &str) -> Result<Uri, WebSettingsError> {
    // Before anything that repeats the address.
    if url.contains('@') {
        return Err(WebSettingsError::CredentialsInUrl);
    }
    let wrong = || WebSettingsError::Url { url: url.to_owned() };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(wrong()),
    }
}

/// Whether what is sent there stays on this host.
fn is_this_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Open,
    Secret,
}

fn header(name: &str, value: &str, secrecy: Secrecy) -> Result<(HeaderName, HeaderValue), WebSettingsError> {
    let wrong = || WebSettingsError::Header { name: name.to_owned() };
    let parsed: HeaderName = name.parse().map_err(|_| wrong())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    // Such values show as "Sensitive" wherever they are printed.
    value.set_sensitive(secrecy == Secrecy::Secret);
    Ok((parsed, value))
}

fn authorization_header(
    authorization: &Authorization,
) -> Result<(HeaderName, HeaderValue), WebSettingsError> {
    let (name, value) = match authorization {
        Authorization::Bearer(token) => {
            ("Authorization", Zeroizing::new(format!("Bearer {}", token.expose())))
        }
        Authorization::Basic { user, password } => {
            let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
            let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
            ("Authorization", Zeroizing::new(format!("Basic {}", *encoded)))
        }
        Authorization::Header { name, value } => (&**name, Zeroizing::new(value.expose().to_owned())),
    };
    header(name, &value, Secrecy::Secret)
}

fn certificate(error: CertificateError) -> WebSettingsError {
    WebSettingsError::Certificate(Box::new(error))
}

fn tls(settings: &WebSettings) -> Result<TlsConfig, WebSettingsError> {
    let trusted = match &settings.trusted_certificates {
        Some(path) => certificates::trusted(path).map_err(certificate)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if trusted.is_empty() {
        return Err(WebSettingsError::NoCertificates);
    }
    let own = match &settings.client_certificate {
        Some(own) => {
            let (chain, pem) = own.read().map_err(certificate)?;
            let malformed = |_| certificate(own.malformed_key());
            Some(ClientCert::new_with_certs(&shared(&chain), PrivateKey::from_pem(&pem).map_err(malformed)?))
        }
        None => None,
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(shared(&trusted))))
        .client_cert(own)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build())
}

fn shared(certificates: &[CertificateDer<'static>]) -> Vec<Certificate<'static>> {
    certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
}

/// RFC 9110 §10.2.3: seconds, or a time.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(at.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_retry_after() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sat, 31 Jan 2026 12:01:30 GMT", Some(90)),
            ("Sat, 31 Jan 2026 11:00:00 GMT", None),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn refuses_addresses_that_leak_or_lead_nowhere() {
        let with = |url: &str, authorization| {
            let mut settings = WebSettings::of_url(url);
            settings.authorization = authorization;
            Web::new(&settings).map(|_| ()).map_err(|error| error.to_string())
        };
        let token = || Some(Authorization::Bearer(SecretText::new("s3cret")));
        for (url, authorization, expected) in [
            ("http://127.0.0.1:1/", token(), Ok(())),
            ("http://[::1]:1/", token(), Ok(())),
            ("http://collector.example/", None, Ok(())),
            (
                "http://collector.example/",
                token(),
                Err("credentials would go to \"collector.example\" over http://, in the clear"),
            ),
            ("https://user:pw@collector.example/", None, Err("the address holds a user name or password")),
            (
                "ftp://collector.example/",
                None,
                Err("\"ftp://collector.example/\" is no http:// or https:// address"),
            ),
            ("collector", None, Err("\"collector\" is no http:// or https:// address")),
            ("", None, Err("\"\" is no http:// or https:// address")),
        ] {
            assert_eq!(with(url, authorization), expected.map_err(str::to_owned), "{url}");
        }
        let bad = Some(Authorization::Bearer(SecretText::new("line\nfeed")));
        let said = with("https://collector.example/", bad).unwrap_err();
        assert_eq!(said, "the header \"Authorization\" cannot be sent");
        let shown = format!("{:?}", Authorization::Bearer(SecretText::new("s3cret")));
        assert!(!shown.contains("s3cret"));
    }
}
