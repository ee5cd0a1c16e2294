//! The ring buffer, read. What is in it when its reader dies is there for the next one.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use libbpf_rs::{RingBuffer, RingBufferBuilder};

use crate::error::KernelError;
use crate::event::{Context, Event, RecordError};
use crate::kernel::{Enforcement, name};
use crate::layout::STIR;

/// At most so many records are taken at once; the rest waits in the kernel.
const AT_ONCE: usize = 4096;

/// Reads the events of an [`Enforcement`]. There may be one reader of it on a host.
pub struct EventReader<'a> {
    ring: RingBuffer<'a>,
    records: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl std::fmt::Debug for EventReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventReader").finish_non_exhaustive()
    }
}

impl Enforcement {
    /// Begins to read its events.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if the ring buffer cannot be mapped.
    pub fn reader(&self) -> Result<EventReader<'_>, KernelError> {
        let failed = |source| KernelError::Map { action: "read", name: name::EVENTS.to_owned(), source };
        let records = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&records);
        let mut builder = RingBufferBuilder::new();
        let take = move |bytes: &[u8]| {
            // What only wakes whoever waits is no event.
            if bytes.len() != STIR {
                into.borrow_mut().push(bytes.to_vec());
            }
            0
        };
        builder.add(self.events()?, take).map_err(failed)?;
        Ok(EventReader { ring: builder.build().map_err(failed)?, records })
    }
}

impl EventReader<'_> {
    /// Waits for events, `patience` at most, and takes them. Records that are none are told as what is wrong with them. It
    /// also returns at once, perhaps with none, when the first names have moved since paths were resolved.
    pub fn next(&self, patience: Duration, context: &Context) -> Vec<Result<Event, RecordError>> {
        if self.ring.consume_raw_n(AT_ONCE) == 0 {
            // An interruption by a signal is no failure: whoever calls looks at what it was.
            let _ = self.ring.poll_raw(patience);
        }
        let records = std::mem::take(&mut *self.records.borrow_mut());
        records.iter().map(|record| Event::from_record(record, context)).collect()
    }
}
