//! Where sealed events go.

mod callback;
mod file;
mod http;
mod nats;
mod otlp;
mod rotation;
mod web;
mod writer;

pub use callback::CallbackSink;
pub use file::{FileSettings, FileSink, FileSinkError, SyncPolicy};
pub use http::{BodyForm, HttpSink};
#[cfg(feature = "nats")]
pub use nats::NatsSink;
#[cfg(feature = "nats")]
pub(crate) use nats::connect_help;
pub use nats::{NatsLogin, NatsServer, NatsSettings};
pub use otlp::{OtlpSettings, OtlpSink};
pub use rotation::Rotation;
pub use web::{Authorization, WebSettings, WebSettingsError};
pub use writer::{StdoutError, WriterSink};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::event::Batch;

/// Takes batches of sealed events, one at a time and in order.
///
/// It is asked again with the same batch until it says what became of it; how often, and what happens in between, is
/// for the pipeline to decide and not for the sink.
pub trait Sink: Send {
    /// Takes a batch. On return the events are where they belong, and stay there if this process is killed.
    ///
    /// # Errors
    ///
    /// A [`SinkError`], which says whether to ask again.
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError>;
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// All is there.
    All,
    /// So many events were rejected for good; which, the receiver did not say, and it must not be asked again.
    AllBut(u64),
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Not now. The same batch may be taken later.
    #[error("the sink did not take it")]
    Retry {
        /// Why.
        #[source]
        fault: SinkFault,
        /// How long to wait at least, if the receiver said so.
        after: Option<Duration>,
    },
    /// Not this batch, however often. Something in it is at fault, such as one event that is too large.
    #[error("the sink refused it")]
    Refused {
        /// Why.
        #[source]
        fault: SinkFault,
    },
    /// Nothing any more: whoever read from it has gone.
    #[error("the sink is gone")]
    Gone {
        /// Why.
        #[source]
        fault: SinkFault,
    },
}

impl SinkError {
    /// To be tried again, at no given time.
    pub const fn retry(fault: SinkFault) -> Self {
        Self::Retry { fault, after: None }
    }

    /// What is behind it.
    pub const fn fault(&self) -> &SinkFault {
        match self {
            Self::Retry { fault, .. } | Self::Refused { fault } | Self::Gone { fault } => fault,
        }
    }
}

/// What went wrong at a sink. Nothing of an event and no credential is in it.
#[derive(Debug, thiserror::Error)]
pub enum SinkFault {
    /// A file could not be written.
    #[error("cannot {step} {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A stream could not be written.
    #[error("cannot write to {name}")]
    Stream {
        /// Which.
        name: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// No HTTP answer came.
    #[error("no answer from the receiver")]
    NoAnswer(#[source] Box<ureq::Error>),
    /// An HTTP answer that is no success.
    #[error("the receiver answered with status {0}")]
    Status(u16),
    /// A success whose body is not what such a receiver answers.
    #[error("the receiver answered {status}, and with something that is no {expected}")]
    StrangeAnswer {
        /// The status.
        status: u16,
        /// What was expected.
        expected: &'static str,
    },
    /// No connection to a NATS server.
    #[cfg(feature = "nats")]
    #[error("no connection to the NATS server")]
    NatsConnect(#[source] Box<async_nats::ConnectError>),
    /// JetStream did not acknowledge.
    #[cfg(feature = "nats")]
    #[error("the NATS server did not acknowledge")]
    NatsPublish(#[source] Box<async_nats::jetstream::context::PublishError>),
    /// The events would lie in another stream than the configured one.
    #[error("the subject belongs to the stream {found:?}, not to {expected:?}")]
    NatsStream {
        /// The stream that acknowledged.
        found: String,
        /// The one that was configured.
        expected: String,
    },
    /// A callback said no.
    #[error("the callback failed: {reason}")]
    Callback {
        /// What it said. The callback answers for what is in it.
        reason: String,
    },
}

impl SinkFault {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::File { source, .. } | Self::Stream { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that file system".to_owned())
                }
                io::ErrorKind::PermissionDenied => Some("check whose file it is".to_owned()),
                _ => None,
            },
            Self::NoAnswer(_) => Some("check the address, and that the receiver runs".to_owned()),
            Self::Status(401 | 403 | 407) => Some("check the credentials of the sink".to_owned()),
            Self::Status(404 | 405) => Some("check the path in the sink's address".to_owned()),
            Self::Status(300..=399) => {
                Some("give the address that it redirects to; redirects are not followed".to_owned())
            }
            Self::StrangeAnswer { .. } => {
                Some("check that the address is that of such a receiver".to_owned())
            }
            #[cfg(feature = "nats")]
            Self::NatsConnect(error) => Some(nats::connect_help(error)),
            #[cfg(feature = "nats")]
            Self::NatsPublish(_) => Some("check that a stream has the subject, and has room".to_owned()),
            Self::NatsStream { .. } => Some("correct the stream or the subject".to_owned()),
            Self::Status(_) | Self::Callback { .. } => None,
        }
    }
}
