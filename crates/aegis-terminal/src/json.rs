//! JSON that is safe to print: the same values, with every character that could steer a terminal as `\u…`.
//!
//! JSON itself asks for escapes below U+0020 only; DEL, the C1 controls and the direction marks pass.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::escape::is_steering;

/// Writes `value` indented by two spaces, and a line break.
pub fn write_pretty<T: Serialize + ?Sized>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Pretty(PrettyFormatter::new())))?;
    out.write_all(b"\n")
}

/// Writes `value` on one line, and a line break.
pub fn write_line<T: Serialize + ?Sized>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Line))?;
    out.write_all(b"\n")
}

struct Line;

impl Formatter for Line {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        write_escaped(out, text)
    }
}

struct Pretty(PrettyFormatter<'static>);

impl Formatter for Pretty {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        write_escaped(out, text)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

fn write_escaped<W: ?Sized + Write>(out: &mut W, text: &str) -> io::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find(is_steering) {
        let (plain, tail) = rest.split_at(at);
        out.write_all(plain.as_bytes())?;
        let mut tail = tail.chars();
        if let Some(character) = tail.next() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        rest = tail.as_str();
    }
    out.write_all(rest.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_meaning_when_escaped() {
        let value = serde_json::json!({"a\u{9b}": "b\u{202e}c\u{7f}\"\\\n", "list": [1, [], {}], "é": null});
        let mut pretty = Vec::new();
        write_pretty(&mut pretty, &value).unwrap();
        let mut line = Vec::new();
        write_line(&mut line, &value).unwrap();
        for json in [pretty, line] {
            let json = String::from_utf8(json).unwrap();
            assert!(json.trim_end().chars().all(|c| c == '\n' || !is_steering(c)), "{json}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
        }
    }

    #[test]
    fn is_indented_by_two_spaces_and_ends_in_a_line_break() {
        let mut out = Vec::new();
        write_pretty(&mut out, &serde_json::json!({"a": [1, 2], "b": "\u{7f}"})).unwrap();
        let text = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": \"\\u007f\"\n}\n";
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
