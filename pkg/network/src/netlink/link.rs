//! Links: what `ip link` shows.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

use super::Netlink;
use crate::Result;
use crate::error::unless;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every host of the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address that goes with an IP address: locally administered, and the same whenever the IP is used again, so that
    /// no neighbour keeps a stale one. An IPv6 address gives its last 32 bits.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        let [a, b, c, d] = match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                [a, b, c, d]
            }
        };
        Self([0x0a, 0x58, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A link of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The largest packet it takes, without the Ethernet header.
    pub mtu: u32,
    /// Its Ethernet address; `None` for other kinds of links.
    pub mac: Option<Mac>,
    /// The bridge (or bond) that it is a port of.
    pub controller: Option<u32>,
    /// Whether it is switched on (`IFF_UP`).
    pub up: bool,
    /// Whether it is a loopback link.
    pub loopback: bool,
    /// Whether it carries ARP: Ethernet, and not `NOARP`.
    pub arp: bool,
}

/// A pair of links that are each other's wire.
#[derive(Debug)]
pub struct Veth<'a> {
    /// The name of the end in this namespace.
    pub name: &'a str,
    /// The bridge that this end becomes a port of.
    pub controller: u32,
    /// The largest packet of both ends.
    pub mtu: u32,
    /// The name of the other end.
    pub peer_name: &'a str,
    /// Its Ethernet address.
    pub peer_mac: Mac,
    /// Its namespace.
    pub peer_namespace: BorrowedFd<'a>,
}

impl Netlink {
    /// The link of that name.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkUnspec::new_with_name(name).build());
        Ok(self.get(|| format!("look for the link {name}"), libc::ENODEV, &message)?.and_then(read))
    }

    /// All links.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        Ok(self.dump(|| "list the links".into(), &message)?.into_iter().filter_map(read).collect())
    }

    /// Makes a bridge, switched on, unless there is one of that name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ensure_bridge(&mut self, name: &str, mac: Mac, mtu: u32) -> Result<Link> {
        let known = match self.link(name)? {
            Some(link) => link,
            None => {
                let bridge = LinkBridge::new(name).address(mac.0.to_vec()).mtu(mtu).up().build();
                let created =
                    self.change(|| format!("make the bridge {name}"), NLM_F_CREATE | NLM_F_EXCL, &new(bridge));
                unless(libc::EEXIST, created)?;
                self.link(name)?.ok_or_else(|| gone(name))?
            }
        };
        if known.up && known.mac == Some(mac) && known.mtu == mtu {
            return Ok(known);
        }
        let change = LinkUnspec::new_with_index(known.index).address(mac.0.to_vec()).mtu(mtu).up().build();
        self.change(|| format!("set up the bridge {name}"), 0, &RouteNetlinkMessage::SetLink(change))?;
        self.link(name)?.ok_or_else(|| gone(name))
    }

    /// Makes a pair of links in one step: this end is switched on and a port, the other one is born in its namespace, and
    /// off: the kernel refuses to switch on an end while the other one does not exist yet.
    ///
    /// # Errors
    /// `EEXIST` when there is a link of that name here or there.
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<()> {
        let peer = LinkUnspec::new_with_name(veth.peer_name)
            .address(veth.peer_mac.0.to_vec())
            .mtu(veth.mtu)
            .setns_by_fd(veth.peer_namespace.as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .name(veth.name)
            .mtu(veth.mtu)
            .controller(veth.controller)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .up()
            .build();
        self.change(|| format!("make the link {}", veth.name), NLM_F_CREATE | NLM_F_EXCL, &new(pair))
    }

    /// Lets a bridge send a frame out of the port it came in by. A pod that reaches itself through its Service needs it
    /// where `bridge-nf-call-iptables` makes the bridge itself carry out the address translation.
    ///
    /// # Errors
    /// When the link is gone or no port.
    pub fn set_hairpin(&mut self, port: &Link) -> Result<()> {
        let message = LinkBridgePort::new(port.index).hairpin(true).build();
        // A port's settings go through RTM_NEWLINK, as `ip link set type bridge_slave` does.
        self.change(|| format!("set hairpin mode of {}", port.name), 0, &new(message))
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set_up(&mut self, name: &str) -> Result<()> {
        let message = RouteNetlinkMessage::SetLink(LinkUnspec::new_with_name(name).up().build());
        self.change(|| format!("switch on the link {name}"), 0, &message)
    }

    /// Removes a link, and its other end with it; no error when there is none of that name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link(&mut self, name: &str) -> Result<()> {
        let message = RouteNetlinkMessage::DelLink(LinkUnspec::new_with_name(name).build());
        unless(libc::ENODEV, self.change(|| format!("remove the link {name}"), 0, &message))
    }
}

fn new(message: LinkMessage) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewLink(message)
}

fn gone(name: &str) -> crate::Error {
    crate::Error::Config(format!("the link {name} was removed by somebody else right after it was made"))
}

fn read(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        mac: None,
        controller: None,
        up: flags.contains(LinkFlags::Up),
        loopback: flags.contains(LinkFlags::Loopback),
        arp: flags.contains(LinkFlags::Broadcast) && !flags.contains(LinkFlags::Noarp),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(address) => link.mac = address.try_into().ok().map(Mac),
            LinkAttribute::Controller(index) => link.controller = Some(index),
            _ => {}
        }
    }
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ip_has_one_mac() {
        assert_eq!(Mac::of(IpAddr::from([10, 42, 0, 7])).to_string(), "0a:58:0a:2a:00:07");
        assert_eq!(Mac::of("fd00::a2a:7".parse().unwrap()).to_string(), "0a:58:0a:2a:00:07");
    }
}
