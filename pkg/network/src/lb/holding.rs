//! The addresses that the kernel of this node answers for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::names::{BRIDGE, LB_TABLE, POD_LINK};
use crate::netlink::{Address, Link, Netlink};
use crate::nft::{Base, Set, Table};
use crate::{Cidr, Error, Family, Result, sysctl};

/// Links that no LAN is behind: those of other networks on the same host. From MetalLB's default `excludel2`.
const INNER: [&str; 13] = [
    "docker",
    "cbr",
    "dummy",
    "virbr",
    "lxcbr",
    "veth",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "nodelocaldns",
    "br-",
];

const RESTRICTED: &str = "restricted";
const ALLOWED: &str = "allowed";

/// Where an address is answered for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Only on these links; `None` means on all.
    pub interfaces: Option<BTreeSet<String>>,
    /// When the kernel stops by itself unless this is said again; `None` means never.
    pub expires: Option<Duration>,
}

/// Addresses of load balancers in the kernel, in the network namespace of the calling thread.
#[derive(Debug)]
pub struct Holding {
    table: Table,
    foreign: Vec<Cidr>,
}

impl Holding {
    /// What is there stays until [`Holding::set`]. `foreign` are ranges of addresses that the node answers for as well, but
    /// not for a load balancer: those of Services.
    #[must_use]
    pub fn new(foreign: Vec<Cidr>) -> Self {
        let mut table = Table::new("arp", LB_TABLE);
        table.set(RESTRICTED, Set::of("ipv4_addr"));
        table.set(ALLOWED, Set::of("ifname . ipv4_addr"));
        let filter =
            format!("arp operation request arp daddr ip @{RESTRICTED} meta iifname . arp daddr ip != @{ALLOWED} drop");
        table.base_chain("input", Base::new("filter", "input", 0), vec![filter]);
        Self { table, foreign }
    }

    /// The addresses that are held.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn held(&self) -> Result<BTreeSet<IpAddr>> {
        Ok(self.present(&mut Netlink::open()?)?.into_iter().map(|address| address.ip).collect())
    }

    fn present(&self, netlink: &mut Netlink) -> Result<Vec<Address>> {
        let mut present = netlink.addresses()?;
        let foreign = |ip: IpAddr| self.foreign.iter().any(|range| range.contains(ip));
        present.retain(|address| address.ours && address.host_only && !foreign(address.ip));
        Ok(present)
    }

    /// Answers for exactly these addresses. Those that are limited to some links are so before they are there.
    ///
    /// # Errors
    /// When the kernel refuses something; the rest is done.
    pub async fn set(&mut self, wanted: &BTreeMap<IpAddr, Place>) -> Result<()> {
        let mut netlink = Netlink::open()?;
        let links = announcing_links(&mut netlink, None)?;
        let bridge = netlink.link(BRIDGE)?;
        let mut addresses = Vec::new();
        for (ip, place) in wanted {
            addresses.extend(addresses_of(*ip, place, &links, bridge.as_ref())?);
        }
        let present = self.present(&mut netlink)?;
        let same = |a: &Address, b: &Address| a.ip == b.ip && a.link == b.link;
        for old in present.iter().filter(|old| !addresses.iter().any(|new| same(old, new))) {
            netlink.delete_address(old)?;
        }
        self.restrict(wanted);
        if wanted.values().any(|place| place.interfaces.is_some()) {
            // Somebody may have removed the filter, and nothing else would show it.
            self.table.distrust();
        }
        self.table.sync().await?;
        for new in addresses {
            // One that expires has to be set again each time; one that does not is left alone.
            if new.expires.is_some() || !present.iter().any(|old| same(old, &new) && old.expires.is_none()) {
                netlink.set_address(&new)?;
            }
        }
        Ok(())
    }

    /// The ARP filter: an address that may be answered for on some links only is answered for nowhere else.
    fn restrict(&mut self, wanted: &BTreeMap<IpAddr, Place>) {
        let mut restricted = BTreeSet::new();
        let mut allowed = BTreeSet::new();
        for (ip, place) in wanted.iter().filter(|(ip, _)| ip.is_ipv4()) {
            if let Some(interfaces) = &place.interfaces {
                restricted.insert(ip.to_string());
                allowed.extend(interfaces.iter().map(|interface| format!("{interface} . {ip}")));
            }
        }
        self.table.elements(RESTRICTED, &restricted);
        self.table.elements(ALLOWED, &allowed);
    }
}

/// The links to a LAN, of those named if any are: they are up, speak ARP, and are not part of another link.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn announcing_links(netlink: &mut Netlink, only: Option<&BTreeSet<String>>) -> Result<Vec<Link>> {
    let mut links = netlink.links()?;
    links.retain(|link| is_announcing(link) && only.is_none_or(|only| only.contains(&link.name)));
    Ok(links)
}

fn is_announcing(link: &Link) -> bool {
    let ours = link.name == BRIDGE || link.name.starts_with(POD_LINK);
    let inner = INNER.iter().any(|prefix| link.name.starts_with(prefix));
    link.up && link.arp && !link.loopback && link.controller.is_none() && !ours && !inner
}

/// Where an address has to be so that the kernel answers for it. For IPv4 the node's own bridge is enough, as the kernel
/// answers ARP on every link, unless the link is told to answer for its own addresses only; NDP is answered so always.
fn addresses_of(ip: IpAddr, place: &Place, links: &[Link], bridge: Option<&Link>) -> Result<Vec<Address>> {
    let allowed = |link: &&Link| place.interfaces.as_ref().is_none_or(|only| only.contains(&link.name));
    let lan: Vec<&Link> = links.iter().filter(allowed).collect();
    let mut on = match Family::of(ip) {
        Family::V6 => lan,
        Family::V4 => {
            let mut strict = Vec::new();
            for link in lan {
                if answers_for_own_only(link)? {
                    strict.push(link);
                }
            }
            strict
        }
    };
    if on.is_empty() && ip.is_ipv4() {
        on.push(bridge.ok_or_else(|| Error::Config(format!("there is no {BRIDGE} yet to hold {ip}")))?);
    }
    let length = Cidr::host(ip).length();
    let address =
        |link: &Link| Address { link: link.index, ip, length, host_only: true, expires: place.expires, ours: true };
    Ok(on.into_iter().map(address).collect())
}

/// The links to a LAN on which the node's bridge is not enough to be answered for.
pub(crate) fn strict_links(netlink: &mut Netlink) -> Result<Vec<String>> {
    let mut strict = Vec::new();
    for link in announcing_links(netlink, None)? {
        if answers_for_own_only(&link)? {
            strict.push(link.name);
        }
    }
    Ok(strict)
}

/// The larger one of `all` and the link's own counts (`ip-sysctl.rst`).
fn answers_for_own_only(link: &Link) -> Result<bool> {
    for name in ["all", &link.name] {
        if sysctl::read(&format!("ipv4/conf/{name}/arp_ignore"))?.is_some_and(|value| value != "0") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Mac;

    #[test]
    fn only_links_to_a_lan_are_announced_on() {
        let link = |name: &str| Link {
            index: 2,
            name: name.into(),
            mtu: 1500,
            mac: Some(Mac::BROADCAST),
            controller: None,
            up: true,
            loopback: false,
            arp: true,
        };
        for (link, announcing) in [
            (link("eth0"), true),
            (link("br0"), true),
            (link("enp3s0.100"), true),
            (Link { up: false, ..link("eth0") }, false),
            (Link { arp: false, ..link("wg0") }, false),
            (Link { controller: Some(7), ..link("eth0") }, false),
            (Link { loopback: true, ..link("lo") }, false),
            (link("knarr0"), false),
            (link("knarr-0123456ab"), false),
            (link("docker0"), false),
            (link("br-1a2b3c"), false),
        ] {
            assert_eq!(is_announcing(&link), announcing, "{link:?}");
        }
    }
}
