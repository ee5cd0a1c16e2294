//! Messages of any number, as many at a time as a compressor has lanes: all of them in step, each up to its own end.

use std::fmt;

use zeroize::Zeroize;

use super::compressor::{BLOCK_LEN, Block, Kept, State, USED_STACK};
use super::{KeyStates, Message, TAG_LEN};
use crate::sealed_box::nonces::NONCE_LEN;
use crate::secret::bleach_stack;

/// Most blocks of a message in a lane.
const MAX_BLOCKS: usize = 8;

/// Bytes that SHA-256 appends to a message, at least: a bit, and the length.
const MIN_PADDING: usize = 1 + size_of::<u64>();

/// Bits of the block that is hashed before a message.
const KEY_BITS: u64 = 8 * BLOCK_LEN as u64;

/// A message that fits in a lane.
#[derive(Clone, Copy)]
pub(super) struct ShortMessage<'a> {
    parts: Message<'a>,
    len: usize,
}

impl<'a> ShortMessage<'a> {
    /// `None` if it is longer.
    pub(super) fn of(parts: Message<'a>) -> Option<Self> {
        let len = parts.iter().fold(0_usize, |len, part| len.saturating_add(part.len()));
        (len <= MAX_BLOCKS * BLOCK_LEN - MIN_PADDING).then_some(Self { parts, len })
    }
}

/// Where messages are laid out. Given again, its memory is used again; nothing stays in it of what is secret in a message.
#[derive(Default)]
pub(crate) struct Workspace {
    lanes: Vec<Lane>,
    /// What a compressor keeps from messages to the next ones.
    pub(super) kept: Kept,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

/// A message, laid out in blocks.
pub(super) struct Lane {
    blocks: [Block; MAX_BLOCKS],
    /// How many there are.
    end: usize,
    /// How many bytes of the message nobody has to erase.
    public: usize,
}

/// Gives `put` the tag of each message, as `sign` makes them.
#[inline(never)]
pub(super) fn sign_each<'a, const N: usize>(
    sign: impl Fn(&[Lane; N], &mut Kept) -> [[u8; TAG_LEN]; N],
    mut messages: impl Iterator<Item = (usize, ShortMessage<'a>)>,
    workspace: &mut Workspace,
    mut put: impl FnMut(usize, [u8; TAG_LEN]),
) {
    let Workspace { lanes, kept } = workspace;
    if lanes.len() < N {
        lanes.resize_with(N, || Lane::EMPTY);
    }
    let lanes = lanes.first_chunk_mut::<N>().expect("so many were made");
    loop {
        let mut numbers = [None; N];
        for (lane, number) in lanes.iter_mut().zip(&mut numbers) {
            *number = messages.next().map(|(number, message)| {
                lane.begin(message);
                number
            });
        }
        if numbers.iter().all(Option::is_none) {
            break;
        }
        let tags = sign(lanes, kept);
        lanes.iter_mut().for_each(Lane::erase);
        let last = numbers.last().copied().flatten();
        for (number, tag) in numbers.into_iter().zip(tags) {
            if let Some(number) = number {
                put(number, tag);
            }
        }
        // If there was no message for a lane, there are no more.
        if last.is_none() || messages.size_hint() == (0, Some(0)) {
            break;
        }
    }
    bleach_stack::<USED_STACK>();
}

/// The tags of messages, by a function that compresses a block of each.
pub(super) fn sign_in_step<const N: usize>(
    key: &KeyStates,
    lanes: &[Lane; N],
    compress: impl Fn(&mut [State; N], [&Block; N]),
) -> [[u8; TAG_LEN]; N] {
    let mut states = [key.inner; N];
    let mut outer = [[0; BLOCK_LEN]; N];
    for number in 0..most_blocks(lanes) {
        compress(&mut states, lanes.each_ref().map(|lane| lane.block(number)));
        for ((lane, state), outer) in lanes.iter().zip(&states).zip(&mut outer) {
            if lane.ends_after(number) {
                *outer = block_of(state);
            }
        }
    }
    states = [key.outer; N];
    compress(&mut states, outer.each_ref());
    let tags = states.each_ref().map(bytes_of);
    states.zeroize();
    outer.zeroize();
    tags
}

/// How many blocks the longest message has.
pub(super) fn most_blocks(lanes: &[Lane]) -> usize {
    lanes.iter().fold(0, |most, lane| most.max(lane.end))
}

impl Lane {
    const EMPTY: Self = Self { blocks: [[0; BLOCK_LEN]; MAX_BLOCKS], end: 0, public: 0 };

    /// A block of it; some block if it has no such one.
    #[inline]
    pub(super) fn block(&self, number: usize) -> &Block {
        let [first, ..] = &self.blocks;
        self.blocks.get(number).unwrap_or(first)
    }

    /// How many blocks there are. None if there is no message.
    pub(super) const fn blocks(&self) -> usize {
        self.end
    }

    /// Whether that block is the last one.
    pub(super) const fn ends_after(&self, number: usize) -> bool {
        self.end == number + 1
    }

    /// Whether that block is of a message, and has nothing in it that is secret.
    pub(super) const fn is_public(&self, number: usize) -> bool {
        self.public >= (number + 1) * BLOCK_LEN
    }

    /// Takes a message, and appends what SHA-256 wants after it (FIPS 180-4 §5.1.1).
    fn begin(&mut self, message: ShortMessage<'_>) {
        let ShortMessage { parts, len } = message;
        let [first, second, secret] = parts;
        self.end = (len + MIN_PADDING).div_ceil(BLOCK_LEN);
        self.public = first.len() + second.len();
        // What is appended reaches into the last two blocks, and no further back.
        match self.blocks.get_mut(..self.end) {
            Some([.., last_but_one, last]) => (*last_but_one, *last) = ([0; BLOCK_LEN], [0; BLOCK_LEN]),
            Some([only]) => *only = [0; BLOCK_LEN],
            _ => {}
        }
        let mut rest = self.blocks.get_mut(..self.end).unwrap_or_default().as_flattened_mut();
        rest = match first.as_array::<NONCE_LEN>() {
            // Without a call.
            Some(nonce) => {
                let (to, after) = rest.split_at_mut(NONCE_LEN);
                to.copy_from_slice(nonce);
                after
            }
            None => after_copy(rest, first),
        };
        rest = after_copy(rest, second);
        rest = after_copy(rest, secret);
        if let Some(byte) = rest.first_mut() {
            *byte = 0x80;
        }
        if let Some(end) = rest.last_chunk_mut() {
            *end = (KEY_BITS + 8 * len as u64).to_be_bytes();
        }
    }

    /// Erases what is secret of the message, and has none then.
    fn erase(&mut self) {
        let Self { blocks, end, public } = self;
        let used = blocks.get_mut(..*end).unwrap_or_default().as_flattened_mut();
        used.get_mut(*public..).unwrap_or_default().zeroize();
        (*end, *public) = (0, 0);
    }
}

/// Copies a part to where it belongs, and gives what comes after it.
fn after_copy<'a>(to: &'a mut [u8], part: &[u8]) -> &'a mut [u8] {
    let (to, after) = to.split_at_mut(part.len());
    to.copy_from_slice(part);
    after
}

/// The only block of the outer hash: a digest, a bit, and the length.
fn block_of(digest: &State) -> Block {
    let mut block = [0; BLOCK_LEN];
    let words = digest.iter().chain(&OUTER_PADDING);
    block.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_be_bytes());
    block
}

/// What follows the digest in the block of the outer hash, as words.
pub(super) const OUTER_PADDING: State = [0x8000_0000, 0, 0, 0, 0, 0, 0, 512 + 256];

/// A state as a digest.
pub(super) fn bytes_of(state: &State) -> [u8; TAG_LEN] {
    let mut bytes = [0; TAG_LEN];
    bytes.as_chunks_mut::<4>().0.iter_mut().zip(state).for_each(|(to, word)| *to = word.to_be_bytes());
    bytes
}
