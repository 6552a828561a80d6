//! Who this node is: a name that is kept from the first start, and the addresses that others reach it by.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, bail};
use knarr_network::names;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::snapshot::place::NODE_NAME;

/// The node's name: that of its first start. A changed host name must not make a second Node of the same machine.
pub(super) fn name(data: &Path, wanted: Option<&str>) -> Result<String> {
    let file = data.join(NODE_NAME);
    let kept = match fs::read_to_string(&file) {
        Ok(text) => Some(text.trim().to_owned()).filter(|name| !name.is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    match (kept, wanted) {
        (Some(kept), Some(wanted)) if kept != wanted => {
            bail!("--node-name={wanted}: this node has been {kept} since its first start ({})", file.display())
        }
        (Some(kept), _) => Ok(kept),
        (None, wanted) => {
            let host = nix::unistd::gethostname().context("cannot read the host's name")?;
            let name = wanted.map_or_else(|| host.to_string_lossy().to_ascii_lowercase(), ToOwned::to_owned);
            // It is also the value of a label, which is shorter.
            if name.len() > 63 || !knarr_api::forms::subdomain(&name).is_empty() {
                bail!("{name:?} is no node name (at most 63 lower-case letters, digits, '-', '.'): give --node-name");
            }
            fs::write(&file, &name).with_context(|| format!("cannot write {}", file.display()))?;
            Ok(name)
        }
    }
}

/// The node's addresses: those given, else the one that the default route leaves by, else the first that is neither
/// loopback, link-local, nor on a link of ours.
pub(super) fn addresses(given: &[IpAddr]) -> Result<Vec<IpAddr>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    if let Some(address) = by_default_route() {
        return Ok(vec![address]);
    }
    let links = getifaddrs().context("cannot list the host's addresses")?;
    let usable = links.filter(|link| {
        link.flags.contains(InterfaceFlags::IFF_UP)
            && !link.flags.contains(InterfaceFlags::IFF_LOOPBACK)
            && ![names::BRIDGE, names::POD_LINK].iter().any(|ours| link.interface_name.starts_with(ours))
    });
    let mut found = usable.filter_map(|link| {
        let address = link.address?.as_sockaddr_in()?.ip();
        (!address.is_link_local()).then_some(IpAddr::V4(address))
    });
    let first = found.next();
    first.map(|address| vec![address]).context("this host has no address that other hosts can reach: give --node-ip")
}

/// Asks the kernel which source address it would use towards a documentation address; nothing is sent.
fn by_default_route() -> Option<IpAddr> {
    let elsewhere: SocketAddr = ([192, 0, 2, 1], 9).into();
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(elsewhere).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified() && !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_kept() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(name(data.path(), Some("edge-1")).unwrap(), "edge-1");
        assert_eq!(name(data.path(), None).unwrap(), "edge-1");
        let refused = name(data.path(), Some("edge-2")).unwrap_err().to_string();
        assert!(refused.contains("has been edge-1 since its first start"), "{refused}");
    }

    #[test]
    fn a_name_that_cannot_be_read_is_not_taken_for_none() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("node-name")).unwrap();
        let refused = name(data.path(), None).unwrap_err().to_string();
        assert!(refused.starts_with("cannot read "), "{refused}");
    }

    #[test]
    fn nonsense_is_refused() {
        let data = tempfile::tempdir().unwrap();
        for wanted in ["", "Edge", "a b", "-edge", "edge.", &"x".repeat(64)] {
            assert!(name(data.path(), Some(wanted)).is_err(), "{wanted:?}");
        }
        assert!(!data.path().join("node-name").exists());
    }
}
