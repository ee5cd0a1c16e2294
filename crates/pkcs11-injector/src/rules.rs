//! What is to be done to which call, read from a small file before every call.
//!
//! | line | what it does |
//! |---|---|
//! | `fail FUNCTION CODE` | the function answers this code, and the real module is not asked |
//! | `fail FUNCTION CODE after N` | the same, from the call after the N-th on |
//! | `fail FUNCTION CODE times N` | the same, N times |
//! | `delay FUNCTION MS` | the real module is asked after so many milliseconds |
//! | `length FUNCTION N` | the length, or the count, that the real module gave is replaced |
//! | `flags N` | these flags of the token are set besides its own |
//! | `hide N` | the token has no mechanism of this number |
//! | `alias N M` | what is asked of mechanism N is done by M |
//! | `no-import` | the token takes no AES key from outside |
//! | `max-value N` | the token takes no secret of more than N bytes |
//!
//! Numbers are decimal, or hexadecimal after `0x`. Calls are counted from when the file first had the line.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What to do to the call that is being made.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) fail: Option<u64>,
    pub(crate) delay_ms: u64,
    pub(crate) length: Option<u64>,
    pub(crate) flags: u64,
    pub(crate) hidden: Vec<u64>,
    pub(crate) aliases: Vec<(u64, u64)>,
    pub(crate) no_import: bool,
    pub(crate) max_value: Option<u64>,
}

/// How often each line has been met.
static MET: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

/// The orders for a call of `function`, by the text of the file.
pub(crate) fn orders(text: &str, function: &str) -> Orders {
    let mut orders = Orders::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["fail", of, code] if *of == function => orders.fail = Some(number(code)),
            ["fail", of, code, "after", count] if *of == function => {
                if meet(line) > number(count) {
                    orders.fail = Some(number(code));
                }
            }
            ["fail", of, code, "times", count] if *of == function => {
                if meet(line) <= number(count) {
                    orders.fail = Some(number(code));
                }
            }
            ["delay", of, milliseconds] if *of == function => orders.delay_ms = number(milliseconds),
            ["length", of, length] if *of == function => orders.length = Some(number(length)),
            ["flags", flags] => orders.flags |= number(flags),
            ["hide", mechanism] => orders.hidden.push(number(mechanism)),
            ["alias", from, to] => orders.aliases.push((number(from), number(to))),
            ["no-import"] => orders.no_import = true,
            ["max-value", bytes] => orders.max_value = Some(number(bytes)),
            ["fail" | "delay" | "length", ..] => {}
            _ => panic!("no such rule: {line}"),
        }
    }
    orders
}

/// Counts a call that a line is about.
fn meet(line: &str) -> u64 {
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let count = met.get_or_insert_default().entry(line.to_owned()).or_default();
    *count += 1;
    *count
}

fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("no number: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obeys_only_lines_about_the_function() {
        let text = "fail C_Login 0xa0\ndelay C_Encrypt 20\nhide 0x210b\n";
        assert_eq!(orders(text, "C_Login").fail, Some(0xa0));
        assert_eq!(orders(text, "C_Encrypt").fail, None);
        assert_eq!(orders(text, "C_Encrypt").delay_ms, 20);
        assert_eq!(orders(text, "C_WrapKey").hidden, [0x210b]);
    }

    #[test]
    fn counts_calls() {
        let after = "fail C_Unwrap 0x30 after 2";
        assert_eq!([(); 4].map(|()| orders(after, "C_Unwrap").fail), [None, None, Some(0x30), Some(0x30)]);
        let times = "fail C_Unwrap 0x30 times 2";
        assert_eq!([(); 4].map(|()| orders(times, "C_Unwrap").fail), [Some(0x30), Some(0x30), None, None]);
    }
}
