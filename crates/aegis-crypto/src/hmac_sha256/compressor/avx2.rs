//! By AVX2: eight blocks, one in each 32 bits of the registers. What FIPS 180-4 says of a word is done to eight at once.

#![allow(unsafe_code, reason = "the call of a function that was compiled for AVX2")]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_blendv_epi8, _mm256_cmpeq_epi32,
    _mm256_extract_epi32, _mm256_movemask_epi8, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_setr_epi8,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_testz_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::super::lanes::{self, Lane, OUTER_PADDING};
use super::super::{KeyStates, TAG_LEN};
use super::{BLOCK_LEN, Block, ROUNDS, State};

/// Blocks at once.
pub(super) const LANES: usize = 8;

/// This processor has AVX2.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// The tags of eight messages.
    pub(super) fn sign(
        self,
        key: &KeyStates,
        lanes: &[Lane; LANES],
        kept: &mut Kept,
    ) -> [[u8; TAG_LEN]; LANES] {
        // SAFETY: `self` was made by `detect`, so the processor has AVX2, and the function was compiled for nothing else.
        unsafe { sign(key, lanes, kept) }
    }

    /// Compresses a block into each state.
    #[inline]
    pub(super) fn compress(self, states: &mut [State; LANES], blocks: [&Block; LANES]) {
        // SAFETY: as above.
        unsafe { compress(states, blocks) }
    }
}

/// One word of each lane.
type Word = __m256i;

/// The constants of the rounds, each in every lane: one instruction fewer a round than to put it there.
static CONSTANTS: [[u32; LANES]; 64] = {
    let mut constants = [[0; LANES]; 64];
    let (from, mut rest) = (ROUNDS.as_flattened(), constants.as_mut_slice());
    let mut number = 0;
    while let (Some((to, after)), true) = (rest.split_first_mut(), number < from.len()) {
        #[allow(clippy::indexing_slicing, reason = "at compile time")]
        {
            *to = [from[number]; LANES];
        }
        rest = after;
        number += 1;
    }
    constants
};

/// Eight rounds (FIPS 180-4 §6.2.2, step 3), after which each letter is in its place again. Each sum is made when it is needed:
/// there are no registers for them.
macro_rules! eight_rounds {
    ($state:expr, $s0:expr, $s1:expr, $s2:expr, $s3:expr, $s4:expr, $s5:expr, $s6:expr, $s7:expr) => {{
        let [a, b, c, d, e, f, g, h] = $state;
        let (d, h) = round([a, b, c, d, e, f, g, h], $s0);
        let (c, g) = round([h, a, b, c, d, e, f, g], $s1);
        let (b, f) = round([g, h, a, b, c, d, e, f], $s2);
        let (a, e) = round([f, g, h, a, b, c, d, e], $s3);
        let (h, d) = round([e, f, g, h, a, b, c, d], $s4);
        let (g, c) = round([d, e, f, g, h, a, b, c], $s5);
        let (f, b) = round([c, d, e, f, g, h, a, b], $s6);
        let (e, a) = round([b, c, d, e, f, g, h, a], $s7);
        [a, b, c, d, e, f, g, h]
    }};
}
/// The last second blocks, if all of them had nothing secret in them: in a stream of events, they are mostly the same again.
pub(in super::super) type Kept = Option<Box<KeptBlocks>>;

pub(in super::super) struct KeptBlocks {
    blocks: [Block; LANES],
    /// Their message schedule, with the constants of the rounds added.
    sums: [[u32; LANES]; 64],
}

/// The number of the block whose schedule is kept. The first one has the nonce in it, and few have a third without a secret.
const KEPT: usize = 1;

#[inline(never)]
#[target_feature(enable = "avx2")]
fn compress(states: &mut [State; LANES], blocks: [&Block; LANES]) {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = &*states;
    let before = transposed([word(s0), word(s1), word(s2), word(s3), word(s4), word(s5), word(s6), word(s7)]);
    let after = transposed(compressed(&before, &mut first_words(blocks)));
    for (state, after) in states.iter_mut().zip(after) {
        *state = words_of(after);
    }
}

/// The tags of eight messages. States and digests stay in the form that the rounds want until the tags are there.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn sign(key: &KeyStates, lanes: &[Lane; LANES], kept: &mut Kept) -> [[u8; TAG_LEN]; LANES] {
    let KeyStates { inner, outer } = key;
    let ends = word(&lanes.each_ref().map(|lane| u32::try_from(lane.blocks()).unwrap_or_default()));
    let most = lanes::most_blocks(lanes);
    let mut state = in_all_lanes(inner);
    let mut words = [_mm256_setzero_si256(); 16];
    for number in 0..=most {
        if number == most {
            // What is in `words` by then is the digests.
            words.as_chunks_mut::<8>().0.iter_mut().skip(1).for_each(|to| *to = in_all_lanes(&OUTER_PADDING));
            state = compressed(&in_all_lanes(outer), &mut words);
            break;
        }
        let blocks = lanes.each_ref().map(|lane| lane.block(number));
        state = if number == KEPT && lanes.iter().all(|lane| lane.blocks() == 0 || lane.is_public(KEPT)) {
            compressed_by(state, schedule(blocks, kept))
        } else {
            compressed(&state, &mut first_words(blocks))
        };
        let number = u32::try_from(number).unwrap_or_default();
        let is_last = _mm256_cmpeq_epi32(ends, word(&[number + 1; LANES]));
        if _mm256_movemask_epi8(is_last) != 0 {
            for (digest, state) in words.iter_mut().zip(state) {
                *digest = _mm256_blendv_epi8(*digest, state, is_last);
            }
        }
    }
    transposed(state).map(|words| bytes_of(words))
}

/// The schedule of blocks, of which nothing is secret: that of the last ones, if they are the same.
#[inline]
#[target_feature(enable = "avx2")]
fn schedule<'a>(blocks: [&Block; LANES], kept: &'a mut Kept) -> &'a [[u32; LANES]; 64] {
    let is_new = kept.is_none();
    let kept = kept.get_or_insert_with(|| {
        Box::new(KeptBlocks { blocks: [[0; BLOCK_LEN]; LANES], sums: [[0; LANES]; 64] })
    });
    let mut differences = _mm256_setzero_si256();
    for (block, kept) in blocks.iter().zip(&kept.blocks) {
        let ((low, high), (kept_low, kept_high)) = (halves(block), halves(kept));
        let (low, high) = (_mm256_xor_si256(low, kept_low), _mm256_xor_si256(high, kept_high));
        differences = _mm256_or_si256(differences, _mm256_or_si256(low, high));
    }
    if is_new || _mm256_testz_si256(differences, differences) == 0 {
        write_schedule(blocks, kept);
    }
    &kept.sums
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn write_schedule(blocks: [&Block; LANES], kept: &mut KeptBlocks) {
    kept.blocks = blocks.map(|block| *block);
    let mut words = first_words(blocks);
    let constants = CONSTANTS.as_chunks::<16>().0;
    for (number, (sums, constants)) in kept.sums.as_chunks_mut::<16>().0.iter_mut().zip(constants).enumerate()
    {
        if number > 0 {
            extend(&mut words);
        }
        for ((sum, constant), words) in sums.iter_mut().zip(constants).zip(words) {
            *sum = words_of(add(words, word(constant)));
        }
    }
}

/// A state after a block, given as its words (FIPS 180-4 §6.2.2).
#[inline(never)]
#[target_feature(enable = "avx2")]
fn compressed(before: &[Word; 8], words: &mut [Word; 16]) -> [Word; 8] {
    let mut state = *before;
    for (number, constants) in CONSTANTS.as_chunks::<16>().0.iter().enumerate() {
        if number > 0 {
            extend(words);
        }
        for (constants, words) in constants.as_chunks::<8>().0.iter().zip(words.as_chunks::<8>().0) {
            let [k0, k1, k2, k3, k4, k5, k6, k7] = constants;
            let [w0, w1, w2, w3, w4, w5, w6, w7] = *words;
            state = eight_rounds!(
                state,
                add(w0, word(k0)),
                add(w1, word(k1)),
                add(w2, word(k2)),
                add(w3, word(k3)),
                add(w4, word(k4)),
                add(w5, word(k5)),
                add(w6, word(k6)),
                add(w7, word(k7))
            );
        }
    }
    sum(*before, state)
}

/// The same, of a block whose schedule is there.
#[inline]
#[target_feature(enable = "avx2")]
fn compressed_by(before: [Word; 8], schedule: &[[u32; LANES]; 64]) -> [Word; 8] {
    let mut state = before;
    for sums in schedule.as_chunks::<8>().0 {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
        state = eight_rounds!(
            state,
            word(s0),
            word(s1),
            word(s2),
            word(s3),
            word(s4),
            word(s5),
            word(s6),
            word(s7)
        );
    }
    sum(before, state)
}

/// What becomes of D and of H, which are then called E and A. A word of the schedule is given with its constant added.
#[inline]
#[target_feature(enable = "avx2")]
fn round(state: [Word; 8], sum_of_word: Word) -> (Word, Word) {
    let [a, b, c, d, e, f, g, h] = state;
    let sigma1 = xor3(rotated::<6, 26>(e), rotated::<11, 21>(e), rotated::<25, 7>(e));
    // Ch and Maj in the forms with the fewest operations.
    let choice = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
    let t1 = add(add(h, sum_of_word), add(sigma1, choice));
    let sigma0 = xor3(rotated::<2, 30>(a), rotated::<13, 19>(a), rotated::<22, 10>(a));
    let majority = _mm256_xor_si256(b, _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(b, c)));
    (add(d, t1), add(t1, add(sigma0, majority)))
}

/// The next sixteen words of the message schedule (FIPS 180-4 §6.2.2, step 1), in the places of the last sixteen.
#[inline]
#[target_feature(enable = "avx2")]
fn extend(words: &mut [Word; 16]) {
    macro_rules! extend {
        ($($t:literal)*) => {$(
            let after = words[($t + 1) % 16];
            let sigma0 = xor3(rotated::<7, 25>(after), rotated::<18, 14>(after), _mm256_srli_epi32::<3>(after));
            let last = words[($t + 14) % 16];
            let sigma1 = xor3(rotated::<17, 15>(last), rotated::<19, 13>(last), _mm256_srli_epi32::<10>(last));
            words[$t] = add(add(words[$t], sigma0), add(words[($t + 9) % 16], sigma1));
        )*};
    }
    extend!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// The first sixteen words: those of the blocks.
#[inline]
#[target_feature(enable = "avx2")]
fn first_words(blocks: [&Block; LANES]) -> [Word; 16] {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = blocks;
    let [(l0, h0), (l1, h1), (l2, h2), (l3, h3)] =
        [words_of_block(b0), words_of_block(b1), words_of_block(b2), words_of_block(b3)];
    let [(l4, h4), (l5, h5), (l6, h6), (l7, h7)] =
        [words_of_block(b4), words_of_block(b5), words_of_block(b6), words_of_block(b7)];
    let [a, b, c, d, e, f, g, h] = transposed([l0, l1, l2, l3, l4, l5, l6, l7]);
    let [i, j, k, l, m, n, o, p] = transposed([h0, h1, h2, h3, h4, h5, h6, h7]);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Each word with its bytes in the other order.
#[inline]
#[target_feature(enable = "avx2")]
fn turned(words: Word) -> Word {
    #[rustfmt::skip]
    let order = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    );
    _mm256_shuffle_epi8(words, order)
}

/// The words of a state as those of a digest.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes_of(state: Word) -> [u8; TAG_LEN] {
    let mut bytes = [0; TAG_LEN];
    let words = words_of(turned(state));
    bytes.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
    bytes
}

/// A block as it is: eight words, and eight more, with the bytes of each in the other order.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(block: &Block) -> (Word, Word) {
    let mut words = [0; 16];
    words.iter_mut().zip(block.as_chunks().0).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
    match words.as_chunks::<8>().0 {
        [low, high] => (word(low), word(high)),
        _ => (_mm256_setzero_si256(), _mm256_setzero_si256()),
    }
}

/// The words of a block: eight, and eight more.
#[inline]
#[target_feature(enable = "avx2")]
fn words_of_block(block: &Block) -> (Word, Word) {
    let (low, high) = halves(block);
    (turned(low), turned(high))
}

/// Eight registers of eight words each, as rows, turned into columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [Word; 8]) -> [Word; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    // Each step works within halves of registers: pairs of words, pairs of pairs, and then the halves themselves.
    let (a, b) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
    let (c, d) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
    let (e, f) = (_mm256_unpacklo_epi32(r4, r5), _mm256_unpackhi_epi32(r4, r5));
    let (g, h) = (_mm256_unpacklo_epi32(r6, r7), _mm256_unpackhi_epi32(r6, r7));
    let (p0, p1) = (_mm256_unpacklo_epi64(a, c), _mm256_unpackhi_epi64(a, c));
    let (p2, p3) = (_mm256_unpacklo_epi64(b, d), _mm256_unpackhi_epi64(b, d));
    let (q0, q1) = (_mm256_unpacklo_epi64(e, g), _mm256_unpackhi_epi64(e, g));
    let (q2, q3) = (_mm256_unpacklo_epi64(f, h), _mm256_unpackhi_epi64(f, h));
    [
        _mm256_permute2x128_si256::<0x20>(p0, q0),
        _mm256_permute2x128_si256::<0x20>(p1, q1),
        _mm256_permute2x128_si256::<0x20>(p2, q2),
        _mm256_permute2x128_si256::<0x20>(p3, q3),
        _mm256_permute2x128_si256::<0x31>(p0, q0),
        _mm256_permute2x128_si256::<0x31>(p1, q1),
        _mm256_permute2x128_si256::<0x31>(p2, q2),
        _mm256_permute2x128_si256::<0x31>(p3, q3),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Word, b: Word) -> Word {
    _mm256_add_epi32(a, b)
}

/// Each word with that in its place.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(one: [Word; 8], other: [Word; 8]) -> [Word; 8] {
    let [a, b, c, d, e, f, g, h] = one;
    let [i, j, k, l, m, n, o, p] = other;
    [add(a, i), add(b, j), add(c, k), add(d, l), add(e, m), add(f, n), add(g, o), add(h, p)]
}

/// The same words in every lane.
#[inline]
#[target_feature(enable = "avx2")]
fn in_all_lanes(state: &State) -> [Word; 8] {
    let [a, b, c, d, e, f, g, h] = state.map(|number| word(&[number; LANES]));
    [a, b, c, d, e, f, g, h]
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(a: Word, b: Word, c: Word) -> Word {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

/// Rotated to the right; the numbers add up to 32.
#[inline]
#[target_feature(enable = "avx2")]
fn rotated<const RIGHT: i32, const LEFT: i32>(word: Word) -> Word {
    const { assert!(RIGHT + LEFT == 32, "a rotation loses no bit") }
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(word), _mm256_slli_epi32::<LEFT>(word))
}

#[inline]
#[target_feature(enable = "avx2")]
fn word(lanes: &[u32; LANES]) -> Word {
    let [a, b, c, d, e, f, g, h] = lanes.map(u32::cast_signed);
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

#[inline]
#[target_feature(enable = "avx2")]
fn words_of(word: Word) -> [u32; LANES] {
    let words = [
        _mm256_extract_epi32::<0>(word),
        _mm256_extract_epi32::<1>(word),
        _mm256_extract_epi32::<2>(word),
        _mm256_extract_epi32::<3>(word),
        _mm256_extract_epi32::<4>(word),
        _mm256_extract_epi32::<5>(word),
        _mm256_extract_epi32::<6>(word),
        _mm256_extract_epi32::<7>(word),
    ];
    words.map(i32::cast_unsigned)
}
