//! By the instructions for AES (AES-NI) and for products without carries (PCLMULQDQ).
//!
//! | step | source |
//! |---|---|
//! | the round keys | FIPS 197 §5.2 |
//! | the counter blocks, the ciphertext, the tag | SP 800-38D §6.5, §7.1, §7.2 |
//! | GHASH as the sum of products with powers of the hash key, reduced once | RFC 8452, appendix A: GHASH by POLYVAL |
//!
//! Neither AES nor the products have a branch or an address that depends on data; lengths are not secret. Unsafe are the
//! calls of functions that were compiled for the instructions, which [`Instructions`] says that the processor has, and
//! loads and stores of sixteen bytes.

#![allow(
    unsafe_code,
    reason = "calls of functions that were compiled for AES and PCLMULQDQ; loads and stores"
)]

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_clmulepi64_si128,
    _mm_loadu_si128, _mm_or_si128, _mm_set_epi8, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_si128, _mm_storeu_si128, _mm_unpackhi_epi64,
    _mm_unpacklo_epi64, _mm_xor_si128,
};

use std::iter::Zip;
use std::slice::{Iter, IterMut};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{KEPT, MAX_BLOCKS, NONCE_LEN, TAG_LEN};

/// This processor has AES-NI, PCLMULQDQ and AVX. The last is for its encoding of the others, which saves copies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instructions(());

impl Instructions {
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx");
        has_all.then_some(Self(()))
    }
}

type Block = __m128i;

const BLOCK_LEN: usize = 16;
const ROUND_KEYS: usize = 15;

/// The round keys of AES-256, and the powers of the hash key.
pub(super) struct Key {
    instructions: Instructions,
    round_keys: [Block; ROUND_KEYS],
    /// The first is the hash key itself, in the form that POLYVAL wants.
    powers: [Block; MAX_BLOCKS],
    /// What associated data came to, by the number of its text.
    hashed: [Hashed; KEPT],
}

/// Associated data, and the hash of its blocks. It stays where it is, so that it can be erased there.
struct Hashed {
    data: Vec<u8>,
    hash: Block,
}

impl Key {
    pub(super) fn new(instructions: Instructions, key: &[u8; 32]) -> Box<Self> {
        // SAFETY: `Instructions` was made by `detect`, so the processor has them.
        unsafe { expand(instructions, key) }
    }

    pub(super) fn seal(
        &mut self,
        number: usize,
        nonce: &[u8; NONCE_LEN],
        associated_data: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let Self { instructions: Instructions(()), .. } = self;
        // SAFETY: a key holds `Instructions`, which was made by `detect`, so the processor has them.
        unsafe { apply::<SEALING>(self, number, nonce, associated_data, plaintext, ciphertext) }
    }

    pub(super) fn open_unchecked(
        &mut self,
        number: usize,
        nonce: &[u8; NONCE_LEN],
        associated_data: &[u8],
        ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let Self { instructions: Instructions(()), .. } = self;
        // SAFETY: as above.
        unsafe { apply::<OPENING>(self, number, nonce, associated_data, ciphertext, plaintext) }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let Self { instructions: Instructions(()), round_keys, powers, hashed } = self;
        round_keys.zeroize();
        powers.zeroize();
        hashed.iter_mut().for_each(|hashed| hashed.hash.zeroize());
    }
}

impl ZeroizeOnDrop for Key {}

/// What is hashed is what is written.
const SEALING: bool = true;
/// What is hashed is what is read.
const OPENING: bool = false;

#[inline(never)]
#[target_feature(enable = "aes,pclmulqdq,avx")]
fn expand(instructions: Instructions, key: &[u8; 32]) -> Box<Key> {
    let zero = _mm_setzero_si128();
    let mut expanded = Box::new(Key {
        instructions,
        round_keys: [zero; ROUND_KEYS],
        powers: [zero; MAX_BLOCKS],
        // The sum of no blocks.
        hashed: std::array::from_fn(|_| Hashed { data: Vec::new(), hash: zero }),
    });
    let Key { round_keys, powers, .. } = &mut *expanded;
    expand_round_keys(key, round_keys);
    let [hash_key, ..] = encrypt(round_keys, [zero; 4]);
    let hash_key = times_x(reversed(hash_key));
    let mut power = hash_key;
    for to in powers {
        *to = power;
        power = Product::of(power, hash_key).reduced();
    }
    expanded
}

/// The key schedule (FIPS 197 §5.2): each round key is the one two before it, with sums of its words, and with the last
/// word of the one before it.
#[target_feature(enable = "aes,avx")]
fn expand_round_keys(key: &[u8; 32], round_keys: &mut [Block; ROUND_KEYS]) {
    let (halves, _) = key.as_chunks::<BLOCK_LEN>();
    let [low, high] = halves else { return };
    let (mut even, mut odd) = (load(low), load(high));
    let mut to = round_keys.iter_mut();
    let mut put = |round_key| {
        if let Some(to) = to.next() {
            *to = round_key;
        }
    };
    put(even);
    put(odd);
    macro_rules! two_more {
        ($($round_constant:literal)*) => {$(
            // The last word of the one before: rotated, substituted and with the constant; or substituted alone.
            let last = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$round_constant>(odd));
            even = _mm_xor_si128(with_sums(even), last);
            put(even);
            let last = _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(even));
            odd = _mm_xor_si128(with_sums(odd), last);
            put(odd);
        )*};
    }
    // The last of these is a sixteenth round key, for which there is no place.
    two_more!(0x01 0x02 0x04 0x08 0x10 0x20 0x40);
}

/// Each word, and all those before it.
#[inline]
#[target_feature(enable = "avx")]
fn with_sums(block: Block) -> Block {
    let block = _mm_xor_si128(block, _mm_slli_si128::<4>(block));
    _mm_xor_si128(block, _mm_slli_si128::<8>(block))
}

#[inline(never)]
#[target_feature(enable = "aes,pclmulqdq,avx")]
fn apply<const DIRECTION: bool>(
    key: &mut Key,
    number: usize,
    nonce: &[u8; NONCE_LEN],
    associated_data: &[u8],
    input: &[u8],
    output: &mut [u8],
) -> [u8; TAG_LEN] {
    let Key { round_keys, powers, hashed, .. } = key;
    let mut hash = Hash::new(powers, super::blocks(input.len(), associated_data.len()));
    let counters = Counters::new(nonce);
    let [mask, first @ ..] = encrypt(round_keys, counters.four_from(1));
    match hashed.get_mut(number) {
        Some(hashed) => {
            if hashed.data != associated_data {
                hashed.set(powers, associated_data);
            }
            hash.begin_with(hashed.hash, super::blocks_of(associated_data.len()));
        }
        None => hash.add_all(associated_data),
    }
    let (from, rest) = input.as_chunks::<BLOCK_LEN>();
    let mut texts = Texts { blocks: from.iter().zip(output.as_chunks_mut().0), last: _mm_setzero_si128() };
    let next = 'text: {
        for stream in first {
            if !texts.add::<DIRECTION>(stream, &mut hash) {
                break 'text stream;
            }
        }
        let mut number = 5;
        loop {
            for stream in encrypt(round_keys, counters.four_from(number)) {
                if !texts.add::<DIRECTION>(stream, &mut hash) {
                    break 'text stream;
                }
            }
            number += 4;
        }
    };
    let last = texts.last;
    if !rest.is_empty() {
        hash.add(reversed(add_rest::<DIRECTION>(input, output, rest.len(), [last, next])));
    }
    let bits = |len: usize| (8 * len as u64).cast_signed();
    hash.add(_mm_set_epi64x(bits(associated_data.len()), bits(input.len())));
    bytes_of(_mm_xor_si128(reversed(hash.product.reduced()), mask))
}

impl Hashed {
    #[inline(never)]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn set(&mut self, powers: &[Block; MAX_BLOCKS], data: &[u8]) {
        let Self { data: kept, hash } = self;
        let mut of_data = Hash::new(powers, super::blocks_of(data.len()));
        of_data.add_all(data);
        *hash = of_data.product.reduced();
        kept.clear();
        kept.extend_from_slice(data);
    }
}

/// What is left of a text's whole blocks, and where they go.
struct Texts<'a> {
    blocks: Zip<Iter<'a, [u8; BLOCK_LEN]>, IterMut<'a, [u8; BLOCK_LEN]>>,
    /// What was added to the last one.
    last: Block,
}

impl Texts<'_> {
    /// Adds key stream to a block, and hashes the ciphertext. Whether there was one.
    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn add<const DIRECTION: bool>(&mut self, stream: Block, hash: &mut Hash<'_>) -> bool {
        let Some((from, to)) = self.blocks.next() else { return false };
        let from = load(from);
        let result = _mm_xor_si128(from, stream);
        hash.add(reversed(if DIRECTION == SEALING { result } else { from }));
        store(result, to);
        self.last = stream;
        true
    }
}

/// Adds key stream to what a text has after its last whole block, and gives the ciphertext with zeros after it. `stream`
/// is that of the block before and that of what is left.
#[inline]
#[target_feature(enable = "avx")]
fn add_rest<const DIRECTION: bool>(
    input: &[u8],
    output: &mut [u8],
    len: usize,
    [before, stream]: [Block; 2],
) -> Block {
    let missing = BLOCK_LEN - len;
    if let (Some(from), Some(to)) = (input.last_chunk(), output.last_chunk_mut()) {
        // The last sixteen bytes, of which the first were done before: what is written there is the same.
        let stream = _mm_or_si128(moved_down(before, len), moved_up(stream, missing));
        let from = load(from);
        let result = _mm_xor_si128(from, stream);
        store(result, to);
        return moved_down(if DIRECTION == SEALING { result } else { from }, missing);
    }
    let from = load_few(input);
    let result = _mm_xor_si128(from, stream);
    output.iter_mut().zip(bytes_of(result)).for_each(|(to, byte)| *to = byte);
    if DIRECTION == SEALING { moved_down(moved_up(result, missing), missing) } else { from }
}

/// The counter blocks of a nonce of twelve bytes: it, and a number of 32 bits (SP 800-38D §7.1, step 2).
struct Counters([i32; 3]);

impl Counters {
    #[inline]
    fn new(nonce: &[u8; NONCE_LEN]) -> Self {
        let mut words = [0; 3];
        words
            .iter_mut()
            .zip(nonce.as_chunks().0)
            .for_each(|(word, bytes)| *word = i32::from_le_bytes(*bytes));
        Self(words)
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn four_from(&self, number: u32) -> [Block; 4] {
        let [a, b, c] = self.0;
        let block = |more: u32| {
            let number = number.wrapping_add(more).swap_bytes();
            _mm_set_epi32(number.cast_signed(), c, b, a)
        };
        [block(0), block(1), block(2), block(3)]
    }
}

/// Four blocks through AES (FIPS 197 §5.1): one takes as long, for its rounds wait for one another. If it were inlined, the
/// compiler would do each block where it is needed, one after the other.
#[inline(never)]
#[target_feature(enable = "aes,avx")]
fn encrypt(round_keys: &[Block; ROUND_KEYS], blocks: [Block; 4]) -> [Block; 4] {
    let [first, middle @ .., last] = round_keys;
    let [a, b, c, d] = blocks;
    let (mut a, mut b) = (_mm_xor_si128(a, *first), _mm_xor_si128(b, *first));
    let (mut c, mut d) = (_mm_xor_si128(c, *first), _mm_xor_si128(d, *first));
    for key in middle {
        (a, b) = (_mm_aesenc_si128(a, *key), _mm_aesenc_si128(b, *key));
        (c, d) = (_mm_aesenc_si128(c, *key), _mm_aesenc_si128(d, *key));
    }
    [
        _mm_aesenclast_si128(a, *last),
        _mm_aesenclast_si128(b, *last),
        _mm_aesenclast_si128(c, *last),
        _mm_aesenclast_si128(d, *last),
    ]
}

/// GHASH of so many blocks (SP 800-38D §6.4), each with its bytes reversed. It is reduced once, at the end.
struct Hash<'a> {
    /// The powers for the blocks that come.
    left: &'a [Block],
    product: Product,
}

impl<'a> Hash<'a> {
    #[inline]
    #[target_feature(enable = "avx")]
    fn new(powers: &'a [Block; MAX_BLOCKS], blocks: usize) -> Self {
        Self { left: powers.get(..blocks).unwrap_or_default(), product: Product::zero() }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn add(&mut self, block: Block) {
        let Some((power, left)) = self.left.split_last() else { return };
        self.left = left;
        self.product.add(Product::of(block, *power));
    }

    /// Takes the hash of the first blocks, of which there are so many, in their place: by that of the first blocks alone, each
    /// was multiplied with as many powers less as there are blocks after them.
    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn begin_with(&mut self, hash: Block, blocks: usize) {
        let left = self.left.get(..self.left.len().saturating_sub(blocks)).unwrap_or_default();
        if let Some(power) = left.last() {
            self.product = Product::of(hash, *power);
            self.left = left;
        }
    }

    /// Adds bytes, with zeros after them up to a whole block.
    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn add_all(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
        for block in blocks {
            self.add(reversed(load(block)));
        }
        if !rest.is_empty() {
            let rest = match bytes.last_chunk() {
                Some(last) => moved_down(load(last), BLOCK_LEN - rest.len()),
                None => load_few(rest),
            };
            self.add(reversed(rest));
        }
    }
}

/// A product of two polynomials of degree 127, as it comes: the low and the high half, and what belongs to both.
#[derive(Clone, Copy)]
struct Product {
    low: Block,
    middle: Block,
    high: Block,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx")]
    fn zero() -> Self {
        let zero = _mm_setzero_si128();
        Self { low: zero, middle: zero, high: zero }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn of(a: Block, b: Block) -> Self {
        Self {
            low: _mm_clmulepi64_si128::<0x00>(a, b),
            middle: _mm_xor_si128(_mm_clmulepi64_si128::<0x01>(a, b), _mm_clmulepi64_si128::<0x10>(a, b)),
            high: _mm_clmulepi64_si128::<0x11>(a, b),
        }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn add(&mut self, other: Self) {
        let Self { low, middle, high } = other;
        self.low = _mm_xor_si128(self.low, low);
        self.middle = _mm_xor_si128(self.middle, middle);
        self.high = _mm_xor_si128(self.high, high);
    }

    /// It times x⁻¹²⁸, modulo x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1: a multiple of that is added, twice, that makes the lowest 64
    /// coefficients zero, which are then left out.
    #[inline]
    #[target_feature(enable = "pclmulqdq,avx")]
    fn reduced(self) -> Block {
        let Self { low, middle, high } = self;
        let zero = _mm_setzero_si128();
        let low = _mm_xor_si128(low, _mm_unpacklo_epi64(zero, middle));
        let high = _mm_xor_si128(high, _mm_unpackhi_epi64(middle, zero));
        // x⁶³ + x⁶² + x⁵⁷: the polynomial without its ends, 64 degrees lower.
        let polynomial = _mm_set_epi64x(0, 0xc200_0000_0000_0000_u64.cast_signed());
        let fold = |low| {
            let swapped = _mm_shuffle_epi32::<0x4e>(low);
            _mm_xor_si128(swapped, _mm_clmulepi64_si128::<0x00>(low, polynomial))
        };
        _mm_xor_si128(fold(fold(low)), high)
    }
}

/// A hash key of GHASH, reversed, as one of POLYVAL: times x (RFC 8452, appendix A).
#[target_feature(enable = "avx")]
fn times_x(block: Block) -> Block {
    let number = u128::from_le_bytes(bytes_of(block));
    // No branch on the key.
    let carry = 0_u128.wrapping_sub(number >> 127);
    let result = (number << 1) ^ (carry & 0xc200_0000_0000_0000_0000_0000_0000_0001);
    load(&result.to_le_bytes())
}

#[inline]
#[target_feature(enable = "avx")]
fn reversed(block: Block) -> Block {
    _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

#[inline]
#[target_feature(enable = "avx")]
fn load(bytes: &[u8; BLOCK_LEN]) -> Block {
    // SAFETY: the address is that of sixteen bytes, and needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Fewer bytes than a block, with zeros after them.
#[inline]
#[target_feature(enable = "avx")]
fn load_few(bytes: &[u8]) -> Block {
    let number = bytes.iter().rev().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    load(&number.to_le_bytes())
}

/// Which byte goes where, if none is moved; zeros are in the place of bytes that are not there.
static PLACES: [[u8; BLOCK_LEN]; 3] =
    [[0x80; BLOCK_LEN], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [0x80; BLOCK_LEN]];

/// Each byte so many places further to the beginning, at most sixteen, and zeros after them.
#[inline]
#[target_feature(enable = "avx")]
fn moved_down(block: Block, places: usize) -> Block {
    moved(block, BLOCK_LEN + places)
}

/// Each byte so many places further to the end, at most sixteen, and zeros before them.
#[inline]
#[target_feature(enable = "avx")]
fn moved_up(block: Block, places: usize) -> Block {
    moved(block, BLOCK_LEN.saturating_sub(places))
}

#[inline]
#[target_feature(enable = "avx")]
fn moved(block: Block, from: usize) -> Block {
    let places = PLACES.as_flattened().get(from..).and_then(<[u8]>::first_chunk);
    places.map_or_else(|| _mm_setzero_si128(), |places| _mm_shuffle_epi8(block, load(places)))
}

#[inline]
#[target_feature(enable = "avx")]
fn store(block: Block, bytes: &mut [u8; BLOCK_LEN]) {
    // SAFETY: the address is that of sixteen bytes that are ours to write, and needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) }
}

#[inline]
#[target_feature(enable = "avx")]
fn bytes_of(block: Block) -> [u8; BLOCK_LEN] {
    let mut bytes = [0; BLOCK_LEN];
    store(block, &mut bytes);
    bytes
}
