//! Refuses ranges that the host needs for something else.

use crate::names::BRIDGE;
use crate::netlink::{Link, Netlink, Route};
use crate::{Cidr, Error, Family, Result};

/// Checks that none of `ranges` is in use on this host.
///
/// # Errors
/// One line that names the range, the route and what to change.
pub fn check_overlap(netlink: &mut Netlink, ranges: &[Cidr]) -> Result<()> {
    let links = netlink.links()?;
    for family in Family::ALL {
        if let Some(conflict) = conflict(&netlink.routes(family)?, &links, ranges) {
            return Err(Error::Config(conflict));
        }
    }
    Ok(())
}

fn conflict(routes: &[Route], links: &[Link], ranges: &[Cidr]) -> Option<String> {
    let name = |route: &Route| {
        let link = links.iter().find(|link| Some(link.index) == route.link);
        link.map_or("several links", |link| link.name.as_str())
    };
    let foreign = routes.iter().filter(|route| !route.ours && route.to.length() > 0 && name(route) != BRIDGE);
    let mut pairs = foreign.flat_map(|route| ranges.iter().map(move |range| (route, range)));
    let (route, range) = pairs.find(|(route, range)| route.to.overlaps(range))?;
    Some(format!(
        "the range {range} is in use on this host: there is a route to {} on {}; \
         choose others with --cluster-cidr and --service-cluster-ip-range",
        route.to,
        name(route)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Mac;

    #[test]
    fn only_foreign_routes_to_the_same_addresses_are_conflicts() {
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            mtu: 1500,
            mac: Some(Mac::BROADCAST),
            controller: None,
            up: true,
            loopback: false,
            arp: true,
        };
        let links = [link(2, "eth0"), link(3, BRIDGE)];
        let ranges = ["10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap()];
        for (to, index, ours, conflicts) in [
            ("0.0.0.0/0", 2, false, false),
            ("192.168.0.0/24", 2, false, false),
            ("10.42.0.0/24", 3, false, false),
            ("10.43.0.0/16", 3, true, false),
            ("10.42.7.0/24", 2, false, true),
            ("10.0.0.0/8", 2, false, true),
        ] {
            let route = Route { to: to.parse().unwrap(), link: Some(index), gateway: None, source: None, ours };
            let found = conflict(&[route], &links, &ranges);
            assert_eq!(found.is_some(), conflicts, "{to}: {found:?}");
        }
        let vpn =
            Route { to: "10.43.0.0/17".parse().unwrap(), link: Some(2), gateway: None, source: None, ours: false };
        assert_eq!(
            conflict(&[vpn], &links, &ranges).unwrap(),
            "the range 10.43.0.0/16 is in use on this host: there is a route to 10.43.0.0/17 on eth0; choose others with \
             --cluster-cidr and --service-cluster-ip-range"
        );
    }
}
