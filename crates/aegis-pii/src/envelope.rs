//! Envelopes: what stands in an event in the place of a personal value.
//!
//! | form | in the place of the value | in the event |
//! |---|---|---|
//! | self-contained | `_encrypted`, `_algorithm`, `_dek_version`, `_ciphertext`, `_plaintext_hash`, `_encrypted_at` | nothing |
//! | compact | `_encrypted`, `_ciphertext`, `_plaintext_hash` | `_aegis`: the rest, and the encapsulation |
//!
//! Where it is wanted, a self-contained envelope has one more member `_catalogue`, and either one `_token`, at the end.
//!
//! They are written in one spelling. They are read in any order and spacing, for there are databases that sort
//! members; but with exactly these members, each once and well-formed.

mod reader;
mod text;

pub(crate) use reader::{Claim, EnvelopeReader, Form as ReadForm, Reading, Said};
pub(crate) use text::{
    BoxText, COMPACT_HEAD, HEAD, HEADER_NAME, SELF_CONTAINED_NEXT, TailTexts, encode_base64,
};

use aegis_crypto::{BODY_OVERHEAD, Commitment, Digest};

/// How sealed fields are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnvelopeForm {
    /// Each field carries everything that is needed to open it, 1.9 kB.
    #[default]
    SelfContained,
    /// What an event's fields have in common stands once, in a member `_aegis` at the beginning of the event. An event
    /// that is no object, or has such a member already, gets the other form.
    Compact,
}

/// Whether self-contained envelopes say by which catalogue their fields were chosen. Compact ones always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatalogueMark {
    /// Exactly the guide's members.
    #[default]
    Omit,
    /// One more member, `_catalogue`, so that a reader knows what was expected to be sealed.
    Write,
}

/// Which digest of a field's content stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlaintextHash {
    /// `hmac-sha256:…`, keyed by the box: it commits to key and content, and says nothing to those without the key.
    #[default]
    Keyed,
    /// `sha256:…` of the value's JSON text. Anyone can compare it with the digests of values that they guess, which
    /// undoes the encryption of ids and names; it is for readers that need it.
    BareSha256,
}

/// A digest as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredHash {
    Keyed(Commitment),
    BareSha256(Digest),
}

impl StoredHash {
    /// Which of the two.
    pub(crate) const fn kind(&self) -> PlaintextHash {
        match self {
            Self::Keyed(_) => PlaintextHash::Keyed,
            Self::BareSha256(_) => PlaintextHash::BareSha256,
        }
    }
}

/// Every name that an envelope or a header uses.
pub(crate) const MEMBERS: [&str; 11] = [
    "_encrypted",
    "_algorithm",
    "_dek_version",
    "_ciphertext",
    "_plaintext_hash",
    "_encrypted_at",
    "_aegis",
    "_form",
    "_catalogue",
    "_encapsulation",
    "_token",
];

/// Fewest bytes of a body: every JSON value has a byte.
pub(crate) const MIN_BODY_LEN: usize = BODY_OVERHEAD + 1;
