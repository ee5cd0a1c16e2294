//! Messages of NATS JetStream, an event each.
//!
//! All workers that name the same consumer are one group: the server gives each message to one of them, and to another
//! one if it is not acknowledged in time. A message is acknowledged when the pipeline has acknowledged the event, and
//! while that takes long the server is told that work goes on.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{self, AckKind};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

use super::{Source, SourceError, Stop, emit};
use crate::backoff::Backoff;
use crate::pipeline::{Position, TelemetryPipeline};
use crate::sink::NatsServer;

/// Which messages.
#[derive(Debug)]
pub struct NatsSourceSettings {
    /// The server.
    pub server: NatsServer,
    /// The stream. It has to be there.
    pub stream: String,
    /// The durable consumer, made if it is not there. Its name is that of the group.
    pub consumer: String,
    /// Only messages of this subject; for a consumer that is made.
    pub subject: Option<String>,
    /// Most messages that are asked for at once.
    pub batch: usize,
    /// After which time the server gives a message to another worker; for a consumer that is made.
    pub ack_wait: Duration,
}

impl NatsSourceSettings {
    /// A consumer of a stream, 256 messages at once, 30 seconds for each.
    pub fn new(server: NatsServer, stream: impl Into<String>, consumer: impl Into<String>) -> Self {
        Self {
            server,
            stream: stream.into(),
            consumer: consumer.into(),
            subject: None,
            batch: 256,
            ack_wait: Duration::from_secs(30),
        }
    }
}

/// Takes messages from a stream as one of a group.
pub struct NatsSource {
    settings: NatsSourceSettings,
    runtime: Runtime,
    connection: Option<Connection>,
    pending: VecDeque<(Position, Acker)>,
}

struct Connection {
    client: Client,
    consumer: PullConsumer,
    /// How long the server waits for an acknowledgement.
    ack_wait: Duration,
    told_at: Instant,
}

/// Why the server gave nothing. It is logged, and tried again.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no connection")]
    Connect(#[from] async_nats::ConnectError),
    #[error("no such stream")]
    Stream(#[from] jetstream::context::GetStreamError),
    #[error("no consumer")]
    Consumer(#[from] jetstream::stream::ConsumerError),
    #[error("no messages")]
    Batch(#[from] pull::BatchError),
    #[error("the messages ended in the middle")]
    Message(#[source] async_nats::Error),
}

impl NatsSource {
    /// Connects when it is run.
    ///
    /// # Errors
    ///
    /// [`SourceError::Thread`].
    pub fn new(settings: NatsSourceSettings) -> Result<Self, SourceError> {
        // One thread of its own, so that the connection is looked after while the pipeline makes us wait.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aegis-nats")
            .enable_io()
            .enable_time()
            .build()
            .map_err(SourceError::Thread)?;
        Ok(Self { settings, runtime, connection: None, pending: VecDeque::new() })
    }

    async fn connect(settings: &NatsSourceSettings) -> Result<Connection, Fault> {
        let NatsSourceSettings { server, stream, consumer, subject, batch: _, ack_wait } = settings;
        let client = server.connect().await?;
        let stream = jetstream::new(client.clone()).get_stream(stream).await?;
        let wanted = pull::Config {
            durable_name: Some(consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: *ack_wait,
            filter_subject: subject.clone().unwrap_or_default(),
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(consumer, wanted).await?;
        let ack_wait = consumer.cached_info().config.ack_wait;
        let ack_wait = if ack_wait.is_zero() { Duration::from_secs(30) } else { ack_wait };
        Ok(Connection { client, consumer, ack_wait, told_at: Instant::now() })
    }

    /// Takes messages until `stop` is asked for or the server fails.
    async fn take(
        settings: &NatsSourceSettings,
        connection: &mut Connection,
        pending: &mut VecDeque<(Position, Acker)>,
        pipeline: &TelemetryPipeline,
        stop: &Stop,
    ) -> Result<Result<(), Fault>, SourceError> {
        while !stop.is_asked() {
            acknowledge(connection, pending, pipeline.acknowledged()).await;
            // Short, so that what is acknowledged meanwhile is told, and a stop is seen.
            let asked =
                connection.consumer.batch().max_messages(settings.batch).expires(Duration::from_millis(500));
            let mut messages = match asked.messages().await {
                Ok(messages) => messages,
                Err(error) => return Ok(Err(error.into())),
            };
            while let Some(message) = messages.next().await {
                let (message, acker) = match message {
                    Ok(message) => message.split(),
                    Err(error) => return Ok(Err(Fault::Message(error))),
                };
                // It waits here while the pipeline is full; what was acknowledged meanwhile is told afterwards.
                let position = emit(pipeline, message.payload.into())?;
                // One that the pipeline's policy has lost is not asked for again.
                pending.push_back((position.unwrap_or_default(), acker));
                if connection.told_at.elapsed() >= connection.ack_wait / 3 {
                    acknowledge(connection, pending, pipeline.acknowledged()).await;
                }
            }
        }
        Ok(Ok(()))
    }

    fn pump(&mut self, pipeline: &TelemetryPipeline, stop: &Stop) -> Result<(), SourceError> {
        let (mut failures, backoff) = (0, Backoff::default());
        while !stop.is_asked() {
            let Self { settings, runtime, connection, pending } = self;
            let fault = runtime.block_on(async {
                let connection = match connection {
                    Some(connection) => connection,
                    None => match Self::connect(settings).await {
                        Ok(made) => {
                            // What another connection was to acknowledge is given again.
                            pending.clear();
                            connection.insert(made)
                        }
                        Err(fault) => return Ok(Err(fault)),
                    },
                };
                Self::take(settings, connection, pending, pipeline, stop).await
            })?;
            let Err(fault) = fault else { return Ok(()) };
            failures += 1;
            if matches!(fault, Fault::Consumer(_) | Fault::Stream(_) | Fault::Batch(_)) {
                // A consumer that was deleted is made again.
                *connection = None;
            }
            let error = crate::pipeline::chain(&fault);
            if failures == 1 {
                tracing::warn!(stream = settings.stream, error, "the NATS server gives no messages");
            } else {
                tracing::debug!(
                    stream = settings.stream,
                    error,
                    failures,
                    "the NATS server gives no messages"
                );
            }
            stop.sleep(backoff.wait(failures, None).min(Duration::from_secs(5)));
        }
        Ok(())
    }

    /// Tells the server what is done, and gives the rest back to the group at once.
    fn hand_back(&mut self, acknowledged: Position) {
        let Self { runtime, connection, pending, .. } = self;
        let Some(connection) = connection else { return };
        runtime.block_on(async {
            acknowledge(connection, pending, acknowledged).await;
            for (_, acker) in pending.drain(..) {
                let _ = acker.ack_with(AckKind::Nak(None)).await;
            }
            // If it does not get through, the server gives the messages to others when their time is over.
            let _ = tokio::time::timeout(Duration::from_secs(5), connection.client.flush()).await;
        });
    }
}

impl Source for NatsSource {
    fn run(&mut self, pipeline: &TelemetryPipeline, stop: &Stop, drain: Duration) -> Result<(), SourceError> {
        let pumped = self.pump(pipeline, stop);
        let flushed = self.flush(pipeline, drain);
        self.hand_back(pipeline.acknowledged());
        pumped.and(flushed)
    }
}

impl NatsSource {
    /// Waits until all is acknowledged, and tells the server meanwhile that work goes on.
    fn flush(&mut self, pipeline: &TelemetryPipeline, drain: Duration) -> Result<(), SourceError> {
        let deadline = Instant::now() + drain;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let flushed = pipeline.flush(left.min(Duration::from_secs(1)));
            if flushed.is_ok() || left.is_zero() || matches!(flushed, Err(crate::FlushError::Failed { .. })) {
                return flushed.map(drop).map_err(SourceError::Unacknowledged);
            }
            if let Some(connection) = &mut self.connection {
                self.runtime.block_on(acknowledge(connection, &mut self.pending, pipeline.acknowledged()));
            }
        }
    }
}

impl fmt::Debug for NatsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSource").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Acknowledges what is done; for the rest, now and then, that work goes on. What does not get through is given again.
async fn acknowledge(
    connection: &mut Connection,
    pending: &mut VecDeque<(Position, Acker)>,
    acknowledged: Position,
) {
    while let Some((_, acker)) = pending.pop_front_if(|(position, _)| *position <= acknowledged) {
        let _ = acker.ack().await;
    }
    if connection.told_at.elapsed() >= connection.ack_wait / 3 {
        for (_, acker) in pending.iter() {
            let _ = acker.ack_with(AckKind::Progress).await;
        }
        connection.told_at = Instant::now();
    }
}
