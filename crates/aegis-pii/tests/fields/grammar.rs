//! The scanner accepts and refuses what a strict parser does.

use aegis_pii::{Catalogue, Limits, PersonalValues, ScanFault};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::IgnoredAny;

use crate::events::Dice;

fn scan(event: &[u8]) -> Result<usize, aegis_pii::ScanError> {
    let mut values = PersonalValues::new(Catalogue::guide(), Limits::for_encryption());
    values.find(event).map(Iterator::count)
}

/// serde_json checks the grammar of what it skips, and leaves UTF-8 to the caller.
fn strict_parser_accepts(event: &[u8]) -> bool {
    str::from_utf8(event).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

#[test]
fn accepts_what_json_allows() {
    for event in [
        "{}",
        "[]",
        "0",
        "-0",
        "\"\"",
        "null",
        "true",
        "false",
        " [ ] ",
        "\t\r\n{ }\n",
        "1e400",
        "0.10",
        "-1E-400",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "[[],{},[{}]]",
        "{\"a\":1,\"a\":2}",
        "\"\u{7f}\u{10ffff}\"",
        "123456789012345678901234567890.5",
        "{\"\":{\"\":[]}}",
    ] {
        assert!(scan(event.as_bytes()).is_ok(), "{event}");
        assert!(strict_parser_accepts(event.as_bytes()), "{event}");
    }
}

#[test]
fn refuses_with_the_offset_what_json_does_not_allow() {
    use ScanFault::*;
    let cases: &[(&[u8], usize, ScanFault)] = &[
        (b"", 0, UnexpectedEnd),
        (b"  ", 2, UnexpectedEnd),
        (b"{", 1, UnexpectedEnd),
        (b"{\"a\"", 4, UnexpectedEnd),
        (b"{\"a\":", 5, UnexpectedEnd),
        (b"{\"a\":1", 6, UnexpectedEnd),
        (b"{\"a\":1,", 7, UnexpectedEnd),
        (b"{\"a\":1,}", 7, UnexpectedByte),
        (b"{a:1}", 1, UnexpectedByte),
        (b"{\"a\" 1}", 5, UnexpectedByte),
        (b"{\"a\":1]", 6, UnexpectedByte),
        (b"[1,]", 3, UnexpectedByte),
        (b"[1 2]", 3, UnexpectedByte),
        (b"[", 1, UnexpectedEnd),
        (b"]", 0, UnexpectedByte),
        (b"01", 1, TrailingBytes),
        (b"1 2", 2, TrailingBytes),
        (b"{}{}", 2, TrailingBytes),
        (b"-", 1, UnexpectedEnd),
        (b"-a", 1, UnexpectedByte),
        (b"+1", 0, UnexpectedByte),
        (b".5", 0, UnexpectedByte),
        (b"1.", 2, UnexpectedEnd),
        (b"1.e5", 2, UnexpectedByte),
        (b"1e", 2, UnexpectedEnd),
        (b"1e+", 3, UnexpectedEnd),
        (b"1e+x", 3, UnexpectedByte),
        (b"tru", 3, UnexpectedEnd),
        (b"trux", 3, UnexpectedByte),
        (b"True", 0, UnexpectedByte),
        (b"nulll", 4, TrailingBytes),
        (b"NaN", 0, UnexpectedByte),
        (b"\"", 1, UnexpectedEnd),
        (b"\"a", 2, UnexpectedEnd),
        (b"\"\\\"", 3, UnexpectedEnd),
        (b"\"\\", 2, UnexpectedEnd),
        (b"\"\\x\"", 1, BadEscape),
        (b"\"\\u12g4\"", 5, BadEscape),
        (b"\"\\u12", 5, UnexpectedEnd),
        (b"\"a\nb\"", 2, ControlCharacter),
        (b"\"\x00\"", 1, ControlCharacter),
        (b"\"abcdefgh\x1fabcdefgh\"", 9, ControlCharacter),
        (b"\"\xff\"", 1, NotUtf8),
        (b"\"ok\xc3\"", 3, NotUtf8),
        (b"\"\xed\xa0\x80\"", 1, NotUtf8),
        (b"\"\xc0\x80\"", 1, NotUtf8),
        (b"\xef\xbb\xbf{}", 0, UnexpectedByte),
        (b"{}\xff", 2, TrailingBytes),
        (b"[\xa0]", 1, UnexpectedByte),
        (b"{} // no comments", 3, TrailingBytes),
        (b"'a'", 0, UnexpectedByte),
    ];
    for (event, offset, fault) in cases {
        let error = scan(event).unwrap_err();
        assert_eq!((error.offset, error.fault), (*offset, *fault), "{}", event.escape_ascii());
        assert!(!strict_parser_accepts(event), "{}", event.escape_ascii());
        assert!(error.help().is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_a_strict_parser_on_damaged_json(
        dice in vec(any::<u8>(), 0..200),
        damage in vec((any::<Index>(), 0..4_usize, proptest::sample::select(b"{}[]\",:\\ue0.-1 \n\x1f\xc3\xa9\xedtn".to_vec())), 0..4),
    ) {
        let mut event = Dice::new(&dice).json().into_bytes();
        for (at, kind, byte) in damage {
            let at = at.index(event.len().max(1));
            match kind {
                0 if at < event.len() => event[at] = byte,
                1 if at < event.len() => { event.remove(at); }
                2 => event.truncate(at),
                _ => event.insert(at.min(event.len()), byte),
            }
        }
        prop_assert_eq!(scan(&event).is_ok(), strict_parser_accepts(&event), "{}", event.escape_ascii());
    }

    #[test]
    fn agrees_with_a_strict_parser_on_any_bytes(event in vec(any::<u8>(), 0..24)) {
        prop_assert_eq!(scan(&event).is_ok(), strict_parser_accepts(&event));
    }

    #[test]
    fn finds_the_end_of_a_string_wherever_it_is(
        plain in "[a-z\u{e9}\u{65e5}]{0,80}",
        stop in proptest::sample::select(vec!["\"", "\\n\"", "\\u0041\"", "\u{1}\"", "\\q\"", ""]),
        more in "[a-z]{0,40}",
    ) {
        let event = format!("[\"{plain}{stop},\"{more}\"]");
        prop_assert_eq!(scan(event.as_bytes()).is_ok(), strict_parser_accepts(event.as_bytes()), "{}", event);
    }
}
