//! Strings, numbers and white space.

use super::fault::{ScanError, ScanFault};

/// A string that was skipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SkippedString {
    /// Where its closing quote is.
    pub(crate) quote: usize,
    /// Whether it has a backslash.
    pub(crate) is_escaped: bool,
}

/// The first byte at or after `at` that is no white space (RFC 8259 §2).
#[inline]
pub(crate) fn skip_white_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Checks a string whose first character is at `start`, after the quote, and finds its end.
#[inline]
pub(crate) fn skip_string(bytes: &[u8], start: usize) -> Result<SkippedString, ScanError> {
    let mut at = start;
    let mut is_escaped = false;
    let mut has_high = false;
    loop {
        at = skip_plain(bytes, at, &mut has_high);
        match bytes.get(at) {
            Some(b'"') => break,
            Some(b'\\') => {
                is_escaped = true;
                at = skip_escape(bytes, at)?;
            }
            Some(_) => return Err(ScanError { offset: at, fault: ScanFault::ControlCharacter }),
            None => return Err(ScanError { offset: at, fault: ScanFault::UnexpectedEnd }),
        }
    }
    if has_high {
        check_utf8(bytes, start, at)?;
    }
    Ok(SkippedString { quote: at, is_escaped })
}

/// Checks a number that begins at `start`, with a minus or a digit, and finds its end.
pub(crate) fn skip_number(bytes: &[u8], start: usize) -> Result<usize, ScanError> {
    let mut at = start;
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = match bytes.get(at) {
        Some(b'0') => at + 1,
        _ => skip_digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = skip_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = skip_digits(bytes, at)?;
    }
    Ok(at)
}

/// Appends what a string means, without its quotes. It was checked before.
///
/// An escaped surrogate without its partner has no UTF-8; it gets the three bytes that the scheme would give it
/// (WTF-8), so that two different strings stay different.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(place) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(place);
        out.extend_from_slice(plain);
        rest = match escape {
            [_, b'u', after @ ..] => unescape_unit(after, out),
            [_, letter, after @ ..] => {
                out.push(match letter {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    itself => *itself,
                });
                after
            }
            // A backslash at the end does not pass the check.
            _ => &[],
        };
    }
    out.extend_from_slice(rest);
}

/// One code unit, and its partner if it is the first of a pair. Gives what follows.
fn unescape_unit<'a>(after: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((unit, mut rest)) = code_unit(after) else { return &[] };
    let mut code = unit;
    if (0xd800..0xdc00).contains(&unit)
        && let Some(second) = rest.strip_prefix(b"\\u")
        && let Some((low, after_pair)) = code_unit(second)
        && (0xdc00..0xe000).contains(&low)
    {
        code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        rest = after_pair;
    }
    match char::from_u32(code) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            let low_bits = |shift: u32| u8::try_from((code >> shift) & 0x3f).unwrap_or(0);
            out.extend_from_slice(&[0xed, 0x80 | low_bits(6), 0x80 | low_bits(0)]);
        }
    }
    rest
}

fn code_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<4>()?;
    let value =
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))?;
    Some((value, rest))
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks bytes that are a quote, a backslash or below 0x20. The lowest mark is exact; above it there may be false ones.
#[inline]
const fn special(word: u64) -> u64 {
    let quote = word ^ (LOW * b'"' as u64);
    let backslash = word ^ (LOW * b'\\' as u64);
    ((quote.wrapping_sub(LOW) & !quote)
        | (backslash.wrapping_sub(LOW) & !backslash)
        | (word.wrapping_sub(LOW * 0x20) & !word))
        & HIGH
}

/// The first byte at or after `at` that is a quote, a backslash, below 0x20 or not there.
///
/// Most strings are short, and a long one is text: two words of 8 bytes at a time first, then blocks of 32, which the
/// compiler turns into vector instructions.
#[inline]
fn skip_plain(bytes: &[u8], start: usize, has_high: &mut bool) -> usize {
    let Some(mut rest) = bytes.get(start..) else { return start };
    // Bytes behind the end are counted too; that costs a check too many.
    let mut high = 0;
    let mut pairs = 0;
    while let Some((pair, after)) = rest.split_first_chunk::<16>() {
        let number = u128::from_le_bytes(*pair);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
        let (first, second) = (number as u64, (number >> 64) as u64);
        high |= first | second;
        let (in_first, in_second) = (special(first), special(second));
        if in_first | in_second != 0 {
            *has_high |= high & HIGH != 0;
            let found =
                if in_first == 0 { 64 + in_second.trailing_zeros() } else { in_first.trailing_zeros() };
            return bytes.len() - rest.len() + (found / 8) as usize;
        }
        rest = after;
        pairs += 1;
        if pairs == 2 {
            rest = skip_blocks(rest, has_high);
        }
    }
    for byte in rest {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        high |= u64::from(*byte);
        rest = rest.get(1..).unwrap_or_default();
    }
    *has_high |= high & HIGH != 0;
    bytes.len() - rest.len()
}

fn skip_blocks<'a>(mut rest: &'a [u8], has_high: &mut bool) -> &'a [u8] {
    while let Some((block, after)) = rest.split_first_chunk::<32>() {
        let mut special = false;
        let mut high = 0;
        for byte in block {
            special |= (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20);
            high |= byte;
        }
        if special {
            break;
        }
        *has_high |= high >= 0x80;
        rest = after;
    }
    rest
}

/// Checks an escape at `at` and finds its end (RFC 8259 §7).
fn skip_escape(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            for place in at + 2..at + 6 {
                match bytes.get(place) {
                    Some(digit) if digit.is_ascii_hexdigit() => {}
                    Some(_) => return Err(ScanError { offset: place, fault: ScanFault::BadEscape }),
                    None => return Err(ScanError { offset: place, fault: ScanFault::UnexpectedEnd }),
                }
            }
            Ok(at + 6)
        }
        Some(_) => Err(ScanError { offset: at, fault: ScanFault::BadEscape }),
        None => Err(ScanError { offset: at + 1, fault: ScanFault::UnexpectedEnd }),
    }
}

/// One digit or more.
fn skip_digits(bytes: &[u8], start: usize) -> Result<usize, ScanError> {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at > start {
        return Ok(at);
    }
    let fault = if at < bytes.len() { ScanFault::UnexpectedByte } else { ScanFault::UnexpectedEnd };
    Err(ScanError { offset: at, fault })
}

#[cold]
fn check_utf8(bytes: &[u8], start: usize, end: usize) -> Result<(), ScanError> {
    match std::str::from_utf8(bytes.get(start..end).unwrap_or_default()) {
        Ok(_) => Ok(()),
        Err(error) => Err(ScanError { offset: start + error.valid_up_to(), fault: ScanFault::NotUtf8 }),
    }
}
