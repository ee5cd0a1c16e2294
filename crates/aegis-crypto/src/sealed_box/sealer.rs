//! The sender's side: one encapsulation for many boxes, each of which still opens on its own.

use std::fmt;
use std::time::Instant;

use super::MAX_PLAINTEXT_LEN;
use super::associated_data::AssociatedData;
use super::keys::BoxKeys;
use super::purpose::Purpose;
use super::seal_error::SealError;
use super::sealed_event::{BoxContent, Commitments, SealedEvent};
use super::sender_context::{Context, MAX_CONTEXT_AGE, MAX_CONTEXT_BOXES, MAX_CONTEXT_EVENTS, seal_box};
use crate::hybrid_kem::{Encapsulation, HybridPublicKey, encapsulate};
use crate::pages::ProcessMark;

/// Seals boxes for one recipient and one purpose, with one encapsulation for many of them.
///
/// The encapsulation is replaced after 4,096 events, 2²⁰ boxes or 60 seconds, whichever is first, and in a process
/// other than the one that made it. Sealing needs `&mut`, so a context works for one thread at a time.
///
/// An event is sealed in one call, which draws its nonces and uses them up before it returns. So a fork between
/// two events leaves parent and child no nonce in common: the child finds another process id and makes its own
/// context. Where the id is the same in spite of the fork (both can be number 1, in different PID namespaces) or a
/// whole machine was cloned, both go on with one key, and what keeps their nonces apart is that each asks the kernel.
pub struct Sealer {
    recipient: HybridPublicKey,
    purpose: Purpose,
    current: Context,
    next: Option<Context>,
    contexts: u64,
}

impl Sealer {
    /// Makes the first encapsulation. `now` is any clock reading; later calls give later ones.
    ///
    /// # Errors
    ///
    /// [`SealError::Encapsulate`] or [`SealError::Provider`].
    pub fn new(recipient: HybridPublicKey, purpose: Purpose, now: Instant) -> Result<Self, SealError> {
        let current = Context::new(&recipient, purpose, now, ProcessMark::current())?;
        Ok(Self { recipient, purpose, current, next: None, contexts: 1 })
    }

    /// For whom it seals.
    pub const fn recipient(&self) -> &HybridPublicKey {
        &self.recipient
    }

    /// What for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How many encapsulations it has used so far, for whoever counts.
    pub const fn contexts_used(&self) -> u64 {
        self.contexts
    }

    /// Makes the next encapsulation ahead, about 100 µs of work, unless there is one that can still be used.
    ///
    /// Without it the event that finds a limit reached waits that long. Call it where nobody waits. What is made
    /// ahead ages from now on, so call it at half time or later: [`wants_next`](Self::wants_next) says when.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn prepare_next(&mut self, now: Instant) -> Result<(), SealError> {
        let process = ProcessMark::current();
        if !self.next.as_ref().is_some_and(|next| next.takes(0, now, process)) {
            self.next = Some(Context::new(&self.recipient, self.purpose, now, process)?);
        }
        Ok(())
    }

    /// Whether half of any limit is used up and nothing is prepared.
    pub fn wants_next(&self, now: Instant) -> bool {
        let Context { made_at, events, boxes, .. } = &self.current;
        let is_half_used = *events >= MAX_CONTEXT_EVENTS / 2
            || *boxes >= MAX_CONTEXT_BOXES / 2
            || now.saturating_duration_since(*made_at) >= MAX_CONTEXT_AGE / 2;
        is_half_used && self.next.is_none()
    }

    /// Seals all contents of one event into `sealed`, which is emptied first and stays empty on failure.
    ///
    /// # Errors
    ///
    /// A [`SealError`]; no box was made.
    pub fn seal_event(
        &mut self,
        now: Instant,
        contents: &[BoxContent<'_>],
        commitments: Commitments,
        sealed: &mut SealedEvent,
    ) -> Result<(), SealError> {
        self.seal_event_as(ProcessMark::current(), now, contents, commitments, sealed)
    }

    /// Begins an event of so many boxes, of which not all are to be in memory at once: they are sealed a few at a time, with
    /// one encapsulation.
    ///
    /// # Errors
    ///
    /// A [`SealError`]; nothing was begun.
    pub fn begin_event(&mut self, now: Instant, boxes: usize) -> Result<EventSealer<'_>, SealError> {
        if boxes > MAX_CONTEXT_BOXES {
            return Err(SealError::TooManyBoxes { found: boxes });
        }
        self.renew(boxes, now, ProcessMark::current())?;
        self.current.count(boxes);
        Ok(EventSealer { context: &mut self.current, left: boxes })
    }

    /// Seals one content as an event of its own, and gives the whole box.
    ///
    /// # Errors
    ///
    /// A [`SealError`]; no box was made.
    pub fn seal(
        &mut self,
        now: Instant,
        associated_data: &AssociatedData,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        check_contents(&[BoxContent { associated_data, plaintext }])?;
        self.renew(1, now, ProcessMark::current())?;
        self.current.count(1);
        self.current.seal_box(associated_data, plaintext)
    }

    #[cfg(test)]
    pub(super) fn next_encapsulation(&self) -> Option<&Encapsulation> {
        self.next.as_ref().map(|next| &next.encapsulation)
    }

    pub(super) fn seal_event_as(
        &mut self,
        process: ProcessMark,
        now: Instant,
        contents: &[BoxContent<'_>],
        commitments: Commitments,
        sealed: &mut SealedEvent,
    ) -> Result<(), SealError> {
        sealed.clear();
        check_contents(contents)?;
        self.renew(contents.len(), now, process)?;
        self.current.count(contents.len());
        let done = self.current.seal_contents(contents, commitments, sealed);
        if done.is_err() {
            sealed.clear();
        }
        done
    }

    /// Takes the prepared context, or a new one, if the current one may not take an event of so many boxes.
    fn renew(&mut self, boxes: usize, now: Instant, process: ProcessMark) -> Result<(), SealError> {
        if self.current.takes(boxes, now, process) {
            return Ok(());
        }
        self.current = match self.next.take().filter(|next| next.takes(boxes, now, process)) {
            Some(next) => next,
            None => Context::new(&self.recipient, self.purpose, now, process)?,
        };
        self.contexts += 1;
        Ok(())
    }
}

/// Seals the boxes of one event, a few at a time. Each call draws its nonces and uses them up, as that of a whole event does.
pub struct EventSealer<'a> {
    context: &'a mut Context,
    /// Boxes that may still be sealed.
    left: usize,
}

impl EventSealer<'_> {
    /// What each box of the event begins with.
    pub const fn encapsulation(&self) -> &Encapsulation {
        &self.context.encapsulation
    }

    /// Seals the next contents into `sealed`, which is emptied first and stays empty on failure.
    ///
    /// # Errors
    ///
    /// A [`SealError`]: more boxes than there were to be, among others. No box was made.
    pub fn seal(
        &mut self,
        contents: &[BoxContent<'_>],
        commitments: Commitments,
        sealed: &mut SealedEvent,
    ) -> Result<(), SealError> {
        sealed.clear();
        let found = contents.len();
        self.left = self.left.checked_sub(found).ok_or(SealError::TooManyBoxes { found })?;
        check_contents(contents)?;
        let done = self.context.seal_contents(contents, commitments, sealed);
        if done.is_err() {
            sealed.clear();
        }
        done
    }
}

impl fmt::Debug for EventSealer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSealer").field("left", &self.left).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("recipient", &self.recipient.key_id())
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// Seals one box with an encapsulation of its own.
///
/// # Errors
///
/// A [`SealError`].
pub fn seal(
    recipient: &HybridPublicKey,
    purpose: Purpose,
    associated_data: &AssociatedData,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    check_contents(&[BoxContent { associated_data, plaintext }])?;
    let (encapsulation, shared) = encapsulate(recipient).map_err(SealError::Encapsulate)?;
    let mut keys = BoxKeys::derive(&shared, purpose).map_err(|_| SealError::Provider)?;
    seal_box(&encapsulation, &mut keys, associated_data, plaintext)
}

fn check_contents(contents: &[BoxContent<'_>]) -> Result<(), SealError> {
    if contents.len() > MAX_CONTEXT_BOXES {
        return Err(SealError::TooManyBoxes { found: contents.len() });
    }
    contents.iter().try_for_each(|content| check_len(content.plaintext.len()))
}

pub(super) fn check_len(found: usize) -> Result<(), SealError> {
    if found as u64 > MAX_PLAINTEXT_LEN { Err(SealError::TooLong { found }) } else { Ok(()) }
}
