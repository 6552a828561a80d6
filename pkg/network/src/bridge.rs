//! The node's bridge, which carries its pods.

use std::net::IpAddr;

use crate::names::BRIDGE;
use crate::netlink::{Address, Link, Mac, Netlink};
use crate::{Cidr, Error, Family, Result, sysctl};

/// The node's own address among its pods: their router.
pub(crate) fn gateway(subnet: Cidr) -> Result<IpAddr> {
    subnet.nth(1).ok_or_else(|| Error::Config(format!("the pod range {subnet} has no room for pods")))
}

/// Makes the bridge as it should be. Takes microseconds when it is so already, which is why each ADD does it again.
pub(crate) fn ensure(netlink: &mut Netlink, subnets: &[Cidr], mtu: u32) -> Result<Link> {
    let gateways = subnets.iter().map(|subnet| gateway(*subnet)).collect::<Result<Vec<_>>>()?;
    let first = gateways.first().ok_or_else(|| Error::Config("this node has no pod range yet".into()))?;
    let link = netlink.ensure_bridge(BRIDGE, Mac::of(*first), mtu)?;
    let present = netlink.addresses()?;
    for (subnet, ip) in subnets.iter().zip(gateways) {
        let address =
            Address { link: link.index, ip, length: subnet.length(), host_only: false, expires: None, ours: true };
        if !present.contains(&address) {
            netlink.set_address(&address)?;
        }
        forward(ip)?;
    }
    Ok(link)
}

/// Lets the kernel route what pods send, and keeps it from telling them shortcuts: a pod that spoke to its neighbour
/// directly would bypass the translation of Service addresses.
fn forward(gateway: IpAddr) -> Result<()> {
    match Family::of(gateway) {
        Family::V4 => {
            sysctl::write(&format!("ipv4/conf/{BRIDGE}/forwarding"), "1")?;
            sysctl::write(&format!("ipv4/conf/{BRIDGE}/send_redirects"), "0")
        }
        // IPv6 has no per-link switch for what is forwarded out of a link, only the one for all.
        Family::V6 => sysctl::write("ipv6/conf/all/forwarding", "1"),
    }
}
