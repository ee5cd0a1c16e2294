//! The recipient's side: boxes of one purpose, with the keys of recent encapsulations kept.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::BOX_OVERHEAD;
use super::associated_data::AssociatedData;
use super::keys::{Body, BoxKeys, Commitment};
use super::purpose::Purpose;
use crate::hybrid_kem::{DecapsulateError, ENCAPSULATION_LEN, Encapsulation, HybridPrivateKey, decapsulate};

/// Opens boxes of one recipient and one purpose, and decapsulates once for boxes that share an encapsulation.
///
/// It keeps the keys of the [`Opener::KEPT`] encapsulations used last, and of those only that a box has opened with:
/// forged boxes push nothing out. They are erased when others take their place, by [`forget`](Self::forget), and on
/// drop.
pub struct Opener {
    recipient: Arc<HybridPrivateKey>,
    purpose: Purpose,
    // The last used first.
    #[expect(clippy::vec_box, reason = "reordering them must not leave copies of keys behind")]
    kept: Vec<Box<Kept>>,
}

impl Opener {
    /// How many encapsulations' keys are kept at most.
    pub const KEPT: usize = 16;

    /// Has kept nothing yet.
    pub fn new(recipient: Arc<HybridPrivateKey>, purpose: Purpose) -> Self {
        Self { recipient, purpose, kept: Vec::with_capacity(Self::KEPT) }
    }

    /// Opens a whole box, and checks the commitment if there is one. The plaintext is erased on drop.
    ///
    /// # Errors
    ///
    /// [`OpenError::TooShort`]; [`OpenError::NotAuthentic`], whatever the reason.
    pub fn open(
        &mut self,
        associated_data: &AssociatedData,
        boxed: &[u8],
        commitment: Option<&Commitment>,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (encapsulation, body) = split(boxed)?;
        let mut plaintext = Zeroizing::new(Vec::new());
        self.open_body(associated_data, encapsulation, body, commitment, &mut plaintext)?;
        Ok(plaintext)
    }

    /// Opens a body (nonce ‖ ciphertext ‖ tag) whose encapsulation stands elsewhere, and appends its plaintext to `out`.
    ///
    /// `out` should have room: a vector that grows leaves a copy behind which nobody erases.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `out` is as it was.
    pub fn open_body(
        &mut self,
        associated_data: &AssociatedData,
        encapsulation: &[u8; ENCAPSULATION_LEN],
        body: &[u8],
        commitment: Option<&Commitment>,
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        let parts = Body::of(body)
            .ok_or(OpenError::TooShort { found: body.len().saturating_add(ENCAPSULATION_LEN) })?;
        let place = self.kept.iter().position(|kept| kept.encapsulation == *encapsulation);
        match place.and_then(|place| Some((place, self.kept.get(place)?))) {
            Some((place, kept)) => {
                open_with(&kept.keys, associated_data, &parts, commitment, out)?;
                if let Some(used) = self.kept.get_mut(..=place) {
                    used.rotate_right(1);
                }
            }
            None => {
                let keys = derive(&self.recipient, self.purpose, encapsulation)?;
                open_with(&keys, associated_data, &parts, commitment, out)?;
                self.kept.truncate(Self::KEPT - 1);
                self.kept.insert(0, Box::new(Kept { encapsulation: *encapsulation, keys }));
            }
        }
        Ok(())
    }

    /// Erases what was kept.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("recipient", &self.recipient.public_key().key_id())
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// Opens one box. The plaintext is erased on drop.
///
/// # Errors
///
/// [`OpenError::TooShort`]; [`OpenError::NotAuthentic`], whatever the reason.
pub fn open(
    recipient: &HybridPrivateKey,
    purpose: Purpose,
    associated_data: &AssociatedData,
    boxed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (encapsulation, body) = split(boxed)?;
    let parts = Body::of(body).ok_or(OpenError::TooShort { found: boxed.len() })?;
    let keys = derive(recipient, purpose, encapsulation)?;
    let mut plaintext = Zeroizing::new(Vec::new());
    open_with(&keys, associated_data, &parts, None, &mut plaintext)?;
    Ok(plaintext)
}

/// Why a box does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Fewer bytes than an empty box has.
    #[error("a sealed box has at least {BOX_OVERHEAD} bytes, this one has {found}")]
    TooShort {
        /// Bytes that were given.
        found: usize,
    },
    /// Key, purpose, associated data, commitment or a bit of the box is not what it was sealed with. Which, nobody
    /// is told.
    #[error("the sealed box does not open: it was changed, or it was not sealed for this key and this place")]
    NotAuthentic,
    /// The provider failed, for want of memory for instance.
    #[error("the cryptographic provider could not decapsulate")]
    Provider,
}

impl OpenError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::TooShort { .. } => {
                Some("it was cut short; fetch it again from where it is stored".to_owned())
            }
            Self::NotAuthentic => None,
            Self::Provider => Some("check that memory is available and try again".to_owned()),
        }
    }
}

struct Kept {
    encapsulation: [u8; ENCAPSULATION_LEN],
    keys: BoxKeys,
}

fn split(boxed: &[u8]) -> Result<(&[u8; ENCAPSULATION_LEN], &[u8]), OpenError> {
    boxed.split_first_chunk().ok_or(OpenError::TooShort { found: boxed.len() })
}

fn derive(
    recipient: &HybridPrivateKey,
    purpose: Purpose,
    encapsulation: &[u8; ENCAPSULATION_LEN],
) -> Result<BoxKeys, OpenError> {
    let shared =
        decapsulate(recipient, &Encapsulation::from_bytes(encapsulation)).map_err(|error| match error {
            DecapsulateError::LowOrderPoint => OpenError::NotAuthentic,
            DecapsulateError::Provider => OpenError::Provider,
        })?;
    BoxKeys::derive(&shared, purpose).map_err(|_| OpenError::Provider)
}

/// Appends the plaintext to `out`, or leaves `out` as it was.
fn open_with(
    keys: &BoxKeys,
    associated_data: &AssociatedData,
    body: &Body<'_>,
    commitment: Option<&Commitment>,
    out: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let start = out.len();
    out.resize(start + body.ciphertext.len(), 0);
    let (_, plaintext) = out.split_at_mut(start);
    let is_authentic = keys.aead().open_body(body, associated_data, plaintext).is_ok()
        && commitment.is_none_or(|expected| {
            let found = keys.commit(body.nonce, associated_data, plaintext);
            found.as_bytes().ct_eq(expected.as_bytes()).into()
        });
    if !is_authentic {
        plaintext.zeroize();
        out.truncate(start);
        return Err(OpenError::NotAuthentic);
    }
    Ok(())
}
