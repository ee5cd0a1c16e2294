//! What is watched on each request and answer: no private key without TLS, no answer beyond a size.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use aws_sdk_kms::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

use super::settings::PlainHttp;

/// The most bytes of an answer. That of `kms:Decrypt` has 5,900 at most.
pub(super) const MAX_ANSWER_LEN: usize = 64 * 1024;

/// Watches the requests of one session.
#[derive(Debug, Clone)]
pub(super) struct Wire(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    plain_http: PlainHttp,
    attempts: AtomicU32,
    refused: AtomicU32,
    endpoint: OnceLock<String>,
}

impl Wire {
    pub(super) fn new(plain_http: PlainHttp) -> Self {
        Self(Arc::new(Watched {
            plain_http,
            attempts: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            endpoint: OnceLock::new(),
        }))
    }

    /// Attempts since this was asked last.
    pub(super) fn take_attempts(&self) -> u32 {
        self.0.attempts.swap(0, Ordering::Relaxed)
    }

    /// Where the requests went or would have gone, once there was one: scheme, host and port.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.0.endpoint.get().map(String::as_str)
    }

    /// Whether a request was held back, because it would have gone to another host without TLS.
    pub(super) fn held_back(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed) > 0
    }
}

/// A request that was held back.
#[derive(Debug, thiserror::Error)]
#[error("no private key travels without TLS")]
struct HeldBack;

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "aegis"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let endpoint = origin(context.request().uri());
        let safe = endpoint.starts_with("https://")
            || self.0.plain_http == PlainHttp::Anywhere
            || is_loopback(&endpoint);
        let _ = self.0.endpoint.set(endpoint);
        if !safe {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return Err(HeldBack.into());
        }
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, MAX_ANSWER_LEN));
        Ok(())
    }
}

/// Scheme, host and port of an address. A user's name before them could be a secret, or look like a host.
fn origin(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// Whether the host of `http://HOST:PORT` is this very one.
fn is_loopback(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://") else { return false };
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_host_from_others() {
        for (address, expected) in [
            ("http://127.0.0.1:4566/", true),
            ("http://127.9.9.9", true),
            ("http://localhost:4566", true),
            ("http://LOCALHOST/", true),
            ("http://[::1]:4566/", true),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://10.0.0.1:4566/", false),
            ("http://kms.eu-central-1.amazonaws.com/", false),
            ("http://[2001:db8::1]/", false),
            ("http://localhost:80@example.com/", false),
            ("http://me:secret@127.0.0.1/", true),
            ("http://example.com/@127.0.0.1", false),
            ("http://example.com?@127.0.0.1", false),
            ("http:///", false),
            ("127.0.0.1", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&origin(address)), expected, "{address}");
        }
        assert_eq!(origin("https://me:secret@kms.example.com:443/path?x"), "https://kms.example.com:443");
    }
}
