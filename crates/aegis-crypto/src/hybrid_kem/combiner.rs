//! The X-Wing combiner (draft-connolly-cfrg-xwing-kem §5.3).

use aws_lc_rs::digest::{Context, SHA3_256};
use zeroize::Zeroize;

use super::x25519;
use crate::secret::{Secret, bleach_stack};

/// `\.//^\`, which in the draft is drawn as a small X-wing.
const LABEL: &[u8; 6] = br"\.//^\";

/// SHA3-256(ss_mlkem ‖ ss_x25519 ‖ ct_x25519 ‖ pk_x25519 ‖ label).
///
/// ML-KEM's ciphertext and public key are not hashed again: its own shared secret binds both.
pub(crate) fn combine(
    ss_mlkem: &[u8],
    ss_x25519: &Secret<{ x25519::LEN }>,
    ct_x25519: &[u8; x25519::LEN],
    pk_x25519: &[u8; x25519::LEN],
) -> Secret<32> {
    let shared = combine_leaving_copies(ss_mlkem, ss_x25519, ct_x25519, pk_x25519);
    // The provider returns digests by value.
    bleach_stack::<8>();
    shared
}

#[inline(never)]
fn combine_leaving_copies(
    ss_mlkem: &[u8],
    ss_x25519: &Secret<{ x25519::LEN }>,
    ct_x25519: &[u8; x25519::LEN],
    pk_x25519: &[u8; x25519::LEN],
) -> Secret<32> {
    // One buffer on the heap and one update, so that no half-filled block of secrets is left in a hash state.
    let mut input = Vec::with_capacity(4 * 32 + LABEL.len());
    for part in [ss_mlkem, ss_x25519.expose(), ct_x25519, pk_x25519, LABEL.as_slice()] {
        input.extend_from_slice(part);
    }
    let mut context = Context::new(&SHA3_256);
    context.update(&input);
    input.zeroize();
    let digest = context.finish();
    Secret::copy_of(digest.as_ref().try_into().expect("SHA3-256 gives 32 bytes"))
}
