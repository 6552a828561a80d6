//! Gives every node its pod address ranges (`spec.podCIDRs`): one per family, cut from the cluster's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knarr_base::Shutdown;
use knarr_client::events::Type;
use knarr_client::{Action, Cache, Controller, Key, Recorder};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde_json::json;

use crate::deps::Deps;
use crate::error::Error;

const NAME: &str = "node-controller";

/// The length of a node's range: 254 pods, and what IPv6 gives every link.
const NODE_LENGTH_V4: u8 = 24;
const NODE_LENGTH_V6: u8 = 64;

/// Runs the controller.
pub(crate) async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let parse = |text: &String| text.parse().map_err(|()| Error::Unusable(format!("{text:?} is no address range")));
    let ranges = deps.settings.cluster_cidrs.iter().map(parse).collect::<Result<Vec<Range>, _>>()?;
    let context = Context {
        nodes: deps.cache(),
        client: deps.client(NAME),
        recorder: deps.events.recorder(deps.client(NAME), "cidrAllocator", ""),
        ranges,
    };
    let mut controller = Controller::new("node-ipam");
    controller.watch(&context.nodes, |change| change.new.iter().map(|_| change.key.clone()).collect());
    // One at a time: two allocations must not see the same gap.
    let Ok(()) = controller.run(1, shutdown, |key| context.reconcile(key)).await;
    Ok(())
}

struct Context {
    nodes: Cache<Node>,
    client: Client,
    recorder: Recorder,
    ranges: Vec<Range>,
}

impl Context {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(node) = self.nodes.at(&key).filter(|node| cidrs(node).is_empty()) else { return Ok(Action::Done) };
        let Some(free) = plan(&self.ranges, &self.nodes.list()) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name());
            self.recorder.event(node.as_ref(), Type::Normal, "CIDRNotAvailable", message);
            return Err(Error::Unusable("all pod address ranges are taken".into()));
        };
        let Some(first) = free.first() else { return Ok(Action::Done) };
        let patch = json!({"metadata": {"uid": node.meta().uid}, "spec": {"podCIDR": first, "podCIDRs": free}});
        let api = Api::<Node>::all(self.client.clone());
        let patched = api.patch(key.name(), &PatchParams::default(), &Patch::Strategic(patch)).await?;
        self.nodes.seen(patched.meta().resource_version.as_deref().unwrap_or_default()).await?;
        Ok(Action::Done)
    }
}

fn cidrs(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else { return Vec::new() };
    spec.pod_cidrs.clone().unwrap_or_else(|| spec.pod_cidr.clone().into_iter().collect())
}

/// The first free range of every family; `None` when one of them is used up.
fn plan(ranges: &[Range], nodes: &[Arc<Node>]) -> Option<Vec<String>> {
    let used: Vec<Range> = nodes.iter().flat_map(|node| cidrs(node)).filter_map(|text| text.parse().ok()).collect();
    ranges.iter().map(|range| range.first_free(&used).map(|free| free.to_string())).collect()
}

/// An address range in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// The address as a number, right-aligned for IPv4.
    base: u128,
    length: u8,
    v6: bool,
}

impl Range {
    fn bits(self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    /// The number of addresses minus one, so that it fits.
    fn span(self) -> u128 {
        let host = u32::from(self.bits().saturating_sub(self.length));
        1u128.checked_shl(host).map_or(u128::MAX, |size| size - 1)
    }

    fn last(self) -> u128 {
        self.base | self.span()
    }

    fn overlaps(self, other: Self) -> bool {
        self.v6 == other.v6 && self.base <= other.last() && other.base <= self.last()
    }

    /// The lowest part of the node's length that overlaps nothing in `used`.
    fn first_free(self, used: &[Self]) -> Option<Self> {
        let length = if self.v6 { NODE_LENGTH_V6 } else { NODE_LENGTH_V4 }.max(self.length);
        let mut candidate = Self { length, ..self };
        loop {
            let Some(taken) = used.iter().filter(|used| used.overlaps(candidate)).map(|used| used.last()).max() else {
                return Some(candidate);
            };
            let next = taken.max(candidate.last()).checked_add(1)?;
            candidate.base = next.checked_add(candidate.span())? & !candidate.span();
            if candidate.base > self.last() {
                return None;
            }
        }
    }
}

impl FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, length) = text.split_once('/').ok_or(())?;
        let (base, v6) = match address.parse().map_err(|_| ())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), false),
            IpAddr::V6(address) => (address.to_bits(), true),
        };
        let range = Self { base, length: length.parse().map_err(|_| ())?, v6 };
        if range.length > range.bits() {
            return Err(());
        }
        Ok(Self { base: base & !range.span(), ..range })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match u32::try_from(self.base) {
            Ok(bits) if !self.v6 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(self.base)),
        };
        write!(f, "{address}/{}", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeSpec;

    fn nodes(ranges: &[&[&str]]) -> Vec<Arc<Node>> {
        let spec = |ranges: &&[&str]| NodeSpec {
            pod_cidrs: Some(ranges.iter().map(|&range| range.to_owned()).collect()),
            ..Default::default()
        };
        ranges.iter().map(|ranges| Arc::new(Node { spec: Some(spec(ranges)), ..Node::default() })).collect()
    }

    #[test]
    fn the_lowest_free_range_of_every_family() {
        type Case<'a> = (&'a [&'a str], &'a [&'a [&'a str]], Option<&'a [&'a str]>);
        let cases: [Case<'_>; 7] = [
            (&["10.42.0.0/16"], &[], Some(&["10.42.0.0/24"])),
            (&["10.42.0.0/16"], &[&["10.42.0.0/24"], &["10.42.2.0/24"]], Some(&["10.42.1.0/24"])),
            (
                &["10.42.0.0/16", "fd42::/48"],
                &[&["10.42.0.0/24", "fd42::/64"]],
                Some(&["10.42.1.0/24", "fd42:0:0:1::/64"]),
            ),
            (&["10.42.0.0/24"], &[&["10.42.0.0/24"]], None),
            (&["10.42.0.0/23"], &[&["10.42.0.0/24"], &["10.42.1.0/26"]], None),
            (&["10.42.7.9/26"], &[&["192.168.0.0/24"]], Some(&["10.42.7.0/26"])),
            (&["255.255.254.0/23"], &[&["255.255.254.0/24"], &["255.255.255.0/24"]], None),
        ];
        for (cluster, used, expected) in cases {
            let ranges: Vec<Range> = cluster.iter().map(|text| text.parse().unwrap()).collect();
            let expected = expected.map(|list| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
            assert_eq!(plan(&ranges, &nodes(used)), expected, "{cluster:?} {used:?}");
        }
    }

    #[test]
    fn nonsense_is_no_range() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "x/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
