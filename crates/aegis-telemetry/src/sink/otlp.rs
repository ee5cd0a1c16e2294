//! Batches as OTLP logs over HTTP, in protobuf.
//!
//! The messages are those of opentelemetry-proto v1, as far as they are used. They are written down here because the crate
//! that is generated from that repository brings the OpenTelemetry SDK with it; the tests decode what is sent with the
//! Python package that is generated from it.
//!
//! | message | field | number |
//! |---|---|---|
//! | `ExportLogsServiceRequest` | `resource_logs` | 1 |
//! | `ResourceLogs` | `resource`, `scope_logs` | 1, 2 |
//! | `Resource` | `attributes` | 1 |
//! | `ScopeLogs` | `scope`, `log_records` | 1, 2 |
//! | `InstrumentationScope` | `name`, `version` | 1, 2 |
//! | `LogRecord` | `body`, `attributes`, `observed_time_unix_nano` | 5, 6, 11 |
//! | `ExportLogsPartialSuccess` | `rejected_log_records`, `error_message` | 1, 2 |
//!
//! A record's body is the text of the sealed event, byte for byte, so that it can be opened again. Its attribute
//! `log.record.uid` is the event's id: by the semantic conventions, records with the same one are the same record.

use jiff::Timestamp;
use prost::Message;

use super::web::{Web, WebSettings, WebSettingsError};
use super::{Delivered, Sink, SinkError, SinkFault};
use crate::event::Batch;

/// An OTLP receiver, and what it is told of us.
#[derive(Debug)]
pub struct OtlpSettings {
    /// The receiver. The path of the address is used as it is, usually `/v1/logs`.
    pub web: WebSettings,
    /// Attributes of the resource, such as `service.name`.
    pub resource: Vec<(String, String)>,
}

/// Exports each batch as one request.
#[derive(Debug)]
pub struct OtlpSink {
    web: Web,
    resource: Vec<KeyValue>,
}

impl OtlpSink {
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// A [`WebSettingsError`].
    pub fn new(settings: &OtlpSettings) -> Result<Self, WebSettingsError> {
        let resource = settings.resource.iter().map(|(key, value)| KeyValue::text(key, value.clone()));
        Ok(Self { web: Web::new(&settings.web)?, resource: resource.collect() })
    }

    fn request(&self, batch: &Batch, now: u64) -> Result<Vec<u8>, SinkError> {
        let records = batch.events().iter().map(|event| {
            // A JSON text is UTF-8, or it would not have been sealed.
            let text = String::from_utf8_lossy(event.text()).into_owned();
            LogRecord {
                body: Some(AnyValue { string_value: Some(text) }),
                attributes: vec![KeyValue::text("log.record.uid", event.id().to_string())],
                observed_time_unix_nano: now,
            }
        });
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource { attributes: self.resource.clone() }),
                scope_logs: vec![ScopeLogs {
                    scope: Some(InstrumentationScope {
                        name: env!("CARGO_PKG_NAME").to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                    }),
                    log_records: records.collect(),
                }],
            }],
        };
        Ok(request.encode_to_vec())
    }
}

impl Sink for OtlpSink {
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        let answer = self.web.post("application/x-protobuf", &batch.key(), &self.request(batch, now)?)?;
        let strange = |status| {
            let fault = SinkFault::StrangeAnswer { status, expected: "OTLP answer" };
            // Something else than a receiver said yes: it has not taken anything.
            SinkError::retry(fault)
        };
        let body = answer.body.map_err(|error| SinkError::retry(SinkFault::NoAnswer(error)))?;
        let said = ExportLogsServiceResponse::decode(body.as_slice()).map_err(|_| strange(answer.status))?;
        let Some(partial) = said.partial_success else { return Ok(Delivered::All) };
        match u64::try_from(partial.rejected_log_records) {
            Ok(0) | Err(_) => Ok(Delivered::All),
            // The specification forbids to send it again.
            Ok(rejected) => Ok(Delivered::AllBut(rejected)),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct InstrumentationScope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportLogsPartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsPartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

impl KeyValue {
    fn text(key: &str, value: String) -> Self {
        Self { key: key.to_owned(), value: Some(AnyValue { string_value: Some(value) }) }
    }
}
