//! Address families and ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address family. Everything that depends on one exists once per family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// How many bits an address has.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// `ip` or `ip6`: nftables' name of the family, of its tables and of its header.
    #[must_use]
    pub const fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// nftables' type of an address.
    #[must_use]
    pub const fn nft_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    /// Addresses that never leave the host.
    #[must_use]
    pub const fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1",
        }
    }

    /// Every address.
    #[must_use]
    pub const fn everything(self) -> Cidr {
        let address = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Cidr { address, length: 0 }
    }
}

/// A range of addresses with a common prefix, in canonical form: the bits after the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// A text that is no range.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no CIDR")]
pub struct NotCidr(String);

impl Cidr {
    /// The range of `length` common bits around `address`; a longer length than the family has means one address.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let length = length.min(Family::of(address).bits());
        Self { address: from_bits(Family::of(address), bits(address) & mask(Family::of(address), length)), length }
    }

    /// The range of exactly one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: Family::of(address).bits() }
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits all addresses share.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The family of the addresses.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        from_bits(self.family(), bits(self.address) | !mask(self.family(), self.length) & mask_all(self.family()))
    }

    /// The address `offset` after the first one, if the range has it.
    #[must_use]
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let address = from_bits(self.family(), bits(self.address).checked_add(offset)?);
        self.contains(address).then_some(address)
    }

    /// Whether `address` is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && bits(address) & mask(self.family(), self.length) == bits(self.address)
    }

    /// Whether the ranges share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

/// An address as a number: what the order of a range is.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The inverse of [`bits`]; what does not fit into the family is cut off.
#[allow(clippy::cast_possible_truncation, reason = "an IPv4 address is the low 32 bits")]
pub(crate) fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4((bits as u32).into()),
        Family::V6 => IpAddr::V6(bits.into()),
    }
}

const fn mask_all(family: Family) -> u128 {
    match family {
        Family::V4 => u32::MAX as u128,
        Family::V6 => u128::MAX,
    }
}

fn mask(family: Family, length: u8) -> u128 {
    let host_bits = u32::from(family.bits().saturating_sub(length));
    mask_all(family) & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Cidr {
    type Err = NotCidr;

    /// Reads `10.42.0.0/16`; bits after the prefix are dropped.
    fn from_str(text: &str) -> Result<Self, NotCidr> {
        let wrong = || NotCidr(text.to_owned());
        let (address, length) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().map_err(|_| wrong())?;
        if length > Family::of(address).bits() {
            return Err(wrong());
        }
        Ok(Self::new(address, length))
    }
}

impl TryFrom<String> for Cidr {
    type Error = NotCidr;

    fn try_from(text: String) -> Result<Self, NotCidr> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_read_in_canonical_form() {
        for (text, read) in [
            ("10.42.0.7/24", Some("10.42.0.0/24")),
            (" 0.0.0.0/0", Some("0.0.0.0/0")),
            ("fd00::1/64", Some("fd00::/64")),
            ("10.0.0.0/33", None),
            ("10.0.0.0", None),
            ("10.0.0/8", None),
            ("x/8", None),
        ] {
            assert_eq!(text.parse::<Cidr>().ok().map(|cidr| cidr.to_string()), read.map(Into::into), "{text}");
        }
    }

    #[test]
    fn ranges_know_their_addresses() {
        let range = cidr("10.42.1.0/30");
        assert_eq!(range.last(), IpAddr::from([10, 42, 1, 3]));
        assert_eq!(range.nth(1), Some(IpAddr::from([10, 42, 1, 1])));
        assert_eq!(range.nth(4), None);
        assert!(!range.contains("::ffff:10.42.1.1".parse().unwrap()));
        assert_eq!(Family::V6.everything().last(), IpAddr::from([0xffff; 8]));
    }

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        for (a, b, overlap) in [
            ("10.0.0.0/8", "10.42.0.0/16", true),
            ("10.42.0.0/16", "10.43.0.0/16", false),
            ("0.0.0.0/0", "10.43.0.0/16", true),
            ("0.0.0.0/0", "fd00::/8", false),
        ] {
            assert_eq!(cidr(a).overlaps(&cidr(b)), overlap, "{a} {b}");
            assert_eq!(cidr(b).overlaps(&cidr(a)), overlap, "{b} {a}");
        }
    }
}
