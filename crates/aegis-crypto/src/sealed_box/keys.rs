//! The keys of a box, derived from the shared secret, and what is done with them.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::ALGORITHM;
use super::associated_data::{AssociatedData, length_prefixed};
use super::nonces::NONCE_LEN;
use super::purpose::Purpose;
use super::sealed_event::BoxContent;
use crate::aes_gcm::ShortTextKey;
use crate::hmac_sha256::{HmacKey, Workspace};
use crate::hybrid_kem::SharedSecret;
use crate::secret::{Secret, bleach_stack};

/// Bytes of the tag of AES-256-GCM.
pub(crate) const TAG_LEN: usize = 16;

/// Commits to the key, nonce, associated data and content of a box; 32 bytes, not secret.
///
/// HMAC-SHA256 under the commitment key over nonce ‖ associated data ‖ plaintext. Equal contents have different
/// commitments, because nonces differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// A commitment that was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    pub(crate) fn ct_eq(&self, other: &Self) -> bool {
        is_same(&self.0, &other.0)
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({})", hex::encode(self.0))
    }
}

/// The provider failed, or what was to be opened is not authentic.
#[derive(Debug)]
pub(crate) struct Refused;

/// A key of AES-256-GCM, expanded. The provider erases its copy when it frees it.
pub(crate) struct AeadKey {
    provider: LessSafeKey,
    /// `None` where the provider does it all.
    short: Option<ShortTextKey>,
}

impl AeadKey {
    /// For one text; for many, see [`BoxKeys`].
    pub(crate) fn new(key: &Secret<32>) -> Result<Self, Refused> {
        let key = Self::new_leaving_copies(key.expose(), None);
        // The provider moves the key schedule about by value.
        bleach_stack::<8>();
        key
    }

    #[inline(never)]
    fn new_leaving_copies(key: &[u8; 32], short: Option<ShortTextKey>) -> Result<Self, Refused> {
        let provider = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Refused)?;
        Ok(Self { provider: LessSafeKey::new(provider), short })
    }

    /// What does a text of this length, if it is not the provider.
    fn short(&mut self, text: &[u8], associated_data: &AssociatedData) -> Option<&mut ShortTextKey> {
        self.short.as_mut().filter(|short| short.takes(text.len(), associated_data.as_bytes().len()))
    }

    /// Appends nonce ‖ ciphertext ‖ tag. The plaintext is never in `out`, whatever happens.
    pub(crate) fn seal_body(
        &mut self,
        nonce: &[u8; NONCE_LEN],
        associated_data: &AssociatedData,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let start = out.len();
        out.resize(start + NONCE_LEN + plaintext.len() + TAG_LEN, 0);
        let body = out.get_mut(start..).unwrap_or_default();
        self.seal_body_into(0, nonce, associated_data, plaintext, body)
    }

    /// Writes nonce ‖ ciphertext ‖ tag into `body`, which has exactly their length. The plaintext is never in it, whatever
    /// happens. What mostly has the same associated data as earlier ones has the same number.
    pub(crate) fn seal_body_into(
        &mut self,
        number: usize,
        nonce: &[u8; NONCE_LEN],
        associated_data: &AssociatedData,
        plaintext: &[u8],
        body: &mut [u8],
    ) -> Result<(), Refused> {
        let (to, sealed) = body.split_first_chunk_mut::<NONCE_LEN>().ok_or(Refused)?;
        let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(Refused)?;
        *to = *nonce;
        if let Some(short) = self.short(plaintext, associated_data)
            && ciphertext.len() == plaintext.len()
        {
            *tag = short.seal(number, nonce, associated_data.as_bytes(), plaintext, ciphertext);
            return Ok(());
        }
        self.provider
            .seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(associated_data.as_bytes()),
                plaintext,
                ciphertext,
                &[],
                tag,
            )
            .map_err(|_| Refused)
    }

    /// Opens nonce ‖ ciphertext ‖ tag into `plaintext`, which has exactly the length of the ciphertext. The number is as that in
    /// [`seal_body_into`](Self::seal_body_into).
    pub(crate) fn open_body(
        &mut self,
        number: usize,
        body: &Body<'_>,
        associated_data: &AssociatedData,
        plaintext: &mut [u8],
    ) -> Result<(), Refused> {
        if let Some(short) = self.short(body.ciphertext, associated_data)
            && plaintext.len() == body.ciphertext.len()
        {
            let associated_data = associated_data.as_bytes();
            let tag = short.open_unchecked(number, body.nonce, associated_data, body.ciphertext, plaintext);
            if is_same(&tag, body.tag) {
                return Ok(());
            }
            plaintext.zeroize();
            return Err(Refused);
        }
        let opened = self.provider.open_separate_gather(
            Nonce::assume_unique_for_key(*body.nonce),
            Aad::from(associated_data.as_bytes()),
            body.ciphertext,
            body.tag,
            plaintext,
        );
        opened.map_err(|_| {
            plaintext.zeroize();
            Refused
        })
    }

    /// Opens nonce ‖ ciphertext ‖ tag where it stands: the plaintext is in its place, from the start of `body`, and this many
    /// bytes. If it does not open, all of it is erased.
    pub(crate) fn open_in_place(
        &self,
        associated_data: &AssociatedData,
        body: &mut [u8],
    ) -> Result<usize, Refused> {
        let opened = body.split_first_chunk_mut().ok_or(Refused).and_then(|(nonce, sealed)| {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let opened = self.provider.open_in_place(nonce, Aad::from(associated_data.as_bytes()), sealed);
            opened.map(|plaintext| plaintext.len()).map_err(|_| Refused)
        });
        match &opened {
            Ok(len) => {
                body.copy_within(NONCE_LEN..NONCE_LEN + len, 0);
                body.get_mut(*len..).unwrap_or_default().zeroize();
            }
            Err(Refused) => body.zeroize(),
        }
        opened
    }
}

/// Whether both are the same, in a time that does not depend on where they differ.
fn is_same<const N: usize>(one: &[u8; N], other: &[u8; N]) -> bool {
    const { assert!(N.is_multiple_of(size_of::<u64>()), "nothing is left over") }
    // Word by word; byte by byte it took as long as a block of SHA-256.
    let words = one.as_chunks().0.iter().zip(other.as_chunks().0);
    let differences = words.fold(0, |differences, (one, other)| {
        differences | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))
    });
    differences.ct_eq(&0).into()
}

/// The keys of one encapsulation for one purpose. They are erased when they are dropped.
pub(crate) struct BoxKeys {
    aead: AeadKey,
    commitment: HmacKey,
}

impl BoxKeys {
    pub(crate) fn derive(shared: &SharedSecret, purpose: Purpose) -> Result<Self, Refused> {
        let keys = Self::derive_leaving_copies(shared, purpose);
        // The provider moves the pseudorandom key, the key schedule and the states of HMAC about by value.
        bleach_stack::<8>();
        keys
    }

    #[inline(never)]
    fn derive_leaving_copies(shared: &SharedSecret, purpose: Purpose) -> Result<Self, Refused> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"").extract(shared.expose());
        let aead = expand(&prk, &info(purpose, "aead-key"))?;
        let commitment = expand(&prk, &info(purpose, "commitment-key"))?;
        let short = ShortTextKey::new_leaving_copies(aead.expose());
        let aead = AeadKey::new_leaving_copies(aead.expose(), short)?;
        Ok(Self { aead, commitment: HmacKey::new(&commitment) })
    }

    /// For vectors that begin at the AEAD key.
    #[cfg(test)]
    pub(crate) fn of_raw(aead: &[u8; 32]) -> Self {
        Self {
            aead: AeadKey::new_leaving_copies(aead, ShortTextKey::new_leaving_copies(aead))
                .expect("32 bytes"),
            commitment: HmacKey::new(&Secret::copy_of(&[0; 32])),
        }
    }

    pub(crate) const fn aead(&mut self) -> &mut AeadKey {
        &mut self.aead
    }

    /// Commits to each content under its nonce, and gives `put` each commitment with its content's number.
    pub(crate) fn commit_each<'a>(
        &self,
        contents: impl ExactSizeIterator<Item = (&'a [u8; NONCE_LEN], BoxContent<'a>)>,
        workspace: &mut Workspace,
        mut put: impl FnMut(usize, Commitment),
    ) {
        let messages = contents.map(|(nonce, content)| {
            let BoxContent { associated_data, plaintext } = content;
            [nonce.as_slice(), associated_data.as_bytes(), plaintext]
        });
        self.commitment.sign_each(messages, workspace, |number, tag| put(number, Commitment(tag)));
    }
}

/// A body taken apart.
pub(crate) struct Body<'a> {
    pub(crate) nonce: &'a [u8; NONCE_LEN],
    pub(crate) ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Body<'a> {
    /// `None` if it is too short for a nonce and a tag.
    pub(crate) fn of(body: &'a [u8]) -> Option<Self> {
        let (nonce, rest) = body.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        Some(Self { nonce, ciphertext, tag })
    }
}

/// Names the construction, the suite, the purpose and the key, so that no two keys can be the same.
pub(super) fn info(purpose: Purpose, key: &str) -> Vec<u8> {
    length_prefixed(&[
        b"aegis/sealed-box/v1",
        ALGORITHM.as_bytes(),
        purpose.name().as_bytes(),
        key.as_bytes(),
    ])
}

/// HKDF-Expand (RFC 5869 §2.3) to 32 bytes.
pub(super) fn expand(prk: &hkdf::Prk, info: &[u8]) -> Result<Secret<32>, Refused> {
    Secret::try_fill(|key| {
        prk.expand(&[info], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key)).map_err(|_| Refused)
    })
}
