//! What a host lacks for this network, and what mends it.

use crate::netlink::Netlink;
use crate::{Cidr, Result, lb, node};

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What it is, in a line.
    pub what: String,
    /// The command that mends it; empty when nothing has to be done.
    pub mend: String,
}

/// Looks at the calling thread's network namespace. `ranges` are those of the cluster's pods and Services.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn check(ranges: &[Cidr]) -> Result<Vec<Lack>> {
    let mut lacks = Vec::new();
    let mut add = |what: String, mend: &str| lacks.push(Lack { what, mend: mend.to_owned() });
    if let Err(error) = crate::nft::apply_blocking("") {
        add(format!("nft does not work: {error}"), "apt-get install nftables");
    }
    let mut netlink = Netlink::open()?;
    if let Err(error) = node::check_overlap(&mut netlink, ranges) {
        add(error.to_string(), "knarr server --cluster-cidr=CIDR --service-cluster-ip-range=CIDR");
    }
    for link in lb::strict_links(&mut netlink)? {
        let what = format!(
            "{link} answers ARP for its own addresses only (arp_ignore): load-balancer addresses will be put there"
        );
        add(what, "");
    }
    Ok(lacks)
}
