//! The rules that pods need without any Service.

use crate::names::{BRIDGE, NODE_TABLE};
use crate::nft::{Base, Set, Table};
use crate::{Cidr, Family};

const OWN_PODS: &str = "own-pods";
const ALL_PODS: &str = "all-pods";

/// The table of a family: `own` are the ranges of this node's pods, `all` those of all nodes.
pub(super) fn table(family: Family, own: &[Cidr], all: &[Cidr]) -> Table {
    let ip = family.nft();
    let (multicast, redirect) = match family {
        Family::V4 => ("224.0.0.0/4", "icmp type redirect"),
        Family::V6 => ("ff00::/8", "icmpv6 type nd-redirect"),
    };
    let mut table = Table::new(ip, NODE_TABLE);
    for (name, ranges) in [(OWN_PODS, own), (ALL_PODS, all)] {
        table.set(name, Set::ranges(family.nft_type()));
        for range in ranges.iter().filter(|range| range.family() == family) {
            table.element(name, &range.to_string(), Some(""));
        }
    }
    // The outside does not know pods' addresses. Pods and nodes of the cluster see them as they are.
    let masquerade = format!(
        "{ip} saddr @{OWN_PODS} {ip} daddr != @{ALL_PODS} {ip} daddr != {multicast} oifname != \"{BRIDGE}\" \
         masquerade fully-random"
    );
    table.base_chain("postrouting", Base::new("nat", "postrouting", 100), vec![masquerade]);
    // Where redirects are allowed for all links, the switch of a single one does not turn them off.
    table.base_chain("output", Base::new("filter", "output", 0), vec![format!("oifname \"{BRIDGE}\" {redirect} drop")]);
    table
}
