//! Envelopes as they are written. All that stays the same from field to field is one copy.

use aegis_crypto::{ALGORITHM, Commitment, Encapsulation, sha256};

use crate::catalogue::CatalogueVersion;
use crate::dek::DekName;
use crate::envelope::{
    BoxText, COMPACT_HEAD, CatalogueMark, EnvelopeForm, HEAD, PlaintextHash, SELF_CONTAINED_NEXT, TailTexts,
    encode_base64,
};

/// What differs from field to field.
#[derive(Clone, Copy)]
pub(super) struct FieldText<'a> {
    pub(super) body: &'a [u8],
    /// The bare digest stands in its place if there is none.
    pub(super) commitment: Option<&'a Commitment>,
    pub(super) plaintext: &'a [u8],
    /// Empty if there is none.
    pub(super) token: &'a [u8],
}

/// Writes the envelopes of events.
#[derive(Debug, Default)]
pub(super) struct Writer {
    encapsulation: Option<Encapsulation>,
    box_text: BoxText,
    tails: TailTexts,
    form: EnvelopeForm,
    hash: PlaintextHash,
    dek: String,
    sealed_at: String,
    catalogue: String,
    mark: CatalogueMark,
    /// Of a self-contained envelope: up to the characters that differ from box to box.
    head: Vec<u8>,
    /// From the end of the ciphertext to that of the envelope. The digits of the last digest are in it.
    foot: Vec<u8>,
    /// The member `_aegis`, with its comma.
    header: Vec<u8>,
}

/// What fields have in common.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) encapsulation: &'a Encapsulation,
    pub(super) dek: &'a DekName,
    pub(super) sealed_at: &'a str,
    pub(super) form: EnvelopeForm,
    pub(super) hash: PlaintextHash,
    pub(super) catalogue: &'a CatalogueVersion,
    pub(super) mark: CatalogueMark,
}

impl Writer {
    /// From now on fields have this in common.
    pub(super) fn begin(&mut self, shared: &Shared<'_>) {
        let Shared { encapsulation, dek, sealed_at, form, hash, catalogue, mark } = *shared;
        let is_other_box = self.encapsulation.as_ref() != Some(encapsulation);
        let is_other_dek = self.dek != dek.as_str();
        let is_other_time = self.sealed_at != sealed_at;
        let is_other_catalogue = self.catalogue != catalogue.as_str();
        if is_other_box {
            self.encapsulation = Some(encapsulation.clone());
            self.box_text.set(encapsulation);
        }
        if is_other_dek {
            set_text(&mut self.dek, dek.as_str());
        }
        if is_other_time {
            set_text(&mut self.sealed_at, sealed_at);
        }
        if is_other_catalogue {
            set_text(&mut self.catalogue, catalogue.as_str());
        }
        if is_other_box || is_other_dek {
            self.make_head();
        }
        let is_other_foot = (self.form, self.hash, self.mark) != (form, hash, mark);
        (self.form, self.hash, self.mark) = (form, hash, mark);
        if is_other_foot || is_other_time || is_other_catalogue || self.foot.is_empty() {
            self.make_foot();
        }
        if is_other_box || is_other_dek || is_other_time || is_other_catalogue {
            self.header.clear();
        }
        if form == EnvelopeForm::Compact && self.header.is_empty() {
            self.make_header(encapsulation);
        }
    }

    fn make_head(&mut self) {
        self.head.clear();
        for part in [
            HEAD,
            SELF_CONTAINED_NEXT,
            ALGORITHM.as_bytes(),
            b"\",\"_dek_version\":\"",
            self.dek.as_bytes(),
            b"\",\"_ciphertext\":\"",
            self.box_text.prefix(),
        ] {
            self.head.extend_from_slice(part);
        }
    }

    fn make_foot(&mut self) {
        self.foot.clear();
        self.foot.extend_from_slice(self.before_digest());
        self.foot.extend_from_slice(&[b'0'; DIGEST_DIGITS]);
        if self.form == EnvelopeForm::SelfContained {
            for part in ["\",\"_encrypted_at\":\"", &self.sealed_at] {
                self.foot.extend_from_slice(part.as_bytes());
            }
            if self.mark == CatalogueMark::Write {
                for part in ["\",\"_catalogue\":\"", &self.catalogue] {
                    self.foot.extend_from_slice(part.as_bytes());
                }
            }
        }
        self.foot.extend_from_slice(END);
    }

    /// How the foot begins.
    const fn before_digest(&self) -> &'static [u8] {
        match self.hash {
            PlaintextHash::Keyed => b"\",\"_plaintext_hash\":\"hmac-sha256:",
            PlaintextHash::BareSha256 => b"\",\"_plaintext_hash\":\"sha256:",
        }
    }

    fn make_header(&mut self, encapsulation: &Encapsulation) {
        for part in [
            "\"_aegis\":{\"_form\":\"compact\",\"_algorithm\":\"",
            ALGORITHM,
            "\",\"_dek_version\":\"",
            &self.dek,
            "\",\"_encrypted_at\":\"",
            &self.sealed_at,
            "\",\"_catalogue\":\"",
            &self.catalogue,
            "\",\"_encapsulation\":\"",
        ] {
            self.header.extend_from_slice(part.as_bytes());
        }
        encode_base64(encapsulation.as_bytes(), &mut self.header);
        self.header.extend_from_slice(b"\"},");
    }

    /// The most bytes of the member `_aegis`.
    pub(super) const MOST_HEADER_LEN: usize = 2048;

    /// As [`field_len`](Self::field_len), before it is known under which DEK.
    pub(super) const fn most_field_len(form: EnvelopeForm) -> usize {
        match form {
            EnvelopeForm::SelfContained => 2176,
            EnvelopeForm::Compact => 448,
        }
    }

    /// Bytes of a field over a third more than its value, at most.
    pub(super) fn field_len(&self) -> usize {
        const BODY_AND_TOKEN: usize = 140;
        let head = match self.form {
            EnvelopeForm::SelfContained => self.head.len(),
            EnvelopeForm::Compact => COMPACT_HEAD.len(),
        };
        head + self.foot.len() + BODY_AND_TOKEN
    }

    pub(super) fn header_len(&self) -> usize {
        self.header.len()
    }

    pub(super) fn write_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
    }

    /// Takes the bodies of all fields, in the order in which [`write_field`](Self::write_field) will be given them.
    pub(super) fn take_bodies<'a>(&mut self, bodies: impl Iterator<Item = &'a [u8]>) {
        self.tails.encode(before_body(self.form, &self.box_text), bodies);
    }

    pub(super) fn write_field(&mut self, field: FieldText<'_>, out: &mut Vec<u8>) {
        let FieldText { body, commitment, plaintext, token } = field;
        out.extend_from_slice(match self.form {
            EnvelopeForm::SelfContained => &self.head,
            EnvelopeForm::Compact => COMPACT_HEAD,
        });
        self.tails.write_next(before_body(self.form, &self.box_text), body, out);
        let start = self.before_digest().len();
        let digits = self.foot.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<DIGEST_DIGITS>);
        match (digits, commitment) {
            (Some(digits), Some(commitment)) => write_hex(commitment.as_bytes(), digits),
            (Some(digits), None) => write_hex(sha256(plaintext).as_bytes(), digits),
            (None, _) => {}
        }
        if token.is_empty() {
            out.extend_from_slice(&self.foot);
        } else {
            out.extend_from_slice(self.foot.strip_suffix(END).unwrap_or_default());
            out.extend_from_slice(b"\",\"_token\":\"");
            out.extend_from_slice(token);
            out.extend_from_slice(END);
        }
    }

    /// Gives the memory of unusually large boxes back.
    pub(super) fn release_memory(&mut self) {
        self.tails.release_memory();
    }
}

/// How an envelope ends.
const END: &[u8] = b"\"}";

/// Digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// What is encoded together with a body, before it.
fn before_body(form: EnvelopeForm, box_text: &BoxText) -> &[u8] {
    match form {
        EnvelopeForm::SelfContained => box_text.rest(),
        EnvelopeForm::Compact => &[],
    }
}

fn set_text(text: &mut String, to: &str) {
    text.clear();
    text.push_str(to);
}

/// Without a table, so that the compiler can do sixteen at a time.
fn write_hex(bytes: &[u8; 32], digits: &mut [u8; DIGEST_DIGITS]) {
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        let byte = u16::from(*byte);
        *pair = ((byte << 8 | byte >> 4) & 0x0f0f).to_le_bytes();
    }
    for digit in digits {
        *digit += if *digit < 10 { b'0' } else { b'a' - 10 };
    }
}
