//! IPv4 and IPv6 addresses, networks, and address with port.
//!
//! IPv4 has one spelling: four decimal parts without leading zeros. IPv6 is read in every spelling of
//! RFC 4291 §2.2 and printed in that of RFC 5952. Zone names (`%eth0`) are refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number::{Field, decimal};
use super::port::{self, Protocol};
use super::{Endpoint, EntryError, Refusal};

/// A network: its first address and prefix length. No bit is set beyond the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

impl Network {
    /// The network of `prefix_len` bits that `address` lies in; a longer prefix than it has bits counts as all.
    pub fn containing(address: IpAddr, prefix_len: u8) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let prefix_len = prefix_len.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
                Self { address: Ipv4Addr::from_bits(v4.to_bits() & mask).into(), prefix_len }
            }
            IpAddr::V6(v6) => {
                let prefix_len = prefix_len.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0);
                Self { address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), prefix_len }
            }
        }
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed, 0 to 32 or 128.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// True if `address` is of the same family and lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self::containing(address, self.prefix_len) == *self
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Reads an address without port, prefix or brackets.
#[inline]
pub(super) fn address(text: &str) -> Result<IpAddr, Refusal> {
    if memchr::memchr(b':', text.as_bytes()).is_some() {
        return ipv6(text).map(IpAddr::V6);
    }
    ipv4(text).map(IpAddr::V4)
}

/// Reads an IPv4 address where IPv6 has no place.
pub(super) fn ipv4_only(text: &str) -> Result<Ipv4Addr, Refusal> {
    if ipv6(text).is_ok() {
        return Err(Refusal::new(0, text.len(), EntryError::Ipv6NotTaken));
    }
    ipv4(text)
}

/// Reads `address/prefix` and checks that nothing is set beyond the prefix.
#[inline]
pub(super) fn network(text: &str) -> Result<Network, Refusal> {
    let Some((host, prefix)) = text.split_once('/') else {
        // A wrong address is worth more words than a missing prefix.
        address(text)?;
        return Err(Refusal::new(text.len(), 1, EntryError::NoPrefixLength));
    };
    let address = address(host)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let prefix_at = host.len() + 1;
    let prefix_len =
        decimal(prefix, Field::PrefixLength, max).map_err(|refusal| refusal.shifted(prefix_at))?;
    let network = Network::containing(address, u8::try_from(prefix_len).unwrap_or(u8::MAX));
    if network.address != address {
        return Err(Refusal::new(0, host.len(), EntryError::HostBitsSet { network }));
    }
    Ok(network)
}

/// Reads `ipv4:port[:protocol]` or `[ipv6]:port[:protocol]`.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Refusal> {
    let (address, rest) = host(text)?;
    let offset = text.len() - rest.len();
    let (number, protocol) = match rest.split_once(':') {
        Some((number, protocol)) => (number, Some(protocol)),
        None => (rest, None),
    };
    let port = port::port(number).map_err(|refusal| refusal.shifted(offset))?;
    let protocol = match protocol {
        None => Protocol::Any,
        Some(name) => {
            let at = offset + number.len() + 1;
            if let Some(colon) = name.find(':') {
                return Err(Refusal::new(at + colon, name.len() - colon, EntryError::TooManyParts));
            }
            Protocol::from_name(name).ok_or(Refusal::new(at, name.len(), EntryError::UnknownProtocol))?
        }
    };
    Ok(Endpoint { address, port, protocol })
}

/// Reads `ipv4:` or `[ipv6]:` and returns what follows.
pub(crate) fn host(text: &str) -> Result<(IpAddr, &str), Refusal> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((host, rest)) = inner.split_once(']') else {
            return Err(Refusal::new(0, text.len(), EntryError::NotAnAddress));
        };
        let address = ipv6(host).map_err(|refusal| refusal.shifted(1))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((IpAddr::V6(address), port)),
            None => Err(Refusal::new(host.len() + 2, rest.len().max(1), EntryError::NoPort)),
        };
    }
    let Some((host, rest)) = text.split_once(':') else {
        ipv4(text)?;
        return Err(Refusal::new(text.len(), 1, EntryError::NoPort));
    };
    match ipv4(host) {
        Ok(address) => Ok((IpAddr::V4(address), rest)),
        Err(_) if looks_like_ipv6(text) => Err(Refusal::new(0, text.len(), EntryError::NotBracketed)),
        Err(refusal) => Err(refusal),
    }
}

/// True for an IPv6 address, with or without what could be a port and a protocol after it.
fn looks_like_ipv6(text: &str) -> bool {
    let mut text = text;
    for _ in 0..3 {
        if ipv6(text).is_ok() {
            return true;
        }
        match text.rsplit_once(':') {
            Some((head, _)) => text = head,
            None => return false,
        }
    }
    false
}

fn ipv6(text: &str) -> Result<Ipv6Addr, Refusal> {
    // The longest spelling has 45 bytes.
    if text.len() > 45 {
        return Err(Refusal::new(0, text.len(), EntryError::NotAnAddress));
    }
    text.parse().map_err(|_| Refusal::new(0, text.len(), EntryError::NotAnAddress))
}

#[inline]
fn ipv4(text: &str) -> Result<Ipv4Addr, Refusal> {
    let mut value = 0_u32;
    let mut octet = 0_u32;
    let mut digits = 0_u32;
    let mut dots = 0_u32;
    for &byte in text.as_bytes() {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit < 10 {
            octet = octet * 10 + digit;
            // A second digit after a zero leaves the octet below ten: a leading zero.
            if octet > 255 || (digits > 0 && octet < 10) {
                return Err(why_not_ipv4(text));
            }
            digits += 1;
        } else if byte == b'.' && digits > 0 {
            value = (value << 8) | octet;
            octet = 0;
            digits = 0;
            dots += 1;
        } else {
            return Err(why_not_ipv4(text));
        }
    }
    if dots != 3 || digits == 0 {
        return Err(why_not_ipv4(text));
    }
    Ok(Ipv4Addr::from_bits((value << 8) | octet))
}

/// Names the part that is wrong, if the rest has the shape of an address.
#[cold]
fn why_not_ipv4(text: &str) -> Refusal {
    if text.len() <= 45 && text.split('.').count() == 4 {
        let mut at = 0;
        for part in text.split('.') {
            if let Err(refusal) = decimal(part, Field::Octet, 255) {
                let refusal = refusal.shifted(at);
                return Refusal { len: refusal.len.max(1), ..refusal };
            }
            at += part.len() + 1;
        }
    }
    Refusal::new(0, text.len(), EntryError::NotAnAddress)
}
