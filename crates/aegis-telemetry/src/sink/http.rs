//! Batches as HTTP requests.

use super::web::{Web, WebSettings, WebSettingsError};
use super::{Delivered, Sink, SinkError};
use crate::event::Batch;

/// How a request's body is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyForm {
    /// A line an event, `application/x-ndjson`.
    #[default]
    Lines,
    /// One JSON array, `application/json`.
    Array,
}

/// Posts each batch as one request.
///
/// Its `Idempotency-Key` is that of the batch: the same for every retry, also after a restart, if there is a spool. A
/// receiver that heeds it has every event once.
#[derive(Debug)]
pub struct HttpSink {
    web: Web,
    form: BodyForm,
}

impl HttpSink {
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// A [`WebSettingsError`].
    pub fn new(settings: &WebSettings, form: BodyForm) -> Result<Self, WebSettingsError> {
        Ok(Self { web: Web::new(settings)?, form })
    }
}

impl Sink for HttpSink {
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        let (content_type, body) = match self.form {
            BodyForm::Lines => ("application/x-ndjson", batch.to_lines()),
            BodyForm::Array => ("application/json", to_array(batch)),
        };
        // The status is the answer: a receiver that said yes has taken it, whatever it says besides.
        self.web.post(content_type, &batch.key(), &body)?;
        Ok(Delivered::All)
    }
}

fn to_array(batch: &Batch) -> Vec<u8> {
    let mut array = Vec::with_capacity(batch.bytes() + batch.events().len() + 1);
    for event in batch.events() {
        array.push(if array.is_empty() { b'[' } else { b',' });
        array.extend_from_slice(event.text());
    }
    array.push(b']');
    array
}
