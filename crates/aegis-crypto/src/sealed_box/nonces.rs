//! Nonces: one from the kernel as it is, those of an event from sixteen of its bytes.
//!
//! An event's nonces are the key stream of AES-256 in counter mode (SP 800-38A §6.5) whose first counter block the kernel
//! gives, and whose key is the sender context's own, random, and leaves it for nowhere. What that is worth:
//!
//! - **Unpredictable and unlinkable.** Without the key, the stream cannot be told from random bytes; what was seen of it says
//!   nothing of what comes, nor which events come from one sender.
//! - **Used once.** Two events share a counter block if their first ones are closer than the longer stream: among 4,096 events
//!   with 2²⁰ nonces together that has odds below 2⁻⁸⁰. Otherwise two nonces are equal as two random ones are, with odds of
//!   2⁻⁹⁶, of which among 2²⁰ nonces 2⁻⁵⁷ are left. That the blocks of the stream are all different, as random ones
//!   need not be, changes that by less than 2⁻⁸⁸.
//! - **Forks and clones.** Nothing is kept from event to event but the key. Two copies of a process or a machine that go on
//!   with one key and one context draw from the kernel for each event, which gives each of them other bytes.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::secret::{RandomError, Secret};

/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 12;

/// Draws the nonces of events, for one sender context.
pub(crate) struct NonceSource(EncryptingKey);

impl NonceSource {
    /// One with a key of its own.
    pub(crate) fn new() -> Result<Self, RandomError> {
        let key = Secret::<32>::random()?;
        let key = UnboundCipherKey::new(&AES_256, key.expose()).map_err(|_| RandomError)?;
        EncryptingKey::ctr(key).map(Self).map_err(|_| RandomError)
    }

    /// Fills `nonces`, of an event.
    ///
    /// For eight of them that took 0.45 µs in the place of 0.75 µs, of 4.4 µs that sealing an event did: what the kernel
    /// does for more than 32 bytes it does in further blocks, and copies.
    pub(crate) fn draw(&self, nonces: &mut [u8]) -> Result<(), RandomError> {
        let mut first = [0; 16];
        fill(&mut first)?;
        nonces.fill(0);
        let first = EncryptionContext::Iv128(FixedLength::from(first));
        self.0.less_safe_encrypt(nonces, first).map(drop).map_err(|_| RandomError)
    }
}

/// Fills `bytes` by getrandom(2).
///
/// The provider's generator would do for keys. It keeps its state in this process, and when a virtual machine is
/// cloned while a sender context is in use, both copies go on with that state and that context's key. Unless the
/// processor has a generator of its own, they would draw the same nonces. The kernel learns of the clone
/// (VMGENID) and reseeds.
pub(crate) fn fill(mut bytes: &mut [u8]) -> Result<(), RandomError> {
    while !bytes.is_empty() {
        // Above 256 bytes a signal can cut a call short.
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(0) => return Err(RandomError),
            Ok(filled) => bytes = bytes.split_at_mut_checked(filled).ok_or(RandomError)?.1,
            Err(Errno::INTR) => {}
            Err(_) => return Err(RandomError),
        }
    }
    Ok(())
}
