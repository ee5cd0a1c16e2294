//! Decimal numbers in their one spelling, and `device:inode`.

use std::fmt;

use super::{EntryError, Inode, Refusal};

/// Which number of an entry a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The part of `device:inode` before the colon.
    Device,
    /// The part of `device:inode` after the colon.
    InodeNumber,
    /// The number after `cgid:`.
    CgroupId,
    /// A part of an IPv4 address.
    Octet,
    /// The number after `/`.
    PrefixLength,
    /// A port.
    Port,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device number",
            Self::InodeNumber => "inode number",
            Self::CgroupId => "control-group id",
            Self::Octet => "address part",
            Self::PrefixLength => "prefix length",
            Self::Port => "port",
        })
    }
}

/// Reads a decimal number up to `max`, without sign or leading zero.
#[inline]
pub(crate) fn decimal(text: &str, field: Field, max: u64) -> Result<u64, Refusal> {
    let mut value = 0_u64;
    for (at, byte) in text.bytes().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Refusal::new(at, 1, EntryError::NotDecimal { field }));
        }
        if at > 0 && value == 0 {
            return Err(Refusal::new(0, text.len(), EntryError::LeadingZero { field }));
        }
        // `checked_mul` and the comparison stop at the first digit too many, whatever the length.
        value = match value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit))) {
            Some(value) if value <= max => value,
            Some(_) | None => return Err(Refusal::new(0, text.len(), EntryError::TooBig { field, max })),
        };
    }
    if text.is_empty() {
        return Err(Refusal::new(0, 0, EntryError::NotDecimal { field }));
    }
    Ok(value)
}

/// Reads `device:inode`: 32 and 64 bits.
pub(super) fn inode(text: &str) -> Result<Inode, Refusal> {
    let Some((device, number)) = text.split_once(':') else {
        return Err(Refusal::new(0, text.len(), EntryError::NotAnInode));
    };
    let offset = device.len() + 1;
    let device = decimal(device, Field::Device, u64::from(u32::MAX))?;
    let number = decimal(number, Field::InodeNumber, u64::MAX).map_err(|refusal| refusal.shifted(offset))?;
    let device = u32::try_from(device).map_err(|_| {
        Refusal::new(0, offset - 1, EntryError::TooBig { field: Field::Device, max: u64::from(u32::MAX) })
    })?;
    Ok(Inode { device, number })
}
