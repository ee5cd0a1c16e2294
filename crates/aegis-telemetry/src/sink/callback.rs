//! Batches to a function of the program's own.

use std::fmt;

use super::{Delivered, Sink, SinkError};
use crate::event::Batch;

/// Hands each batch to a function.
pub struct CallbackSink<F>(F);

impl<F> CallbackSink<F>
where
    F: FnMut(&Batch) -> Result<Delivered, SinkError> + Send,
{
    /// Hands each batch to `callback`; what it returns is what became of the batch.
    pub const fn new(callback: F) -> Self {
        Self(callback)
    }
}

impl<F> Sink for CallbackSink<F>
where
    F: FnMut(&Batch) -> Result<Delivered, SinkError> + Send,
{
    fn deliver(&mut self, batch: &Batch) -> Result<Delivered, SinkError> {
        (self.0)(batch)
    }
}

impl<F> fmt::Debug for CallbackSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackSink").finish_non_exhaustive()
    }
}
