//! Messages of any number, in as many lanes as a compressor has: a lane that is done takes the next message.

use std::fmt;

use zeroize::Zeroize;

use super::compressor::{BLOCK_LEN, Block, State, USED_STACK};
use super::{KeyStates, Message, TAG_LEN};
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

/// Where messages are laid out. Given again, its memory is used again; nothing of a message stays in it.
#[derive(Default)]
pub(crate) struct Workspace(Vec<Lane>);

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

/// What a lane is at.
struct Lane {
    blocks: [Block; MAX_BLOCKS],
    /// The block that comes next.
    at: usize,
    /// How many there are.
    end: usize,
    work: Work,
    /// How many blocks have something of a message in them.
    used: usize,
}

/// Which hash of which message.
#[derive(Clone, Copy)]
enum Work {
    None,
    Inner(usize),
    Outer(usize),
}

/// Gives `put` the tag of each message.
#[inline(never)]
pub(super) fn sign_each<'a, const N: usize>(
    key: &KeyStates,
    compress: impl Fn(&mut [State; N], [&Block; N]),
    mut messages: impl Iterator<Item = (usize, ShortMessage<'a>)>,
    workspace: &mut Workspace,
    mut put: impl FnMut(usize, [u8; TAG_LEN]),
) {
    let Workspace(lanes) = workspace;
    if lanes.len() < N {
        lanes.resize_with(N, || Lane::EMPTY);
    }
    let lanes = lanes.first_chunk_mut::<N>().expect("so many were made");
    let mut states = [[0; 8]; N];
    let (mut idle, mut is_more) = (N, true);
    loop {
        if idle > 0 && is_more {
            for (lane, state) in lanes.iter_mut().zip(&mut states) {
                if !matches!(lane.work, Work::None) {
                    continue;
                }
                let Some((number, message)) = messages.next() else {
                    is_more = false;
                    break;
                };
                lane.begin(number, message);
                *state = key.inner;
                idle -= 1;
            }
        }
        if idle == N {
            break;
        }
        compress(&mut states, lanes.each_ref().map(Lane::block));
        for (lane, state) in lanes.iter_mut().zip(&mut states) {
            lane.at += 1;
            if lane.at < lane.end {
                continue;
            }
            match lane.work {
                Work::None => {}
                Work::Inner(number) => {
                    lane.begin_outer(number, &bytes_of(state));
                    *state = key.outer;
                }
                Work::Outer(number) => {
                    put(number, bytes_of(state));
                    lane.work = Work::None;
                    idle += 1;
                }
            }
        }
    }
    states.zeroize();
    lanes.iter_mut().for_each(Lane::erase);
    bleach_stack::<USED_STACK>();
}

impl Lane {
    const EMPTY: Self =
        Self { blocks: [[0; BLOCK_LEN]; MAX_BLOCKS], at: 0, end: 0, work: Work::None, used: 0 };

    /// The block that comes next; some block if there is none.
    fn block(&self) -> &Block {
        let [first, ..] = &self.blocks;
        self.blocks.get(self.at).unwrap_or(first)
    }

    /// Takes a message, and appends what SHA-256 wants after it (FIPS 180-4 §5.1.1).
    fn begin(&mut self, number: usize, message: ShortMessage<'_>) {
        let ShortMessage { parts, len } = message;
        (self.at, self.end, self.work) = (0, (len + MIN_PADDING).div_ceil(BLOCK_LEN), Work::Inner(number));
        self.used = self.used.max(self.end);
        // What is appended reaches into the last two blocks, and no further back.
        let last_two = self.end.saturating_sub(2)..self.end;
        self.blocks.get_mut(last_two).unwrap_or_default().fill([0; BLOCK_LEN]);
        let mut rest = self.blocks.as_flattened_mut();
        for part in parts {
            let (to, after) = rest.split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = after;
        }
        if let Some(byte) = rest.first_mut() {
            *byte = 0x80;
        }
        self.end_with(KEY_BITS + 8 * len as u64);
    }

    /// Takes the digest of the inner hash for the outer one.
    fn begin_outer(&mut self, number: usize, digest: &[u8; TAG_LEN]) {
        (self.at, self.end, self.work) = (0, 1, Work::Outer(number));
        let [block, ..] = &mut self.blocks;
        let (to, padding) = block.split_at_mut(TAG_LEN);
        to.copy_from_slice(digest);
        padding.fill(0);
        if let Some(byte) = padding.first_mut() {
            *byte = 0x80;
        }
        self.end_with(KEY_BITS + 8 * TAG_LEN as u64);
    }

    /// Erases what there was of messages.
    fn erase(&mut self) {
        self.blocks.get_mut(..self.used).unwrap_or_default().as_flattened_mut().zeroize();
        self.used = 0;
    }

    /// Writes the number of bits at the end of the last block.
    fn end_with(&mut self, bits: u64) {
        let last = self.blocks.get_mut(..self.end).and_then(<[Block]>::last_mut);
        if let Some(end) = last.and_then(|block| block.last_chunk_mut()) {
            *end = bits.to_be_bytes();
        }
    }
}

/// A state as a digest.
pub(super) fn bytes_of(state: &State) -> [u8; TAG_LEN] {
    let mut bytes = [0; TAG_LEN];
    bytes.as_chunks_mut::<4>().0.iter_mut().zip(state).for_each(|(to, word)| *to = word.to_be_bytes());
    bytes
}
