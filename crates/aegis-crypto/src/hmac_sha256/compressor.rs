//! The compression function of SHA-256 (FIPS 180-4 §6.2.2) for several blocks at once, of different messages.
//!
//! | instructions | blocks at once | measured, ns a block |
//! |---|---|---|
//! | SHA (Intel SHA extensions) | 4, or 2: one's rounds fill the waiting time of the others' | 18, or 21; the provider 41 |
//! | AVX2, where there is no SHA | 8, one in each 32 bits of a register | 37; the provider, without SHA, 140 |
//!
//! Neither has a branch or an address that depends on data. Unsafe is nothing but the call: code that was compiled for
//! an instruction must not run where the processor lacks it, and the compiler does not know where it will run. Each has a
//! type for what the processor said about that.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod sha;

use zeroize::Zeroize;

use super::lanes::{self, Lane, ShortMessage, Workspace};
use super::{KeyStates, TAG_LEN};

/// KiB of the stack in which compressing leaves what it has no registers for: states of keys, and words of messages.
/// Without optimisation that is every value that there ever was.
pub(super) const USED_STACK: usize = if cfg!(debug_assertions) { 32 } else { 4 };

/// Bytes of a block.
pub(super) const BLOCK_LEN: usize = 64;

/// A block of a message.
pub(super) type Block = [u8; BLOCK_LEN];

/// The eight words that a message is hashed into.
pub(super) type State = [u32; 8];

/// Before the first block (FIPS 180-4 §5.3.3).
pub(super) const START: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The constants of the rounds (FIPS 180-4 §4.2.2), four rounds a line.
#[cfg(target_arch = "x86_64")]
static ROUNDS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// What is kept from messages to the next ones, of which nothing is secret.
#[cfg(target_arch = "x86_64")]
pub(super) type Kept = avx2::Kept;
/// Nothing.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Kept = ();

/// A way to compress blocks that this processor has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compressor {
    #[cfg(target_arch = "x86_64")]
    Sha(sha::Sha),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
}

impl Compressor {
    /// The fastest. `None` if the provider is faster than any.
    pub(super) fn best() -> Option<Self> {
        Self::every().into_iter().flatten().next()
    }

    /// All that there are, the fastest first, with `None` for those that this processor does not have.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn every() -> [Option<Self>; 2] {
        [sha::Sha::detect().map(Self::Sha), avx2::Avx2::detect().map(Self::Avx2)]
    }

    /// All that there are.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn every() -> [Option<Self>; 0] {
        []
    }

    /// Gives `put` the tag of each message, of which there are at most so many.
    pub(super) fn sign_each<'a>(
        self,
        key: &KeyStates,
        (most, messages): (usize, impl Iterator<Item = (usize, ShortMessage<'a>)>),
        workspace: &mut Workspace,
        put: impl FnMut(usize, [u8; TAG_LEN]),
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sha(sha) if most < 4 => {
                let sign = |lanes: &[Lane; 2], _: &mut Kept| {
                    lanes::sign_in_step(key, lanes, |states, blocks| sha.compress(states, blocks))
                };
                lanes::sign_each(sign, messages, workspace, put);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Sha(sha) => {
                let sign = |lanes: &[Lane; 4], _: &mut Kept| {
                    lanes::sign_in_step(key, lanes, |states, blocks| sha.compress(states, blocks))
                };
                lanes::sign_each(sign, messages, workspace, put);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => {
                lanes::sign_each(|lanes, kept| avx2.sign(key, lanes, kept), messages, workspace, put);
            }
        }
    }

    /// Compresses one block.
    pub(super) fn compress_one(self, state: &mut State, block: &Block) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sha(sha) => {
                sha.compress(std::array::from_mut(state), [block]);
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => {
                let mut states = [*state; avx2::LANES];
                avx2.compress(&mut states, [block; avx2::LANES]);
                state.copy_from_slice(states.first().expect("there is more than one lane"));
                states.zeroize();
            }
        }
    }
}
