//! Envelopes as they are written. All that stays the same from field to field is one copy.

use aegis_crypto::{ALGORITHM, Commitment, Encapsulation, sha256};

use crate::catalogue::CatalogueVersion;
use crate::dek::DekName;
use crate::envelope::{
    BoxText, COMPACT_NEXT, CatalogueMark, EnvelopeForm, HEAD, SELF_CONTAINED_NEXT, encode_base64,
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
    box_text: BoxText,
    form: EnvelopeForm,
    dek: String,
    sealed_at: String,
    /// Of a self-contained envelope: up to the characters that differ from box to box.
    head: Vec<u8>,
    /// The same: after the digest.
    foot: Vec<u8>,
    /// The member `_aegis`, with its comma.
    header: Vec<u8>,
    catalogue: String,
}

impl Writer {
    /// From now on fields have this in common.
    pub(super) fn begin(
        &mut self,
        encapsulation: &Encapsulation,
        dek: &DekName,
        sealed_at: &str,
        form: EnvelopeForm,
        catalogue: &CatalogueVersion,
        mark: CatalogueMark,
    ) {
        self.form = form;
        let is_other_box = !self.box_text.is_of(encapsulation);
        if is_other_box {
            self.box_text.set(encapsulation);
        }
        if is_other_box || self.dek != dek.as_str() {
            set_text(&mut self.dek, dek.as_str());
            self.head.clear();
            for part in [
                HEAD,
                SELF_CONTAINED_NEXT,
                ALGORITHM.as_bytes(),
                b"\",\"_dek_version\":\"",
                dek.as_str().as_bytes(),
                b"\",\"_ciphertext\":\"",
                self.box_text.prefix(),
            ] {
                self.head.extend_from_slice(part);
            }
            self.header.clear();
        }
        if self.sealed_at != sealed_at {
            set_text(&mut self.sealed_at, sealed_at);
            self.foot.clear();
            for part in ["\",\"_encrypted_at\":\"", sealed_at] {
                self.foot.extend_from_slice(part.as_bytes());
            }
            if mark == CatalogueMark::Write {
                for part in ["\",\"_catalogue\":\"", catalogue.as_str()] {
                    self.foot.extend_from_slice(part.as_bytes());
                }
            }
            self.header.clear();
        }
        if form == EnvelopeForm::Compact && (self.header.is_empty() || self.catalogue != catalogue.as_str()) {
            set_text(&mut self.catalogue, catalogue.as_str());
            self.header.clear();
            for part in [
                "\"_aegis\":{\"_form\":\"compact\",\"_algorithm\":\"",
                ALGORITHM,
                "\",\"_dek_version\":\"",
                dek.as_str(),
                "\",\"_encrypted_at\":\"",
                sealed_at,
                "\",\"_catalogue\":\"",
                catalogue.as_str(),
                "\",\"_encapsulation\":\"",
            ] {
                self.header.extend_from_slice(part.as_bytes());
            }
            encode_base64(encapsulation.as_bytes(), &mut self.header);
            self.header.extend_from_slice(b"\"},");
        }
    }

    /// Bytes of a field over a third more than its value, at most.
    pub(super) fn field_len(&self) -> usize {
        const BODY_AND_DIGEST: usize = 240;
        match self.form {
            EnvelopeForm::SelfContained => self.head.len() + self.foot.len() + BODY_AND_DIGEST,
            EnvelopeForm::Compact => HEAD.len() + COMPACT_NEXT.len() + BODY_AND_DIGEST,
        }
    }

    pub(super) fn header_len(&self) -> usize {
        self.header.len()
    }

    pub(super) fn write_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
    }

    pub(super) fn write_field(&mut self, field: FieldText<'_>, out: &mut Vec<u8>) {
        match self.form {
            EnvelopeForm::SelfContained => {
                out.extend_from_slice(&self.head);
                self.box_text.write_tail(field.body, out);
            }
            EnvelopeForm::Compact => {
                out.extend_from_slice(HEAD);
                out.extend_from_slice(COMPACT_NEXT);
                encode_base64(field.body, out);
            }
        }
        match field.commitment {
            Some(commitment) => {
                out.extend_from_slice(b"\",\"_plaintext_hash\":\"hmac-sha256:");
                write_hex(commitment.as_bytes(), out);
            }
            None => {
                out.extend_from_slice(b"\",\"_plaintext_hash\":\"sha256:");
                write_hex(sha256(field.plaintext).as_bytes(), out);
            }
        }
        if self.form == EnvelopeForm::SelfContained {
            out.extend_from_slice(&self.foot);
        }
        if !field.token.is_empty() {
            out.extend_from_slice(b"\",\"_token\":\"");
            out.extend_from_slice(field.token);
        }
        out.extend_from_slice(b"\"}");
    }
}

fn set_text(text: &mut String, to: &str) {
    text.clear();
    text.push_str(to);
}

fn write_hex(bytes: &[u8; 32], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
    out.extend_from_slice(&text);
}
