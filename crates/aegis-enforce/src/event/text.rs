//! Names that strangers chose.

use std::fmt::Write as _;

use aegis_audit::is_dangerous;

/// Bytes as text that can be shown: `\xNN` for each byte that is no UTF-8 or belongs to a character that could steer a
/// terminal or break a line, `\\` for a backslash. Different bytes give different texts.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                text.push_str("\\\\");
            } else if is_dangerous(character) {
                escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut text);
            } else {
                text.push(character);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// A device as the kernel keeps it (12 bits major, 20 bits minor), as `stat` shows it in `st_dev`.
pub fn stat_device(kernel: u32) -> u32 {
    let (major, minor) = (kernel >> 20, kernel & 0xf_ffff);
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_steers_a_terminal_and_keeps_the_rest() {
        for (bytes, expected) in [
            (&b"plain text"[..], "plain text"),
            ("é 鍵".as_bytes(), "é 鍵"),
            (b"a\x1b[31mb", "a\\x1b[31mb"),
            (b"one\ntwo\r\t\0", "one\\x0atwo\\x0d\\x09\\x00"),
            (b"\xff\xfe\xc3", "\\xff\\xfe\\xc3"),
            ("c1 \u{9b}31m".as_bytes(), "c1 \\xc2\\x9b31m"),
            ("a\u{202e}b".as_bytes(), "a\\xe2\\x80\\xaeb"),
            (b"back\\slash \\x1b", "back\\\\slash \\\\x1b"),
        ] {
            assert_eq!(printable(bytes), expected);
        }
    }

    #[test]
    fn a_device_is_spelled_as_stat_spells_it() {
        for (major, minor) in [(0, 0), (8, 1), (259, 0x1_2345), (4095, 0xf_ffff), (0, 44)] {
            let kernel = (major << 20) | minor;
            assert_eq!(u64::from(stat_device(kernel)), rustix::fs::makedev(major, minor), "{major}:{minor}");
        }
    }

    /// The bytes of a text that [`printable`] made.
    fn back(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            match (first, tail) {
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let digits = [*high, *low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                    rest = after;
                }
                (b'\\', [b'\\', after @ ..]) => {
                    bytes.push(b'\\');
                    rest = after;
                }
                _ => {
                    bytes.push(*first);
                    rest = tail;
                }
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_and_none_is_dangerous(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = printable(&bytes);
            prop_assert!(!text.chars().any(is_dangerous), "{text:?}");
            prop_assert_eq!(back(&text), bytes);
        }
    }
}
