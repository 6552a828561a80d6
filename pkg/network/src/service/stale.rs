//! UDP that connection tracking still leads to an endpoint that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::plan::Frontend;
use crate::netlink::{Conntrack, Flow};
use crate::{Family, Result};

/// Where UDP sent to each frontend may be led.
pub(super) type Frontends = BTreeMap<Frontend, BTreeSet<SocketAddr>>;

/// Forgets UDP flows to `frontends` that lead elsewhere, so that their next packet finds an endpoint that serves. TCP needs
/// nothing like it: its connections end by themselves.
pub(super) fn forget(family: Family, frontends: &Frontends) -> Result<usize> {
    if frontends.is_empty() {
        return Ok(0);
    }
    let mut conntrack = Conntrack::open()?;
    let stale: Vec<Flow> = conntrack.list(family)?.into_iter().filter(|flow| is_stale(flow, frontends)).collect();
    stale.iter().try_for_each(|flow| conntrack.delete(flow))?;
    Ok(stale.len())
}

fn is_stale(flow: &Flow, frontends: &Frontends) -> bool {
    if i32::from(flow.original.protocol) != libc::IPPROTO_UDP {
        return false;
    }
    let sent_to = flow.original.destination;
    [Frontend::Address(sent_to), Frontend::NodePort(sent_to.port())]
        .iter()
        .filter_map(|frontend| frontends.get(frontend))
        .any(|endpoints| !endpoints.contains(&flow.reply.source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Tuple;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_udp_to_a_frontend_that_ends_elsewhere_is_stale() {
        let frontends = Frontends::from([
            (Frontend::Address(address("10.43.0.5:53")), BTreeSet::from([address("10.42.0.2:5353")])),
            (Frontend::NodePort(30053), BTreeSet::from([address("10.42.0.2:5353")])),
        ]);
        for (case, sent_to, answered_by, protocol, stale) in [
            ("a serving endpoint", "10.43.0.5:53", "10.42.0.2:5353", 17, false),
            ("one that is gone", "10.43.0.5:53", "10.42.0.9:5353", 17, true),
            ("never translated", "10.43.0.5:53", "10.43.0.5:53", 17, true),
            ("TCP", "10.43.0.5:53", "10.42.0.9:5353", 6, false),
            ("another port", "10.43.0.5:54", "10.42.0.9:5353", 17, false),
            ("a node port", "192.0.2.1:30053", "10.42.0.9:5353", 17, true),
        ] {
            let client = address("10.42.0.7:4242");
            let tuple = |source, destination| Tuple { source, destination, protocol };
            let flow = Flow { original: tuple(client, address(sent_to)), reply: tuple(address(answered_by), client) };
            assert_eq!(is_stale(&flow, &frontends), stale, "{case}");
        }
    }
}
