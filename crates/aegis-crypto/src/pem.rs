//! One PEM block (RFC 7468 §3) with nothing around it.

use pem_rfc7468::{Decoder, Error};

use crate::plain_text::trim;

/// Why a PEM block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// The first line is not `-----BEGIN LABEL-----`.
    #[error("its first line is not `-----BEGIN LABEL-----`")]
    Begin,
    /// No `-----END LABEL-----` with the same label.
    #[error("it has no `-----END LABEL-----` line with the label of its first line")]
    End,
    /// Lines such as `Proc-Type:`, which RFC 7468 does not allow.
    #[error("it has header lines, which RFC 7468 does not allow")]
    Headers,
    /// What is between the two lines is not canonical base64 in lines of one width.
    #[error("the text between its first and last line is not base64 in lines of one width")]
    Base64,
}

/// A block as it stands in a file.
pub(crate) struct Block<'a> {
    /// `PUBLIC KEY`, `PRIVATE KEY` and so on.
    pub(crate) label: &'a str,
    /// From the first hyphen to the last.
    pub(crate) text: &'a [u8],
    /// What follows in the file, without blanks around it.
    pub(crate) rest: &'a [u8],
}

pub(crate) const BEGIN: &[u8] = b"-----BEGIN ";

impl<'a> Block<'a> {
    /// Finds the borders of the block that `text` starts with.
    pub(crate) fn first(text: &'a [u8]) -> Result<Self, PemFault> {
        let after_begin = text.strip_prefix(BEGIN).ok_or(PemFault::Begin)?;
        let line = after_begin.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_end();
        let label = line.strip_suffix(b"-----").ok_or(PemFault::Begin)?;
        let label = std::str::from_utf8(label).map_err(|_| PemFault::Begin)?;
        if label.is_empty() || !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ') {
            return Err(PemFault::Begin);
        }
        let last_line = format!("\n-----END {label}-----");
        let end = find(text, last_line.as_bytes()).ok_or(PemFault::End)?;
        let (text, rest) = text.split_at_checked(end + last_line.len()).ok_or(PemFault::End)?;
        Ok(Self { label, text, rest: trim(rest) })
    }

    /// Decodes into `out`, which the caller chose for where the bytes may live, and gives their number.
    pub(crate) fn decode(&self, out: &mut [u8]) -> Result<usize, PemFault> {
        // Base64 has no colon, so this is the whole story of a block that would fail below.
        if self.has_headers() {
            return Err(PemFault::Headers);
        }
        let mut decoder = Decoder::new_detect_wrap(self.text).map_err(fault)?;
        let out = out.get_mut(..decoder.remaining_len()).ok_or(PemFault::Base64)?;
        let len = decoder.decode(out).map_err(fault)?.len();
        if decoder.is_finished() { Ok(len) } else { Err(PemFault::Base64) }
    }

    /// Whether a line between the first and the last has a colon, as the headers of old OpenSSL formats do.
    pub(crate) fn has_headers(&self) -> bool {
        self.text.contains(&b':')
    }
}

/// Where `needle` starts in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn fault(error: Error) -> PemFault {
    match error {
        Error::HeaderDisallowed => PemFault::Headers,
        Error::Label | Error::PreEncapsulationBoundary | Error::Preamble => PemFault::Begin,
        Error::PostEncapsulationBoundary => PemFault::End,
        Error::Base64(_) | Error::CharacterEncoding | Error::Length | _ => PemFault::Base64,
    }
}
