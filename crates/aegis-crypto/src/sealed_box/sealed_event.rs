//! What goes into the boxes of one event, and what comes out.

use std::ops::Range;

use super::associated_data::AssociatedData;
use super::keys::Commitment;
use crate::hmac_sha256::Workspace;
use crate::hybrid_kem::Encapsulation;

/// What goes into one box.
#[derive(Clone, Copy)]
pub struct BoxContent<'a> {
    /// What the box is bound to.
    pub associated_data: &'a AssociatedData,
    /// What is sealed.
    pub plaintext: &'a [u8],
}

/// Whether an event's boxes get commitments, which cost more than the encryption of a short field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commitments {
    /// One for each box.
    Make,
    /// None.
    Omit,
}

/// The boxes of one event: one encapsulation, and a body (nonce ‖ ciphertext ‖ tag) for each content.
///
/// Give it to [`Sealer::seal_event`](super::Sealer::seal_event) again, and its memory is used again.
#[derive(Debug, Default)]
pub struct SealedEvent {
    pub(super) encapsulation: Option<Encapsulation>,
    pub(super) bodies: Vec<u8>,
    pub(super) ends: Vec<usize>,
    pub(super) commitments: Vec<Commitment>,
    // These are kept for their memory alone.
    pub(super) nonces: Vec<u8>,
    pub(super) workspace: Workspace,
}

impl SealedEvent {
    /// Holds no boxes.
    pub fn new() -> Self {
        Self::default()
    }

    /// What each box of the event begins with. `None` before the first event and after a failure.
    pub const fn encapsulation(&self) -> Option<&Encapsulation> {
        self.encapsulation.as_ref()
    }

    /// How many boxes there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Box `index` without its encapsulation, in the order of the contents.
    pub fn body(&self, index: usize) -> Option<&[u8]> {
        self.bodies.get(self.range(index)?)
    }

    /// Box `index` as it stands alone: encapsulation ‖ body.
    pub fn to_box(&self, index: usize) -> Option<Vec<u8>> {
        Some([self.encapsulation()?.as_bytes().as_slice(), self.body(index)?].concat())
    }

    /// The commitment to the content of box `index`, if commitments were asked for.
    pub fn commitment(&self, index: usize) -> Option<&Commitment> {
        self.commitments.get(index)
    }

    /// Gives the memory of unusually large boxes back.
    pub fn release_memory(&mut self) {
        self.clear();
        // Made smaller, not freed: what is freed, the C library may keep.
        self.bodies.shrink_to(16 << 10);
    }

    pub(super) fn clear(&mut self) {
        let Self { encapsulation, bodies, ends, commitments, nonces, workspace: _ } = self;
        *encapsulation = None;
        bodies.clear();
        ends.clear();
        commitments.clear();
        nonces.clear();
    }

    fn range(&self, index: usize) -> Option<Range<usize>> {
        let start = match index.checked_sub(1) {
            Some(previous) => *self.ends.get(previous)?,
            None => 0,
        };
        Some(start..*self.ends.get(index)?)
    }
}
