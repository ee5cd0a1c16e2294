//! Age files in text: two lines of dashes, and base64 in lines of 64 between them (RFC 7468 §3, strict).

use base64ct::{Base64, Encoding};

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
const LINE_LEN: usize = 64;
/// The first line of an age file.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// Whether bytes begin as an age file of version 1 does.
pub(crate) fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(AGE)
}

/// The text, which ends in a line feed.
pub(crate) fn wrap(encrypted: &[u8]) -> String {
    let mut text = format!("{BEGIN}\n");
    let mut rest = Base64::encode_string(encrypted);
    while !rest.is_empty() {
        let after = rest.split_off(rest.len().min(LINE_LEN));
        text.push_str(&rest);
        text.push('\n');
        rest = after;
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// What is between the two lines of dashes, if they begin and end the text: lines of 64, the last one shorter or as long.
pub(crate) fn unwrap(text: &str) -> Option<Vec<u8>> {
    let body = text.strip_prefix(BEGIN)?.strip_prefix('\n')?.strip_suffix('\n')?.strip_suffix(END)?;
    let mut packed = String::with_capacity(body.len());
    let mut lines = body.strip_suffix('\n')?.split('\n').peekable();
    while let Some(line) = lines.next() {
        let whole = line.len() == LINE_LEN || (lines.peek().is_none() && (1..LINE_LEN).contains(&line.len()));
        whole.then_some(())?;
        packed.push_str(line);
    }
    Base64::decode_vec(&packed).ok()
}
