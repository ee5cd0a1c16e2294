//! Messages of a NATS JetStream stream, shared among processes that name the same durable consumer.
//!
//! A message is one event. It is acknowledged when the pipeline has settled it, and until then the server is told now and
//! then that it is worked on. What a killed process had not acknowledged comes again, to any of the group, after the
//! consumer's `ack_wait`.

use std::fmt;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

use super::{NatsSourceError, NatsSourceSettings};
use crate::backoff::Backoff;
use crate::inlet::{Ended, Intake, Offered, ROOM_WAIT, Source, SourceError, Unacknowledged};
use crate::pipeline::TelemetryPipeline;
use crate::sink::connect_help;

/// Messages that are asked for at once.
const BATCH: usize = 256;
/// How long the server waits for messages before it answers that there are none.
const EXPIRES: Duration = Duration::from_secs(2);
/// How often acknowledgements are sent while messages come.
const TICK: Duration = Duration::from_millis(100);

/// Reads messages of one stream.
pub struct NatsSource {
    settings: NatsSourceSettings,
    runtime: Runtime,
    link: Option<Link>,
    unacknowledged: Unacknowledged<Taken>,
    failures: u32,
}

struct Link {
    client: Client,
    consumer: PullConsumer,
    /// The answer to the last request for messages.
    batch: Option<pull::Batch>,
    ack_wait: Duration,
}

/// A message that is on its way through the pipeline.
struct Taken {
    message: Message,
    spoken_at: Instant,
}

/// What the server had for us.
enum Got {
    Message(Box<Message>),
    Nothing,
    Fault(Fault),
}

/// The connection, the stream or the consumer is not there. That may pass.
struct Fault {
    said: String,
    help: Option<String>,
}

impl Fault {
    fn new(error: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self { said: error.to_string(), help: None }
    }
}

impl NatsSource {
    /// Connects when it is run.
    ///
    /// # Errors
    ///
    /// [`NatsSourceError::Runtime`].
    pub fn new(settings: NatsSourceSettings) -> Result<Self, NatsSourceError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aegis-nats")
            .enable_io()
            .enable_time()
            .build()
            .map_err(NatsSourceError::Runtime)?;
        Ok(Self { settings, runtime, link: None, unacknowledged: Unacknowledged::new(), failures: 0 })
    }

    /// Connects, and finds or makes the consumer. `Ok(Err(…))` is what may pass.
    fn connect(&self) -> Result<Result<Link, Fault>, NatsSourceError> {
        let NatsSourceSettings { server, stream, consumer, subject, ack_wait, max_unacknowledged } =
            &self.settings;
        let wanted = pull::Config {
            durable_name: Some(consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: *ack_wait,
            max_deliver: -1,
            max_ack_pending: i64::try_from(*max_unacknowledged).unwrap_or(i64::MAX),
            filter_subject: subject.clone().unwrap_or_default(),
            ..pull::Config::default()
        };
        let linked = self.runtime.block_on(async {
            let client = match &self.link {
                Some(link) => link.client.clone(),
                None => server
                    .connect()
                    .await
                    .map_err(|error| Fault { help: Some(connect_help(&error)), ..Fault::new(&error) })?,
            };
            let context = async_nats::jetstream::context::ContextBuilder::new()
                .timeout(server.timeout)
                .build(client.clone());
            let stream = context.get_stream(stream).await.map_err(|error| Fault::new(&error))?;
            let found = stream.get_or_create_consumer(consumer, wanted).await;
            let consumer = found.map_err(|error| Fault::new(&error))?;
            Ok::<_, Fault>((client, consumer))
        });
        let (client, found) = match linked {
            Ok(linked) => linked,
            Err(fault) => return Ok(Err(fault)),
        };
        let config = &found.cached_info().config;
        let name = || consumer.clone();
        if config.ack_policy != AckPolicy::Explicit {
            return Err(NatsSourceError::AckPolicy { consumer: name() });
        }
        if config.max_deliver > 0 {
            return Err(NatsSourceError::MaxDeliver { consumer: name(), deliveries: config.max_deliver });
        }
        if let Some(wanted) = subject.as_ref().filter(|wanted| **wanted != config.filter_subject) {
            let found = config.filter_subject.clone();
            return Err(NatsSourceError::Subject { consumer: name(), found, wanted: wanted.clone() });
        }
        let ack_wait = if config.ack_wait.is_zero() { *ack_wait } else { config.ack_wait };
        Ok(Ok(Link { client, consumer: found, batch: None, ack_wait }))
    }

    /// The next message, if one comes soon.
    fn next(&mut self) -> Got {
        let room = self.settings.max_unacknowledged.saturating_sub(self.unacknowledged.0.len());
        let Some(link) = &mut self.link else { return Got::Nothing };
        if room == 0 && link.batch.is_none() {
            return Got::Nothing;
        }
        self.runtime.block_on(async {
            let batch = match &mut link.batch {
                Some(batch) => batch,
                None => {
                    let asked =
                        link.consumer.batch().max_messages(room.min(BATCH)).expires(EXPIRES).messages().await;
                    match asked {
                        Ok(batch) => link.batch.insert(batch),
                        Err(error) => return Got::Fault(Fault::new(&error)),
                    }
                }
            };
            match tokio::time::timeout(TICK, batch.next()).await {
                Err(_) => Got::Nothing,
                Ok(Some(Ok(message))) => Got::Message(Box::new(message)),
                Ok(Some(Err(error))) => {
                    link.batch = None;
                    Got::Fault(Fault::new(&error))
                }
                Ok(None) => {
                    link.batch = None;
                    Got::Nothing
                }
            }
        })
    }

    /// Acknowledges what is settled, and says of the rest that it is worked on.
    fn speak(&mut self, pipeline: &TelemetryPipeline) {
        let acknowledged = pipeline.acknowledged();
        let patience = self.link.as_ref().map_or(self.settings.ack_wait, |link| link.ack_wait) / 3;
        let unacknowledged = &mut self.unacknowledged;
        // Sent without an answer: what is lost of it comes again, and that is all.
        self.runtime.block_on(async {
            while let Some(taken) = unacknowledged.take(acknowledged) {
                let _ = taken.message.ack().await;
            }
            for (_, taken) in &mut unacknowledged.0 {
                if taken.spoken_at.elapsed() >= patience {
                    let _ = taken.message.ack_with(AckKind::Progress).await;
                    taken.spoken_at = Instant::now();
                }
            }
        });
    }

    /// Whether it was handed over; not if it was told to stop.
    fn hand_over(&mut self, intake: &mut Intake<'_>, message: Message) -> Result<bool, SourceError> {
        let mut event = message.payload.to_vec();
        let taken = Taken { message, spoken_at: Instant::now() };
        loop {
            match intake.offer(event)? {
                Offered::At(position) => {
                    self.unacknowledged.put(position, taken);
                    return Ok(true);
                }
                // It comes again.
                Offered::Shed => return Ok(true),
                Offered::Full(back) => {
                    event = back;
                    self.speak(intake.pipeline());
                    if intake.stop().wait(ROOM_WAIT) {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Waits before the next attempt.
    fn fault(&mut self, intake: &Intake<'_>, Fault { said, help }: &Fault) {
        self.failures = self.failures.saturating_add(1);
        tracing::warn!(
            stream = self.settings.stream,
            consumer = self.settings.consumer,
            fault = said,
            help,
            "cannot read messages; trying again"
        );
        let wait = Backoff::default().wait(self.failures, None);
        let end = Instant::now() + wait;
        while Instant::now() < end && !intake.stop().wait(TICK.min(wait)) {
            self.speak(intake.pipeline());
        }
    }
}

impl Source for NatsSource {
    fn run(&mut self, intake: &mut Intake<'_>) -> Result<Ended, SourceError> {
        let mut is_linked = false;
        let mut spoken_at = Instant::now();
        while !intake.stop().is_set() {
            if !is_linked {
                match self.connect()? {
                    Ok(link) => {
                        self.link = Some(link);
                        is_linked = true;
                    }
                    Err(fault) => {
                        self.fault(intake, &fault);
                        continue;
                    }
                }
            }
            match self.next() {
                Got::Message(message) => {
                    self.failures = 0;
                    if !self.hand_over(intake, *message)? {
                        break;
                    }
                    if spoken_at.elapsed() < TICK {
                        continue;
                    }
                }
                Got::Nothing => {
                    if self.unacknowledged.0.len() >= self.settings.max_unacknowledged {
                        intake.stop().wait(ROOM_WAIT);
                    }
                }
                Got::Fault(fault) => {
                    is_linked = false;
                    self.fault(intake, &fault);
                }
            }
            self.speak(intake.pipeline());
            spoken_at = Instant::now();
        }
        Ok(Ended::Stopped)
    }

    fn remember(&mut self, pipeline: &TelemetryPipeline) -> Result<(), SourceError> {
        self.speak(pipeline);
        if let Some(link) = &self.link {
            // Nobody waits for it any longer than for another answer.
            let flushed = self.runtime.block_on(async {
                tokio::time::timeout(self.settings.server.timeout, link.client.flush()).await
            });
            if !matches!(flushed, Ok(Ok(()))) {
                tracing::warn!("acknowledgements were not sent: these messages come again");
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NatsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSource").field("settings", &self.settings).finish_non_exhaustive()
    }
}
