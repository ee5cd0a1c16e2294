//! Events as messages of NATS JetStream.
//!
//! Each event is one message whose `Nats-Msg-Id` is the event's id: within the stream's window for duplicates, two minutes
//! unless it is set otherwise, the stream keeps one of those that come twice. A batch is published at once and then its
//! acknowledgements are awaited; if one of them fails, the whole batch is published again, so that behind a failure the
//! order of the stream can differ from that of the pipeline by a batch.

use std::fmt;
use std::sync::Arc;

use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Auth, Client, ConnectError, ConnectErrorKind, ConnectOptions};
use tokio::runtime::Runtime;

use super::{NatsLogin, NatsServer, NatsSettings};
use crate::certificates::ClientCertificate;
use crate::event::Batch;
use crate::nats_identity::NatsIdentity;
use crate::sink::{Delivered, Sink, SinkError, SinkFault};

impl NatsServer {
    /// Connects, once; the client connects again by itself when the connection is lost.
    pub(crate) async fn connect(&self) -> Result<Client, ConnectError> {
        let options = self.configure(ConnectOptions::new());
        let mut options = match &self.login {
            None => options,
            Some(NatsLogin::Password { user, password }) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            Some(NatsLogin::Token(token)) => options.token(token.expose().to_owned()),
            Some(NatsLogin::Identity(identity)) => {
                let identity = Arc::clone(identity);
                let base = ConnectOptions::with_auth_callback(move |nonce| {
                    let auth = sign_in(&identity, &nonce);
                    async move { Ok(auth) }
                });
                self.configure(base)
            }
        };
        if let Some(path) = &self.trusted_certificates {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        if let Some(ClientCertificate { certificate, key }) = &self.client_certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
        }
        options.connect(self.urls.as_slice()).await
    }

    fn configure(&self, options: ConnectOptions) -> ConnectOptions {
        options
            .name(concat!("aegis/", env!("CARGO_PKG_VERSION")))
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
    }
}

/// The answer to a server's nonce: with a JWT, the key is named in it.
fn sign_in(identity: &NatsIdentity, nonce: &[u8]) -> Auth {
    let mut auth = Auth::new();
    match identity.jwt() {
        Some(jwt) => auth.jwt = Some(jwt.to_owned()),
        None => auth.nkey = Some(identity.public_key()),
    }
    auth.signature = Some(identity.sign(nonce));
    auth
}

/// What to do about a connection that was not made.
pub(crate) fn connect_help(error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "check the login: it is not the one that the server wants".to_owned()
        }
        _ if is_of_tls(error) => {
            "check the trusted certificates, the client certificate, and the name in the server's address"
                .to_owned()
        }
        _ => "check the addresses of the servers, and that one of them runs and speaks TLS if it is to"
            .to_owned(),
    }
}

/// Whether the two sides did not agree in TLS. The client calls most of that a fault of the connection.
fn is_of_tls(error: &ConnectError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || matches!(inner, Some(inner) if inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    error.kind() == ConnectErrorKind::Tls
}

/// Publishes each event, and waits until a stream has it.
pub struct NatsSink {
    settings: NatsSettings,
    runtime: Runtime,
    context: Option<Context>,
}

impl NatsSink {
    /// Connects with the first batch.
    ///
    /// # Errors
    ///
    /// The system's, if it gives no thread.
    pub fn new(settings: NatsSettings) -> std::io::Result<Self> {
        // One thread of its own, so that the connection is looked after also between batches.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aegis-nats")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self { settings, runtime, context: None })
    }

    async fn publish(
        settings: &NatsSettings,
        context: &mut Option<Context>,
        batch: &Batch,
    ) -> Result<(), SinkError> {
        let context = match context {
            Some(context) => context,
            None => {
                let client = settings
                    .server
                    .connect()
                    .await
                    .map_err(|error| SinkError::retry(SinkFault::NatsConnect(Box::new(error))))?;
                // As many in flight as there are events in the largest batch.
                let made = ContextBuilder::new()
                    .timeout(settings.server.timeout)
                    .max_ack_inflight(1 << 20)
                    .build(client);
                context.insert(made)
            }
        };
        let mut acknowledgements = Vec::with_capacity(batch.events().len());
        for event in batch.events() {
            let message =
                PublishMessage::build().payload(event.text().clone()).message_id(event.id().to_string());
            let sent = context.send_publish(settings.subject.clone(), message).await;
            acknowledgements.push(sent.map_err(sort)?);
        }
        for acknowledgement in acknowledgements {
            let acknowledged = acknowledgement.await.map_err(sort)?;
            match &settings.stream {
                Some(expected) if *expected != acknowledged.stream => {
                    return Err(SinkError::retry(SinkFault::NatsStream {
                        found: acknowledged.stream,
                        expected: expected.clone(),
                    }));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Sink for NatsSink {
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        let Self { settings, runtime, context } = self;
        runtime.block_on(Self::publish(settings, context, batch))?;
        Ok(Delivered::All)
    }
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// JetStream's code for a message that is longer than the stream takes.
const MESSAGE_TOO_LARGE: u64 = 10054;

fn sort(error: async_nats::jetstream::context::PublishError) -> SinkError {
    let is_too_large = error.kind() == PublishErrorKind::MaxPayloadExceeded || {
        let source = std::error::Error::source(&error);
        let said = source.and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
        said.is_some_and(|said| said.error_code().0 == MESSAGE_TOO_LARGE)
    };
    let fault = SinkFault::NatsPublish(Box::new(error));
    if is_too_large { SinkError::Refused { fault } } else { SinkError::retry(fault) }
}
