//! A witness as bytes: a list of byte strings, each after its length (BIP-144), of which we want exactly one.

use super::signature::Bip322SignatureError as Error;
use super::transactions::HashType;

/// What else a signature may be that a wallet gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherVariant {
    /// `ful`: a whole transaction, as for addresses that need one.
    Full,
    /// `pof`: a transaction that proves control of funds.
    ProofOfFunds,
    /// The message signature of 65 bytes from before BIP-322, for addresses that begin with `1`.
    Legacy,
}

impl OtherVariant {
    /// What messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "a full signature (ful)",
            Self::ProofOfFunds => "a proof of funds (pof)",
            Self::Legacy => "a legacy signature of 65 bytes",
        }
    }
}

/// For which other kind of address a witness is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherAddressType {
    /// P2WPKH, `bc1q…` of 42 characters: an ECDSA signature and a compressed key.
    WitnessPublicKeyHash,
    /// P2WSH, `bc1q…` of 62 characters: several signatures and a script.
    WitnessScriptHash,
    /// Taproot, `bc1p…`, but by a script in it and not by its key.
    TaprootScript,
}

impl OtherAddressType {
    /// What messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WitnessPublicKeyHash => "a P2WPKH address",
            Self::WitnessScriptHash => "a P2WSH address",
            Self::TaprootScript => "a script of a Taproot address",
        }
    }
}

/// Takes the one signature out of a witness.
pub(super) fn parse(bytes: &[u8]) -> Result<([u8; 64], HashType), Error> {
    let mut reader = Reader { rest: bytes, at: 0 };
    let declared = reader.compact_size()?;
    let mut items = Items::default();
    // Each item takes a byte at least, so a count that is a lie ends with the bytes.
    for _ in 0..declared {
        items.take(reader.item()?);
    }
    if !reader.rest.is_empty() {
        return Err(Error::TrailingBytes { found: reader.rest.len() });
    }
    match items {
        Items { count: 0, .. } => Err(Error::NoItems),
        Items { count: 1, first, .. } => signature(first),
        several => Err(several.what_it_is_instead()),
    }
}

/// The witness of one signature.
pub(super) fn write(signature: &[u8; 64], hash_type: HashType) -> Vec<u8> {
    match hash_type {
        HashType::Default => [[1, 64].as_slice(), signature].concat(),
        HashType::All => [[1, 65].as_slice(), signature, &[ALL]].concat(),
    }
}

/// The byte that says `SIGHASH_ALL`.
const ALL: u8 = 1;

fn signature(item: &[u8]) -> Result<([u8; 64], HashType), Error> {
    let wrong_length = Error::SignatureLength { found: item.len() };
    let (signature, rest) = item.split_first_chunk::<64>().ok_or(wrong_length)?;
    match rest {
        [] => Ok((*signature, HashType::Default)),
        [ALL] => Ok((*signature, HashType::All)),
        // 0 means what no byte means, and BIP-341 refuses the second spelling.
        &[found] => Err(Error::HashType { found }),
        _ => Err(wrong_length),
    }
}

/// What has to be known of a list of items to say what it is.
#[derive(Default)]
struct Items<'a> {
    count: u64,
    first: &'a [u8],
    second: &'a [u8],
    last: &'a [u8],
}

impl<'a> Items<'a> {
    fn take(&mut self, item: &'a [u8]) {
        match self.count {
            0 => self.first = item,
            1 => self.second = item,
            _ => {}
        }
        self.last = item;
        self.count += 1;
    }

    fn what_it_is_instead(&self) -> Error {
        match (self.count, self.first, self.second) {
            // BIP-341: with two or more, a last one that begins with 0x50 is the annex.
            _ if self.last.first() == Some(&0x50) => Error::Annex,
            (2, [0x30, ..], [2 | 3, x @ ..]) if x.len() == 32 => {
                Error::OtherAddressType { found: OtherAddressType::WitnessPublicKeyHash }
            }
            _ if is_control_block(self.last) => {
                Error::OtherAddressType { found: OtherAddressType::TaprootScript }
            }
            // The empty item that OP_CHECKMULTISIG takes for no reason.
            (3.., [], _) => Error::OtherAddressType { found: OtherAddressType::WitnessScriptHash },
            (found, ..) => Error::ItemCount { found },
        }
    }
}

/// BIP-341: leaf version 0xc0 and a parity, then a key and up to 128 hashes.
fn is_control_block(item: &[u8]) -> bool {
    matches!(item, [0xc0 | 0xc1, hashes @ ..] if !hashes.is_empty() && hashes.len() % 32 == 0 && hashes.len() <= 32 * 129)
}

struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn item(&mut self) -> Result<&'a [u8], Error> {
        let len = self.compact_size()?;
        self.bytes(len)
    }

    /// Bitcoin's lengths: one byte up to 252, or a byte that says how many follow, little-endian.
    fn compact_size(&mut self) -> Result<u64, Error> {
        let at = self.at;
        let (width, least) = match self.byte()? {
            short @ 0..=252 => return Ok(u64::from(short)),
            253 => (2, 253),
            254 => (4, 0x1_0000),
            255 => (8, 0x1_0000_0000),
        };
        let number = self.bytes(width)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        // A length has one spelling, or a signature would have several.
        if number < least { Err(Error::NonCanonicalLength { at }) } else { Ok(number) }
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let (byte, rest) = self.rest.split_first().ok_or(Error::Truncated { missing: 1 })?;
        self.rest = rest;
        self.at += 1;
        Ok(*byte)
    }

    fn bytes(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let missing = || len.saturating_sub(self.rest.len() as u64);
        let whole = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (bytes, rest) = whole.ok_or_else(|| Error::Truncated { missing: missing() })?;
        self.rest = rest;
        self.at += bytes.len();
        Ok(bytes)
    }
}
