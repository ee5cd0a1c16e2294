//! Decimal numbers without leading zeros, judged by their text.
//!
//! Of two texts of the same length that are digits only, the one that is greater as bytes is greater as a number.
//! So a number is in its range if its bytes, read as one big-endian word, lie between two words that depend on its
//! length alone. What follows the number is in the word too, in the low bytes, where it decides nothing.

use std::ops::Range;

/// For each length, the words of the numbers from 0 to 255.
const OCTET: [Range<u32>; 4] =
    [0..0, word(b"0")..word(b":"), word(b"10")..word(b":"), word(b"100")..word(b"256")];

/// For each length, the words of the numbers from 0 to 32.
const PREFIX_LEN: [Range<u32>; 3] = [0..0, word(b"0")..word(b":"), word(b"10")..word(b"33")];

/// For each length, the words of the numbers from 1 to 65535.
const PORT: [Range<u64>; 6] = [
    0..0,
    long_word(b"1")..long_word(b":"),
    long_word(b"10")..long_word(b":"),
    long_word(b"100")..long_word(b":"),
    long_word(b"1000")..long_word(b":"),
    long_word(b"10000")..long_word(b"65536"),
];

/// Four numbers up to 255 with dots between them, from offset `at`: the address and where it ends.
#[inline(always)]
pub(super) fn ipv4(rest: &[u8], at: usize) -> Option<(u32, usize)> {
    // The longest has 15 bytes, and a good line has one more.
    let window: &[u8; 16] = rest.get(at..)?.first_chunk()?;
    let mut others = others(window);
    let (mut address, mut from) = (0, 0);
    for part in 0..4 {
        let len = usize::try_from(others.trailing_zeros()).ok()?;
        let in_range = OCTET.get(len)?;
        let digits: &[u8; 4] = window.get(from..)?.first_chunk()?;
        in_range.contains(&u32::from_be_bytes(*digits)).then_some(())?;
        address = (address << 8) | value(*digits, len);
        from += len;
        if part < 3 {
            (*window.get(from)? == b'.').then_some(())?;
            from += 1;
            others >>= len + 1;
        }
    }
    Some((address, at + from))
}

/// A number up to 32, from offset `at`, and where it ends.
#[inline]
pub(super) fn prefix_len(rest: &[u8], at: usize) -> Option<(u32, usize)> {
    let bytes: &[u8; 8] = rest.get(at..)?.first_chunk()?;
    let len = leading_digits(bytes)?;
    let (digits, _) = bytes.split_first_chunk::<4>()?;
    PREFIX_LEN.get(len)?.contains(&u32::from_be_bytes(*digits)).then_some(())?;
    Some((value(*digits, len), at + len))
}

/// A number from 1 to 65535, from offset `at`: where it ends.
#[inline]
pub(super) fn port(rest: &[u8], at: usize) -> Option<usize> {
    let digits: &[u8; 8] = rest.get(at..)?.first_chunk()?;
    let len = leading_digits(digits)?;
    PORT.get(len)?.contains(&u64::from_be_bytes(*digits)).then_some(at + len)
}

/// A number of at most `most` digits, of fifteen at most, from offset `at`: where it ends.
#[inline(always)]
pub(super) fn number(rest: &[u8], at: usize, most: usize) -> Option<usize> {
    let window: &[u8; 16] = rest.get(at..)?.first_chunk()?;
    let len = usize::try_from(others(window).trailing_zeros()).ok()?;
    let [first, ..] = *window;
    ((1..=most.min(15)).contains(&len) && (first != b'0' || len == 1)).then_some(at + len)
}

/// The value of the first `len` digits, one to three. The rest does not matter.
#[inline(always)]
fn value(digits: [u8; 4], len: usize) -> u32 {
    let digits = u32::from_le_bytes(digits) ^ 0x3030_3030;
    // The last digit moves to the top byte, and what follows it is gone. There the product adds up that digit,
    // ten times the one before and a hundred times the first; the bytes below never carry.
    (digits << (32 - 8 * len)).wrapping_mul(1 | 10 << 8 | 100 << 16) >> 24
}

/// How many digits the eight bytes begin with, unless all are digits.
#[inline(always)]
fn leading_digits(bytes: &[u8; 8]) -> Option<usize> {
    match not_digits(bytes) {
        0 => None,
        found => usize::try_from(found.trailing_zeros() / 8).ok(),
    }
}

/// A bit for each byte, the lowest for the first: set if it is not a digit. After a byte that is not ASCII, which
/// no good line has, they may be wrong.
#[inline(always)]
fn others(window: &[u8; 16]) -> u64 {
    let (words, _) = window.as_chunks::<8>();
    words.iter().rev().fold(0, |bits, word| {
        // The product has the eight top bits next to each other in its top byte, in order.
        bits << 8 | not_digits(word).wrapping_mul(0x0002_0408_1020_4081) >> 56
    })
}

/// The top bit of each byte that is not a digit.
#[inline(always)]
fn not_digits(bytes: &[u8; 8]) -> u64 {
    let digits = u64::from_le_bytes(*bytes) ^ u64::from_ne_bytes([0x30; 8]);
    // Below 0x80 nothing carries into the next byte, and a digit alone leaves the top bit clear.
    (digits.wrapping_add(u64::from_ne_bytes([0x76; 8])) | digits) & u64::from_ne_bytes([0x80; 8])
}

/// The text as a big-endian word, filled up with zeros.
const fn word(text: &[u8]) -> u32 {
    u32::from_be_bytes(filled_up(text))
}

/// The same in eight bytes.
const fn long_word(text: &[u8]) -> u64 {
    u64::from_be_bytes(filled_up(text))
}

const fn filled_up<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.split_at_mut(text.len()).0.copy_from_slice(text);
    bytes
}
