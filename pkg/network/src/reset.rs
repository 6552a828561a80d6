//! Removes everything that knarr made in the kernel.

use crate::names::{BRIDGE, POD_LINK, TABLES};
use crate::netlink::Netlink;
use crate::{Family, Result, nft, node};

/// Removes every table, link, address and route of knarr from the calling thread's network namespace. Safe to repeat; what
/// fails does not keep the rest from being removed. The links to the outside go on forwarding until the next boot: nobody
/// can tell who else relies on that by now.
///
/// # Errors
/// The first failure.
pub fn reset() -> Result<()> {
    let mut netlink = Netlink::open()?;
    // Addresses of load balancers go first: without the tables that guard them, the host itself would answer there.
    let done = [addresses(&mut netlink), routes(&mut netlink), links(&mut netlink), tables(), node::withdraw()];
    done.into_iter().collect()
}

fn addresses(netlink: &mut Netlink) -> Result<()> {
    netlink.addresses()?.iter().filter(|address| address.ours).try_for_each(|address| netlink.delete_address(address))
}

fn routes(netlink: &mut Netlink) -> Result<()> {
    for family in Family::ALL {
        for route in netlink.routes(family)?.iter().filter(|route| route.ours) {
            netlink.delete_route(route)?;
        }
    }
    Ok(())
}

fn links(netlink: &mut Netlink) -> Result<()> {
    for link in netlink.links()? {
        if link.name == BRIDGE || link.name.starts_with(POD_LINK) {
            netlink.delete_link(&link.name)?;
        }
    }
    Ok(())
}

/// Deleting a table that is not there is an error, so each is added first; in one transaction nobody sees that.
fn tables() -> Result<()> {
    let commands = TABLES.map(|(family, name)| format!("add table {family} {name}\ndelete table {family} {name}\n"));
    nft::apply_blocking(&commands.concat())
}
