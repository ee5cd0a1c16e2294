//! Hexadecimal as our formats spell it: an exact number of digits and nothing else.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Visitor};

/// Which letters count as digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// `a` to `f`: a value has one spelling, as in everything that is signed or stored.
    Lower,
    /// `A` to `F` as well: what a person or another program typed.
    Either,
}

/// Why a text is not the hexadecimal that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HexFault {
    /// It has this many characters.
    Length(usize),
    /// The character at this place, counted from 1, is not a digit.
    Digit(usize, char),
}

/// Reads exactly `2 * N` digits.
pub(crate) fn decode<const N: usize>(text: &str, case: Case) -> Result<[u8; N], HexFault> {
    find_fault(text, case)?;
    let mut bytes = [0; N];
    // Only ASCII digits are left, so the one thing that can still be wrong is their number.
    hex::decode_to_slice(text, &mut bytes).map_err(|_| HexFault::Length(text.len()))?;
    Ok(bytes)
}

/// Names the first character that is not a digit.
pub(crate) fn find_fault(text: &str, case: Case) -> Result<(), HexFault> {
    let is_digit = |c: char| match case {
        Case::Lower => matches!(c, '0'..='9' | 'a'..='f'),
        Case::Either => c.is_ascii_hexdigit(),
    };
    match text.chars().enumerate().find(|&(_, c)| !is_digit(c)) {
        Some((index, c)) => Err(HexFault::Digit(index + 1, c)),
        None => Ok(()),
    }
}

/// Deserializes a string by the type's own `FromStr`, so that JSON accepts exactly what the command line does.
pub(crate) fn deserialize<'de, T, D>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(HexVisitor { expecting, parses_to: PhantomData })
}

struct HexVisitor<T> {
    expecting: &'static str,
    parses_to: PhantomData<T>,
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for HexVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
