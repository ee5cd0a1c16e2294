//! Opening: find the envelopes, open those that the reader may, copy every other byte.

mod error;
mod openers;
mod options;
mod together;

pub use error::{DecryptError, FieldFault};
pub use options::{DecryptorOptions, FieldRights, Unopenable};

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::binding::{BoundCache, Common, EventBinding, FieldBinding};
use crate::dek::OpeningDekSource;
use crate::envelope::{Claim, PlaintextHash, ReadForm, Said, StoredHash};
use crate::envelope_search::EnvelopeSearch;
use crate::json::{Frame, check_value, skip_string, skip_white_space};
use crate::limits::Limits;
use aegis_crypto::sha256;
use openers::Openers;
use together::{Together, Tools};

/// Opens the sealed fields of events, of both forms and under any number of DEKs.
///
/// It works for one thread at a time, and keeps the opened contexts of the DEKs used last: see
/// [`forget`](Self::forget).
pub struct PiiDecryptor {
    options: DecryptorOptions,
    openers: Openers,
    search: EnvelopeSearch,
    frames: Vec<Frame>,
    bound: BoundCache,
    /// By what the last field that opened was bound.
    last_by: FieldBinding,
    /// What the last field of this event was bound to.
    last_common: Option<Differing>,
    together: Together,
}

/// What can differ from field to field of an event, of what [`Common`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Differing {
    by: FieldBinding,
    hash: PlaintextHash,
    /// Where DEK, time and catalogue come from.
    form: ReadForm,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decrypted {
    /// Fields that were opened.
    pub opened: usize,
    /// Fields that stay sealed because the reader may not have them.
    pub not_permitted: usize,
    /// Fields that stay sealed because they do not open, if the options allow that.
    pub unopenable: usize,
    /// Objects that say they are encrypted and are no envelope. They are copied, as the data they are.
    pub malformed: usize,
}

impl PiiDecryptor {
    /// Opens with the DEKs of `source`.
    pub fn new(source: Arc<dyn OpeningDekSource>, options: DecryptorOptions) -> Self {
        Self {
            search: EnvelopeSearch::new(options.event_id_member.as_deref().unwrap_or_default()),
            options,
            openers: Openers::new(source),
            frames: Vec::new(),
            bound: BoundCache::default(),
            last_by: FieldBinding::default(),
            last_common: None,
            together: Together::default(),
        }
    }

    /// What it was made with.
    pub const fn options(&self) -> &DecryptorOptions {
        &self.options
    }

    /// Appends `event`, its sealed fields opened, to `out`: the bytes that were encrypted.
    ///
    /// Room for it is made at once. If `out` holds other decrypted events by then, give it room for them beforehand: a
    /// vector that grows leaves a copy behind which nobody erases.
    ///
    /// # Errors
    ///
    /// A [`DecryptError`]; `out` is as it was, and what had been opened is erased.
    pub fn decrypt_event(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<Decrypted, DecryptError> {
        self.decrypt_bound(event, EventBinding::default(), out)
    }

    /// As [`decrypt_event`](Self::decrypt_event), for fields bound to a tenant and an id besides. What the options say
    /// of either goes first.
    ///
    /// # Errors
    ///
    /// As [`decrypt_event`](Self::decrypt_event).
    pub fn decrypt_bound(
        &mut self,
        event: &[u8],
        binding: EventBinding<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Decrypted, DecryptError> {
        self.search.run(event, &self.options.limits)?;
        if self.search.reader.claims.is_empty() {
            out.extend_from_slice(event);
            return Ok(Decrypted { malformed: self.search.malformed, ..Decrypted::default() });
        }
        let start = out.len();
        // What is opened is shorter than its envelope. With room for all of it, nothing is left behind by growing.
        out.reserve(event.len());
        let Self { options, openers, search, frames, bound, last_by, together, .. } = self;
        together.open(search, binding, Tools { options, openers, frames, bound, by: *last_by });
        let done = self.splice_with_header(event, binding, out);
        self.together.clear();
        if done.is_err() {
            erase(out, start);
        }
        self.bound.trim();
        done
    }

    /// Decrypts one event into a vector of its own.
    ///
    /// # Errors
    ///
    /// As [`decrypt_event`](Self::decrypt_event).
    pub fn decrypt(&mut self, event: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let mut out = Vec::new();
        self.decrypt_event(event, &mut out)?;
        Ok(out)
    }

    /// Erases every key that is kept, so that the source is asked again: for when a DEK was retired or destroyed, or a
    /// right taken away.
    pub fn forget(&mut self) {
        self.openers.forget();
    }

    /// Gives the memory back that an unusually large event took, which is otherwise kept for the next one.
    pub fn release_memory(&mut self) {
        self.search.release_memory();
    }

    /// Opens, and keeps the header of compact fields if any of them stays sealed.
    fn splice_with_header(
        &mut self,
        event: &[u8],
        binding: EventBinding<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Decrypted, DecryptError> {
        let start = out.len();
        let rights = &self.options.rights;
        let EnvelopeSearch { places, reader, .. } = &self.search;
        let keeps_header = reader
            .claims
            .iter()
            .any(|claim| matches!(claim.form, ReadForm::Compact) && !rights.permit(places, &claim.place));
        let (done, needs_header) = self.splice(event, binding, keeps_header, out)?;
        if keeps_header || !needs_header {
            return Ok(done);
        }
        // Some compact field did not open after all.
        erase(out, start);
        Ok(self.splice(event, binding, true, out)?.0)
    }

    /// Writes the event, with or without the header of compact fields, and says whether any of these stayed sealed.
    fn splice(
        &mut self,
        event: &[u8],
        binding: EventBinding<'_>,
        keeps_header: bool,
        out: &mut Vec<u8>,
    ) -> Result<(Decrypted, bool), DecryptError> {
        let mut needs_header = false;
        let mut done = Decrypted { malformed: self.search.malformed, ..Decrypted::default() };
        let mut header = self.search.header.clone().filter(|_| !keeps_header).map(|header| {
            let end = header.value.end;
            cut_of_member(event, header.key_start, end)
        });
        let mut at = 0;
        self.last_common = None;
        let claims = std::mem::take(&mut self.search.reader.claims);
        let mut failure = Ok(());
        for claim in &claims {
            if let Some(cut) = header.take_if(|cut| cut.start < claim.start) {
                out.extend_from_slice(event.get(at..cut.start).unwrap_or_default());
                at = cut.end;
            }
            out.extend_from_slice(event.get(at..claim.start).unwrap_or_default());
            at = claim.start;
            match self.open_claim(event, claim, binding, out, &mut done) {
                Ok(true) => at = claim.end,
                Ok(false) => needs_header |= matches!(claim.form, ReadForm::Compact),
                Err(error) => {
                    failure = Err(error);
                    break;
                }
            }
        }
        self.search.reader.claims = claims;
        failure?;
        if let Some(cut) = header {
            out.extend_from_slice(event.get(at..cut.start).unwrap_or_default());
            at = cut.end;
        }
        out.extend_from_slice(event.get(at..).unwrap_or_default());
        Ok((done, needs_header))
    }
}

impl PiiDecryptor {
    /// Appends the field's value, or says why it stays as it is. Whether it was opened.
    fn open_claim(
        &mut self,
        event: &[u8],
        claim: &Claim,
        binding: EventBinding<'_>,
        out: &mut Vec<u8>,
        done: &mut Decrypted,
    ) -> Result<bool, DecryptError> {
        let places = &self.search.places;
        if !self.options.rights.permit(places, &claim.place) {
            done.not_permitted += 1;
            return Ok(false);
        }
        let start = out.len();
        // Numbered without gaps, as the cache wants it.
        let number = done.opened + done.unopenable;
        if let Some(plaintext) = self.together.plaintext(number) {
            out.extend_from_slice(plaintext);
            done.opened += 1;
            return Ok(true);
        }
        match self.open_field(event, number, claim, binding, out) {
            Ok(()) => {
                done.opened += 1;
                Ok(true)
            }
            Err(DecryptError::Field { fault, .. })
                if self.options.unopenable == Unopenable::Leave && !fault.may_pass() =>
            {
                erase(out, start);
                done.unopenable += 1;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn open_field(
        &mut self,
        event: &[u8],
        number: usize,
        claim: &Claim,
        binding: EventBinding<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DecryptError> {
        let Self { options, openers, search, frames, bound, last_by, last_common, together: _ } = self;
        // Of an event of many fields, only the first outlive it in the cache: the others have one place.
        let number = number.min(BoundCache::KEPT);
        let EnvelopeSearch { places, reader, outermost, .. } = search;
        let event_id = match options.event_id_member {
            Some(_) => outermost.event_id()?,
            None => binding.event_id.as_bytes(),
        };
        let tenant = options.tenant.as_deref().unwrap_or(binding.tenant).as_bytes();
        let Said { dek, sealed_at, catalogue, encapsulation } = reader.said(claim.form);
        let field_error = |fault| DecryptError::field(claim.start, dek, fault);
        let encapsulation = encapsulation.ok_or_else(|| field_error(FieldFault::NotAuthentic))?;
        let (hash, commitment) = match &claim.hash {
            StoredHash::Keyed(commitment) => (PlaintextHash::Keyed, Some(commitment)),
            StoredHash::BareSha256(_) => (PlaintextHash::BareSha256, None),
        };
        let opener = openers.opener(dek).map_err(|error| field_error(FieldFault::Dek(error)))?;
        let start = out.len();
        let mut opened = Err(FieldFault::NotAuthentic);
        for by in [*last_by, last_by.other()] {
            let common = Common { by, hash, dek, sealed_at, catalogue, tenant, event_id };
            // Of what is common, only these can differ within an event; texts that are equal are kept once.
            let differing = Differing { by, hash, form: claim.form };
            if *last_common != Some(differing) {
                bound.set_common(&common);
                *last_common = Some(differing);
            }
            bound.set(number, &common, places.bound(&claim.place, by), reader.text(&claim.token));
            let Some(associated_data) = bound.associated_data(number) else { break };
            opened = match reader.body(claim) {
                Some(body) => opener.open_body(associated_data, encapsulation, body, commitment, out),
                None => {
                    // Where the plaintext will be: there is room for the whole event.
                    let Some(body_at) = reader.read_late(claim, event, out) else { break };
                    opener.open_in_place(associated_data, encapsulation, commitment, out, (start, body_at))
                }
            }
            .map_err(FieldFault::from);
            if opened.is_ok() {
                *last_by = by;
                break;
            }
        }
        opened.map_err(field_error)?;
        let plaintext = out.get(start..).unwrap_or_default();
        if let StoredHash::BareSha256(digest) = &claim.hash
            && sha256(plaintext) != *digest
        {
            return Err(field_error(FieldFault::NotAuthentic));
        }
        // Anyone with the public key can seal `1,"role":"admin"`.
        is_json(plaintext, &options.limits, frames)
            .then_some(())
            .ok_or_else(|| field_error(FieldFault::NotJson))
    }
}

/// Whether what was opened is one JSON value.
fn is_json(plaintext: &[u8], limits: &Limits, frames: &mut Vec<Frame>) -> bool {
    // A string is one if it ends where it should; it needs no scan.
    let is_text = plaintext.len() <= limits.max_event_len && is_string(plaintext, plaintext.len());
    is_text || check_value(plaintext, limits, frames).is_ok()
}

/// Whether the first `len` bytes are one JSON string. What follows them may be looked at, and does not matter.
#[inline]
fn is_string(bytes: &[u8], len: usize) -> bool {
    bytes.first() == Some(&b'"') && skip_string(bytes, 1).is_ok_and(|string| string.quote + 1 == len)
}

impl fmt::Debug for PiiDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PiiDecryptor").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What to leave out so that a member is gone: it and its comma.
fn cut_of_member(event: &[u8], key_start: usize, value_end: usize) -> std::ops::Range<usize> {
    let after = skip_white_space(event, value_end);
    if event.get(after) == Some(&b',') {
        return key_start..after + 1;
    }
    let before = event.get(..key_start).unwrap_or_default().trim_ascii_end();
    match before.split_last() {
        Some((b',', rest)) => rest.len()..value_end,
        _ => key_start..value_end,
    }
}

fn erase(out: &mut Vec<u8>, start: usize) {
    if let Some(opened) = out.get_mut(start..) {
        opened.zeroize();
    }
    out.truncate(start);
}
