//! The links to the outside.

use std::net::IpAddr;

use crate::names::{BRIDGE, POD_LINK};
use crate::netlink::{Address, Link, Netlink};
use crate::{Family, Result, sysctl};

/// What pods may send where the node has no link to the outside.
const ETHERNET: u32 = 1500;

/// The largest packet that leaves the node whole: that of the link with the node's own address, or of the default route.
pub(super) fn mtu(netlink: &mut Netlink, node_ips: &[IpAddr]) -> Result<u32> {
    let (links, addresses) = (netlink.links()?, netlink.addresses()?);
    let of_node = addresses.iter().find(|address| node_ips.contains(&address.ip)).map(|address| address.link);
    let default =
        netlink.routes(Family::V4)?.into_iter().find(|route| route.to.length() == 0).and_then(|route| route.link);
    let link = of_node.or(default).and_then(|index| links.iter().find(|link| link.index == index && !link.loopback));
    Ok(link.map_or(ETHERNET, |link| link.mtu))
}

/// Lets packets for pods in: those that a Service translates are routed on, which the kernel allows per link. Only links with
/// an address count, and the switch for all links is left alone.
pub(super) fn forward(netlink: &mut Netlink) -> Result<()> {
    let (links, addresses) = (netlink.links()?, netlink.addresses()?);
    for link in links.iter().filter(|link| is_uplink(link, &addresses)) {
        // A dot separates directories in sysctl's own names, but not in /proc.
        sysctl::write(&format!("ipv4/conf/{}/forwarding", link.name), "1")?;
    }
    Ok(())
}

fn is_uplink(link: &Link, addresses: &[Address]) -> bool {
    let ours = link.name == BRIDGE || link.name.starts_with(POD_LINK);
    let has_address = |address: &Address| address.link == link.index && address.ip.is_ipv4();
    link.up && !link.loopback && !ours && addresses.iter().any(has_address)
}
