//! Envelopes as they are read: strictly, because what is taken for one is not sealed again.

use std::ops::Range;

use aegis_crypto::{ALGORITHM, Commitment, Digest, ENCAPSULATION_LEN};
use wide::u8x16;

use super::text::{
    Beginning, BoxText, COMPACT_NEXT, DeferredTails, HEAD, SELF_CONTAINED_NEXT, decode_base64, decoded_len,
    is_base64,
};
use super::{MIN_BODY_LEN, StoredHash};
use crate::binding::is_same;
use crate::catalogue::CatalogueVersion;
use crate::dek::DekName;
use crate::json::{find_quote, skip_string, skip_white_space, unescape};
use crate::limits::shrink;
use crate::moment::is_well_formed_time;
use crate::place::Place;
use crate::token::is_well_formed_token;

/// A well-formed envelope in an event.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) place: Place,
    pub(crate) form: Form,
    body: Body,
    pub(crate) hash: StoredHash,
    /// Empty if it has none.
    pub(crate) token: Range<usize>,
}

/// What a field's envelope says besides its content. Where one says the same as the one before it, they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// What it says itself is number so many of the reader's sayings.
    SelfContained(usize),
    /// The rest is in the event's header.
    Compact,
}

/// What an envelope says itself: where its texts are, and the number of its encapsulation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Saying {
    dek: Range<usize>,
    sealed_at: Range<usize>,
    /// Empty if it names none.
    catalogue: Range<usize>,
    encapsulation: usize,
}

/// What a field's envelope says besides its content, itself or by the event's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) dek: &'a [u8],
    pub(crate) sealed_at: &'a [u8],
    /// The catalogue's version, where it is named.
    pub(crate) catalogue: Option<&'a [u8]>,
    pub(crate) encapsulation: Option<&'a [u8; ENCAPSULATION_LEN]>,
}

/// An envelope that was read, before it is known where it stands.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Where it ends.
    pub(crate) end: usize,
    form: Form,
    body: Body,
    hash: StoredHash,
    token: Range<usize>,
}

/// Where nonce, ciphertext and tag are.
#[derive(Debug, Clone)]
enum Body {
    /// Read with the envelope.
    Read(Range<usize>),
    /// Read with those of the whole event.
    Deferred(Range<usize>),
    /// Long, and read when it is opened, so that it need not be kept: where its text is in the event, and how many bytes
    /// stand before it in that; and its length.
    Late { text: Range<usize>, before: usize, len: usize },
}

/// What all but the contents of the last envelope was, if that is how they are written: most of the next ones will have the
/// same, and one comparison of it all takes a quarter of the time of reading it.
#[derive(Debug, Default)]
struct Pattern {
    /// Up to the characters of the box that differ from field to field. Empty if there is no pattern.
    head: Vec<u8>,
    /// From the end of the digest to that of the envelope.
    foot: Vec<u8>,
    /// The texts in it, in the order of [`Saying`].
    texts: [Vec<u8>; 3],
    /// What it says, for this event, once an envelope has it; it stays for the next event if there is nothing else.
    form: Option<Form>,
}

/// Claims for which memory is kept.
const KEPT_CLAIMS: usize = 64;

/// After the time, up to the catalogue.
const CATALOGUE: &[u8] = b"\",\"_catalogue\":\"";

/// What the fields of a compact event have in common.
#[derive(Debug, Default)]
struct Header {
    /// As it was read; an equal one is not read again.
    raw: Vec<u8>,
    dek: Vec<u8>,
    sealed_at: Vec<u8>,
    catalogue: Vec<u8>,
    encapsulation: Vec<u8>,
}

impl Draft {
    /// Whether it opens only with an event's header.
    pub(crate) const fn is_compact(&self) -> bool {
        matches!(self.form, Form::Compact)
    }
}

/// Reads the envelopes of an event into buffers that the next event uses again.
#[derive(Debug, Default)]
pub(crate) struct EnvelopeReader {
    box_text: BoxText,
    /// Versions and times, and texts whose escapes were undone.
    texts: Vec<u8>,
    /// Where the last DEK, time and catalogue are in `texts`.
    last_texts: [Range<usize>; 3],
    bodies: Vec<u8>,
    encapsulations: Vec<[u8; ENCAPSULATION_LEN]>,
    sayings: Vec<Saying>,
    /// The age of the last of them.
    last_age: Option<u64>,
    /// Strings of the object that is being read.
    unescaped: Vec<u8>,
    pub(crate) claims: Vec<Claim>,
    header: Header,
    pattern: Pattern,
    tails: DeferredTails,
    reading: Reading,
}

/// When base64 is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reading {
    /// With its envelope.
    #[default]
    AtOnce,
    /// With that of the whole event, by [`EnvelopeReader::read_deferred`].
    Deferred,
}

impl EnvelopeReader {
    pub(crate) fn clear(&mut self) {
        self.tails.clear();
        self.bodies.clear();
        self.claims.clear();
        if let (Some(Form::SelfContained(0)), [saying], [_]) =
            (self.pattern.form, self.sayings.as_slice(), self.encapsulations.as_slice())
        {
            // All envelopes said the same, and most of the next ones will.
            let Saying { dek, sealed_at, catalogue, encapsulation: _ } = saying;
            self.texts.truncate(dek.end.max(sealed_at.end).max(catalogue.end));
            return;
        }
        self.pattern.form = None;
        self.texts.clear();
        self.last_texts = Default::default();
        self.encapsulations.clear();
        self.sayings.clear();
        self.last_age = None;
    }

    /// Gives the memory of an unusually large event back.
    pub(crate) fn release_memory(&mut self) {
        self.clear();
        for buffer in [&mut self.texts, &mut self.bodies, &mut self.unescaped] {
            shrink(buffer);
        }
        self.tails.release_memory();
        self.encapsulations.shrink_to(1);
        self.sayings.shrink_to(1);
        self.claims.shrink_to(KEPT_CLAIMS);
    }

    pub(crate) fn text(&self, range: &Range<usize>) -> &[u8] {
        self.texts.get(range.clone()).unwrap_or_default()
    }

    /// Nonce ‖ ciphertext ‖ tag. `None` if it is for [`read_late`](Self::read_late).
    pub(crate) fn body(&self, claim: &Claim) -> Option<&[u8]> {
        match &claim.body {
            Body::Read(range) => self.bodies.get(range.clone()),
            Body::Deferred(range) => Some(self.tails.bytes(range.clone())),
            Body::Late { .. } => None,
        }
    }

    /// Bytes of nonce, ciphertext and tag.
    pub(crate) fn body_len(&self, claim: &Claim) -> usize {
        match &claim.body {
            Body::Read(range) | Body::Deferred(range) => range.len(),
            Body::Late { len, .. } => *len,
        }
    }

    /// Appends a long body of the event that the claim is of, and says where it begins: something may stand before it.
    pub(crate) fn read_late(&self, claim: &Claim, event: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let Body::Late { text, before, len: _ } = &claim.body else { return None };
        let start = out.len();
        decode_base64(event.get(text.clone())?, out)?;
        Some(start + before)
    }

    /// From now on base64 is read so.
    pub(crate) const fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Whether there is something for [`read_deferred`](Self::read_deferred).
    pub(crate) const fn has_deferred(&self) -> bool {
        !self.tails.is_empty()
    }

    /// Reads the base64 of all claims. If it says no, one of them at least is no envelope, or of another
    /// encapsulation, and all are to be read at once.
    pub(crate) fn read_deferred(&mut self) -> bool {
        let Self { tails, claims, encapsulations, sayings, .. } = self;
        let before = |form: &Form| match form {
            Form::Compact => [].as_slice(),
            Form::SelfContained(number) => sayings
                .get(*number)
                .and_then(|saying| encapsulations.get(saying.encapsulation))
                .map_or([].as_slice(), BoxText::rest_of),
        };
        tails.is_empty()
            || tails.read(claims.iter().filter_map(|claim| match &claim.body {
                Body::Read(_) | Body::Late { .. } => None,
                Body::Deferred(range) => Some((range, before(&claim.form))),
            }))
    }

    /// What a claim of that form says.
    pub(crate) fn said(&self, form: Form) -> Said<'_> {
        let Form::SelfContained(number) = form else {
            let Header { raw: _, dek, sealed_at, catalogue, encapsulation } = &self.header;
            let encapsulation = encapsulation.as_slice().try_into().ok();
            return Said { dek, sealed_at, catalogue: Some(catalogue), encapsulation };
        };
        match self.sayings.get(number) {
            Some(Saying { dek, sealed_at, catalogue, encapsulation }) => Said {
                dek: self.text(dek),
                sealed_at: self.text(sealed_at),
                catalogue: Some(self.text(catalogue)).filter(|catalogue| !catalogue.is_empty()),
                encapsulation: self.encapsulations.get(*encapsulation),
            },
            None => Said { dek: &[], sealed_at: &[], catalogue: None, encapsulation: None },
        }
    }

    /// Keeps an envelope that was read.
    pub(crate) fn keep(&mut self, start: usize, draft: Draft, place: Place) {
        let Draft { end, form, body, hash, token } = draft;
        self.claims.push(Claim { start, end, place, form, body, hash, token });
    }

    /// Forgets the compact fields, and says how many.
    pub(crate) fn drop_compact(&mut self) -> usize {
        let before = self.claims.len();
        self.claims.retain(|claim| !matches!(claim.form, Form::Compact));
        before - self.claims.len()
    }

    pub(crate) fn has_compact(&self) -> bool {
        self.claims.iter().any(|claim| matches!(claim.form, Form::Compact))
    }

    /// Reads the envelope that begins at `start`, if it is written as we write them. It is then known to be good JSON,
    /// though nobody has looked at it yet.
    pub(crate) fn read_written(&mut self, event: &[u8], start: usize) -> Option<Draft> {
        let rest = event.get(start..)?;
        if let Some(draft) = self.read_as_last(event.len(), rest) {
            return Some(draft);
        }
        let rest = rest.strip_prefix(HEAD)?;
        if let Some(rest) = rest.strip_prefix(SELF_CONTAINED_NEXT) {
            self.read_written_alone(event.len(), rest)
        } else {
            self.read_written_compact(event.len(), rest.strip_prefix(COMPACT_NEXT)?)
        }
    }

    /// Reads an envelope that has everything as the last one had it, but the contents.
    fn read_as_last(&mut self, len: usize, rest: &[u8]) -> Option<Draft> {
        let Self { pattern, tails, reading: Reading::Deferred, .. } = self else { return None };
        if pattern.head.is_empty() {
            return None;
        }
        let rest = rest.strip_prefix(pattern.head.as_slice())?;
        let (tail, mut rest) = rest.split_at_checked(find_quote(rest)?)?;
        let hash = match rest.strip_prefix(BEFORE_KEYED).and_then(|rest| rest.strip_prefix(b":")) {
            Some(text) => {
                let (digits, after) = text.split_first_chunk()?;
                rest = after;
                StoredHash::Keyed(Commitment::from_bytes(bytes_of_hex(digits)?))
            }
            None => stored_hash(written_hash(&mut rest)?)?,
        };
        let after = rest.strip_prefix(pattern.foot.as_slice())?;
        let before = self.box_text.rest().len();
        let body = tails.push(tail, before).filter(|body| body.len() >= MIN_BODY_LEN)?;
        let form = match self.pattern.form {
            Some(form) => form,
            None => self.note_pattern()?,
        };
        // No token has an empty text.
        Some(Draft { end: len - after.len(), form, body: Body::Deferred(body), hash, token: 0..0 })
    }

    /// What envelopes say that have the pattern, noted for this event.
    fn note_pattern(&mut self) -> Option<Form> {
        let encapsulation = self.note_encapsulation()?;
        let Self { texts, pattern, last_texts, .. } = self;
        for (range, text) in last_texts.iter_mut().zip(&pattern.texts) {
            let start = texts.len();
            texts.extend_from_slice(text);
            *range = start..texts.len();
        }
        let [dek, sealed_at, catalogue] = last_texts.clone();
        let form = self.note_saying(Saying { dek, sealed_at, catalogue, encapsulation });
        self.pattern.form = Some(form);
        Some(form)
    }

    fn read_written_alone(&mut self, len: usize, rest: &[u8]) -> Option<Draft> {
        let whole = rest;
        let mut rest = rest.strip_prefix(ALGORITHM.as_bytes())?;
        let dek = until_quote(&mut rest, b"\",\"_dek_version\":\"")?;
        // Nobody has to look for a quote in what was in the last box.
        let text = rest.strip_prefix(b"\",\"_ciphertext\":\"")?;
        let place = Some(len - text.len());
        let beginning = self.box_text.beginning(text);
        let known = if beginning == Beginning::AsLast { self.box_text.prefix().len() } else { 0 };
        let len_of_ciphertext = known + memchr::memchr(b'"', text.get(known..)?)?;
        let ciphertext = text.get(..len_of_ciphertext)?;
        rest = text.get(len_of_ciphertext..)?;
        let ciphertext_at = whole.len() - rest.len() - len_of_ciphertext;
        let hash = written_hash(&mut rest)?;
        let foot = rest;
        let sealed_at = until_quote(&mut rest, b"\",\"_encrypted_at\":\"")?;
        let catalogue = if rest.starts_with(CATALOGUE) {
            until_quote(&mut rest, CATALOGUE).filter(|catalogue| !catalogue.is_empty())?
        } else {
            &[]
        };
        let (token, after) = token_and_end(rest)?;
        let (form, body, hash) =
            self.self_contained(&Parts { dek, ciphertext, beginning, place, hash, sealed_at, catalogue })?;
        if token.is_empty()
            && let (Some(head), Some(foot)) = (
                whole.get(..ciphertext_at + self.box_text.prefix().len()),
                foot.get(..foot.len() - after.len()),
            )
        {
            self.pattern.set(head, foot, [dek, sealed_at, catalogue], &form);
        }
        Some(Draft { end: len - after.len(), form, body, hash, token: self.note_new(token) })
    }

    fn read_written_compact(&mut self, len: usize, mut rest: &[u8]) -> Option<Draft> {
        let place = Some(len - rest.len());
        let ciphertext = until_quote(&mut rest, b"")?;
        let hash = written_hash(&mut rest)?;
        let (token, after) = token_and_end(rest)?;
        let (form, body, hash) = self.compact(ciphertext, place, hash)?;
        Some(Draft { end: len - after.len(), form, body, hash, token: self.note_new(token) })
    }

    /// Reads an object that has been found to be good JSON.
    pub(crate) fn read_any(&mut self, event: &[u8], start: usize, end: usize) -> Option<Draft> {
        if let Some(draft) = self.read_written(event, start).filter(|draft| draft.end == end) {
            return Some(draft);
        }
        const NAMES: [&str; 8] = [
            "_encrypted",
            "_ciphertext",
            "_plaintext_hash",
            "_token",
            "_algorithm",
            "_dek_version",
            "_encrypted_at",
            "_catalogue",
        ];
        let object = event.get(start..end)?;
        let mut unescaped = std::mem::take(&mut self.unescaped);
        unescaped.clear();
        let parts = members(object, &NAMES, &mut unescaped).and_then(|slots| self.parts(&slots, &unescaped));
        self.unescaped = unescaped;
        let (form, body, hash, token) = parts?;
        Some(Draft { end, form, body, hash, token })
    }

    /// Checks the parts of an envelope, of which at least the first three have to be there.
    fn parts(
        &mut self,
        slots: &[Option<Range<usize>>; 8],
        unescaped: &[u8],
    ) -> Option<(Form, Body, StoredHash, Range<usize>)> {
        let text = |slot: &Option<Range<usize>>| unescaped.get(slot.clone()?);
        let [Some(_), ciphertext, hash, token, algorithm, dek, sealed_at, catalogue] = slots else {
            return None;
        };
        let (ciphertext, hash) = (text(ciphertext)?, text(hash)?);
        let token = text(token).unwrap_or_default();
        if slots.get(3) != Some(&None) && !is_well_formed_token(token) {
            return None;
        }
        let (form, body, hash) = match (text(algorithm), text(dek), text(sealed_at)) {
            (Some(algorithm), Some(dek), Some(sealed_at)) if algorithm == ALGORITHM.as_bytes() => {
                let named = text(catalogue);
                if named.is_some_and(<[u8]>::is_empty) {
                    return None;
                }
                let (beginning, catalogue) = (self.box_text.beginning(ciphertext), named.unwrap_or_default());
                let place = None;
                self.self_contained(&Parts { dek, ciphertext, beginning, place, hash, sealed_at, catalogue })?
            }
            (None, None, None) if catalogue.is_none() => self.compact(ciphertext, None, hash)?,
            _ => return None,
        };
        Some((form, body, hash, self.note_new(token)))
    }

    /// Where the object that begins at `start` ends, if it is the header of an earlier event, byte for byte.
    pub(crate) fn known_header(&self, event: &[u8], start: usize) -> Option<usize> {
        let raw = self.header.raw.as_slice();
        let is_same = !raw.is_empty() && event.get(start..)?.starts_with(raw);
        is_same.then_some(start + raw.len())
    }

    /// Reads what the member `_aegis` holds. Whether it is a header.
    pub(crate) fn read_header(&mut self, raw: &[u8]) -> bool {
        if !self.header.raw.is_empty() && self.header.raw == raw {
            return true;
        }
        self.header.raw.clear();
        self.parse_header(raw).is_some()
    }

    fn parse_header(&mut self, raw: &[u8]) -> Option<()> {
        const NAMES: [&str; 6] =
            ["_form", "_algorithm", "_dek_version", "_encrypted_at", "_catalogue", "_encapsulation"];
        let mut unescaped = Vec::new();
        let slots = members(raw, &NAMES, &mut unescaped)?;
        let text = |slot: &Option<Range<usize>>| unescaped.get(slot.clone()?);
        let [form, algorithm, dek, sealed_at, catalogue, encapsulation] = &slots;
        let (dek, sealed_at, catalogue) = (text(dek)?, text(sealed_at)?, text(catalogue)?);
        let is_good = text(form)? == b"compact"
            && text(algorithm)? == ALGORITHM.as_bytes()
            && DekName::is_well_formed(dek)
            && is_well_formed_time(sealed_at)
            && CatalogueVersion::is_well_formed(catalogue);
        if !is_good {
            return None;
        }
        let header = &mut self.header;
        header.encapsulation.clear();
        decode_base64(text(encapsulation)?, &mut header.encapsulation)?;
        if header.encapsulation.len() != ENCAPSULATION_LEN {
            return None;
        }
        for (to, from) in [
            (&mut header.dek, dek),
            (&mut header.sealed_at, sealed_at),
            (&mut header.catalogue, catalogue),
            (&mut header.raw, raw),
        ] {
            to.clear();
            to.extend_from_slice(from);
        }
        Some(())
    }

    /// Checks the parts of a self-contained envelope.
    fn self_contained(&mut self, parts: &Parts<'_>) -> Option<(Form, Body, StoredHash)> {
        // The box decides what the next ones are compared with.
        self.pattern.head.clear();
        let Parts { dek, ciphertext, beginning, place, hash, sealed_at, catalogue } = *parts;
        let [last_dek, last_time, last_catalogue] = self.last_texts.clone();
        // What the last field had was looked at there; there is none that is empty.
        let is_last = |last: &Range<usize>, text: &[u8]| !text.is_empty() && self.text(last) == text;
        if !(is_last(&last_dek, dek) || DekName::is_well_formed(dek))
            || !(is_last(&last_time, sealed_at) || is_well_formed_time(sealed_at))
        {
            return None;
        }
        if !catalogue.is_empty() && !CatalogueVersion::is_well_formed(catalogue) {
            return None;
        }
        let hash = stored_hash(hash)?;
        let body = match place.filter(|_| self.reads_late(ciphertext)) {
            Some(place) => {
                let tail = self.box_text.check(ciphertext, beginning)?;
                let before = self.box_text.rest().len();
                let len = decoded_len(ciphertext.get(tail..)?).checked_sub(before)?;
                Body::Late { text: place + tail..place + ciphertext.len(), before, len }
            }
            None => {
                let start = self.bodies.len();
                let body = self.box_text.read(ciphertext, beginning, &mut self.bodies)?;
                if body.len() < MIN_BODY_LEN {
                    self.bodies.truncate(start);
                    return None;
                }
                Body::Read(body)
            }
        };
        let encapsulation = self.note_encapsulation()?;
        let (dek, sealed_at) = (self.note(dek, &last_dek), self.note(sealed_at, &last_time));
        let catalogue = self.note(catalogue, &last_catalogue);
        self.last_texts = [dek.clone(), sealed_at.clone(), catalogue.clone()];
        let form = self.note_saying(Saying { dek, sealed_at, catalogue, encapsulation });
        Some((form, body, hash))
    }

    /// Whether a text is so long that it is not kept as bytes. Its body is longer than the least that there is.
    fn reads_late(&self, ciphertext: &[u8]) -> bool {
        const LONG: usize = 2 * DeferredTails::MAX_TEXT_LEN + ENCAPSULATION_LEN.div_ceil(3) * 4;
        self.reading == Reading::Deferred && ciphertext.len() > LONG
    }

    /// Checks the parts of a compact field.
    fn compact(
        &mut self,
        ciphertext: &[u8],
        place: Option<usize>,
        hash: &[u8],
    ) -> Option<(Form, Body, StoredHash)> {
        let hash = stored_hash(hash)?;
        if let Some(place) = place.filter(|_| self.reads_late(ciphertext)) {
            let len = decoded_len(ciphertext);
            let body = Body::Late { text: place..place + ciphertext.len(), before: 0, len };
            return is_base64(ciphertext).then_some((Form::Compact, body, hash));
        }
        if self.reading == Reading::Deferred
            && let Some(body) = self.tails.push(ciphertext, 0)
        {
            return (body.len() >= MIN_BODY_LEN).then_some((Form::Compact, Body::Deferred(body), hash));
        }
        let start = self.bodies.len();
        decode_base64(ciphertext, &mut self.bodies)?;
        let body = start..self.bodies.len();
        if body.len() < MIN_BODY_LEN {
            self.bodies.truncate(start);
            return None;
        }
        Some((Form::Compact, Body::Read(body), hash))
    }

    /// The number of the encapsulation that was read last.
    fn note_encapsulation(&mut self) -> Option<usize> {
        if self.last_age != Some(self.box_text.age()) {
            self.encapsulations.push(self.box_text.encapsulation().try_into().ok()?);
            self.last_age = Some(self.box_text.age());
        }
        self.encapsulations.len().checked_sub(1)
    }

    fn note_saying(&mut self, saying: Saying) -> Form {
        if self.sayings.last() != Some(&saying) {
            self.sayings.push(saying);
        }
        Form::SelfContained(self.sayings.len() - 1)
    }

    fn note_new(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        start..self.texts.len()
    }

    /// Keeps a text, or says where it is already: the fields of an event mostly have one DEK and one time.
    fn note(&mut self, text: &[u8], last: &Range<usize>) -> Range<usize> {
        if is_same(self.text(last), text) {
            return last.clone();
        }
        self.note_new(text)
    }
}

impl Pattern {
    /// From now on envelopes are compared with this one, of which the form is good for the event that is read now.
    fn set(&mut self, head: &[u8], foot: &[u8], texts: [&[u8]; 3], form: &Form) {
        let Self { head: to_head, foot: to_foot, texts: to_texts, form: to_form } = self;
        let [dek, sealed_at, catalogue] = to_texts;
        let [from_dek, from_time, from_catalogue] = texts;
        for (to, from) in [
            (to_head, HEAD),
            (to_foot, foot),
            (dek, from_dek),
            (sealed_at, from_time),
            (catalogue, from_catalogue),
        ] {
            to.clear();
            to.extend_from_slice(from);
        }
        self.head.extend_from_slice(SELF_CONTAINED_NEXT);
        self.head.extend_from_slice(head);
        *to_form = Some(*form);
    }
}

/// The parts of a self-contained envelope, before they are checked.
struct Parts<'a> {
    dek: &'a [u8],
    ciphertext: &'a [u8],
    beginning: Beginning,
    /// Where the ciphertext is in the event, if that is where it was read.
    place: Option<usize>,
    hash: &'a [u8],
    sealed_at: &'a [u8],
    /// Empty if it names none.
    catalogue: &'a [u8],
}

/// A token, empty if there is none, and what follows the envelope.
fn token_and_end(mut rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(after) = rest.strip_prefix(b"\"}") {
        return Some((&[], after));
    }
    let token = until_quote(&mut rest, b"\",\"_token\":\"")?;
    is_well_formed_token(token).then_some((token, rest.strip_prefix(b"\"}")?))
}

/// What stands between `before` and the next quote.
#[inline]
fn until_quote<'a>(rest: &mut &'a [u8], before: &[u8]) -> Option<&'a [u8]> {
    let text = rest.strip_prefix(before)?;
    let (text, after) = text.split_at_checked(memchr::memchr(b'"', text)?)?;
    *rest = after;
    Some(text)
}

/// A digest with its name, up to the quote: nobody has to look for where it ends.
#[inline]
fn written_hash<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    const DIGITS: usize = 64;
    let text = rest.strip_prefix(b"\",\"_plaintext_hash\":\"")?;
    let name = if text.starts_with(HMAC) { HMAC.len() } else { BARE.len() };
    let (hash, after) = text.split_at_checked(name + DIGITS)?;
    *rest = after;
    Some(hash)
}

/// What is written between the ciphertext and the digits of a keyed digest, but for a colon: so long, it is compared without
/// a call.
const BEFORE_KEYED: &[u8] = b"\",\"_plaintext_hash\":\"hmac-sha256";
/// Before the digits of a keyed digest.
const HMAC: &[u8] = b"hmac-sha256:";
/// Before those of the other one.
const BARE: &[u8] = b"sha256:";

/// The members of an object that is good JSON: exactly strings, and `_encrypted` with the value `true`, of these names,
/// each once at most. Gives where in `unescaped` each one's text is.
fn members<const N: usize>(
    object: &[u8],
    names: &[&str; N],
    unescaped: &mut Vec<u8>,
) -> Option<[Option<Range<usize>>; N]> {
    let mut slots = [const { None }; N];
    if object.first() != Some(&b'{') {
        return None;
    }
    let mut at = 0;
    loop {
        // An opening brace or a comma, then a name.
        let quote = skip_white_space(object, at + 1);
        let name = skip_string(object, (object.get(quote) == Some(&b'"')).then_some(quote + 1)?).ok()?;
        let place =
            names.iter().position(|known| object.get(quote + 1..name.quote) == Some(known.as_bytes()))?;
        let value = skip_white_space(object, skip_white_space(object, name.quote + 1) + 1);
        let start = unescaped.len();
        let end = if names.get(place) == Some(&"_encrypted") {
            object.get(value..)?.starts_with(b"true").then_some(value + 4)?
        } else {
            let text = skip_string(object, (object.get(value) == Some(&b'"')).then_some(value + 1)?).ok()?;
            unescape(object.get(value + 1..text.quote)?, unescaped);
            text.quote + 1
        };
        if slots.get_mut(place)?.replace(start..unescaped.len()).is_some() {
            return None;
        }
        at = skip_white_space(object, end);
        match object.get(at) {
            Some(b',') => {}
            Some(b'}') => return Some(slots),
            _ => return None,
        }
    }
}

/// `hmac-sha256:` or `sha256:`, and 64 lower-case hex digits.
fn stored_hash(text: &[u8]) -> Option<StoredHash> {
    if let Some(hex) = text.strip_prefix(HMAC) {
        return Some(StoredHash::Keyed(Commitment::from_bytes(bytes_of_hex(hex.try_into().ok()?)?)));
    }
    let hex = text.strip_prefix(BARE)?;
    Some(StoredHash::BareSha256(Digest::from_bytes(bytes_of_hex(hex.try_into().ok()?)?)))
}

/// Sixty-four digits are read for every field; the crate `hex` took a fifth of the time of decryption. Without a table: sixteen
/// at a time.
fn bytes_of_hex(hex: &[u8; 64]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut is_hex = u8x16::splat(0xff);
    for (to, digits) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(hex.as_chunks().0) {
        let digits = u8x16::new(*digits);
        let (as_letter, as_figure) = (digits - u8x16::splat(b'a'), digits - u8x16::splat(b'0'));
        let is_letter = as_letter.min(u8x16::splat(5)).simd_eq(as_letter);
        is_hex &= is_letter | as_figure.min(u8x16::splat(9)).simd_eq(as_figure);
        // The letters have the low bits of 1 to 6.
        let values = (digits & u8x16::splat(0xf)) + (is_letter & u8x16::splat(9));
        for (byte, [high, low]) in to.iter_mut().zip(values.to_array().as_chunks::<2>().0) {
            *byte = high << 4 | low;
        }
    }
    (is_hex.to_bitmask() == 0xffff).then_some(bytes)
}
