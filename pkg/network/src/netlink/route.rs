//! Routes: what `ip route` shows.

use std::net::IpAddr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::Netlink;
use crate::error::unless;
use crate::names::ROUTE_PROTOCOL;
use crate::{Cidr, Family, Result};

/// A unicast route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; the range of all addresses for a default route.
    pub to: Cidr,
    /// The link it uses; `None` for routes over several.
    pub link: Option<u32>,
    /// The next router; `None` where the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address of packets that this host sends along it.
    pub source: Option<IpAddr>,
    /// Whether knarr made it.
    pub ours: bool,
}

impl Netlink {
    /// The unicast routes of the main table.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn routes(&mut self, family: Family) -> Result<Vec<Route>> {
        let message = RouteNetlinkMessage::GetRoute(empty(family.everything().address()));
        Ok(self.dump(|| "list the routes".into(), &message)?.into_iter().filter_map(read).collect())
    }

    /// The route that a packet of this host to `destination` takes; `None` when there is none.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn route_to(&mut self, destination: IpAddr) -> Result<Option<Route>> {
        let mut message = empty(destination);
        message.header.destination_prefix_length = Family::of(destination).bits();
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let message = RouteNetlinkMessage::GetRoute(message);
        Ok(self.get(|| format!("find the route to {destination}"), libc::ENETUNREACH, &message)?.and_then(read))
    }

    /// Adds a route, or changes the one to the same destination.
    ///
    /// # Errors
    /// When its link or gateway is not there.
    pub fn set_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(message(route));
        self.change(|| format!("add the route to {}", route.to), NLM_F_CREATE | NLM_F_REPLACE, &message)
    }

    /// Removes a route; no error when it is not there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::DelRoute(message(route));
        unless(libc::ESRCH, self.change(|| format!("remove the route to {}", route.to), 0, &message))
    }
}

fn empty(of: IpAddr) -> RouteMessage {
    match of {
        IpAddr::V4(_) => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    }
}

fn message(route: &Route) -> RouteMessage {
    let mut message = empty(route.to.address());
    message.header.destination_prefix_length = route.to.length();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.kind = RouteType::Unicast;
    message.header.protocol = if route.ours { RouteProtocol::Other(ROUTE_PROTOCOL) } else { RouteProtocol::Static };
    message.header.scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    if route.to.length() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.to.address().into()));
    }
    message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message.attributes.extend(route.link.map(RouteAttribute::Oif));
    message
}

fn read(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let family = match message.header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => Family::V4,
        rtnetlink::packet_route::AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut table = u32::from(message.header.table);
    let mut route = Route {
        to: Cidr::new(family.everything().address(), 0),
        link: None,
        gateway: None,
        source: None,
        ours: message.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL),
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = number,
            RouteAttribute::Destination(to) => route.to = Cidr::new(ip(to)?, message.header.destination_prefix_length),
            RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
            RouteAttribute::PrefSource(source) => route.source = ip(source),
            RouteAttribute::Oif(link) => route.link = Some(link),
            _ => {}
        }
    }
    let main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    (main && message.header.kind == RouteType::Unicast).then_some(route)
}

fn ip(address: RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(ip.into()),
        RouteAddress::Inet6(ip) => Some(ip.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for (to, gateway, source) in [
            ("10.43.0.0/16", None, Some(IpAddr::from([10, 42, 0, 1]))),
            ("0.0.0.0/0", Some(IpAddr::from([10, 42, 0, 1])), None),
            ("fd00:42::/64", None, Some("fd00:41::1".parse().unwrap())),
        ] {
            let route = Route { to: to.parse().unwrap(), link: Some(4), gateway, source, ours: true };
            assert_eq!(read(RouteNetlinkMessage::NewRoute(message(&route))), Some(route));
        }
    }
}
