//! Which bytes a policy may be made of.

use crate::cost;
use crate::error::PolicyErrorKind;

/// The offset, from `from` on, of the first byte that needs a closer look: a `#`, or one that is neither
/// printable ASCII nor LF. The length if there is none.
pub(super) fn first_special(source: &[u8], from: usize) -> usize {
    let rest = source.get(from..).unwrap_or_default();
    // Blocks of fixed size without a branch inside: the compiler makes vector instructions of this.
    let (blocks, _) = rest.as_chunks::<64>();
    let plain =
        blocks.iter().take_while(|block| block.iter().fold(0, |found, &byte| found | special(byte)) == 0);
    let plain = plain.count() * 64;
    let rest = rest.get(plain..).unwrap_or_default();
    let (words, _) = rest.as_chunks::<8>();
    let words =
        words.iter().take_while(|word| word.iter().fold(0, |found, &byte| found | special(byte)) == 0);
    let plain = plain + words.count() * 8;
    let rest = source.get(from + plain..).unwrap_or_default();
    let last = rest.iter().position(|&byte| special(byte) != 0).unwrap_or(rest.len());
    // Of the block that ended it every byte may have been looked at twice.
    cost::looked_at(plain + rest.len().min(128));
    from + plain + last
}

/// 1 for a byte at which fast reading ends.
const fn special(byte: u8) -> u8 {
    not_plain(byte) | (byte == b'#') as u8
}

/// The first byte that may not stand outside a comment, and why.
pub(super) fn in_entry(raw: &[u8]) -> Option<(usize, PolicyErrorKind)> {
    cost::looked_at(raw.len());
    let at = raw.iter().position(|&byte| not_plain(byte) != 0 && byte != b'\t')?;
    let byte = *raw.get(at)?;
    Some((
        at,
        if byte < 0x80 {
            PolicyErrorKind::ControlCharacter { byte }
        } else {
            PolicyErrorKind::NotAscii { byte }
        },
    ))
}

/// The first byte that may not stand in a comment, and why.
pub(super) fn in_comment(raw: &[u8]) -> Option<(usize, PolicyErrorKind)> {
    cost::looked_at(raw.len());
    if raw.iter().fold(0, |found, &byte| found | not_plain(byte)) == 0 {
        return None;
    }
    // Only the first chunk matters: what follows it is the first byte that is not UTF-8.
    let chunk = raw.utf8_chunks().next()?;
    for (at, character) in chunk.valid().char_indices() {
        if character != '\t' && character.is_control() && character.is_ascii() {
            let byte = u8::try_from(character).unwrap_or_default();
            return Some((at, PolicyErrorKind::ControlCharacter { byte }));
        }
        if is_invisible(character) {
            return Some((at, PolicyErrorKind::InvisibleCharacter { code_point: character.into() }));
        }
    }
    let byte = *chunk.invalid().first()?;
    Some((chunk.valid().len(), PolicyErrorKind::NotUtf8 { byte }))
}

/// 0 for LF and printable ASCII, 1 for every other byte.
const fn not_plain(byte: u8) -> u8 {
    ((byte.wrapping_sub(0x20) > 0x5e) & (byte != b'\n')) as u8
}

/// Characters that show nothing, or show what is not there: C1 controls, line separators, the marks that
/// turn the direction of writing (CVE-2021-42574), zero-width characters, tags.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}
