//! Messages of NATS JetStream: which, and why not.

#[cfg(feature = "nats")]
mod reader;

#[cfg(feature = "nats")]
pub use reader::NatsSource;

use std::time::Duration;

use crate::sink::NatsServer;

/// Which messages.
#[derive(Debug)]
pub struct NatsSourceSettings {
    /// The server.
    pub server: NatsServer,
    /// The stream.
    pub stream: String,
    /// The durable consumer. All processes that name it share the messages. It is made if it is not there.
    pub consumer: String,
    /// Of the stream's messages only those with this subject, which may have wildcards.
    pub subject: Option<String>,
    /// After this time without a word from us a message goes to somebody else; for a consumer that is made here.
    pub ack_wait: Duration,
    /// Most messages that are taken and not acknowledged, in this process; and in all, for a consumer that is made here.
    pub max_unacknowledged: usize,
}

/// Why messages cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NatsSourceError {
    /// The system gave no thread.
    #[error("cannot start the NATS client")]
    Runtime(#[source] std::io::Error),
    /// A consumer that does not wait for acknowledgements loses what a killed process had taken.
    #[error("the consumer {consumer:?} does not want each message acknowledged")]
    AckPolicy {
        /// Its name.
        consumer: String,
    },
    /// It delivers a message so often and no more.
    #[error("the consumer {consumer:?} gives a message up after {deliveries} deliveries")]
    MaxDeliver {
        /// Its name.
        consumer: String,
        /// So often.
        deliveries: i64,
    },
    /// It is for other messages.
    #[error("the consumer {consumer:?} is for the subject {found:?}, not for {wanted:?}")]
    Subject {
        /// Its name.
        consumer: String,
        /// Its subject.
        found: String,
        /// The one that is configured.
        wanted: String,
    },
}

impl NatsSourceError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Runtime(_) => "check the limit of threads, and try again".to_owned(),
            Self::AckPolicy { .. } => {
                "name another consumer, or make this one again with the acknowledgement policy `explicit`"
                    .to_owned()
            }
            Self::MaxDeliver { .. } => {
                "name another consumer, or make this one again without a limit of deliveries".to_owned()
            }
            Self::Subject { .. } => "name another consumer, or the subject that this one has".to_owned(),
        })
    }
}
