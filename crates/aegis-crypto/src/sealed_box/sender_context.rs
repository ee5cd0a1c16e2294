//! One encapsulation, its keys, and the limits of their use.

use std::time::{Duration, Instant};

use super::BODY_OVERHEAD;
use super::associated_data::AssociatedData;
use super::keys::{BoxKeys, Commitment};
use super::nonces::{self, NONCE_LEN, NonceSource};
use super::purpose::Purpose;
use super::seal_error::SealError;
use super::sealed_event::{BoxContent, Commitments, SealedEvent};
use crate::hybrid_kem::{Encapsulation, HybridPublicKey, encapsulate};
use crate::pages::ProcessMark;

/// Most events under one encapsulation.
pub const MAX_CONTEXT_EVENTS: u32 = 4096;

/// Most boxes under one encapsulation. Two random nonces among so many are equal with odds below 2⁻⁵⁶.
pub const MAX_CONTEXT_BOXES: usize = 1 << 20;

/// How long one encapsulation is used.
pub const MAX_CONTEXT_AGE: Duration = Duration::from_secs(60);

/// One encapsulation and its keys, with what was used of it.
pub(super) struct Context {
    pub(super) encapsulation: Encapsulation,
    keys: BoxKeys,
    nonces: NonceSource,
    pub(super) made_at: Instant,
    process: ProcessMark,
    pub(super) events: u32,
    pub(super) boxes: usize,
}

impl Context {
    pub(super) fn new(
        recipient: &HybridPublicKey,
        purpose: Purpose,
        now: Instant,
        process: ProcessMark,
    ) -> Result<Self, SealError> {
        let (encapsulation, shared) = encapsulate(recipient).map_err(SealError::Encapsulate)?;
        let keys = BoxKeys::derive(&shared, purpose).map_err(|_| SealError::Provider)?;
        let nonces = NonceSource::new().map_err(SealError::Random)?;
        Ok(Self { encapsulation, keys, nonces, made_at: now, process, events: 0, boxes: 0 })
    }

    /// Whether one more event, of so many boxes, stays within every limit.
    pub(super) fn takes(&self, boxes: usize, now: Instant, process: ProcessMark) -> bool {
        self.process == process
            && self.events < MAX_CONTEXT_EVENTS
            && boxes <= MAX_CONTEXT_BOXES - self.boxes
            && now.saturating_duration_since(self.made_at) < MAX_CONTEXT_AGE
    }

    /// Counts an event before it is sealed, so that one that fails in the middle was counted.
    pub(super) fn count(&mut self, boxes: usize) {
        self.events += 1;
        self.boxes += boxes;
    }

    pub(super) fn seal_contents(
        &mut self,
        contents: &[BoxContent<'_>],
        commitments: Commitments,
        sealed: &mut SealedEvent,
    ) -> Result<(), SealError> {
        let SealedEvent { encapsulation, bodies, ends, commitments: made, nonces, workspace } = sealed;
        nonces.resize(contents.len() * NONCE_LEN, 0);
        self.nonces.draw(nonces).map_err(SealError::Random)?;
        let (nonces, _) = nonces.as_chunks::<NONCE_LEN>();
        bodies.resize(contents.iter().map(|content| BODY_OVERHEAD + content.plaintext.len()).sum(), 0);
        let (mut rest, mut end) = (bodies.as_mut_slice(), 0);
        for (number, (content, nonce)) in contents.iter().zip(nonces).enumerate() {
            let BoxContent { associated_data, plaintext } = content;
            let len = BODY_OVERHEAD + plaintext.len();
            let (body, after) = rest.split_at_mut_checked(len).ok_or(SealError::Provider)?;
            self.keys
                .aead()
                .seal_body_into(number, nonce, associated_data, plaintext, body)
                .map_err(|_| SealError::Provider)?;
            rest = after;
            end += len;
            ends.push(end);
        }
        if commitments == Commitments::Make {
            made.resize(contents.len(), Commitment::from_bytes([0; 32]));
            let contents = nonces.iter().zip(contents.iter().copied());
            self.keys.commit_each(contents, workspace, |number, commitment| {
                if let Some(to) = made.get_mut(number) {
                    *to = commitment;
                }
            });
        }
        *encapsulation = Some(self.encapsulation.clone());
        Ok(())
    }

    pub(super) fn seal_box(
        &mut self,
        associated_data: &AssociatedData,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        seal_box(&self.encapsulation, &mut self.keys, associated_data, plaintext)
    }
}

/// A whole box: encapsulation ‖ nonce ‖ ciphertext ‖ tag.
pub(super) fn seal_box(
    encapsulation: &Encapsulation,
    keys: &mut BoxKeys,
    associated_data: &AssociatedData,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_LEN];
    nonces::fill(&mut nonce).map_err(SealError::Random)?;
    let mut boxed = Vec::with_capacity(super::BOX_OVERHEAD + plaintext.len());
    boxed.extend_from_slice(encapsulation.as_bytes());
    keys.aead().seal_body(&nonce, associated_data, plaintext, &mut boxed).map_err(|_| SealError::Provider)?;
    Ok(boxed)
}
