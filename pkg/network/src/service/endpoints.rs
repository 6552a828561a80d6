//! Which endpoints a packet may go to (`pkg/proxy/topology.go` of upstream).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint as Listed, EndpointSlice};

use crate::Family;

/// An address and port that answers for a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it is on this node.
    pub local: bool,
    /// Whether it wants new connections.
    pub ready: bool,
    /// Whether it can still answer.
    pub serving: bool,
    /// Whether it is about to end.
    pub terminating: bool,
    /// Nodes that should prefer it.
    pub node_hints: Vec<String>,
    /// Zones that should prefer it.
    pub zone_hints: Vec<String>,
}

/// Where this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// The node's name.
    pub node: String,
    /// The label `topology.kubernetes.io/zone`; empty without.
    pub zone: String,
}

/// The endpoints that each traffic policy allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Usable<'a> {
    /// Under `Cluster`; empty when no traffic of the Service has that policy.
    pub(super) cluster: Vec<&'a Endpoint>,
    /// Under `Local`; empty when no traffic of the Service has that policy.
    pub(super) local: Vec<&'a Endpoint>,
    /// Whether there is one anywhere, be it out of reach for this node.
    pub(super) any: bool,
}

impl Usable<'_> {
    /// Every endpoint that this node sends to.
    pub(super) fn all(&self) -> BTreeMap<SocketAddr, &Endpoint> {
        self.cluster.iter().chain(&self.local).map(|endpoint| (endpoint.address, *endpoint)).collect()
    }
}

/// The endpoints of one port, sorted; an address that several slices name counts once.
pub(super) fn of_port<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    port: &str,
    protocol: &str,
    family: Family,
    node: &str,
) -> Vec<Endpoint> {
    let mut endpoints = BTreeMap::<SocketAddr, Endpoint>::new();
    for slice in slices {
        let fits = |listed: &&k8s_openapi::api::discovery::v1::EndpointPort| {
            listed.name.as_deref().unwrap_or_default() == port
                && listed.protocol.as_deref().unwrap_or("TCP") == protocol
        };
        let numbers = slice.ports.iter().flatten().filter(fits).filter_map(|listed| listed.port);
        for number in numbers.filter_map(|number| u16::try_from(number).ok()).filter(|number| *number != 0) {
            for endpoint in slice.endpoints.iter().filter_map(|listed| read(listed, number, node)) {
                if Family::of(endpoint.address.ip()) == family
                    && (endpoint.local || !endpoints.contains_key(&endpoint.address))
                {
                    endpoints.insert(endpoint.address, endpoint);
                }
            }
        }
    }
    endpoints.into_values().collect()
}

fn read(listed: &Listed, port: u16, node: &str) -> Option<Endpoint> {
    let ip: IpAddr = listed.addresses.first()?.parse().ok()?;
    let condition = |read: fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>, unset: bool| {
        listed.conditions.as_ref().and_then(read).unwrap_or(unset)
    };
    let hints = listed.hints.as_ref();
    let nodes = hints.and_then(|hints| hints.for_nodes.as_ref()).into_iter().flatten();
    let zones = hints.and_then(|hints| hints.for_zones.as_ref()).into_iter().flatten();
    Some(Endpoint {
        address: SocketAddr::new(ip, port),
        local: listed.node_name.as_deref() == Some(node),
        ready: condition(|conditions| conditions.ready, true),
        serving: condition(|conditions| conditions.serving, true),
        terminating: condition(|conditions| conditions.terminating, false),
        node_hints: nodes.map(|hint| hint.name.clone()).collect(),
        zone_hints: zones.map(|hint| hint.name.clone()).collect(),
    })
}

/// Chooses among `endpoints`: those that are ready, or if there are none those that terminate and still serve; under
/// `Cluster` those near this node if all of them carry hints.
pub(super) fn choose<'a>(
    endpoints: &'a [Endpoint],
    uses_cluster: bool,
    uses_local: bool,
    here: &Locality,
) -> Usable<'a> {
    let leaving = |endpoint: &&Endpoint| endpoint.serving && endpoint.terminating;
    let ready = |endpoint: &&Endpoint| endpoint.ready;
    let mut usable = Usable::default();
    if uses_cluster {
        let near = nearness(endpoints, here);
        usable.cluster = endpoints.iter().filter(ready).filter(|endpoint| near(endpoint)).collect();
        if usable.cluster.is_empty() {
            usable.cluster = endpoints.iter().filter(leaving).collect();
        }
        usable.any = !usable.cluster.is_empty();
    }
    if uses_local {
        usable.any |= endpoints.iter().any(|endpoint| ready(&endpoint) || leaving(&endpoint));
        let local = || endpoints.iter().filter(|endpoint| endpoint.local);
        usable.local = local().filter(ready).collect();
        if usable.local.is_empty() {
            usable.local = local().filter(leaving).collect();
        }
    }
    usable
}

/// Hints bind only when every ready endpoint has one and one of them means this node (KEP-2433, KEP-3015).
fn nearness(endpoints: &[Endpoint], here: &Locality) -> impl Fn(&Endpoint) -> bool {
    let binds = |hints: fn(&Endpoint) -> &Vec<String>, own: &String| {
        let mut ready = endpoints.iter().filter(|endpoint| endpoint.ready).map(hints).peekable();
        let mut named = false;
        ready.peek().is_some()
            && ready.all(|hints| {
                named |= hints.contains(own);
                !hints.is_empty()
            })
            && named
    };
    let by_node = binds(|endpoint| &endpoint.node_hints, &here.node);
    let by_zone = !by_node && binds(|endpoint| &endpoint.zone_hints, &here.zone);
    let here = here.clone();
    move |endpoint| {
        (!by_node || endpoint.node_hints.contains(&here.node)) && (!by_zone || endpoint.zone_hints.contains(&here.zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name` is the last byte of the address; in `state`, `l` is local, `r` ready, `s` serving, `t` terminating.
    fn endpoint(name: u8, state: &str, node_hint: &str, zone_hint: &str) -> Endpoint {
        let hints = |hint: &str| hint.split(',').filter(|hint| !hint.is_empty()).map(Into::into).collect();
        Endpoint {
            address: SocketAddr::from(([10, 0, 0, name], 80)),
            local: state.contains('l'),
            ready: state.contains('r'),
            serving: state.contains('s'),
            terminating: state.contains('t'),
            node_hints: hints(node_hint),
            zone_hints: hints(zone_hint),
        }
    }

    fn names(endpoints: &[&Endpoint]) -> Vec<u8> {
        endpoints
            .iter()
            .map(|endpoint| match endpoint.address.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => 0,
            })
            .collect()
    }

    #[test]
    fn ready_endpoints_come_before_terminating_ones_per_policy() {
        for (case, endpoints, cluster, local, any) in [
            ("all ready", vec![(1, "lrs"), (2, "rs")], vec![1, 2], vec![1], true),
            ("the local one leaves", vec![(1, "lst"), (2, "rs")], vec![2], vec![1], true),
            ("all leave", vec![(1, "lst"), (2, "st")], vec![1, 2], vec![1], true),
            ("leaving without serving", vec![(1, "lt"), (2, "t")], vec![], vec![], false),
            ("none is local", vec![(2, "rs")], vec![2], vec![], true),
            ("not ready", vec![(1, "l")], vec![], vec![], false),
            ("none", vec![], vec![], vec![], false),
        ] {
            let endpoints: Vec<_> = endpoints.into_iter().map(|(name, state)| endpoint(name, state, "", "")).collect();
            let usable = choose(&endpoints, true, true, &Locality::default());
            assert_eq!((names(&usable.cluster), names(&usable.local), usable.any), (cluster, local, any), "{case}");
        }
    }

    #[test]
    fn a_policy_that_is_not_used_has_no_endpoints() {
        let endpoints = [endpoint(1, "lrs", "", "")];
        assert!(choose(&endpoints, false, true, &Locality::default()).cluster.is_empty());
        assert!(choose(&endpoints, true, false, &Locality::default()).local.is_empty());
    }

    #[test]
    fn hints_bind_only_when_all_have_one_and_one_means_this_node() {
        let here = Locality { node: "n1".into(), zone: "z1".into() };
        for (case, hints, chosen) in [
            ("a node", [("n1", ""), ("n2", ""), ("n2", "")], vec![1]),
            ("no node is this one", [("n2", ""), ("n2", ""), ("n3", "")], vec![1, 2, 3]),
            ("one lacks a node", [("n1", ""), ("", ""), ("n2", "")], vec![1, 2, 3]),
            ("a zone", [("", "z1"), ("", "z2,z1"), ("", "z2")], vec![1, 2]),
            ("the node wins", [("n1", "z1"), ("n2", "z1"), ("n2", "z2")], vec![1]),
            ("the zone helps out", [("n2", "z1"), ("n2", "z1"), ("n2", "z2")], vec![1, 2]),
        ] {
            let endpoints: Vec<_> =
                (1..).zip(hints).map(|(name, (node, zone))| endpoint(name, "rs", node, zone)).collect();
            assert_eq!(names(&choose(&endpoints, true, false, &here).cluster), chosen, "{case}");
        }
    }
}
