//! The recipient's side: boxes of one purpose, with the keys of recent encapsulations kept.

use std::fmt;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use super::associated_data::AssociatedData;
use super::keys::{Body, BoxKeys, Commitment};
use super::nonces::NONCE_LEN;
use super::purpose::Purpose;
use super::sealed_event::BoxContent;
use super::{BODY_OVERHEAD, BOX_OVERHEAD};
use crate::hmac_sha256::Workspace;
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
    // Kept for its memory alone.
    workspace: Workspace,
}

impl Opener {
    /// How many encapsulations' keys are kept at most.
    pub const KEPT: usize = 16;

    /// Has kept nothing yet.
    pub fn new(recipient: Arc<HybridPrivateKey>, purpose: Purpose) -> Self {
        Self { recipient, purpose, kept: Vec::with_capacity(Self::KEPT), workspace: Workspace::default() }
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
        let contents = [SealedContent { associated_data, body, commitment }];
        check_len(&contents)?;
        self.with_keys(encapsulation, |keys, workspace| open_with(keys, &contents, workspace, out))
    }

    /// As [`open_body`](Self::open_body), for a long body that is in `out` already, from `body_at` on. The plaintext is put
    /// at `start`, before it or in its place, and `out` ends with it: no second buffer is needed.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); `out` ends at `start`, and what was there is erased.
    pub fn open_in_place(
        &mut self,
        associated_data: &AssociatedData,
        encapsulation: &[u8; ENCAPSULATION_LEN],
        commitment: Option<&Commitment>,
        out: &mut Vec<u8>,
        (start, body_at): (usize, usize),
    ) -> Result<(), OpenError> {
        let opened = self.with_keys(encapsulation, |keys, workspace| {
            let body = out.get_mut(body_at..).unwrap_or_default();
            let found = body.len().saturating_add(ENCAPSULATION_LEN);
            let nonce = *body.first_chunk().ok_or(OpenError::TooShort { found })?;
            let len =
                keys.aead().open_in_place(associated_data, body).map_err(|_| OpenError::NotAuthentic)?;
            let plaintext = body.get(..len).unwrap_or_default();
            let Some(expected) = commitment else { return Ok(len) };
            let content = BoxContent { associated_data, plaintext };
            let mut is_right = false;
            keys.commit_each(std::iter::once((&nonce, content)), workspace, |_, found| {
                is_right = expected.ct_eq(&found);
            });
            is_right.then_some(len).ok_or(OpenError::NotAuthentic)
        });
        let len = *opened.as_ref().unwrap_or(&0);
        let end = body_at.saturating_add(len);
        if end <= out.len() && start <= body_at {
            out.copy_within(body_at..end, start);
        }
        out.get_mut(start.saturating_add(len)..).unwrap_or_default().zeroize();
        out.truncate(start.saturating_add(len));
        opened.map(drop)
    }

    /// Does something with the keys of an encapsulation, and keeps them if that succeeds.
    fn with_keys<T>(
        &mut self,
        encapsulation: &[u8; ENCAPSULATION_LEN],
        work: impl FnOnce(&mut BoxKeys, &mut Workspace) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        if let Some(place) = self.kept.iter().position(|kept| kept.encapsulation == *encapsulation)
            && let Some(kept) = self.kept.get_mut(place)
        {
            let done = work(&mut kept.keys, &mut self.workspace)?;
            if let Some(used) = self.kept.get_mut(..=place) {
                used.rotate_right(1);
            }
            return Ok(done);
        }
        let mut keys = derive(&self.recipient, self.purpose, encapsulation)?;
        let done = work(&mut keys, &mut self.workspace)?;
        self.kept.truncate(Self::KEPT - 1);
        self.kept.insert(0, Box::new(Kept { encapsulation: *encapsulation, keys }));
        Ok(done)
    }

    /// Opens several bodies whose encapsulation stands elsewhere, and appends their plaintexts to `out`, one behind the
    /// other. `None`, and nothing was done, if the keys of this encapsulation are not kept.
    ///
    /// It takes less time than to open each, and says less: not which of them does not open.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), if any of them does not open; `out` is as it was.
    pub fn open_kept(
        &mut self,
        encapsulation: &[u8; ENCAPSULATION_LEN],
        contents: &[SealedContent<'_>],
        out: &mut Vec<u8>,
    ) -> Option<Result<(), OpenError>> {
        let place = self.kept.iter().position(|kept| kept.encapsulation == *encapsulation)?;
        let kept = self.kept.get_mut(place)?;
        let opened =
            check_len(contents).and_then(|()| open_with(&mut kept.keys, contents, &mut self.workspace, out));
        if opened.is_ok()
            && let Some(used) = self.kept.get_mut(..=place)
        {
            used.rotate_right(1);
        }
        Some(opened)
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

/// A body, and what it is to be opened with.
#[derive(Clone, Copy)]
pub struct SealedContent<'a> {
    /// What the box is bound to.
    pub associated_data: &'a AssociatedData,
    /// Nonce ‖ ciphertext ‖ tag.
    pub body: &'a [u8],
    /// What it has to be a box of, if that is known.
    pub commitment: Option<&'a Commitment>,
}

impl SealedContent<'_> {
    /// Bytes of what is in it.
    pub const fn plaintext_len(&self) -> usize {
        self.body.len().saturating_sub(BODY_OVERHEAD)
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
    let contents = [SealedContent { associated_data, body, commitment: None }];
    check_len(&contents)?;
    let mut keys = derive(recipient, purpose, encapsulation)?;
    let mut plaintext = Zeroizing::new(Vec::new());
    open_with(&mut keys, &contents, &mut Workspace::default(), &mut plaintext)?;
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

fn check_len(contents: &[SealedContent<'_>]) -> Result<(), OpenError> {
    match contents.iter().find(|content| content.body.len() < BODY_OVERHEAD) {
        Some(content) => {
            Err(OpenError::TooShort { found: content.body.len().saturating_add(ENCAPSULATION_LEN) })
        }
        None => Ok(()),
    }
}

/// Appends the plaintexts to `out`, or leaves `out` as it was.
fn open_with(
    keys: &mut BoxKeys,
    contents: &[SealedContent<'_>],
    workspace: &mut Workspace,
    out: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let start = out.len();
    out.resize(start + contents.iter().map(SealedContent::plaintext_len).sum::<usize>(), 0);
    let plaintexts = out.get_mut(start..).unwrap_or_default();
    if open_each(keys, contents, plaintexts).is_none() || !commit_each(keys, contents, workspace, plaintexts)
    {
        plaintexts.zeroize();
        out.truncate(start);
        return Err(OpenError::NotAuthentic);
    }
    Ok(())
}

/// Opens each into its part of `plaintexts`. `None` if any does not open.
fn open_each(keys: &mut BoxKeys, contents: &[SealedContent<'_>], mut plaintexts: &mut [u8]) -> Option<()> {
    for (number, content) in contents.iter().enumerate() {
        let (plaintext, rest) = plaintexts.split_at_mut_checked(content.plaintext_len())?;
        keys.aead().open_body(number, &Body::of(content.body)?, content.associated_data, plaintext).ok()?;
        plaintexts = rest;
    }
    Some(())
}

/// Whether each commitment that there is, is one to what was opened.
fn commit_each(
    keys: &BoxKeys,
    contents: &[SealedContent<'_>],
    workspace: &mut Workspace,
    mut plaintexts: &[u8],
) -> bool {
    if contents.iter().all(|content| content.commitment.is_some()) {
        return commit_all(keys, contents, workspace, plaintexts);
    }
    // Those of an event mostly have one, all of them or none.
    contents.iter().fold(true, |is_right, content| {
        let (plaintext, rest) = plaintexts.split_at_checked(content.plaintext_len()).unwrap_or_default();
        plaintexts = rest;
        let is_one = content.commitment.is_none()
            || commit_all(keys, std::slice::from_ref(content), workspace, plaintext);
        is_right & is_one
    })
}

/// The same, if there is one to each.
fn commit_all(
    keys: &BoxKeys,
    contents: &[SealedContent<'_>],
    workspace: &mut Workspace,
    mut plaintexts: &[u8],
) -> bool {
    let opened = contents.iter().map(|content| {
        // A body has a nonce, and there is a plaintext to each; to others there would be no commitment.
        let (plaintext, rest) = plaintexts.split_at_checked(content.plaintext_len()).unwrap_or_default();
        plaintexts = rest;
        let nonce = content.body.first_chunk().unwrap_or(&[0; NONCE_LEN]);
        (nonce, BoxContent { associated_data: content.associated_data, plaintext })
    });
    // All are compared, so that the time says nothing of how many are right.
    let mut right = 0;
    keys.commit_each(opened, workspace, |number, found| {
        let expected = contents.get(number).and_then(|content| content.commitment);
        right += usize::from(expected.is_some_and(|expected| expected.ct_eq(&found)));
    });
    right == contents.len()
}
