//! Strings, numbers and white space.

use wide::u8x16;

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
    // Mostly there is none.
    if bytes.get(at).is_some_and(|byte| *byte > b' ') {
        return at;
    }
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Checks a string whose first character is at `start`, after the quote, and finds its end.
///
/// Most strings are names: their end is among the next sixteen bytes, and nothing special before it.
#[inline(always)]
pub(crate) fn skip_string(bytes: &[u8], start: usize) -> Result<SkippedString, ScanError> {
    if let Some((chunk, _)) = bytes.get(start..).and_then(<[u8]>::split_first_chunk) {
        let Looked { quotes, others, high } = look_at(*chunk);
        if quotes != 0 && (others | high) & before_first(quotes) == 0 {
            return Ok(SkippedString { quote: start + quotes.trailing_zeros() as usize, is_escaped: false });
        }
    }
    skip_any_string(bytes, start)
}

/// The same for longer ones, most of which have nothing special before their end either.
fn skip_any_string(bytes: &[u8], start: usize) -> Result<SkippedString, ScanError> {
    let (chunks, _) = bytes.get(start..).unwrap_or_default().as_chunks();
    let mut all_high = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        let Looked { quotes, others, high } = look_at(*chunk);
        let special = quotes | others;
        if special == 0 {
            all_high |= high;
            continue;
        }
        if quotes == 0 || others & before_first(quotes) != 0 {
            break;
        }
        let quote = start + 16 * number + quotes.trailing_zeros() as usize;
        if all_high | (high & before_first(quotes)) != 0 {
            check_utf8(bytes, start, quote)?;
        }
        return Ok(SkippedString { quote, is_escaped: false });
    }
    skip_special_string(bytes, start)
}

#[cold]
#[inline(never)]
fn skip_special_string(bytes: &[u8], start: usize) -> Result<SkippedString, ScanError> {
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

/// Where the first quote is. For texts of a hundred bytes, this takes less time than to begin a search of the usual kind.
#[inline]
pub(crate) fn find_quote(bytes: &[u8]) -> Option<usize> {
    let (chunks, rest) = bytes.as_chunks::<16>();
    for (number, chunk) in chunks.iter().enumerate() {
        let quotes = u8x16::new(*chunk).simd_eq(u8x16::splat(b'"')).to_bitmask();
        if quotes != 0 {
            return Some(16 * number + quotes.trailing_zeros() as usize);
        }
    }
    let place = rest.iter().position(|byte| *byte == b'"')?;
    Some(bytes.len() - rest.len() + place)
}

/// What there is among sixteen bytes, a bit for each byte.
struct Looked {
    quotes: u32,
    /// Backslashes, and bytes below 0x20.
    others: u32,
    /// What is not ASCII.
    high: u32,
}

#[inline(always)]
fn look_at(chunk: [u8; 16]) -> Looked {
    let bytes = u8x16::new(chunk);
    let is_control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    let is_other = bytes.simd_eq(u8x16::splat(b'\\')) | is_control;
    Looked {
        quotes: bytes.simd_eq(u8x16::splat(b'"')).to_bitmask(),
        others: is_other.to_bitmask(),
        high: bytes.to_bitmask(),
    }
}

/// The bits below the lowest one; all if there is none.
#[inline(always)]
const fn before_first(bits: u32) -> u32 {
    bits.wrapping_sub(1) & !bits
}

/// The first byte at or after `at` that is a quote, a backslash, below 0x20 or not there.
#[inline]
fn skip_plain(bytes: &[u8], start: usize, has_high: &mut bool) -> usize {
    let Some(mut rest) = bytes.get(start..) else { return start };
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        let Looked { quotes, others, high } = look_at(*chunk);
        let special = quotes | others;
        *has_high |= high & before_first(special) != 0;
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize;
        }
        rest = after;
    }
    if let Some(chunk) = bytes.last_chunk::<16>() {
        // The last sixteen bytes once more, without those that were looked at.
        let Looked { quotes, others, high } = look_at(*chunk);
        let special = (quotes | others) >> (16 - rest.len());
        *has_high |= (high >> (16 - rest.len())) & before_first(special) != 0;
        return bytes.len() - rest.len() + rest.len().min(special.trailing_zeros() as usize);
    }
    for byte in rest {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        *has_high |= *byte >= 0x80;
        rest = rest.get(1..).unwrap_or_default();
    }
    bytes.len() - rest.len()
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
