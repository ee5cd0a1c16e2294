//! Dead letters, from the threads that find a reason for one.

use std::sync::{Arc, Mutex, PoisonError};

use aegis_pii::SealingDekSource;

use super::chain;
use crate::dead_letter::{DeadLetter, DeadLetters, LetterSealer};
use crate::metrics::Metrics;

/// Whoever keeps them, for one thread at a time.
pub(super) struct Letters {
    handler: Mutex<Box<dyn DeadLetters>>,
    source: Arc<dyn SealingDekSource>,
}

impl Letters {
    pub(super) fn new(handler: Box<dyn DeadLetters>, source: Arc<dyn SealingDekSource>) -> Self {
        Self { handler: Mutex::new(handler), source }
    }

    /// What boxes whole events, for one thread.
    pub(super) fn sealer(&self) -> LetterSealer {
        LetterSealer::new(Arc::clone(&self.source))
    }

    pub(super) fn keep(&self, letter: &DeadLetter, metrics: &Metrics) {
        let kept = self.handler.lock().unwrap_or_else(PoisonError::into_inner).keep(letter);
        match kept {
            Ok(()) => {
                metrics.dead_letters.add(1);
                tracing::debug!(id = %letter.id, "a dead letter was kept");
            }
            Err(error) => {
                metrics.dead_letters_lost.add(1);
                tracing::error!(id = %letter.id, error = chain(&error), "a dead letter was not kept");
            }
        }
    }
}
