//! The fields of an event that can be opened in one go: those of one DEK, one encapsulation and one time, which in a
//! stream is the rule.
//!
//! It is a shorter way to what opening one by one gives, and never to anything else: if any field does not open, nothing
//! was done, and they are opened one by one.

use aegis_crypto::{ENCAPSULATION_LEN, SealedContent, sha256};
use zeroize::{Zeroize, Zeroizing};

use super::openers::Openers;
use super::{DecryptorOptions, is_json, is_string};
use crate::binding::{BoundCache, Common, EventBinding, FieldBinding};
use crate::envelope::{Claim, PlaintextHash, Said, StoredHash};
use crate::envelope_search::EnvelopeSearch;
use crate::json::Frame;

/// Most bytes that are opened in one go, so that their copies are small.
const MAX_LEN: usize = 64 << 10;

/// Stands behind the values while they are looked at, and is none of them.
const PADDING: [u8; 16] = [b'"'; 16];

/// The values of an event's fields, if they were opened in one go.
#[derive(Default)]
pub(super) struct Together {
    /// One behind the other.
    plaintexts: Zeroizing<Vec<u8>>,
    ends: Vec<usize>,
}

/// What opening needs besides the event.
pub(super) struct Tools<'a> {
    pub(super) options: &'a DecryptorOptions,
    pub(super) openers: &'a mut Openers,
    pub(super) frames: &'a mut Vec<Frame>,
    pub(super) bound: &'a mut BoundCache,
    /// By what the fields are thought to be bound.
    pub(super) by: FieldBinding,
}

impl Together {
    /// Opens all fields that a search found, or none.
    pub(super) fn open(&mut self, search: &EnvelopeSearch, binding: EventBinding<'_>, tools: Tools<'_>) {
        self.clear();
        if self.try_open(search, binding, tools).is_none() {
            self.clear();
        }
    }

    /// The value of field `number`.
    pub(super) fn plaintext(&self, number: usize) -> Option<&[u8]> {
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.plaintexts.get(start..*self.ends.get(number)?)
    }

    /// Erases them.
    pub(super) fn clear(&mut self) {
        self.plaintexts.as_mut_slice().zeroize();
        self.plaintexts.clear();
        self.ends.clear();
    }

    fn try_open(
        &mut self,
        search: &EnvelopeSearch,
        binding: EventBinding<'_>,
        tools: Tools<'_>,
    ) -> Option<()> {
        let Tools { options, openers, frames, bound, by } = tools;
        let EnvelopeSearch { places, reader, outermost, .. } = search;
        let claims = reader.claims.as_slice();
        let shared = Shared::of(claims, search)?;
        let permits = |claim: &Claim| options.rights.permit(places, &claim.place);
        if !claims.iter().all(permits) {
            return None;
        }
        let event_id = match options.event_id_member {
            Some(_) => outermost.event_id().ok()?,
            None => binding.event_id.as_bytes(),
        };
        let tenant = options.tenant.as_deref().unwrap_or(binding.tenant).as_bytes();
        let Shared { dek, sealed_at, catalogue, encapsulation, hash, len } = shared;
        let common = Common { by, hash, dek, sealed_at, catalogue, tenant, event_id };
        bound.set_common(&common);
        // A vector that grows leaves a copy behind which nobody erases.
        self.plaintexts.reserve(len + PADDING.len());
        // A group at a time, so that little is kept of what they are bound to.
        for claims in claims.chunks(BoundCache::KEPT) {
            for (number, claim) in claims.iter().enumerate() {
                bound.set(number, &common, places.bound(&claim.place, by), reader.text(&claim.token));
            }
            let mut contents = Vec::with_capacity(claims.len());
            for (number, claim) in claims.iter().enumerate() {
                let commitment = match &claim.hash {
                    StoredHash::Keyed(commitment) => Some(commitment),
                    StoredHash::BareSha256(_) => None,
                };
                let (associated_data, body) = (bound.associated_data(number)?, reader.body(claim)?);
                contents.push(SealedContent { associated_data, body, commitment });
            }
            // One that is not kept is made for the first field that is opened by itself: the source is asked once, and there
            // is one decapsulation, whatever becomes of the rest.
            let opener = openers.kept(dek)?;
            let start = self.plaintexts.len();
            opener.open_kept(encapsulation, &contents, &mut self.plaintexts)?.ok()?;
            // So that the last string is looked at as quickly as the others.
            let end = self.plaintexts.len();
            self.plaintexts.extend_from_slice(&PADDING);
            let mut rest = self.plaintexts.get(start..).unwrap_or_default();
            for (claim, content) in claims.iter().zip(&contents) {
                let (plaintext, after) = rest.split_at_checked(content.plaintext_len())?;
                let is_text =
                    is_string(rest, plaintext.len()) && plaintext.len() <= options.limits.max_event_len;
                let is_right = match &claim.hash {
                    StoredHash::Keyed(_) => true,
                    StoredHash::BareSha256(digest) => sha256(plaintext) == *digest,
                };
                if !is_right || !(is_text || is_json(plaintext, &options.limits, frames)) {
                    return None;
                }
                rest = after;
                self.ends.push(self.plaintexts.len() - rest.len());
            }
            self.plaintexts.truncate(end);
        }
        Some(())
    }
}

/// What all fields of an event have in common.
struct Shared<'a> {
    dek: &'a [u8],
    sealed_at: &'a [u8],
    catalogue: Option<&'a [u8]>,
    encapsulation: &'a [u8; ENCAPSULATION_LEN],
    hash: PlaintextHash,
    /// Bytes of their bodies.
    len: usize,
}

impl<'a> Shared<'a> {
    /// `None` if they have less in common, or are too much for one go.
    fn of(claims: &[Claim], search: &'a EnvelopeSearch) -> Option<Self> {
        let EnvelopeSearch { reader, .. } = search;
        let (first, others) = claims.split_first()?;
        let hash = first.hash.kind();
        let is_as_first = |claim: &Claim| claim.form == first.form && claim.hash.kind() == hash;
        let len: usize = claims.iter().map(|claim| reader.body_len(claim)).sum();
        if len > MAX_LEN || !others.iter().all(is_as_first) {
            return None;
        }
        let Said { dek, sealed_at, catalogue, encapsulation } = reader.said(first.form);
        Some(Self { dek, sealed_at, catalogue, encapsulation: encapsulation?, hash, len })
    }
}
