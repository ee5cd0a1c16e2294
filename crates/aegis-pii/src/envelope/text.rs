//! The texts of envelopes, and base64 (RFC 4648 §4) with its long constant beginning.

use std::ops::Range;
use std::sync::LazyLock;

use aegis_crypto::{ENCAPSULATION_LEN, Encapsulation};
use base64::Engine;
use base64::engine::general_purpose::PAD;

use crate::limits::shrink;

/// The standard alphabet, padding required, and no bits set that mean nothing: one spelling. It has vector instructions
/// where the processor has them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ENGINE: LazyLock<base64::engine::Simd> = LazyLock::new(|| base64::engine::Simd::standard(PAD));
/// The same without them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINE: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, PAD));

/// How every envelope begins.
pub(crate) const HEAD: &[u8] = b"{\"_encrypted\":true,\"_";
/// After it, up to the algorithm.
pub(crate) const SELF_CONTAINED_NEXT: &[u8] = b"algorithm\":\"";
/// After it, up to the ciphertext.
pub(crate) const COMPACT_NEXT: &[u8] = b"ciphertext\":\"";
/// Both of a compact one.
pub(crate) const COMPACT_HEAD: &[u8] = b"{\"_encrypted\":true,\"_ciphertext\":\"";
/// The member that compact fields need.
pub(crate) const HEADER_NAME: &[u8] = b"_aegis";

/// Bytes of an encapsulation that fill whole groups of three: their base64 does not depend on what follows.
const PREFIX_LEN: usize = ENCAPSULATION_LEN / 3 * 3;
/// Characters of their base64.
const PREFIX_TEXT_LEN: usize = PREFIX_LEN / 3 * 4;

/// How the text of a box begins, as [`BoxText::beginning`] found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// As that of the last box.
    AsLast,
    /// As that of none that is known.
    Other,
}

/// Boxes as text. Of 1,120 bytes of an encapsulation 1,119 encode to 1,492 characters that are the same in every box,
/// so they are made, or read, once for as long as it stays the same.
#[derive(Debug, Default)]
pub(crate) struct BoxText {
    encapsulation: Vec<u8>,
    prefix: Vec<u8>,
    /// Counts the changes of `encapsulation`.
    age: u64,
}

impl BoxText {
    /// From now on boxes have this encapsulation.
    pub(crate) fn set(&mut self, encapsulation: &Encapsulation) {
        self.encapsulation.clear();
        self.encapsulation.extend_from_slice(encapsulation.as_bytes());
        self.prefix.clear();
        encode_base64(self.encapsulation.get(..PREFIX_LEN).unwrap_or_default(), &mut self.prefix);
    }

    /// The characters with which every box of this encapsulation begins.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether a text begins as the last box did.
    pub(crate) fn beginning(&self, text: &[u8]) -> Beginning {
        let is_same = !self.prefix.is_empty() && text.starts_with(&self.prefix);
        if is_same { Beginning::AsLast } else { Beginning::Other }
    }

    /// The bytes of the encapsulation whose characters are not in the prefix.
    pub(crate) fn rest(&self) -> &[u8] {
        self.encapsulation.get(PREFIX_LEN..).unwrap_or_default()
    }

    /// The same of another one.
    pub(crate) fn rest_of(encapsulation: &[u8; ENCAPSULATION_LEN]) -> &[u8] {
        encapsulation.get(PREFIX_LEN..).unwrap_or_default()
    }

    /// Reads a box: its body is put at the end of `bodies`, where it says, and [`encapsulation`](Self::encapsulation) is
    /// its own.
    ///
    /// `None` if it is no base64 or has no body; `bodies` is as it was.
    pub(crate) fn read(
        &mut self,
        text: &[u8],
        beginning: Beginning,
        bodies: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let start = bodies.len();
        let body = self.read_parts(text, beginning, bodies);
        if body.is_none() {
            bodies.truncate(start);
        }
        body
    }

    fn read_parts(
        &mut self,
        text: &[u8],
        beginning: Beginning,
        bodies: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let start = bodies.len();
        let (prefix, tail) = text.split_at_checked(PREFIX_TEXT_LEN)?;
        bodies.reserve(tail.len() / 4 * 3);
        ENGINE.decode_vec(tail, bodies).ok()?;
        // The end of the encapsulation stays before the body, rather than that a long body is moved.
        let body = start + ENCAPSULATION_LEN - PREFIX_LEN..bodies.len();
        self.set_read(prefix, bodies.get(start..body.start)?, beginning)?;
        Some(body)
    }

    /// As [`read`](Self::read), for a box that is so long that its body is not kept: whether it is one, and where in its text
    /// what begins that [`decode_base64`] gives: [`rest`](Self::rest), and the body.
    pub(crate) fn check(&mut self, text: &[u8], beginning: Beginning) -> Option<usize> {
        let (prefix, tail) = text.split_at_checked(PREFIX_TEXT_LEN)?;
        let mut first = [0; 3];
        ENGINE.decode_slice(tail.first_chunk::<4>()?, &mut first).ok().filter(|len| *len == 3)?;
        let rest = first.get(..ENCAPSULATION_LEN - PREFIX_LEN)?;
        if !is_base64(tail) {
            return None;
        }
        self.set_read(prefix, rest, beginning)?;
        Some(PREFIX_TEXT_LEN)
    }

    /// The encapsulation of a box that was read.
    fn set_read(&mut self, prefix: &[u8], rest: &[u8], beginning: Beginning) -> Option<()> {
        if beginning == Beginning::Other {
            self.prefix.clear();
            self.encapsulation.clear();
            ENGINE.decode_vec(prefix, &mut self.encapsulation).ok()?;
            self.prefix.extend_from_slice(prefix);
        }
        if self.encapsulation.get(PREFIX_LEN..) != Some(rest) {
            self.encapsulation.truncate(PREFIX_LEN);
            self.encapsulation.extend_from_slice(rest);
            self.age += 1;
        }
        Some(())
    }

    /// Another number for another encapsulation.
    pub(crate) const fn age(&self) -> u64 {
        self.age
    }

    /// The encapsulation of the last box that was read.
    pub(crate) fn encapsulation(&self) -> &[u8] {
        &self.encapsulation
    }
}

/// What the boxes of an event have after the prefix, as text.
///
/// A vector instruction makes 32 characters, and begins to be worth it with several; most boxes have fewer. So all short ones
/// are put one behind the other, each filled up with zeros to whole groups of three bytes, and encoded together.
#[derive(Debug, Default)]
pub(crate) struct TailTexts {
    bytes: Vec<u8>,
    text: Vec<u8>,
    /// Where in `text` the next one begins.
    at: usize,
}

impl TailTexts {
    /// Most bytes of a short one.
    const SHORT: usize = 1024;
    /// What the vector instructions take at a time, and how much more they want to see.
    const GROUP: usize = 24;
    const LOOK_AHEAD: usize = 8;

    /// Encodes the bodies of an event, each of which has `before` before it. [`write_next`](Self::write_next) gives them
    /// out.
    pub(crate) fn encode<'a>(&mut self, before: &[u8], bodies: impl Iterator<Item = &'a [u8]>) {
        self.bytes.clear();
        for body in bodies.filter(|body| body.len() <= Self::SHORT) {
            self.bytes.extend_from_slice(before);
            self.bytes.extend_from_slice(body);
            let padding = missing(before.len() + body.len());
            self.bytes.extend_from_slice([0; 2].get(..padding).unwrap_or_default());
        }
        let filled = self.bytes.len().next_multiple_of(Self::GROUP) + Self::LOOK_AHEAD;
        self.bytes.resize(filled, 0);
        let text_len = filled.div_ceil(3) * 4;
        if self.text.len() < text_len {
            self.text.resize(text_len, 0);
        }
        let written = ENGINE.encode_slice(&self.bytes, &mut self.text);
        debug_assert_eq!(written, Ok(text_len), "there is room");
        self.at = 0;
    }

    /// Appends the text of the next body.
    pub(crate) fn write_next(&mut self, before: &[u8], body: &[u8], out: &mut Vec<u8>) {
        if body.len() > Self::SHORT {
            // Where it is: a copy would take as much memory again.
            let (first, rest) = body.split_at(missing(before.len()));
            self.bytes.clear();
            self.bytes.extend_from_slice(before);
            self.bytes.extend_from_slice(first);
            encode_base64(&self.bytes, out);
            encode_base64(rest, out);
            return;
        }
        let len = before.len() + body.len();
        let end = self.at + len.div_ceil(3) * 4;
        out.extend_from_slice(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
        // The zeros were not there.
        let padding = out.len() - missing(len);
        out.get_mut(padding..).unwrap_or_default().fill(b'=');
    }

    /// Gives the memory of unusually large boxes back.
    pub(crate) fn release_memory(&mut self) {
        self.bytes.clear();
        self.text.clear();
        shrink(&mut self.bytes);
        shrink(&mut self.text);
    }
}

/// The ends of the boxes of an event as bytes, read all at once: for each alone, most of the time is that of beginning.
#[derive(Debug, Default)]
pub(crate) struct DeferredTails {
    text: Vec<u8>,
    bytes: Vec<u8>,
}

impl DeferredTails {
    /// Characters that a vector instruction reads.
    const AT_ONCE: usize = 32;
    /// Longer ones are read when they are opened.
    pub(super) const MAX_TEXT_LEN: usize = 1024;

    pub(crate) fn clear(&mut self) {
        self.text.clear();
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Where in [`bytes`](Self::bytes) that what comes after the first `before` bytes of a text will be, if [`read`](Self::read)
    /// says that all texts are base64. `None` if this one is not, or too long.
    #[inline]
    pub(crate) fn push(&mut self, text: &[u8], before: usize) -> Option<Range<usize>> {
        let (groups, rest) = text.as_chunks::<4>();
        if !rest.is_empty() || text.len() > Self::MAX_TEXT_LEN {
            return None;
        }
        let padding = match groups.last()? {
            [_, _, b'=', b'='] => 2,
            [_, _, _, b'='] => 1,
            _ => 0,
        };
        let start = self.text.len() / 4 * 3;
        let len = (groups.len() * 3).checked_sub(padding + before)?;
        self.text.extend_from_slice(text);
        // In the place of what was left out: zeros, by which its own spelling is told from others.
        let end = self.text.len() - padding;
        self.text.get_mut(end..).unwrap_or_default().fill(b'A');
        Some(start + before..start + before + len)
    }

    /// Reads all texts. Whether each is base64, in its one spelling, if `parts` are what [`push`](Self::push) gave, each
    /// with what has to stand before it.
    pub(crate) fn read<'a>(&mut self, parts: impl Iterator<Item = (&'a Range<usize>, &'a [u8])>) -> bool {
        let text_len = self.text.len();
        // So much that vector instructions take all but the last group, which they do not look at.
        self.text.resize(text_len.next_multiple_of(Self::AT_ONCE) + 4, b'A');
        let len = self.text.len() / 4 * 3;
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        let decoded = ENGINE.decode_slice(&self.text, &mut self.bytes);
        self.text.truncate(text_len);
        if decoded != Ok(len) {
            return false;
        }
        let mut parts = parts;
        parts.all(|(range, before)| {
            let up_to = range.end.next_multiple_of(3);
            range.start.checked_sub(before.len()).is_some_and(|start| {
                // One byte, for which a comparison of slices would be a call.
                self.bytes.get(start..range.start).is_some_and(|bytes| bytes.iter().eq(before))
                    && self.bytes.get(range.end..up_to).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
            })
        })
    }

    /// What was read there.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Gives the memory of unusually many boxes back.
    pub(crate) fn release_memory(&mut self) {
        self.text.clear();
        shrink(&mut self.text);
        shrink(&mut self.bytes);
    }
}

/// How many bytes there are too few for whole groups of three.
const fn missing(len: usize) -> usize {
    (3 - len % 3) % 3
}

/// Appends the base64 of `bytes`.
#[inline]
pub(crate) fn encode_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let (_, text) = out.split_at_mut(start);
    let written = ENGINE.encode_slice(bytes, text);
    debug_assert_eq!(written, Ok(text.len()), "the room is exactly right");
}

/// Whether a text is base64, in its one spelling. It is read a piece at a time, and not kept.
pub(super) fn is_base64(text: &[u8]) -> bool {
    const PIECE: usize = 4096;
    let mut bytes = [0; PIECE / 4 * 3];
    let mut pieces = text.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        let decoded = ENGINE.decode_slice(piece, &mut bytes);
        // Padding is at the end of all.
        if decoded.is_err() || (pieces.peek().is_some() && decoded != Ok(bytes.len())) {
            return false;
        }
    }
    true
}

/// How many bytes base64 stands for, if it is that.
pub(super) fn decoded_len(text: &[u8]) -> usize {
    let padding = text.iter().rev().take_while(|character| **character == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// Appends what base64 says; only its one canonical spelling is read. `None` leaves `out` as it was.
pub(super) fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let decoded = ENGINE.decode_vec(text, out);
    if decoded.is_err() {
        out.truncate(start);
    }
    decoded.ok()
}
