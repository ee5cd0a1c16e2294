//! By the instructions for SHA-256: several blocks, in turn.
//!
//! An instruction does two rounds and takes four cycles until its result is there. The next one for the same block needs
//! that result; one for another block can begin two cycles earlier.

#![allow(unsafe_code, reason = "the call of a function that was compiled for SHA")]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi8, _mm_setr_epi32,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use super::{Block, ROUNDS, State};

/// This processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Sha(());

impl Sha {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")).then_some(Self(()))
    }

    /// Compresses a block into each state.
    #[inline]
    pub(super) fn compress<const N: usize>(self, states: &mut [State; N], blocks: [&Block; N]) {
        // SAFETY: `self` was made by `detect`, so the processor has every feature that the function was compiled for.
        unsafe { compress(states, blocks) }
    }
}

/// The instructions want a state as two registers, words ABEF in the one and CDGH in the other, the first one highest.
#[derive(Clone, Copy)]
struct Lane {
    abef: __m128i,
    cdgh: __m128i,
    /// Sixteen words of the message schedule, as the rounds need them.
    words: [__m128i; 4],
}

#[inline(never)]
#[target_feature(enable = "sha,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], blocks: [&Block; N]) {
    let none = _mm_setzero_si128();
    let mut lanes = [Lane { abef: none, cdgh: none, words: [none; 4] }; N];
    for ((lane, [a, b, c, d, e, f, g, h]), block) in lanes.iter_mut().zip(&*states).zip(blocks) {
        lane.abef = words([*f, *e, *b, *a]);
        lane.cdgh = words([*h, *g, *d, *c]);
        for (to, bytes) in lane.words.iter_mut().zip(block.as_chunks::<16>().0) {
            *to = big_endian(bytes);
        }
    }
    let before = lanes;
    let (groups, _) = ROUNDS.as_chunks::<4>();
    for (number, [k0, k1, k2, k3]) in groups.iter().enumerate() {
        let has_next = number < 3;
        four_rounds(&mut lanes, k0, has_next);
        four_rounds(&mut lanes, k1, has_next);
        four_rounds(&mut lanes, k2, has_next);
        four_rounds(&mut lanes, k3, has_next);
    }
    for ((lane, before), state) in lanes.iter().zip(&before).zip(states) {
        let [f, e, b, a] = words_of(_mm_add_epi32(lane.abef, before.abef));
        let [h, g, d, c] = words_of(_mm_add_epi32(lane.cdgh, before.cdgh));
        *state = [a, b, c, d, e, f, g, h];
    }
}

/// Four rounds in each lane (FIPS 180-4 §6.2.2, step 3), with the first of its words, in whose place come those of sixteen
/// rounds later if there are such. In turn, because a processor does not look far ahead for work that need not wait.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds<const N: usize>(lanes: &mut [Lane; N], constants: &[u32; 4], has_next: bool) {
    for lane in lanes {
        let [w0, w1, w2, w3] = lane.words;
        let sums = _mm_add_epi32(w0, words(*constants));
        lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, sums);
        lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, _mm_shuffle_epi32::<0b11_10>(sums));
        let next = if has_next { next_words(w0, w1, w2, w3) } else { w0 };
        lane.words = [w1, w2, w3, next];
    }
}

/// The next four words after sixteen: σ1(W[t-2]) + W[t-7] + σ0(W[t-15]) + W[t-16] (FIPS 180-4 §6.2.2, step 1).
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn next_words(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let last_two = _mm_sha256msg1_epu32(w0, w1);
    _mm_sha256msg2_epu32(_mm_add_epi32(last_two, _mm_alignr_epi8::<4>(w3, w2)), w3)
}

/// Four words, the first one lowest.
#[inline]
#[target_feature(enable = "sse4.1")]
fn words(words: [u32; 4]) -> __m128i {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_setr_epi32(a, b, c, d)
}

#[inline]
#[target_feature(enable = "sse4.1")]
fn words_of(register: __m128i) -> [u32; 4] {
    let words = [
        _mm_extract_epi32::<0>(register),
        _mm_extract_epi32::<1>(register),
        _mm_extract_epi32::<2>(register),
        _mm_extract_epi32::<3>(register),
    ];
    words.map(i32::cast_unsigned)
}

/// Four words of a message.
#[inline]
#[target_feature(enable = "sse4.1")]
fn big_endian(bytes: &[u8; 16]) -> __m128i {
    let mut little = [0; 4];
    little.iter_mut().zip(bytes.as_chunks().0).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm_shuffle_epi8(words(little), order)
}
