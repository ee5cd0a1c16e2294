//! Events that a program has in its own hands.

use std::fmt;

use super::{Ended, Intake, Offered, ROOM_WAIT, Source, SourceError};
use crate::pipeline::TelemetryPipeline;

/// Offers what an iterator gives, until it gives no more. What cannot be handed over because it is told to stop is for the
/// iterator's owner to give again: nothing is remembered here.
pub struct IterSource<I>(I);

impl<I: Iterator<Item = Vec<u8>> + Send> IterSource<I> {
    /// Nothing is taken yet.
    pub const fn new(events: I) -> Self {
        Self(events)
    }
}

impl<I: Iterator<Item = Vec<u8>> + Send> Source for IterSource<I> {
    fn run(&mut self, intake: &mut Intake<'_>) -> Result<Ended, SourceError> {
        for mut event in &mut self.0 {
            while let Offered::Full(back) = intake.offer(event)? {
                event = back;
                if intake.stop().wait(ROOM_WAIT) {
                    return Ok(Ended::Stopped);
                }
            }
            if intake.stop().is_set() {
                return Ok(Ended::Stopped);
            }
        }
        Ok(Ended::Input)
    }

    fn remember(&mut self, _: &TelemetryPipeline) -> Result<(), SourceError> {
        Ok(())
    }
}

impl<I> fmt::Debug for IterSource<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IterSource").finish_non_exhaustive()
    }
}
