//! Ranges of addresses and ports, and the order in which they are given out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rand::Rng;

/// A text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no {1}")]
pub struct Unparsable(String, &'static str);

/// The addresses that Services may have, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    network: IpAddr,
    prefix: u8,
}

/// No more addresses of a range are looked at; upstream limits its IPv6 ranges likewise.
const MAX_SIZE: u128 = 1 << 16;

impl FromStr for AddressRange {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<Self, Unparsable> {
        let wrong = || Unparsable(text.to_owned(), "range of addresses such as 10.43.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, prefix): (IpAddr, u8) =
            (address.parse().map_err(|_| wrong())?, prefix.parse().map_err(|_| wrong())?);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // Fewer than eight addresses leave no room for the API server's and the DNS's own.
        if prefix > bits - 3 {
            return Err(wrong());
        }
        let network = from_number(number(address) >> (bits - prefix) << (bits - prefix), address.is_ipv4());
        Ok(Self { network, prefix })
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.network, self.prefix)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn from_number(number: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into() } else { Ipv6Addr::from(number).into() }
}

impl AddressRange {
    /// `IPv4` or `IPv6`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        family(self.network)
    }

    /// The address so many after the network's own: 1 is the API server's, 10 the DNS's.
    #[must_use]
    pub fn nth(&self, offset: u128) -> IpAddr {
        from_number(number(self.network) + offset, self.network.is_ipv4())
    }

    /// Whether a Service may have the address: neither the network's own nor, for IPv4, the broadcast address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let offset = number(address).checked_sub(number(self.network));
        address.is_ipv4() == self.network.is_ipv4()
            && offset.is_some_and(|offset| offset >= 1 && offset <= self.usable())
    }

    fn usable(&self) -> u128 {
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        let size = 1_u128.checked_shl(u32::from(bits - self.prefix)).unwrap_or(u128::MAX);
        size - if self.network.is_ipv4() { 2 } else { 1 }
    }

    /// All addresses in the order in which they are offered: the upper band from a random place on, then the lower one.
    pub(super) fn candidates(self) -> impl Iterator<Item = IpAddr> {
        let usable = self.usable().min(MAX_SIZE);
        let size = u64::try_from(usable).unwrap_or(u64::MAX);
        let reserved = (size / 16).clamp(16, 256).min(size / 2);
        banded(size, reserved).map(move |index| self.nth(u128::from(index) + 1))
    }
}

pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The ports that Services may have on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl Default for PortRange {
    /// Upstream's.
    fn default() -> Self {
        Self { first: 30_000, last: 32_767 }
    }
}

impl FromStr for PortRange {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<Self, Unparsable> {
        let parse = |(first, last): (&str, &str)| Some((first.parse().ok()?, last.parse().ok()?));
        match text.split_once('-').and_then(parse) {
            Some((first, last)) if first > 0 && first <= last => Ok(Self { first, last }),
            _ => Err(Unparsable(text.to_owned(), "range of ports such as 30000-32767")),
        }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

impl PortRange {
    /// Whether a Service may have the port.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// As [`AddressRange::candidates`].
    pub(super) fn candidates(self) -> impl Iterator<Item = u16> {
        let size = u64::from(self.last - self.first) + 1;
        let reserved = (size / 32).clamp(16, 128).min(size / 2);
        banded(size, reserved).filter_map(move |index| u16::try_from(index).ok()?.checked_add(self.first))
    }
}

/// `0..size`: what is not reserved first, from a random place on.
fn banded(size: u64, reserved: u64) -> impl Iterator<Item = u64> {
    let open = size - reserved;
    let start = rand::rng().random_range(0..open.max(1));
    (0..open).map(move |index| reserved + (start + index) % open).chain(0..reserved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn addresses_of_a_range() {
        let range: AddressRange = "10.43.7.9/24".parse().unwrap();
        assert_eq!(range.to_string(), "10.43.7.0/24");
        assert_eq!(range.nth(10).to_string(), "10.43.7.10");
        for (address, expect) in [
            ("10.43.7.0", false),
            ("10.43.7.1", true),
            ("10.43.7.254", true),
            ("10.43.7.255", false),
            ("10.43.8.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(range.contains(address.parse().unwrap()), expect, "{address}");
        }
        let offered: Vec<_> = range.candidates().collect();
        let distinct: BTreeSet<_> = offered.iter().collect();
        assert_eq!((offered.len(), distinct.len()), (254, 254));
        assert!(offered[..238].iter().all(|address| *address >= "10.43.7.17".parse::<IpAddr>().unwrap()));
        assert!(offered.iter().all(|address| range.contains(*address)));
    }

    #[test]
    fn large_and_small_ranges() {
        let large: AddressRange = "fd00:43::/108".parse().unwrap();
        assert_eq!(large.candidates().count(), 1 << 16);
        assert!(large.contains("fd00:43::1".parse().unwrap()));
        assert_eq!("10.0.0.0/29".parse::<AddressRange>().unwrap().candidates().count(), 6);
        for nonsense in ["", "10.0.0.0", "10.0.0.0/30", "10.0.0.0/33", "x/8", "fd00::/126"] {
            assert!(nonsense.parse::<AddressRange>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn ports_of_a_range() {
        let range = PortRange::default();
        let offered: Vec<_> = range.candidates().collect();
        assert_eq!(offered.len(), 2768);
        assert!(offered[..2768 - 86].iter().all(|port| *port >= 30_086), "the lower band comes last");
        assert!("30000-30000".parse::<PortRange>().unwrap().contains(30_000));
        for nonsense in ["", "30000", "2-1", "0-5", "1-70000"] {
            assert!(nonsense.parse::<PortRange>().is_err(), "{nonsense}");
        }
    }
}
