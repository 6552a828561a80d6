//! ADD, DEL, CHECK, GC and STATUS.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::host_port;
use super::ipam::{Addresses, Owner};
use super::request::{Failure, Request};
use super::result::{Interface, added};
use super::state_of;
use crate::names::{BRIDGE, POD_LINK};
use crate::netlink::{Address, Mac, Netlink, Netns, Route, Veth};
use crate::{Cidr, Error, Result, bridge};

const LOOPBACK: &str = "lo";

/// How long the hash in a link's name is: names have at most 15 characters.
const HASH: usize = 15 - POD_LINK.len();

pub(super) fn add(request: &Request) -> Result<Value, Failure> {
    let state = state_of(request)?;
    if request.config.subnets.is_empty() {
        return Err(Failure::new(Failure::TRY_AGAIN, "this node has no pod range yet", ""));
    }
    let mut netlink = Netlink::open()?;
    undo(&mut netlink, &state, &request.container, &request.link)?;
    let connected = take(request, &state).and_then(|pod| connect(request, &mut netlink, &pod));
    connected.map_err(|error| {
        // The caller learns why ADD failed; what could not be undone now is undone by the DEL that follows.
        let undone = undo(&mut netlink, &state, &request.container, &request.link);
        Failure::new(Failure::IO, error.to_string(), undone.err().map(|error| error.to_string()).unwrap_or_default())
    })
}

pub(super) fn del(request: &Request) -> Result<(), Failure> {
    Ok(undo(&mut Netlink::open()?, &state_of(request)?, &request.container, &request.link)?)
}

pub(super) fn check(request: &Request) -> Result<(), Failure> {
    let missing = |what: String| Err(Failure::new(Failure::CHECK, what, ""));
    let owned = Addresses::lock(&state_of(request)?)?.of(&request.container, &request.link);
    if owned.is_empty() {
        return missing(format!("the container {} has no address", request.container));
    }
    let mut netlink = Netlink::open()?;
    let name = host_link(&request.container, &request.link);
    let bridge = netlink.link(BRIDGE)?.map(|bridge| bridge.index);
    if bridge.is_none() || netlink.link(&name)?.and_then(|link| link.controller) != bridge {
        return missing(format!("the link {name} is no port of {BRIDGE}"));
    }
    let mut inside = namespace(request)?.netlink()?;
    let Some(link) = inside.link(&request.link)?.filter(|link| link.up) else {
        return missing(format!("the container has no link {} that is up", request.link));
    };
    let present: BTreeSet<IpAddr> =
        inside.addresses()?.iter().filter(|address| address.link == link.index).map(|address| address.ip).collect();
    match owned.keys().find(|ip| !present.contains(*ip)) {
        Some(ip) => missing(format!("the link {} lacks the address {ip}", request.link)),
        None => Ok(()),
    }
}

pub(super) fn gc(request: &Request) -> Result<(), Failure> {
    let state = state_of(request)?;
    let mut netlink = Netlink::open()?;
    let valid = &request.config.valid_attachments;
    let owners: Vec<Owner> = Addresses::lock(&state)?.all().values().cloned().collect();
    for owner in owners {
        if !valid.iter().any(|kept| kept.container == owner.container && kept.link == owner.link) {
            undo(&mut netlink, &state, &owner.container, &owner.link)?;
        }
    }
    let kept: BTreeSet<String> = valid.iter().map(|kept| host_link(&kept.container, &kept.link)).collect();
    for link in netlink.links()? {
        if link.name.starts_with(POD_LINK) && !kept.contains(&link.name) {
            netlink.delete_link(&link.name)?;
        }
    }
    Ok(())
}

pub(super) fn status(request: &Request) -> Result<(), Failure> {
    match request.config.subnets.is_empty() {
        true => Err(Failure::new(Failure::TRY_AGAIN, "this node has no pod range yet", "")),
        false => Ok(Addresses::lock(&state_of(request)?).map(drop)?),
    }
}

/// What containerd calls for each sandbox before its networks (`type: loopback`).
pub(super) fn loopback(request: &Request) -> Result<Value, Failure> {
    let namespace = namespace(request)?;
    namespace.netlink()?.set_up(LOOPBACK)?;
    let sandbox = request.netns.as_ref().map(|path| path.display().to_string());
    let interface = Interface { name: LOOPBACK, mac: Mac([0; 6]), sandbox };
    Ok(added(&request.config.cni_version, &[interface], &[(Cidr::new(IpAddr::from([127, 0, 0, 1]), 8), None)]))
}

pub(super) fn check_loopback(request: &Request) -> Result<(), Failure> {
    match namespace(request)?.netlink()?.link(LOOPBACK)?.is_some_and(|link| link.up) {
        true => Ok(()),
        false => Err(Failure::new(Failure::CHECK, "the loopback link is down", "")),
    }
}

fn namespace(request: &Request) -> Result<Netns, Failure> {
    let missing = || Failure::new(Failure::INVALID_ENVIRONMENT, "CNI_NETNS is missing", "");
    Ok(Netns::open(request.netns.as_deref().ok_or_else(missing)?)?)
}

/// An address of each family, with the router to use.
type Pod = Vec<(IpAddr, IpAddr)>;

fn take(request: &Request, state: &Path) -> Result<Pod> {
    let mut addresses = Addresses::lock(state)?;
    let ports = &request.config.runtime_config.port_mappings;
    let take = |subnet: &Cidr| {
        Ok((addresses.take(*subnet, &request.container, &request.link, ports)?, bridge::gateway(*subnet)?))
    };
    request.config.subnets.iter().map(take).collect()
}

fn connect(request: &Request, netlink: &mut Netlink, pod: &Pod) -> Result<Value> {
    let config = &request.config;
    let path = request.netns.as_deref().unwrap_or(Path::new(""));
    let namespace = Netns::open(path)?;
    let bridge = bridge::ensure(netlink, &config.subnets, config.mtu)?;
    let name = host_link(&request.container, &request.link);
    let mac = Mac::of(pod.first().map_or(IpAddr::from([0; 4]), |(ip, _)| *ip));
    netlink.add_veth(&Veth {
        name: &name,
        controller: bridge.index,
        mtu: config.mtu,
        peer_name: &request.link,
        peer_mac: mac,
        peer_namespace: namespace.as_fd(),
    })?;
    let port = netlink.link(&name)?.ok_or_else(|| Error::Config(format!("the link {name} vanished")))?;
    netlink.set_hairpin(&port)?;
    inside(&mut namespace.netlink()?, &request.link, pod)?;
    let ips: Vec<IpAddr> = pod.iter().map(|(ip, _)| *ip).collect();
    host_port::add(&ips, &config.runtime_config.port_mappings)?;
    let interfaces = [
        Interface { name: BRIDGE, mac: bridge.mac.unwrap_or(mac), sandbox: None },
        Interface { name: &name, mac: port.mac.unwrap_or(mac), sandbox: None },
        Interface { name: &request.link, mac, sandbox: Some(path.display().to_string()) },
    ];
    let addresses: Vec<_> = pod.iter().map(|(ip, gateway)| (Cidr::host(*ip), Some(*gateway))).collect();
    Ok(added(&config.cni_version, &interfaces, &addresses))
}

/// The pod's side: its address, and everything else by the node.
fn inside(netlink: &mut Netlink, name: &str, pod: &Pod) -> Result<()> {
    netlink.set_up(LOOPBACK)?;
    netlink.set_up(name)?;
    let link = netlink.link(name)?.ok_or_else(|| Error::Config(format!("the link {name} vanished")))?.index;
    for (ip, gateway) in pod {
        let length = Cidr::host(*ip).length();
        netlink.set_address(&Address { link, ip: *ip, length, host_only: false, expires: None, ours: false })?;
        let direct = Route { to: Cidr::host(*gateway), link: Some(link), gateway: None, source: None, ours: true };
        netlink.set_route(&direct)?;
        let everything = Cidr::host(*gateway).family().everything();
        netlink.set_route(&Route { to: everything, gateway: Some(*gateway), ..direct })?;
    }
    Ok(())
}

/// Removes whatever a container's link has, in the order in which nobody else can get hold of it half removed.
fn undo(netlink: &mut Netlink, state: &Path, container: &str, link: &str) -> Result<()> {
    let mut addresses = Addresses::lock(state)?;
    let owned = addresses.of(container, link);
    for (ip, owner) in &owned {
        host_port::remove(*ip, &owner.ports)?;
    }
    netlink.delete_link(&host_link(container, link))?;
    owned.into_keys().try_for_each(|ip| addresses.release(ip))
}

/// What the host's end of a container's link is called.
fn host_link(container: &str, link: &str) -> String {
    let hash = Sha256::digest(format!("{container}/{link}"));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{POD_LINK}{}", hash.get(..HASH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_fits_the_kernel_and_tells_containers_apart() {
        let name = host_link(&"f".repeat(64), "eth0");
        assert_eq!(name.len(), 15);
        assert!(name.starts_with("knarr-"));
        assert_ne!(name, host_link(&"f".repeat(64), "eth1"));
    }
}
