//! What a pipeline counts, and its Prometheus text (exposition format 0.0.4).
//!
//! Labels are names of sinks, as configured, and of [`Reason`]s. Nothing of an event is ever a label.

mod exposition;
mod histogram;

pub use histogram::Histogram;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::enricher::Reason;
use exposition::Exposition;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// How much was counted.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// What it shows.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What a pipeline counts.
#[derive(Debug)]
pub struct Metrics {
    /// Events that were taken.
    pub events_in: Counter,
    /// Their bytes.
    pub bytes_in: Counter,
    /// Events that were sealed.
    pub events_sealed: Counter,
    /// Their bytes, sealed.
    pub bytes_sealed: Counter,
    /// Fields that were sealed.
    pub fields: Counter,
    /// Bytes of their values.
    pub field_bytes: Counter,
    /// Sender contexts that were begun.
    pub contexts: Counter,
    /// Events that were lost because the queue was full and the policy is to shed.
    pub shed: Counter,
    /// Times that a worker waited because nothing could be sealed.
    pub stalls: Counter,
    /// Dead letters that were kept.
    pub dead_letters: Counter,
    /// Dead letters that could not be kept, and of which nothing is left.
    pub dead_letters_lost: Counter,
    /// Events that were taken and are not yet settled.
    pub queue_events: Gauge,
    /// Their bytes.
    pub queue_bytes: Gauge,
    /// Seconds to enrich and seal an event.
    pub seal_seconds: Histogram,
    /// Seconds from `emit` until events were settled, measured on the first of every chunk.
    pub settle_seconds: Histogram,
    refused: [Counter; Reason::ALL.len()],
    sinks: Vec<Arc<SinkMetrics>>,
}

/// What is counted for one sink.
#[derive(Debug)]
pub struct SinkMetrics {
    /// Its name.
    pub name: String,
    /// Events that it took.
    pub events: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Batches that it took.
    pub batches: Counter,
    /// Attempts that failed and were, or will be, made again.
    pub retries: Counter,
    /// Events that it refused for good.
    pub refused: Counter,
    /// Events that went into the spool.
    pub spooled: Counter,
    /// Events that were lost because the spool was full and its policy is to shed.
    pub shed: Counter,
    /// Events that wait in the spool.
    pub spool_events: Gauge,
    /// Bytes of the spool's files.
    pub spool_bytes: Gauge,
    /// Seconds of an attempt.
    pub deliver_seconds: Histogram,
}

impl SinkMetrics {
    fn new(name: String) -> Self {
        Self {
            name,
            events: Counter::default(),
            bytes: Counter::default(),
            batches: Counter::default(),
            retries: Counter::default(),
            refused: Counter::default(),
            spooled: Counter::default(),
            shed: Counter::default(),
            spool_events: Gauge::default(),
            spool_bytes: Gauge::default(),
            deliver_seconds: Histogram::new(),
        }
    }
}

impl Metrics {
    pub(crate) fn new(sinks: impl Iterator<Item = String>) -> Self {
        Self {
            events_in: Counter::default(),
            bytes_in: Counter::default(),
            events_sealed: Counter::default(),
            bytes_sealed: Counter::default(),
            fields: Counter::default(),
            field_bytes: Counter::default(),
            contexts: Counter::default(),
            shed: Counter::default(),
            stalls: Counter::default(),
            dead_letters: Counter::default(),
            dead_letters_lost: Counter::default(),
            queue_events: Gauge::default(),
            queue_bytes: Gauge::default(),
            seal_seconds: Histogram::new(),
            settle_seconds: Histogram::new(),
            refused: Default::default(),
            sinks: sinks.map(|name| Arc::new(SinkMetrics::new(name))).collect(),
        }
    }

    /// Events that were refused for a reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refusals(reason).map_or(0, Counter::value)
    }

    /// Events that were refused, for whatever reason.
    pub fn all_refused(&self) -> u64 {
        self.refused.iter().map(Counter::value).sum()
    }

    /// Each sink's.
    pub fn sinks(&self) -> &[Arc<SinkMetrics>] {
        &self.sinks
    }

    pub(crate) fn refusals(&self, reason: Reason) -> Option<&Counter> {
        let place = Reason::ALL.iter().position(|other| *other == reason)?;
        self.refused.get(place)
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = Exposition::default();
        let counters = [
            ("events_total", "Events that were taken.", &self.events_in),
            ("bytes_total", "Bytes of the events that were taken.", &self.bytes_in),
            ("sealed_events_total", "Events that were sealed.", &self.events_sealed),
            ("sealed_bytes_total", "Bytes of the sealed events.", &self.bytes_sealed),
            ("fields_total", "Personal fields that were sealed.", &self.fields),
            ("field_bytes_total", "Bytes of the values that were sealed.", &self.field_bytes),
            ("contexts_total", "Sender contexts that were begun.", &self.contexts),
            ("shed_events_total", "Events lost because the queue was full.", &self.shed),
            ("stalls_total", "Waits because nothing could be sealed.", &self.stalls),
            ("dead_letters_total", "Dead letters that were kept.", &self.dead_letters),
            ("dead_letters_lost_total", "Dead letters that could not be kept.", &self.dead_letters_lost),
        ];
        for (name, help, counter) in counters {
            text.counter(name, help, [(None, counter.value())]);
        }
        let refused = Reason::ALL
            .into_iter()
            .map(|reason| (Some(("reason", reason.name())), self.refusals(reason).map_or(0, Counter::value)));
        text.counter("refused_events_total", "Events that reached no sink, by reason.", refused);
        text.gauge("queue_events", "Events taken and not yet settled.", [(None, self.queue_events.value())]);
        text.gauge("queue_bytes", "Bytes of these events.", [(None, self.queue_bytes.value())]);
        text.histogram("seal_seconds", "Time to seal an event.", [(None, &self.seal_seconds)]);
        text.histogram("settle_seconds", "Time until an event is settled.", [(None, &self.settle_seconds)]);
        self.render_sinks(&mut text);
        text.into_text()
    }

    fn render_sinks(&self, text: &mut Exposition) {
        type Of<T> = fn(&SinkMetrics) -> &T;
        let counters: [(&str, &str, Of<Counter>); 7] = [
            ("sink_events_total", "Events that a sink took.", |sink| &sink.events),
            ("sink_bytes_total", "Bytes that a sink took.", |sink| &sink.bytes),
            ("sink_batches_total", "Batches that a sink took.", |sink| &sink.batches),
            ("sink_retries_total", "Attempts that failed and are made again.", |sink| &sink.retries),
            ("sink_refused_events_total", "Events that a sink refused for good.", |sink| &sink.refused),
            ("sink_spooled_events_total", "Events that went into the spool.", |sink| &sink.spooled),
            ("sink_shed_events_total", "Events lost because the spool was full.", |sink| &sink.shed),
        ];
        for (name, help, of) in counters {
            let samples = self.sinks.iter().map(|sink| (Some(("sink", &*sink.name)), of(sink).value()));
            text.counter(name, help, samples);
        }
        let gauges: [(&str, &str, Of<Gauge>); 2] = [
            ("sink_spool_events", "Events that wait in the spool.", |sink| &sink.spool_events),
            ("sink_spool_bytes", "Bytes of the spool's files.", |sink| &sink.spool_bytes),
        ];
        for (name, help, of) in gauges {
            let samples = self.sinks.iter().map(|sink| (Some(("sink", &*sink.name)), of(sink).value()));
            text.gauge(name, help, samples);
        }
        let attempts = self.sinks.iter().map(|sink| (Some(("sink", &*sink.name)), &sink.deliver_seconds));
        text.histogram("sink_deliver_seconds", "Time of an attempt to deliver.", attempts);
    }
}
