//! Addresses: what `ip address` shows.

use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};

use super::Netlink;
use crate::error::unless;
use crate::names::ROUTE_PROTOCOL;
use crate::{Family, Result};

/// A lifetime that never ends.
const FOREVER: u32 = u32::MAX;

/// The label of our IPv4 addresses.
const LABEL: &str = "knarr";

/// The protocol of our IPv6 addresses.
const PROTOCOL: AddressProtocol = AddressProtocol::Other(ROUTE_PROTOCOL);

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address itself.
    pub ip: IpAddr,
    /// How many of its bits name the network that the link is on.
    pub length: u8,
    /// Whether it means anything outside of this host. One that does not (`scope host`) is answered for like any other, but
    /// the kernel never picks it as the source of a packet to somebody else. IPv6 has no such scope; there a preferred
    /// lifetime of zero does the same.
    pub host_only: bool,
    /// When the kernel removes it by itself; `None` means never.
    pub expires: Option<Duration>,
    /// Whether knarr added it. An IPv4 address tells by its label, an IPv6 address by its protocol (kernel 5.18).
    pub ours: bool,
}

impl Netlink {
    /// All addresses of the namespace.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        Ok(self.dump(|| "list the addresses".into(), &message)?.into_iter().filter_map(read).collect())
    }

    /// Gives a link an address, or an address that it has a new lifetime. IPv6 addresses are used at once, without
    /// duplicate address detection: who calls this has made sure that nobody else has them.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn set_address(&mut self, address: &Address) -> Result<()> {
        let what = || format!("add the address {}/{}", address.ip, address.length);
        let message = RouteNetlinkMessage::NewAddress(message(address));
        self.change(what, NLM_F_CREATE | NLM_F_REPLACE, &message)
    }

    /// Takes an address away; no error when the link does not have it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_address(&mut self, address: &Address) -> Result<()> {
        let what = || format!("remove the address {}/{}", address.ip, address.length);
        let message = RouteNetlinkMessage::DelAddress(message(address));
        unless(libc::ENODEV, unless(libc::EADDRNOTAVAIL, self.change(what, 0, &message)))
    }
}

fn message(address: &Address) -> AddressMessage {
    let mut message = match address.ip {
        IpAddr::V4(ip) => AddressMessageBuilder::<std::net::Ipv4Addr>::new().address(ip, address.length).build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<std::net::Ipv6Addr>::new().address(ip, address.length).build(),
    };
    message.header.index = address.link;
    let mut lifetime = CacheInfo::default();
    let seconds = |left: Duration| u32::try_from(left.as_secs()).unwrap_or(FOREVER);
    lifetime.ifa_valid = address.expires.map_or(FOREVER, seconds);
    lifetime.ifa_preferred = lifetime.ifa_valid;
    match Family::of(address.ip) {
        Family::V4 => {
            if address.host_only {
                message.header.scope = AddressScope::Host;
            }
            message.attributes.extend(address.ours.then(|| AddressAttribute::Label(LABEL.to_owned())));
        }
        Family::V6 => {
            message.attributes.extend(address.ours.then_some(AddressAttribute::Protocol(PROTOCOL)));
            let mut flags = AddressFlags::Nodad;
            if address.host_only {
                lifetime.ifa_preferred = 0;
                flags |= AddressFlags::Noprefixroute;
            }
            message.attributes.push(AddressAttribute::Flags(flags));
        }
    }
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    message
}

fn read(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let (mut ip, mut local, mut expires, mut deprecated, mut ours) = (None, None, None, false, false);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Address(address) => ip = Some(address),
            AddressAttribute::Local(address) => local = Some(address),
            AddressAttribute::Label(label) => ours |= label == LABEL,
            AddressAttribute::Protocol(protocol) => ours |= protocol == PROTOCOL,
            AddressAttribute::CacheInfo(info) => {
                expires = (info.ifa_valid != FOREVER).then(|| Duration::from_secs(info.ifa_valid.into()));
                deprecated = info.ifa_preferred == 0;
            }
            _ => {}
        }
    }
    // On a link to one peer (PPP), ADDRESS is the peer's and LOCAL is ours.
    let ip = local.or(ip)?;
    let host_only = match Family::of(ip) {
        Family::V4 => message.header.scope == AddressScope::Host,
        Family::V6 => deprecated,
    };
    Some(Address { link: message.header.index, ip, length: message.header.prefix_len, host_only, expires, ours })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for (ip, length, host_only, expires, ours) in [
            (IpAddr::from([192, 0, 2, 1]), 24, false, None, false),
            (IpAddr::from([192, 0, 2, 240]), 32, true, Some(Duration::from_secs(15)), true),
            ("fd00::5".parse().unwrap(), 128, true, Some(Duration::from_secs(15)), true),
        ] {
            let address = Address { link: 3, ip, length, host_only, expires, ours };
            assert_eq!(read(RouteNetlinkMessage::NewAddress(message(&address))), Some(address));
        }
    }
}
