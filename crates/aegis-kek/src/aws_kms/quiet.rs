//! Keeps what the AWS SDK says at its lower levels from the program's log.
//!
//! At TRACE the SDK describes each request and answer. Whether a body is in there hangs on what it marked as sensitive,
//! and on one variable: with `LOG_SENSITIVE_BODIES=true` it prints answers, and that of `kms:Decrypt` is the private key
//! (measured with `aws-smithy-runtime` 1.16; a test sees to it that we would notice). So on the thread on which it
//! runs, only events of INFO and above reach the program's log, whatever that asked for.

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// Runs `work` with the log of the SDK cut down. Threads that it starts are not covered.
pub(super) fn quietly<T>(outer: Dispatch, work: impl FnOnce() -> T) -> T {
    dispatcher::with_default(&Dispatch::new(Quiet(outer)), work)
}

/// The log of the thread that asked for the work.
pub(super) fn log_of_this_thread() -> Dispatch {
    dispatcher::get_default(Dispatch::clone)
}

/// Passes on events, not spans: some spans of the SDK have requests as fields.
struct Quiet(Dispatch);

impl Subscriber for Quiet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && self.0.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        // Asked again: a macro need not, once somebody else wants the event.
        if self.enabled(event.metadata()) {
            self.0.event(event);
        }
    }

    // No span is enabled, so none of these is called; they do nothing if one is all the same.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
